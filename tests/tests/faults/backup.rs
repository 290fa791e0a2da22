//! The backup drill: the database of a fleet in the middle of a fan-out, restored beside an empty broker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::ALONE;
use super::fleet::Fleet;
use super::story::{executions_in, write_handler};

const BRANCHES: u64 = 400;
const FAN_OUT: &str = "workflow: drill
steps:
  - foreach: each
    items: '400'
    concurrency: unbounded
    steps: [ { step: work, uses: act, with: { ms: 20 } } ]
  - step: last
    uses: act
    with: { gives: done }
";

/// What was recorded when the backup was taken is kept and does not run again; the rest runs, where the fleet that took the backup
/// has died meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_the_middle_of_a_fan_out_finishes_beside_an_empty_broker() -> Result<()> {
    let _alone = ALONE.lock().await;
    let mut lost = Fleet::new().await?;
    write_handler(&lost)?;
    let port = lost.add_coordinator(None)?;
    lost.is_ready(port).await?;
    lost.add_worker()?;
    lost.register_text(FAN_OUT).await?;
    let run = lost.start_run("drill", json!({})).await?;
    lost.wait_for_progress(&run, BRANCHES / 4, Duration::from_secs(60))
        .await?;
    let backup = lost.back_up("backup")?;
    for process in lost
        .coordinators
        .iter_mut()
        .map(|(process, _)| process)
        .chain(&mut lost.workers)
    {
        process.kill()?;
    }

    let mut fleet = Fleet::restored(&backup).await?;
    write_handler(&fleet)?;
    let kept: BTreeSet<String> = fleet
        .completions(&run)
        .await?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    ensure!(
        kept.len() as u64 >= BRANCHES / 4 && (kept.len() as u64) < BRANCHES,
        "the backup is not of the middle: {} branches are recorded",
        kept.len()
    );
    let began = Instant::now();
    let port = fleet.add_coordinator(None)?;
    fleet.is_ready(port).await?;
    fleet.add_worker()?;
    let view = fleet.wait_for_end(&run, Duration::from_secs(90)).await?;
    ensure!(view["state"] == "completed", "{view}");
    let all: BTreeSet<String> = fleet
        .completions(&run)
        .await?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    ensure!(all.len() as u64 == BRANCHES + 1, "{} steps are recorded", all.len());
    let ran: Vec<String> = executions_in(&fleet)?
        .into_iter()
        .map(|execution| execution.path)
        .collect();
    let ran_once: BTreeSet<String> = ran.iter().cloned().collect();
    ensure!(ran.len() == ran_once.len(), "a step ran twice after the restore");
    ensure!(ran_once == &all - &kept, "other steps ran than were missing");
    println!(
        "{} of {BRANCHES} branches were in the backup; the other {} ran, {:?} from the start of the new fleet to the end",
        kept.len(),
        ran.len() - 1,
        began.elapsed()
    );
    fleet.end().await?;
    lost.end().await
}
