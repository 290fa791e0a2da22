//! Runs of a newer version, as an older coordinator finds them: it leaves them as they are, and the next one goes on with them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rejoin_coordinator::coordinator::Coordinator;
use rejoin_coordinator::owner::command::{Command, CommandError, StartRun};
use rejoin_coordinator::store::InboxMessage;
use rejoin_shared::ids::{Namespace, PARTITIONS, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use support::faulty::{Fault, Faulty};
use support::{Log, World, soon, start, start_of, until};

const WAIT: &str = "steps:\n  - wait: go\n    event: go\n    timeout: 1h\n  - step: count\n    with: { i: 1 }\n";

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

fn message(run: RunId, body: Vec<u8>) -> InboxMessage {
    InboxMessage {
        partition: run.partition(),
        run,
        kind: "event".to_owned(),
        body: body.into(),
        dedupe_key: None,
        wants_verdict: false,
    }
}

/// Two workflows that wait, `w` and `newer`.
async fn world() -> World {
    let world = World::new(&format!("workflow: w\n{WAIT}")).await;
    world.put("newer", &format!("workflow: newer\n{WAIT}")).await;
    world
}

async fn start_named(coordinator: &Coordinator, workflow: &str) -> RunId {
    soon("ownership", coordinator.owns(1)).await;
    let run = coordinator.new_run_id();
    let start = StartRun {
        workflow: workflow.to_owned(),
        ..start_of(r#"{"i": 1}"#)
    };
    let started = coordinator.submit(run, Command::Start(Box::new(start))).await;
    started.expect("the start");
    run
}

/// The world as an older coordinator sees it, and how often it met what it does not know.
fn seen_older(world: &World, fault: Fault, run: RunId) -> (World, Arc<AtomicUsize>) {
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Faulty::new(world.store.clone(), fault, met.clone());
    *faulty.refused.lock().expect("the run") = Some(run);
    let older = World {
        broker: world.broker.clone(),
        store: Arc::new(faulty),
    };
    (older, met)
}

fn runs_left(coordinator: &Coordinator) -> f64 {
    coordinator.metrics().runs_left.with_label_values(&["version"]).get()
}

async fn is_left_until_a_newer_one_comes(fault: Fault) {
    let (world, log) = (world().await, Log::new(1_000));
    let first = world.coordinator("first");
    let run = start_named(&first, "newer").await;
    let row = world.reaches(run, RunStatus::Waiting).await;
    let journal = world.store.journal(run, 0, 100).await.expect("read");
    first.shutdown().await;

    let (older, met) = seen_older(&world, fault, run);
    let second = older.coordinator("second");
    let _worker = world.work("w1", log.builder());
    soon("ownership", second.owns(usize::from(PARTITIONS))).await;
    for _ in 0..3 {
        let refused = soon("the answer", second.submit(run, go())).await;
        let refused = refused.expect_err("it cannot be read here");
        assert!(
            matches!(&refused, CommandError::Unavailable { .. }) && refused.to_string().contains("newer version"),
            "{refused}"
        );
    }
    let body = serde_json::to_vec(&go()).expect("plain data");
    world.store.inbox_put(&message(run, body)).await.expect("put");
    let other = start(&second, "{}").await;
    world.reaches(other, RunStatus::Waiting).await;
    soon("the answer", second.submit(other, go())).await.expect("taken");
    world.reaches(other, RunStatus::Completed).await;
    until("the metric says so", || runs_left(&second) > 0.5).await;
    assert_eq!(met.load(Ordering::SeqCst), 1, "it is looked at once");
    second.shutdown().await;
    assert_eq!(world.row(run).await, row);
    assert_eq!(world.store.journal(run, 0, 100).await.expect("read"), journal);

    let _third = world.coordinator("third");
    world.reaches(run, RunStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_record_of_a_newer_format_is_left_until_a_newer_coordinator_comes() {
    is_left_until_a_newer_one_comes(Fault::NewerFormat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_record_of_an_unknown_kind_is_left_until_a_newer_coordinator_comes() {
    is_left_until_a_newer_one_comes(Fault::NewerKind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_definition_has_an_unknown_key_is_left_until_a_newer_coordinator_comes() {
    is_left_until_a_newer_one_comes(Fault::NewerDefinition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_at_work_that_an_older_coordinator_takes_over_stays_at_work() {
    let (world, log) = (world().await, Log::new(1_000));
    world
        .put("works", "workflow: works\nsteps: [ { step: count } ]\n")
        .await;
    let first = world.coordinator("first");
    let run = start_named(&first, "works").await;
    first.shutdown().await;
    let (older, met) = seen_older(&world, Fault::NewerKind, run);
    let second = older.coordinator("second");
    until("it is left", || runs_left(&second) > 0.5).await;
    second.shutdown().await;
    assert_eq!(world.row(run).await.status, RunStatus::Running);
    assert_eq!(met.load(Ordering::SeqCst), 1, "it is looked at once");
    let _third = world.coordinator("third");
    let _worker = world.work("w1", log.builder());
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.starts(), log.repeated()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_for_a_run_that_is_left_hold_no_other_up_however_many_they_are() {
    let (world, log) = (world().await, Log::new(1_000));
    let first = world.coordinator("first");
    let run = start_named(&first, "newer").await;
    world.reaches(run, RunStatus::Waiting).await;
    first.shutdown().await;
    let (older, _) = seen_older(&world, Fault::NewerKind, run);
    let second = older.coordinator("second");
    let _worker = world.work("w1", log.builder());
    let other = start(&second, "{}").await;
    world.reaches(other, RunStatus::Waiting).await;
    let body = serde_json::to_vec(&go()).expect("plain data");
    for _ in 0..600 {
        let stays = message(run, body.clone());
        world.store.inbox_put(&stays).await.expect("put");
    }
    world.store.inbox_put(&message(other, body)).await.expect("put");
    world.reaches(other, RunStatus::Completed).await;
    let left = world.store.inbox(&[run.partition()], 0, 1_000).await.expect("read");
    assert_eq!(left.rows.len(), 600, "they wait for who can read their run");
    second.shutdown().await;
    let _third = world.coordinator("third");
    world.reaches(run, RunStatus::Completed).await;
}

async fn is_quarantined(fault: Fault) {
    let world = world().await;
    let first = world.coordinator("first");
    let run = start_named(&first, "newer").await;
    world.reaches(run, RunStatus::Waiting).await;
    first.shutdown().await;
    let (older, met) = seen_older(&world, fault, run);
    let second = older.coordinator("second");
    soon("ownership", second.owns(usize::from(PARTITIONS))).await;
    let answer = soon("the answer", second.submit(run, go())).await;
    assert!(answer.is_err(), "{answer:?}");
    let row = world.reaches(run, RunStatus::Failed).await;
    let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
    assert!(error.contains("rejoin.internal"), "{error}");
    assert!(met.load(Ordering::SeqCst) > 0, "the fault did not happen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_record_is_cut_off_is_quarantined() {
    is_quarantined(Fault::CutRecord).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_definition_is_not_what_was_registered_is_quarantined() {
    is_quarantined(Fault::AlteredDefinition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_workflow_with_an_unknown_key_waits_for_a_newer_coordinator() {
    let (caller, child) = ("[ { call: c, workflow: newer } ]", "[ { step: count } ]");
    let (world, log) = (
        World::new(&format!("workflow: w\nsteps: {caller}\n")).await,
        Log::new(1_000),
    );
    world.put("newer", &format!("workflow: newer\nsteps: {child}\n")).await;
    let (older, met) = seen_older(&world, Fault::NewerDefinition, RunId(uuid::Uuid::nil()));
    let first = older.coordinator("first");
    let _worker = world.work("w1", log.builder());
    let run = start(&first, r#"{"i": 1}"#).await;
    until("the call is read", || met.load(Ordering::SeqCst) > 0).await;
    first.shutdown().await;
    assert_eq!(world.row(run).await.status, RunStatus::Waiting);
    let _second = world.coordinator("second");
    world.reaches(run, RunStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_an_unknown_kind_stays_in_the_inbox_and_holds_no_other_up() {
    let (world, log) = (world().await, Log::new(1_000));
    let first = world.coordinator("first");
    let _worker = world.work("w1", log.builder());
    let run = start(&first, "{}").await;
    world.reaches(run, RunStatus::Waiting).await;
    let unknown = message(run, br#"{"do":"tell_weather"}"#.to_vec());
    let id = world.store.inbox_put(&unknown).await.expect("put");
    let body = serde_json::to_vec(&go()).expect("plain data");
    world.store.inbox_put(&message(run, body)).await.expect("put");
    world.reaches(run, RunStatus::Completed).await;
    let left = world.store.inbox(&[run.partition()], 0, 10).await.expect("read");
    assert_eq!(left.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [id]);
}
