//! Bytes that nobody means, sent to the API and to the queues while a run goes on: each is refused in its form or goes to the
//! dead letters, and nobody is troubled.
//!
//! `REJOIN_GARBAGE_MB` says how much (`scripts/faults garbage`), `REJOIN_GARBAGE_SEED` which.

mod http;
mod queues;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rejoin_tests::dice::Dice;
use reqwest::Method;
use serde_json::json;

use super::fleet::Fleet;
use super::memory::{MIB, Memory};
use super::settled::{journals_are_sound, nobody_panicked, wait_for_all};
use super::sorts::{NOTED, SORTS, outcomes};
use super::story::{fleet_of, fresh_seed};
use super::{ALONE, asked};

const MEGABYTES: u64 = 4;
/// What a process may hold at any moment, whatever comes.
const MEMORY_MAX: Memory = Memory {
    coordinator: 320 * MIB,
    worker: 192 * MIB,
};
/// For one run of a second's work, beside the garbage.
const RUN_MAX: Duration = Duration::from_secs(60);

/// Any bytes.
fn noise(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let words = (0..bytes.div_ceil(8)).flat_map(|_| dice.any().to_le_bytes());
    let mut noise: Vec<u8> = words.collect();
    noise.truncate(bytes);
    noise
}

/// Starts runs one after the other until the garbage is all sent: how many completed.
async fn runs_until(fleet: &Fleet, garbage: impl Future<Output = Result<()>>) -> Result<usize> {
    let mut garbage = std::pin::pin!(garbage);
    let (mut runs, mut is_over) = (0, false);
    while !is_over {
        let run = async {
            let run = fleet.start_run(NOTED.workflow, json!({})).await?;
            fleet.wait_for_end(&run, RUN_MAX).await
        };
        let mut run = std::pin::pin!(run);
        let view = loop {
            tokio::select! {
                sent = &mut garbage, if !is_over => { sent?; is_over = true }
                view = &mut run => break view?,
            }
        };
        ensure!(view["state"] == "completed", "{view}");
        runs += usize::from(!is_over);
    }
    Ok(runs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_or_buried_and_troubles_nobody() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bytes = asked("REJOIN_GARBAGE_MB", MEGABYTES)? * 1_000_000;
    let seed = asked("REJOIN_GARBAGE_SEED", fresh_seed())?;
    println!("garbage: {} MB, REJOIN_GARBAGE_SEED={seed}", bytes / 1_000_000);
    let documents: Vec<&str> = SORTS.iter().chain([&NOTED]).map(|sort| sort.document).collect();
    let mut fleet = fleet_of(2, 2, &documents).await?;
    let (mut answers, mut letters) = (http::Answers::default(), queues::Sent::default());
    // A run that has completed had its queues.
    runs_until(&fleet, async { Ok(()) }).await?;
    let began = Instant::now();
    let garbage = async {
        let both = tokio::join!(
            http::throw(&fleet, Dice::of(seed, "http"), bytes / 2, &mut answers),
            queues::throw(&fleet, Dice::of(seed, "queues"), bytes / 2, &mut letters),
        );
        both.0.and(both.1)
    };
    let during = runs_until(&fleet, Box::pin(garbage)).await;
    let during = during.with_context(|| format!("seed {seed}; logs in {:?}", fleet.keep_logs()))?;
    let took = began.elapsed();
    ensure!(during > 0, "no run completed while the garbage came");
    queues::all_are_buried(&fleet, &letters).await?;
    runs_until(&fleet, async { Ok(()) }).await?;
    let shown = fleet.insist(Method::GET, "/v1/dead-letters?limit=100", None).await?;
    let shown = shown["items"].as_array().map_or(0, Vec::len);
    ensure!(shown > 0, "the dead letters are not shown");
    wait_for_all(&fleet).await?;
    journals_are_sound(&fleet).await?;
    let mut sorts = SORTS.to_vec();
    sorts.push(NOTED);
    let states = outcomes(&fleet, &sorts).await?;
    nobody_panicked(&mut fleet)?;
    let peak = Memory::peak(&fleet)?;
    println!(
        "garbage: {answers}; {letters}; {during} runs completed meanwhile, {states:?} in all; most resident memory: {peak}; {:.1} s",
        took.as_secs_f64()
    );
    peak.is_below(MEMORY_MAX, "the most resident memory")?;
    fleet.end().await
}
