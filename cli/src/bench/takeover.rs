//! Takeover: the coordinators are killed while many runs are at work, and started anew; the workers go on.

use std::time::{Duration, Instant};

use rejoin_shared::json::Json;

use super::database;
use super::fleet::Fleet;
use super::report::{Measure, Unit};
use super::scenario;
use crate::args::BenchArgs;
use crate::exit::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for the first dispatch, and for the end of all.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// How many runs were at work when the coordinators were killed; the time from the start of the new ones to their first dispatch, and
/// until all runs had ended.
pub async fn measure(fleet: &mut Fleet, args: &BenchArgs) -> Result<[Measure; 3], Failure> {
    let name = |what| format!("takeover of {} runs: {what}", args.active);
    let mut at_work = Measure::new(name("at work"), Unit::Runs);
    let mut first = Measure::new(name("to the first dispatch"), Unit::Milliseconds);
    let mut end = Measure::new(name("to the end"), Unit::Milliseconds);
    let database = database::connect(&fleet.database_url, None).await?;
    let run = Json::from_entries([("workflow", Json::str("bench-runs"))]);
    for _ in 0..args.repeat {
        scenario::start_all(fleet, &run, args.active).await?;
        fleet.kill_coordinators();
        let open = scenario::open_runs(&database).await?;
        if open == 0 {
            return Err(Failure::general(
                "the runs had ended before their coordinators were killed: start more by --active",
            ));
        }
        at_work.add(as_f64(open));
        let began = Instant::now();
        fleet.start_coordinators(args)?;
        await_dispatch(fleet, began).await?;
        first.add(began.elapsed().as_secs_f64() * 1_000.0);
        while scenario::open_runs(&database).await? > 0 {
            check(began)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        end.add(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok([at_work, first, end])
}

fn as_f64(count: i64) -> f64 {
    i32::try_from(count).map_or(f64::INFINITY, f64::from)
}

async fn await_dispatch(fleet: &Fleet, began: Instant) -> Result<(), Failure> {
    loop {
        // They do not listen yet.
        let dispatched = fleet.metric("rejoin_dispatches_total").await.unwrap_or(0.0);
        if dispatched > 0.0 {
            return Ok(());
        }
        check(began)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn check(began: Instant) -> Result<(), Failure> {
    match began.elapsed() < WAIT_MAX {
        true => Ok(()),
        false => Err(Failure::general(format!("the runs did not go on within {WAIT_MAX:?}"))),
    }
}
