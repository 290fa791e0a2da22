//! Runs that only wait leave memory, and come back for whatever is for them.

mod support;

use std::time::Duration;

use rejoin_coordinator::coordinator::Coordinator;
use rejoin_coordinator::owner::command::Command;
use rejoin_coordinator::store::{Batch, LOOK_AT_ONCE, Member, RunChange, RunFilter, WaitKind};
use rejoin_shared::ids::{Namespace, PARTITIONS, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use support::{Log, World, soon, start};

const SLEEP: &str = "
workflow: w
steps:
  - sleep: nap
    for: '= ctx.nap'
  - step: count
    with: { i: '= ctx.i' }
";
const WAIT: &str = "
workflow: w
steps:
  - step: before
    uses: count
    with: { i: '= ctx.i' }
  - wait: go
    event: go
    timeout: 1h
  - step: count
    with: { i: '= ctx.i + 100' }
";

async fn is_in_memory(coordinator: &Coordinator, run: RunId) -> bool {
    coordinator.explain(run).await.is_some()
}

/// Waits until the run is not in memory.
async fn leaves(coordinator: &Coordinator, run: RunId) {
    soon("the run leaves memory", async {
        while is_in_memory(coordinator, run).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn go() -> Command {
    Command::Signal {
        from: Namespace::default_name(),
        event: "go".to_owned(),
        payload: Json::Null,
        id: None,
        is_addressed: true,
        sender: None,
    }
}

/// Runs with an open sleep, as others find them.
async fn sleeping(world: &World) -> Vec<RunId> {
    let filter = RunFilter {
        waiting: Some(WaitKind::Timer),
        ..RunFilter::default()
    };
    let found = world.store.runs(&Namespace::default_name(), &filter, None, 1_000).await;
    found.expect("read").into_iter().map(|row| row.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_leaves_memory_and_its_event_brings_it_back() {
    let (world, log) = (World::new(WAIT).await, Log::new(1_000));
    let coordinator = world.coordinator_with("a", 0);
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"i": 1}"#).await;
    let row = world.reaches(run, RunStatus::Waiting).await;
    assert!(row.wake_at.is_some(), "its time-out");
    leaves(&coordinator, run).await;
    soon("the event", coordinator.submit(run, go())).await.expect("taken");
    let row = world.reaches(run, RunStatus::Completed).await;
    assert_eq!(row.progress.done, 2);
    let again = ["lost", "resume"].map(|why| coordinator.metrics().dispatches.with_label_values(&[why]).get());
    let nobody = "nobody else can have dispatched what came after the event";
    assert!(again.iter().all(|count| *count < 0.5), "{nobody}");
    assert_eq!((log.starts(), log.repeated()), (2, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_of_a_run_that_left_memory_ends_at_its_time_and_not_before() {
    let (world, log) = (World::new(SLEEP).await, Log::new(1_000));
    let coordinator = world.coordinator_with("a", 0);
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"i": 1, "nap": "3s"}"#).await;
    let due = world.reaches(run, RunStatus::Waiting).await.wake_at.expect("a time");
    leaves(&coordinator, run).await;
    world.reaches(run, RunStatus::Completed).await;
    let journal = world.store.journal(run, 0, 100).await.expect("read");
    let fired = journal
        .iter()
        .find(|stored| stored.row.kind == "timer_fired")
        .expect("fired");
    assert!(fired.at >= due, "never early");
    assert!(
        fired.at.since(due) < Duration::from_secs(1),
        "{:?} late",
        fired.at.since(due)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_sleeping_runs_over_loads_none_of_them_before_their_time() {
    let (world, log) = (World::new(SLEEP).await, Log::new(1_000));
    let first = world.coordinator("a");
    let mut runs = Vec::new();
    for i in 0..50 {
        runs.push(start(&first, &format!(r#"{{"i": {i}, "nap": "1d"}}"#)).await);
    }
    let soon_due = start(&first, r#"{"i": 50, "nap": "2s"}"#).await;
    world.reaches(soon_due, RunStatus::Waiting).await;
    first.shutdown().await;
    let second = world.coordinator("b");
    soon("ownership", second.owns(usize::from(PARTITIONS))).await;
    let _worker = world.work("w1", log.builder());
    world.reaches(soon_due, RunStatus::Completed).await;
    for run in &runs {
        assert!(!is_in_memory(&second, *run).await, "{run} was loaded");
        assert_eq!(world.row(*run).await.status, RunStatus::Waiting);
    }
    let cancel = Command::Cancel {
        reason: None,
        compensate: false,
    };
    soon("the cancel", second.submit(runs[0], cancel))
        .await
        .expect("obeyed");
    assert_eq!(world.row(runs[0]).await.status, RunStatus::Cancelled);
    assert_eq!(sleeping(&world).await.len(), 49, "it leaves no wait behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_out_of_memory_joins_its_children() {
    let parent = "workflow: w\nsteps:\n  - foreach: each\n    items: ctx.n\n    concurrency: 5\n    collect_as: all\n    \
        steps: [ { call: c, workflow: child, with: { i: '= index' } } ]\n";
    let child = "workflow: child\nsteps: [ { step: count, with: { i: '= ctx.i' } } ]\n";
    let (world, log) = (World::new(parent).await, Log::new(0));
    world.put("child", child).await;
    let coordinator = world.coordinator_with("a", 0);
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 5}"#).await;
    world.reaches(run, RunStatus::Waiting).await;
    leaves(&coordinator, run).await;
    log.permits.add_permits(5);
    let row = world.reaches(run, RunStatus::Completed).await;
    let context = String::from_utf8(row.context.expect("a context").to_vec()).expect("text");
    assert!(
        context.contains(r#""all":[{"i":0},{"i":1},{"i":2},{"i":3},{"i":4}]"#),
        "{context}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_rest_stay_in_memory_as_long_as_there_is_room() {
    let world = World::new(SLEEP).await;
    let coordinator = world.coordinator_with("a", 40_000);
    let mut runs = Vec::new();
    for i in 0..30 {
        let run = start(&coordinator, &format!(r#"{{"i": {i}, "nap": "1d"}}"#)).await;
        world.reaches(run, RunStatus::Waiting).await;
        runs.push(run);
    }
    // They come to rest once their rows are written, some of them together: which leave first is not said.
    let mut stay = runs.len();
    soon("those too many leave memory", async {
        while stay > 15 {
            stay = 0;
            for run in &runs {
                stay += usize::from(is_in_memory(&coordinator, *run).await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!((5..=15).contains(&stay), "{stay} of 30 stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_an_older_version_gets_its_time_and_its_waits() {
    let world = World::new(SLEEP).await;
    let first = world.coordinator("a");
    let run = start(&first, r#"{"i": 1, "nap": "1d"}"#).await;
    let row = world.reaches(run, RunStatus::Waiting).await;
    assert_eq!(sleeping(&world).await, [run]);
    first.shutdown().await;
    let journal = world.store.journal(run, 0, 100).await.expect("read");
    let slept = journal
        .iter()
        .find(|stored| stored.row.kind == "timer_set")
        .expect("asleep")
        .row
        .seq;
    let member = Member {
        name: "old".to_owned(),
        incarnation: uuid::Uuid::new_v4(),
        address: String::new(),
    };
    world.store.renew(&member, 60_000).await.expect("joined");
    let claims = world
        .store
        .claim(&member, &[run.partition()], None)
        .await
        .expect("claimed");
    let change = RunChange {
        run,
        status: RunStatus::Waiting,
        progress: row.progress,
        counts: row.counts,
        wake_at: Some(LOOK_AT_ONCE),
        ended: None,
        reopened: false,
    };
    let batch = Batch {
        claims,
        changed: vec![change],
        waits_over: vec![(run, slept)],
        ..Batch::default()
    };
    world.store.append(&batch).await.expect("written");
    world.store.leave(&member).await.expect("left");
    assert!(sleeping(&world).await.is_empty());
    let _second = world.coordinator("b");
    soon("its row is written", async {
        while world.row(run).await.wake_at != row.wake_at {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(sleeping(&world).await, [run]);
}
