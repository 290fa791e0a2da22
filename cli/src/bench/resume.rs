//! Resume: a fan-out whose processes are all killed at nine tenths, and started anew.

use std::time::{Duration, Instant};

use super::database::{self, Connection};
use super::fleet::Fleet;
use super::report::{Measure, Unit};
use super::scenario;
use crate::args::BenchArgs;
use crate::exit::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest wait for nine tenths, and for the first completion afterwards.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// About how many completions are recorded: a run of one fan-out records little else. Counting them would take longer than the tenth
/// that is left.
const ABOUT: &str = "select coalesce(max(seq), 0) from journal where run_id = $1";
/// The rows that record a completion of the run.
const RECORDED: &str = "select count(*) from journal j join journal_kinds k on k.id = j.kind \
    where j.run_id = $1 and k.name = 'step_completed'";

/// What was missing when the fleet was killed and what was published again; the time from the start of the new processes to the
/// first completion that they recorded, which comes after the first dispatch, and to the end.
pub async fn measure(fleet: &mut Fleet, args: &BenchArgs) -> Result<[Measure; 4], Failure> {
    let name = |what| format!("resume of {} branches: {what}", args.giant);
    let mut missing = Measure::new(name("missing"), Unit::Attempts);
    let mut published = Measure::new(name("published"), Unit::Attempts);
    let mut first = Measure::new(name("to the first completion"), Unit::Milliseconds);
    let mut end = Measure::new(name("to the end"), Unit::Milliseconds);
    let database = database::connect(&fleet.database_url, None).await?;
    for _ in 0..args.repeat {
        let run = scenario::begin_giant(fleet.client()?, args.giant).await?;
        let id = run.parse().map_err(|e| Failure::general(format!("{run}: {e}")))?;
        reached(&database, ABOUT, id, u64::from(args.giant) * 9 / 10).await?;
        fleet.kill();
        let kept = reached(&database, RECORDED, id, 0).await?;
        if kept >= u64::from(args.giant) {
            return Err(Failure::general(
                "the run ended before it was killed: give it more branches by --giant",
            ));
        }
        missing.add(f64::from(args.giant) - as_f64(kept));
        let began = Instant::now();
        fleet.start(args).await?;
        reached(&database, RECORDED, id, kept + 1).await?;
        first.add(began.elapsed().as_secs_f64() * 1_000.0);
        scenario::await_end(fleet.client()?, &run).await?;
        end.add(began.elapsed().as_secs_f64() * 1_000.0);
        published.add(fleet.metric("rejoin_dispatches_total").await?);
    }
    Ok([missing, published, first, end])
}

fn as_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Waits until a count has come so far; how far it is.
async fn reached(database: &Connection, count: &str, run: uuid::Uuid, at_least: u64) -> Result<u64, Failure> {
    let began = Instant::now();
    while began.elapsed() < WAIT_MAX {
        let row = database.client.query_one(count, &[&run]).await;
        let reached: i64 = row.map_err(|e| database::failure(&e))?.get(0);
        let reached = u64::try_from(reached).unwrap_or(0);
        if reached >= at_least {
            return Ok(reached);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::general(format!("run {run} stands still")))
}
