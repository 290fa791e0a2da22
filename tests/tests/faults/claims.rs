//! A step that may begin once only (`idempotent: false`), and the death of those who know of it.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::ALONE;
use super::fleet::Fleet;

/// Notes the worker's process at its start, then works for as long as it is told.
const HANDLER: &str = r#"
import json, os, sys, time
log = os.open("starts.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
request = json.load(sys.stdin)
os.write(log, f"{os.getppid()}\n".encode())
time.sleep(request["input"]["seconds"])
print(json.dumps({"done": True}))
"#;

const HANDLERS: &str = "
concurrency: 2
handlers:
  charge: { exec: [python3, charge.py] }
";

/// Two coordinators, two workers, and a run whose only step has begun.
async fn begun(seconds: u64) -> Result<(Fleet, String, String)> {
    let mut fleet = Fleet::new().await?;
    fleet.write("handlers.yaml", HANDLERS)?;
    fleet.write("charge.py", HANDLER)?;
    for _ in 0..2 {
        fleet.add_coordinator(None)?;
        fleet.add_worker()?;
    }
    let document = json!({
        "workflow": "once",
        "steps": [{ "step": "charge", "idempotent": false, "with": { "seconds": seconds }, "retry": { "max_attempts": 5 } }],
    });
    fleet.register(&document).await?;
    let run = fleet.start_run("once", json!({})).await?;
    for _ in 0..600 {
        if !starts(&fleet).is_empty() {
            let steps = fleet
                .insist(reqwest::Method::GET, &format!("/v1/runs/{run}/steps"), None)
                .await?;
            let holder = steps["items"][0]["claim"]["worker"].as_str().map(str::to_owned);
            let holder = holder.ok_or_else(|| anyhow!("it began without a claim: {steps}"))?;
            return Ok((fleet, run, holder));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(anyhow!("the step did not begin; logs in {:?}", fleet.keep_logs()))
}

/// Process ids of the workers that began it.
fn starts(fleet: &Fleet) -> Vec<String> {
    let text = std::fs::read_to_string(fleet.dir.path().join("starts.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn outcome(fleet: &Fleet, run: &str) -> Result<(Value, Value)> {
    let view = fleet.wait_for_end(run, Duration::from_secs(120)).await?;
    let steps = fleet
        .insist(reqwest::Method::GET, &format!("/v1/runs/{run}/steps"), None)
        .await?;
    Ok((view, steps["items"][0].clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_with_its_claim_leaves_the_outcome_unknown_and_nobody_begins_it_again() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (mut fleet, run, holder) = begun(300).await?;
    let at = fleet.workers.iter().position(|worker| worker.name == holder);
    let at = at.ok_or_else(|| anyhow!("{holder} is no worker of the fleet"))?;
    fleet.workers[at].kill()?;
    let (view, step) = outcome(&fleet, &run).await?;
    let attempts = step["attempts"].as_array().map_or(0, Vec::len);
    ensure!(view["state"] == "failed", "{view}");
    ensure!(view["error"]["type"] == "rejoin.outcome_unknown", "{view}");
    ensure!(attempts == 1 && step["attempts"][0]["outcome"] == "lost", "{step}");
    ensure!(step["attempts"][0]["worker"] == holder.as_str(), "{step}");
    ensure!(starts(&fleet).len() == 1, "it began {:?} times", starts(&fleet));
    fleet.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_step_outlives_the_owner_that_granted_it() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (mut fleet, run, _) = begun(15).await?;
    let owner = fleet.owner_of(&run).await?;
    fleet.coordinators[owner].0.kill()?;
    fleet.coordinators.remove(owner);
    let (view, step) = outcome(&fleet, &run).await?;
    ensure!(view["state"] == "completed", "{view}");
    ensure!(step["attempts"].as_array().map_or(0, Vec::len) == 1, "{step}");
    ensure!(starts(&fleet).len() == 1, "it began {:?} times", starts(&fleet));
    fleet.end().await
}
