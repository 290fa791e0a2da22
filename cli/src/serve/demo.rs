//! `rejoin demo`: an order that fans out over three workers, one of which dies, under a coordinator that is replaced.
//!
//! Everything is the real thing (engine, owner, dispatcher, workers, wire messages) over an in-process broker and a store
//! in memory; the facts at the end come from the journal and from the handlers' own counts.

mod facts;
mod shop;

use std::sync::Arc;
use std::time::Duration;

use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::owner::command::{Command, StartRun};
use rejoin_coordinator::store::Store;
use rejoin_coordinator::store::embedded::EmbeddedStore;
use rejoin_shared::definition::{self, Format};
use rejoin_shared::ids::{Namespace, PARTITIONS, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::run::{Priority, RunStatus};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::facts::{Facts, completions};
use self::shop::{BRANCHES, Crew, DEFINITION, WORKFLOW};
use crate::exit::{self, Failure};
use crate::output;

/// Nothing in the demo takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Short, so that the second coordinator need not wait for the first one's lease.
const LEASE_MS: u64 = 1500;

/// Tells the story; exit code 1 if a fact does not hold.
pub async fn run() -> Result<u8, Failure> {
    let broker = MemoryBroker::new();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().map_err(general)?);
    say("A workflow that validates an order, fans out over its items and merges what the branches found:")?;
    say(DEFINITION)?;
    let tree = definition::read(DEFINITION.as_bytes(), Format::Yaml, &Limits::default()).map_err(general)?;
    let namespace = Namespace::default_name();
    let registered = store
        .put_workflow(&namespace, WORKFLOW, &tree.digest(), &tree.canonical_json())
        .await;
    registered.map_err(general)?;

    let first = coordinator("coordinator-1", &broker, &store).await?;
    let mut crew = Crew::hire(&broker)?;
    let run = start(&first).await?;
    say(&format!("→ run {run} on three workers, started"))?;

    let before = until(&store, run, BRANCHES / 5).await?;
    crew.kill(&broker, 1);
    say(&format!(
        "✗ worker-2 killed after {before} of {BRANCHES} branches: its connection is gone, its work unfinished"
    ))?;

    let before = until(&store, run, BRANCHES / 2).await?;
    first.shutdown().await;
    let kept = completions(&*store, run).await?;
    let executed_before = crew.executions();
    say(&format!(
        "✗ coordinator-1 stopped after {before} branches; {} completions stand in the journal",
        kept.len()
    ))?;

    let second = coordinator("coordinator-2", &broker, &store).await?;
    say("→ coordinator-2 started: it folds the journal and publishes only what is missing")?;
    let row = ended(&store, run).await?;
    second.shutdown().await;
    let runs = crew.dismiss().await;

    let facts = Facts {
        kept,
        executed_before,
        all: completions(&*store, run).await?,
        executions: runs,
    };
    say(&format!(
        "\nThe run is {}. Its context after the join:",
        row.status.as_str()
    ))?;
    let context = row.context.as_ref().map(|c| c.to_vec()).unwrap_or_default();
    say(&output::pretty::json(&context))?;
    say(&facts.table())?;
    let failures = facts.failures(row.status == RunStatus::Completed);
    for failure in &failures {
        output::note(&format!("NOT TRUE: {failure}"));
    }
    Ok(if failures.is_empty() { exit::OK } else { exit::ERROR })
}

fn say(line: &str) -> Result<(), Failure> {
    output::line(line)
}

fn general(error: impl std::fmt::Display) -> Failure {
    Failure::general(error.to_string())
}

async fn coordinator(name: &str, broker: &MemoryBroker, store: &Arc<dyn Store>) -> Result<Coordinator, Failure> {
    let config = CoordinatorConfig {
        lease_ms: LEASE_MS,
        ..CoordinatorConfig::new(name)
    };
    let started = Coordinator::start(config, store.clone(), broker.link(name), CancellationToken::new());
    let all = tokio::time::timeout(PATIENCE, started.owns(usize::from(PARTITIONS))).await;
    all.map_err(|_| Failure::general(format!("{name} did not get its partitions")))?;
    Ok(started)
}

async fn start(coordinator: &Coordinator) -> Result<RunId, Failure> {
    let run = coordinator.new_run_id();
    let items = Json::list((0..i64::from(BRANCHES)).map(Json::Int).collect());
    let start = StartRun {
        namespace: Namespace::default_name(),
        workflow: WORKFLOW.to_owned(),
        version: 1,
        input: Json::from_entries([("order", Json::str("A-1001")), ("line_items", items)]),
        tags: [("from".to_owned(), "demo".to_owned())].into(),
        priority: Priority::Normal,
        parent: None,
        is_awaited: false,
        at: None,
        traceparent: None,
        idempotency_key: None,
        may_exist: false,
        expects_newest: false,
    };
    coordinator
        .submit(run, Command::Start(Box::new(start)))
        .await
        .map_err(general)?;
    Ok(run)
}

/// Waits until so many branches are recorded; tells how many were then.
async fn until(store: &Arc<dyn Store>, run: RunId, branches: u32) -> Result<usize, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let recorded = facts::branches(&completions(&**store, run).await?).len();
        if recorded >= usize::try_from(branches).unwrap_or(usize::MAX) {
            return Ok(recorded);
        }
        if Instant::now() >= deadline {
            return Err(Failure::general(format!(
                "only {recorded} branches after {} s",
                PATIENCE.as_secs()
            )));
        }
        sleep(LOOK).await;
    }
}

async fn ended(store: &Arc<dyn Store>, run: RunId) -> Result<rejoin_coordinator::store::RunRow, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = store.run(run).await.map_err(general)?;
        if let Some(row) = row.filter(|row| row.status.is_terminal()) {
            return Ok(row);
        }
        if Instant::now() >= deadline {
            return Err(Failure::general(format!(
                "the run has not ended after {} s",
                PATIENCE.as_secs()
            )));
        }
        sleep(LOOK).await;
    }
}
