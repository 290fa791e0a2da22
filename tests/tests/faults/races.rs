//! A cancel against the last completion, a thousand times, with a coordinator killed among them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::ALONE;
use super::settled::journals_are_sound;
use super::story::Story;

const RACES: usize = 1000;
const AT_ONCE: usize = 8;

const SHORT: &str = "workflow: short
steps:
  - { step: nap, uses: rejoin.sleep, with: { ms: 5 } }
";

/// Starts a run, cancels it about when its only step ends; whether the cancel won.
async fn race(story: &Story, delay: Duration) -> Result<bool> {
    let run = story.fleet.start_run("short", json!({})).await?;
    tokio::time::sleep(delay).await;
    let status = story.ask_for(&format!("/v1/runs/{run}/cancel"), &json!({})).await?;
    ensure!(matches!(status, 200 | 409), "the cancel answered {status}");
    let view = story.fleet.wait_for_end(&run, Duration::from_secs(60)).await?;
    let winner = if status == 200 { "cancelled" } else { "completed" };
    ensure!(view["state"] == winner, "the cancel answered {status}: {view}");
    Ok(status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_and_the_last_completion_have_one_winner_and_leave_nothing() -> Result<()> {
    let _alone = ALONE.lock().await;
    let mut story = Story::begin("races", 0, &[SHORT], "short").await?;
    story.fleet.wait_for_end(&story.run, Duration::from_secs(60)).await?;
    story.doom_owner(4000).await?;
    let delays: Vec<Duration> = (0..RACES)
        .map(|_| Duration::from_micros(story.dice.any() % 14_000))
        .collect();
    let shared = Arc::new(story);
    let (mut races, mut waiting, mut cancelled) = (JoinSet::new(), delays.into_iter(), 0);
    loop {
        while races.len() < AT_ONCE
            && let Some(delay) = waiting.next()
        {
            let story = Arc::clone(&shared);
            races.spawn(async move { race(&story, delay).await });
        }
        let Some(outcome) = races.join_next().await else { break };
        cancelled += usize::from(outcome??);
    }
    let mut story = Arc::into_inner(shared).context("all races are over")?;
    story.doomed().await?;
    println!("{RACES} races: {cancelled} cancelled, {} completed", RACES - cancelled);
    ensure!(
        cancelled > 0 && cancelled < RACES,
        "one side won always: no race took place"
    );
    journals_are_sound(&story.fleet).await?;
    story.ended().await?;
    story.end().await
}
