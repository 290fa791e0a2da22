//! Forks, single steps and edits of scopes on real processes and servers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::fleet::Fleet;

const BRANCHES: u64 = 200;
const END: Duration = Duration::from_secs(120);

/// Notes `run path` at each start. Branch 7 fails while the context says so.
const HANDLER: &str = r#"
import json, os, sys
log = os.open("executions.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    request = json.loads(line)
    os.write(log, f"{request['run']} {request['path']}\n".encode())
    n = request["index"]
    if n == 7 and request["context"]["bad"]:
        print(json.dumps({"$error": {"type": "app.bad", "message": "as told"}}), flush=True)
    else:
        print(json.dumps(n), flush=True)
"#;

const HANDLERS: &str = "
concurrency: 8
handlers:
  work: { exec: [python3, work.py], mode: stream }
";

async fn fleet() -> Result<Fleet> {
    let mut fleet = Fleet::new().await?;
    fleet.write("handlers.yaml", HANDLERS)?;
    fleet.write("work.py", HANDLER)?;
    for _ in 0..2 {
        fleet.add_coordinator(None)?;
        fleet.add_worker()?;
    }
    let document = json!({
        "workflow": "what-if",
        "steps": [{
            "foreach": "each",
            "items": BRANCHES.to_string(),
            "concurrency": "= ctx.at_once",
            "on_error": "complete_all",
            "need": "all",
            "merge": "discard",
            "collect_as": "out",
            "steps": [{ "step": "work" }],
        }],
    });
    fleet.register(&document).await?;
    Ok(fleet)
}

/// Paths that handlers began for a run, in order.
fn executions(fleet: &Fleet, run: &str) -> Result<Vec<String>> {
    let log = std::fs::read_to_string(fleet.dir.path().join("executions.log"))?;
    let own = log.lines().filter_map(|line| line.split_once(' '));
    Ok(own
        .filter(|(id, _)| *id == run)
        .map(|(_, path)| path.to_owned())
        .collect())
}

fn out() -> Value {
    (0..BRANCHES).collect::<Vec<u64>>().into()
}

/// A failed run is forked with another input; the owner of the fork dies at once. What had completed never runs again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_of_a_failed_run_survives_the_death_of_its_owner_and_repeats_nothing() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    let mut fleet = fleet().await?;
    let input = json!({ "bad": true, "at_once": "unbounded" });
    let run = fleet.start_run("what-if", input).await?;
    let failed = fleet.wait_for_end(&run, END).await?;
    ensure!(failed["state"] == "failed", "{failed}");
    let mended = json!({ "input": { "bad": false, "at_once": "unbounded" } });
    let forked = fleet
        .insist(Method::POST, &format!("/v1/runs/{run}/fork"), Some(&mended))
        .await?;
    let fork = forked["id"].as_str().context("an id")?.to_owned();
    ensure!(forked["forked_from"]["run"] == *run, "{forked}");
    let owner = fleet.owner_of(&fork).await?;
    fleet.coordinators[owner].0.kill()?;
    fleet.coordinators.remove(owner);
    let ended = fleet.wait_for_end(&fork, END).await?;
    ensure!(
        ended["state"] == "completed" && ended["context"]["out"] == out(),
        "{ended}"
    );
    let again = executions(&fleet, &fork)?;
    ensure!(
        !again.is_empty() && again.iter().all(|path| path == "/each[7]/work"),
        "{again:?}"
    );
    ensure!(fleet.completions(&fork).await?.len() as u64 == BRANCHES);
    let source = fleet.insist(Method::GET, &format!("/v1/runs/{run}"), None).await?;
    ensure!(source["state"] == "failed", "{source}");
    let skip = json!({ "path": "/each[7]/work", "value": 7 });
    fleet
        .insist(Method::POST, &format!("/v1/runs/{run}/steps/skip"), Some(&skip))
        .await?;
    let ended = fleet.wait_for_end(&run, END).await?;
    ensure!(
        ended["state"] == "completed" && ended["context"]["out"] == out(),
        "{ended}"
    );
    ensure!(executions(&fleet, &run)?.len() as u64 == BRANCHES);
    fleet.end().await
}

/// The owner dies right behind an edit; the next one goes by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_an_open_scope_survives_the_death_of_the_owner() -> Result<()> {
    let _alone = super::ALONE.lock().await;
    let mut fleet = fleet().await?;
    fleet.workers.clear();
    let run = fleet.start_run("what-if", json!({ "bad": true, "at_once": 3 })).await?;
    let edit = json!({ "path": "/each", "concurrency": 40, "need": "99%" });
    fleet
        .insist(Method::PATCH, &format!("/v1/runs/{run}/scopes"), Some(&edit))
        .await?;
    let owner = fleet.owner_of(&run).await?;
    fleet.coordinators[owner].0.kill()?;
    fleet.coordinators.remove(owner);
    let steps = format!("/v1/runs/{run}/steps?state=pending&limit=1000");
    let open = fleet.insist(Method::GET, &steps, None).await?;
    let open = open["items"].as_array().map_or(0, Vec::len);
    ensure!(open == 40, "{open} branches are open");
    fleet.add_worker()?;
    let ended = fleet.wait_for_end(&run, END).await?;
    ensure!(ended["state"] == "completed", "one of {BRANCHES} may fail now: {ended}");
    fleet.end().await
}
