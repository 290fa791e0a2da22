//! The database's faults, injected between the owner and the store: an unknown commit, a refusal, an absence.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rejoin_coordinator::coordinator::Coordinator;
use rejoin_coordinator::owner::command::{Command, CommandError, NewRun, Reply};
use rejoin_shared::ids::{PARTITIONS, Partition, RunId};
use rejoin_shared::run::RunStatus;
use support::faulty::{Fault, Faulty};
use support::{Log, World, soon, start, start_of, started, until};

const FAN_OUT: &str = "
workflow: w
steps:
  - foreach: each
    items: ctx.n
    concurrency: unbounded
    steps: [ { step: count, with: { i: '= index' } } ]
";

/// A world whose every third append meets `fault`.
async fn world_with(fault: Fault) -> (World, Arc<AtomicUsize>) {
    let mut world = World::new(FAN_OUT).await;
    let met = Arc::new(AtomicUsize::new(0));
    world.store = Arc::new(Faulty::new(world.store.clone(), fault, met.clone()));
    (world, met)
}

async fn finishes_once(fault: Fault) {
    let (world, met) = world_with(fault).await;
    let log = Log::new(1_000);
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(2));
    let run = start(&coordinator, r#"{"n": 80}"#).await;
    let row = world.reaches(run, RunStatus::Completed).await;
    assert!(met.load(Ordering::SeqCst) > 0, "the fault did not happen");
    assert_eq!((log.repeated(), log.inputs(), row.progress.done), (vec![], 80, 80));
    let journal = world.store.journal(run, 0, 1_000).await.expect("the journal");
    let seqs: Vec<u64> = journal.iter().map(|stored| stored.row.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_was_committed_but_not_confirmed_is_found_again() {
    finishes_once(Fault::UnknownCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_was_lost_without_a_word_is_judged_anew() {
    finishes_once(Fault::UnknownLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_another_owner_overtook_is_not_taken_for_written() {
    finishes_once(Fault::UnknownOvertaken).await;
}

/// What is asked of a run, by a caller beside its owner and by one elsewhere, is done once, and is told as it was done.
async fn commands_are_judged_once(fault: Fault) {
    let (world, met) = world_with(fault).await;
    let coordinators = [world.coordinator("a"), world.coordinator("b")];
    soon("ownership", coordinators[0].owns(1)).await;
    soon("ownership", coordinators[1].owns(1)).await;
    let run = start(&coordinators[0], r#"{"n": 1}"#).await;
    let rounds = 8;
    for round in 0..rounds {
        let asker = &coordinators[round % 2];
        for command in [Command::Pause, Command::Resume] {
            let told = asker.submit(run, command.clone()).await;
            assert!(told.as_ref().is_ok_and(|reply| reply.changed), "{command:?}: {told:?}");
        }
    }
    assert!(met.load(Ordering::SeqCst) > 0, "the fault did not happen");
    let journal = world.store.journal(run, 0, 1_000).await.expect("the journal");
    let count = |kind: &str| journal.iter().filter(|stored| stored.row.kind == kind).count();
    assert_eq!((count("run_paused"), count("run_resumed")), (rounds, rounds));
}

/// While partitions go to another owner, what was asked of this one goes with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_in_the_midst_of_a_hand_over_is_answered() {
    for _ in 0..3 {
        let world = World::new(FAN_OUT).await;
        let first = world.coordinator("a");
        soon("ownership", first.owns(64)).await;
        let second = world.coordinator("b");
        let handed_over = second.owns(20);
        let mut handed_over = std::pin::pin!(handed_over);
        while futures_util::poll!(handed_over.as_mut()).is_pending() {
            let run = first.new_run_id();
            let starts = (0..20).map(|_| started(&first, run, r#"{"n": 1}"#));
            for answer in futures_util::future::join_all(starts).await {
                assert!(answer.is_ok(), "{answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_committed_but_not_confirmed_is_judged_once() {
    commands_are_judged_once(Fault::UnknownCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_lost_without_a_word_is_judged_once() {
    commands_are_judged_once(Fault::UnknownLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_a_moment_loses_nothing() {
    finishes_once(Fault::Away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_data_the_database_refuses_fails_alone() {
    let mut world = World::new(FAN_OUT).await;
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(Faulty::new(world.store.clone(), Fault::RefusedRun, met.clone()));
    world.store = faulty.clone();
    let log = Log::new(0);
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let bad = start(&coordinator, r#"{"n": 3}"#).await;
    let good = start(&coordinator, r#"{"n": 3}"#).await;
    *faulty.refused.lock().expect("the run") = Some(bad);
    log.permits.add_permits(100);
    world.reaches(good, RunStatus::Completed).await;
    let row = world.reaches(bad, RunStatus::Failed).await;
    let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
    assert!(error.contains("rejoin.internal"), "{error}");
    assert!(met.load(Ordering::SeqCst) > 0, "the fault did not happen");
}

/// What was judged of a run while its append was under way stands on records that are not written: it may not be written either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_judged_ahead_of_a_refused_append_leaves_no_gap() {
    let mut world = World::new(FAN_OUT).await;
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(Faulty::new(world.store.clone(), Fault::RefusedOnce, met.clone()));
    world.store = faulty.clone();
    let log = Log::new(0);
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(8));
    for round in 1..=6 {
        let run = start(&coordinator, r#"{"n": 8}"#).await;
        *faulty.refused.lock().expect("the run") = Some(run);
        until("all to begin", || log.starts() == 8 * round).await;
        log.permits.add_permits(1);
        until("the refusal", || met.load(Ordering::SeqCst) == round).await;
        log.permits.add_permits(7);
        world.reaches(run, RunStatus::Failed).await;
        soon("a later round of the owner", coordinator.explain(run)).await;
        let journal = world.store.journal(run, 0, 1_000).await.expect("the journal");
        let seqs: Vec<u64> = journal.iter().map(|stored| stored.row.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    }
}

/// Attempts that the owner had packed while the append failed that made them ready never left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_that_a_refused_append_withholds_are_not_counted() {
    let two_steps = FAN_OUT.replace("} } ]", "} }, { step: again, uses: count, with: { i: '= index' } } ]");
    let mut world = World::new(&two_steps).await;
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(Faulty::new(world.store.clone(), Fault::RefusedOnce, met.clone()));
    world.store = faulty.clone();
    let log = Log::new(0);
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(8));
    let run = start(&coordinator, r#"{"n": 4}"#).await;
    *faulty.refused.lock().expect("the run") = Some(run);
    until("all to begin", || log.starts() == 4).await;
    log.permits.add_permits(1);
    world.reaches(run, RunStatus::Failed).await;
    assert_eq!(met.load(Ordering::SeqCst), 1, "the refusal");
    let counted = coordinator.metrics().dispatches.with_label_values(&["first"]).get();
    assert_eq!((log.starts(), counted), (4, 4.0));
}

async fn started_together(coordinator: &Coordinator, runs: &[RunId]) -> Result<Reply, CommandError> {
    let start = start_of(r#"{"n": 1}"#);
    let runs: Vec<NewRun> = runs
        .iter()
        .map(|run| NewRun {
            run: *run,
            start: start.clone(),
        })
        .collect();
    coordinator.submit(runs[0].run, Command::StartMany { runs }).await
}

async fn all_start(fault: Fault) {
    let (world, met) = world_with(fault).await;
    let coordinator = world.coordinator("a");
    soon("ownership", coordinator.owns(1)).await;
    for _ in 0..6 {
        let runs = coordinator.new_run_ids(30);
        let reply = started_together(&coordinator, &runs).await.expect("the starts");
        assert_eq!(reply.status, RunStatus::Running);
        assert_eq!(world.store.runs_there(&runs).await.expect("read"), runs);
        let again = started_together(&coordinator, &runs).await.expect("the starts");
        assert!(!again.changed, "they were there");
    }
    assert!(met.load(Ordering::SeqCst) > 0, "the fault did not happen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_were_committed_together_but_not_confirmed_are_found_again() {
    all_start(Fault::UnknownCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_were_lost_together_are_judged_anew_together() {
    all_start(Fault::UnknownLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_starts_that_belong_together_none_is_there_when_the_database_refuses_one() {
    let mut world = World::new(FAN_OUT).await;
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(Faulty::new(world.store.clone(), Fault::RefusedStart, met.clone()));
    world.store = faulty.clone();
    let coordinator = world.coordinator("a");
    let other = start(&coordinator, r#"{"n": 1}"#).await;
    let runs = coordinator.new_run_ids(30);
    *faulty.refused.lock().expect("the run") = Some(runs[20]);
    let refused = started_together(&coordinator, &runs).await;
    assert!(matches!(refused, Err(CommandError::Refused { .. })), "{refused:?}");
    assert_eq!(met.load(Ordering::SeqCst), 1, "the batch is refused as one");
    assert_eq!(world.store.runs_there(&runs).await.expect("read"), []);
    *faulty.refused.lock().expect("the run") = None;
    let reply = started_together(&coordinator, &runs).await.expect("the starts");
    assert!(reply.changed);
    assert_eq!(world.store.runs_there(&runs).await.expect("read"), runs);
    assert_eq!(world.row(other).await.status, RunStatus::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_belong_together_reach_their_owner_by_the_inbox_too() {
    let world = World::new(FAN_OUT).await;
    let (one, two) = (world.coordinator("a"), world.coordinator("b"));
    soon("ownership", one.owns(1)).await;
    soon("ownership", two.owns(1)).await;
    let runs = one.new_run_ids(20);
    let reply = started_together(&two, &runs).await.expect("the starts");
    assert!(reply.changed);
    assert_eq!(world.store.runs_there(&runs).await.expect("read"), runs);
    let again = started_together(&two, &runs).await.expect("the starts");
    assert!(!again.changed, "they were there");
}

/// The start was asked of another coordinator, and its owner's database refuses it: the one who asked learns it, and the row
/// that asked is not read and refused for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_start_that_came_by_the_inbox_is_answered_once_and_for_all() {
    let mut world = World::new(FAN_OUT).await;
    let met = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(Faulty::new(world.store.clone(), Fault::RefusedStart, met.clone()));
    world.store = faulty.clone();
    let (one, two) = (world.coordinator("a"), world.coordinator("b"));
    soon("ownership", one.owns(1)).await;
    soon("ownership", two.owns(1)).await;
    let runs = one.new_run_ids(3);
    *faulty.refused.lock().expect("the run") = Some(runs[1]);
    let together = started_together(&two, &runs).await;
    assert!(matches!(together, Err(CommandError::Refused { .. })), "{together:?}");
    let alone = started(&two, runs[1], r#"{"n": 1}"#).await;
    assert!(matches!(alone, Err(CommandError::Refused { .. })), "{alone:?}");
    assert_eq!(world.store.runs_there(&runs).await.expect("read"), []);
    let all: Vec<Partition> = (0..PARTITIONS).map(Partition).collect();
    let left = || async { world.store.inbox(&all, 0, 10).await.expect("the inbox").rows.len() };
    soon("an empty inbox", async {
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(met.load(Ordering::SeqCst), 2, "each start is refused once");
}
