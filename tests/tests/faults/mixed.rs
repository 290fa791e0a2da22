//! Many runs of every sort at once, some of them cancelled, with a coordinator and a worker killed among them: when all have
//! ended, nothing of them is left but what they recorded (G6).
//!
//! `REJOIN_TEST_RUNS` asks for more of them.

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::json;

use super::settled::{journals_are_sound, nobody_panicked, nothing_is_left, wait_for_all};
use super::sorts::{SORTS, batch, ids, outcomes};
use super::story::Story;
use super::{ALONE, asked};

/// Runs that one request starts.
const BATCH: usize = 500;
/// One in so many is cancelled.
const CANCELLED: usize = 10;

/// Starts these runs by one request: their ids.
async fn start(story: &Story, from: usize, to: usize) -> Result<Vec<String>> {
    let body = batch(&SORTS, "mixed", from, to);
    let started = story.fleet.insist(Method::POST, "/v1/runs/batch", Some(&body)).await?;
    ids(&started, to - from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_of_every_sort_leave_nothing_behind() -> Result<()> {
    let _alone = ALONE.lock().await;
    let mut story = Story::begin("mixed", 0, &SORTS.map(|sort| sort.document), "fan").await?;
    story.fleet.add_worker()?;
    let runs = asked("REJOIN_TEST_RUNS", 700)?;
    let (mut cancelled, mut late) = (0, 0);
    for from in (0..runs).step_by(BATCH) {
        let ids = start(&story, from, runs.min(from + BATCH)).await?;
        if from + BATCH >= runs {
            story.doom_owner(1000).await?;
            story.fleet.workers.remove(0).kill()?;
        }
        for id in ids.iter().step_by(CANCELLED) {
            match story.ask_for(&format!("/v1/runs/{id}/cancel"), &json!({})).await? {
                200 => cancelled += 1,
                409 => late += 1,
                status => bail!("the cancel of {id} answered {status}"),
            }
        }
    }
    ensure!(cancelled > 0, "all cancels were too late");
    story.doomed().await?;
    wait_for_all(&story.fleet).await?;
    nothing_is_left(&story.fleet).await?;
    journals_are_sound(&story.fleet).await?;
    let states = outcomes(&story.fleet, &SORTS).await?;
    story.fleet.coordinators.retain_mut(|(process, _)| process.is_alive());
    nobody_panicked(&mut story.fleet)?;
    println!(
        "{runs} runs of {} workflows ended, {cancelled} cancelled, {late} too late: {states:?}",
        SORTS.len()
    );
    story.end().await
}
