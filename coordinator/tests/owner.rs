//! What the owner's shell promises, with real workers over the link and the store inside the process.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::owner::command::{Command, CommandError, StartRun};
use rejoin_coordinator::owner::views::Place;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;
use rejoin_worker::{StepContext, StepError, Worker};
use support::{Log, World, config_of, soon, start, start_of, started, until};

const FAN_OUT: &str = "
workflow: w
steps:
  - foreach: each
    items: ctx.n
    concurrency: unbounded
    collect_as: all
    steps: [ { step: count, with: { i: '= index' } } ]
  - step: count
    with: { i: '= \"end\"' }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_runs_each_branch_once_and_completes() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(1_000));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 300}"#).await;
    let row = world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.starts(), log.inputs()), (301, 301));
    assert_eq!((row.progress.done, row.counts.dispatched), (301, 301));
    coordinator.shutdown().await;
    let partitions = world.store.partitions().await.expect("partitions");
    assert!(
        partitions.iter().all(|row| row.owner.is_none()),
        "a shutdown gives its partitions back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_took_on_its_way_is_measured_once_a_step_once_a_join_once_a_run() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(1_000));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 300}"#).await;
    world.reaches(run, RunStatus::Completed).await;
    let metrics = coordinator.metrics();
    until("the end is measured", || {
        metrics.run_duration_seconds.get_sample_count() == 1
    })
    .await;
    assert_eq!(metrics.completion_seconds.get_sample_count(), 301);
    assert_eq!(
        metrics.join_seconds.get_sample_count(),
        1,
        "one join, and a step after it"
    );
    let queued = metrics.queue_seconds.get_sample_count();
    assert!((1..=301).contains(&queued), "{queued}: those whose confirm came first");
    coordinator.shutdown().await;
}

/// Several coordinators, or callers, may ask for the same run by its key at once: it begins once, and all are told of it.
#[tokio::test]
async fn a_run_that_is_asked_for_twice_at_once_begins_once_and_both_are_told() {
    let world = World::new(FAN_OUT).await;
    let coordinator = world.coordinator("a");
    soon("ownership", coordinator.owns(1)).await;
    for _ in 0..20 {
        let run = coordinator.new_run_id();
        let ask = || {
            let start = StartRun {
                may_exist: true,
                expects_newest: false,
                ..start_of(r#"{"n": 1}"#)
            };
            coordinator.submit(run, Command::Start(Box::new(start)))
        };
        let (one, other, third) = tokio::join!(ask(), ask(), ask());
        let changed = [one, other, third].map(|answer| answer.expect("the run is there").changed);
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{changed:?}");
    }
    coordinator.shutdown().await;
}

/// What a run completes with is its context, unless its workflow says otherwise; that is kept once.
#[tokio::test]
async fn an_output_that_is_the_context_is_kept_once_and_another_one_beside_it() {
    let world = World::new("{ workflow: w, steps: [ { set: s, values: { x: 1 } } ] }").await;
    world
        .put(
            "other",
            "{ workflow: other, steps: [ { finish: f, output: '= input.n' } ] }",
        )
        .await;
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, r#"{"n": 5}"#).await;
    let other = coordinator.new_run_id();
    let begun = StartRun {
        workflow: "other".to_owned(),
        ..start_of(r#"{"n": 5}"#)
    };
    let begun = coordinator.submit(other, Command::Start(Box::new(begun))).await;
    begun.expect("begun");
    for (run, context, output, is_kept) in [
        (run, r#"{"n":5,"x":1}"#, r#"{"n":5,"x":1}"#, false),
        (other, r#"{"n":5}"#, "5", true),
    ] {
        let row = world.reaches(run, RunStatus::Completed).await;
        assert_eq!(
            (row.context.as_deref(), row.output.as_deref()),
            (Some(context.as_bytes()), Some(output.as_bytes()))
        );
        let journal = world.store.journal(run, 0, 100).await.expect("read");
        let last = journal.last().expect("a record");
        assert_eq!((&*last.row.kind, last.row.output.is_some()), ("run_finished", is_kept));
    }
    coordinator.shutdown().await;
}

/// Runs that are to begin with the newest version do not begin with another one, nor does that keep others from it which are
/// written together with them.
#[tokio::test]
async fn a_run_begins_with_the_newest_version_where_it_is_to() {
    let world = World::new(FAN_OUT).await;
    let coordinator = world.coordinator("a");
    soon("ownership", coordinator.owns(1)).await;
    let begin = |run, version, expects_newest| {
        let start = StartRun {
            version,
            expects_newest,
            ..start_of(r#"{"n": 1}"#)
        };
        coordinator.submit(run, Command::Start(Box::new(start)))
    };
    let ids = || [(); 3].map(|()| coordinator.new_run_id());
    let [one, other, third] = ids();
    let answers = tokio::join!(begin(one, 1, true), begin(other, 1, true), begin(third, 1, false));
    assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok());
    world.put("w", "{ workflow: w, steps: [ { step: count } ] }").await;
    for _ in 0..20 {
        let [outdated, named, newest] = ids();
        let answers = tokio::join!(begin(outdated, 1, true), begin(named, 1, false), begin(newest, 2, true));
        assert!(matches!(answers.0, Err(CommandError::Superseded)), "{:?}", answers.0);
        assert!(answers.1.expect("begun").changed && answers.2.expect("begun").changed);
        let row = world.store.run(outdated).await.expect("read");
        assert!(row.is_none(), "nothing of it was written");
        assert_eq!(
            (world.row(named).await.version, world.row(newest).await.version),
            (1, 2)
        );
        // Its id is as good as new.
        assert!(begin(outdated, 2, true).await.expect("begun").changed);
    }
    // Who owns a partition elsewhere cannot be asked so.
    let elsewhere = world.coordinator("b");
    soon("a part", elsewhere.owns(1)).await;
    let start = Command::Start(Box::new(StartRun {
        expects_newest: true,
        ..start_of(r#"{"n": 1}"#)
    }));
    let answer = coordinator.submit(elsewhere.new_run_id(), start).await;
    assert!(matches!(answer, Err(CommandError::Superseded)), "{answer:?}");
    elsewhere.shutdown().await;
    coordinator.shutdown().await;
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

#[test]
fn what_an_owner_sent_before_it_crashed_counts_as_resumed_when_the_next_one_sends_it_again() {
    let (runtime, crashing) = (runtime(2), runtime(1));
    runtime.block_on(async {
        let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
        let first: Coordinator = {
            let _in = crashing.enter();
            world.coordinator("a")
        };
        let _worker = world.work("w1", log.builder().concurrency(1));
        let run = start(&first, r#"{"n": 60}"#).await;
        until("the first start", || log.starts() == 1).await;
        crashing.shutdown_background();
        soon("a loss", async {
            while world.broker.purge("rejoin.tasks.default") == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let second = world.coordinator("b");
        soon("the takeover", second.owns(64)).await;
        log.permits.add_permits(100);
        world.reaches(run, RunStatus::Completed).await;
        assert_eq!((log.repeated(), log.inputs()), (vec![], 61));
        let sent = |why| second.metrics().dispatches.with_label_values(&[why]).get();
        assert!(sent("resume") > 1.0, "what was purged");
        assert!(sent("lost") < 0.5, "the next owner has lost nothing of its own");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_because_a_failed_run_was_resumed_counts_as_resumed() {
    let world = World::new("{ workflow: w, steps: [ { step: before, uses: count }, { step: count } ] }").await;
    let coordinator = world.coordinator("a");
    let calls = AtomicUsize::new(0);
    let second_fails = move |_: StepContext, input: Json| {
        let is_second = calls.fetch_add(1, Ordering::SeqCst) == 1;
        async move {
            match is_second {
                true => Err(StepError::fatal("the second of all")),
                false => Ok(input),
            }
        }
    };
    let _worker = world.work("w1", Worker::builder().handler("count", second_fails));
    let run = start(&coordinator, "{}").await;
    world.reaches(run, RunStatus::Failed).await;
    let sent = |why| coordinator.metrics().dispatches.with_label_values(&[why]).get();
    assert_eq!((sent("first"), sent("resume")), (2.0, 0.0));
    coordinator.submit(run, Command::Resume).await.expect("resumed");
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!((sent("first"), sent("resume")), (2.0, 1.0));
    assert_eq!((sent("retry"), sent("lost")), (0.0, 0.0));
}

#[test]
fn after_a_crash_another_owner_goes_on_and_nothing_that_finished_or_still_runs_is_repeated() {
    let (runtime, crashing) = (runtime(2), runtime(1));
    runtime.block_on(async {
        let (world, log) = (World::new(FAN_OUT).await, Log::new(20));
        let first: Coordinator = {
            let _in = crashing.enter();
            world.coordinator("a")
        };
        let _worker = world.work("w1", log.builder().concurrency(10));
        let run = start(&first, r#"{"n": 60}"#).await;
        until("20 branches and ten more starts", || log.starts() == 30).await;
        soon("twenty completions", async {
            while world.store.journal(run, 0, 100).await.expect("the journal").len() < 22 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        crashing.shutdown_background();
        let second = world.coordinator("b");
        soon("the takeover", second.owns(64)).await;
        log.permits.add_permits(100);
        let row = world.reaches(run, RunStatus::Completed).await;
        assert_eq!((log.repeated(), log.inputs()), (vec![], 61));
        assert_eq!(row.progress.done, 61);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_with_a_purged_queue_is_proved_lost_and_goes_out_again() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(1));
    let run = start(&coordinator, r#"{"n": 400}"#).await;
    until("the first start", || log.starts() == 1).await;
    soon("a loss", async {
        while world.broker.purge("rejoin.tasks.default") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    log.permits.add_permits(1_000);
    let row = world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.repeated(), log.inputs()), (vec![], 401));
    assert!(row.counts.redelivered > 0, "{:?}", row.counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_waits_for_a_worker_that_serves_its_handler_and_says_so() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(100));
    let coordinator = world.coordinator("a");
    let _other = world.work("w0", rejoin_worker::Worker::builder());
    let run = start(&coordinator, r#"{"n": 2}"#).await;
    soon("an explanation", async {
        loop {
            let explained = coordinator.explain(run).await.expect("the run is here");
            if explained.attempts.len() == 2 && explained.attempts.iter().all(|a| a.place == Place::NoWorker) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let _worker = world.work("w1", log.builder());
    world.reaches(run, RunStatus::Completed).await;
    let fleet = coordinator.fleet().await.expect("the fleet");
    assert_eq!((fleet.workers.len(), fleet.queues.len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_starts_nothing_more_until_it_is_resumed() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(2));
    let run = start(&coordinator, r#"{"n": 2}"#).await;
    until("both starts", || log.starts() == 2).await;
    let reply = coordinator.submit(run, Command::Pause).await.expect("the pause");
    assert_eq!(reply.status, RunStatus::Paused);
    log.permits.add_permits(100);
    soon("both completions", async {
        while world.store.journal(run, 0, 100).await.expect("the journal").len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!((world.row(run).await.status, log.starts()), (RunStatus::Paused, 2));
    coordinator.submit(run, Command::Resume).await.expect("the resume");
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_leaves_nothing_behind_and_what_it_does_not_allow_is_refused() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(1));
    let run = start(&coordinator, r#"{"n": 50}"#).await;
    until("the first start", || log.starts() == 1).await;
    let cancel = || Command::Cancel {
        reason: None,
        compensate: false,
    };
    assert!(coordinator.submit(run, cancel()).await.expect("the cancel").changed);
    assert!(!coordinator.submit(run, cancel()).await.expect("again").changed);
    let refused = coordinator.submit(run, Command::Pause).await;
    assert!(matches!(refused, Err(CommandError::NotAllowed { .. })), "{refused:?}");
    assert_eq!(world.row(run).await.status, RunStatus::Cancelled);
    let explained = coordinator.explain(run).await.expect("the run is still here");
    assert_eq!((explained.attempts_total, explained.next_due), (0, None));
    let nobody = coordinator.submit(coordinator.new_run_id(), cancel()).await;
    assert_eq!(nobody, Err(CommandError::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_asked_twice_starts_one_run() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(100));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder());
    let run = start(&coordinator, r#"{"n": 1}"#).await;
    let again = started(&coordinator, run, r#"{"n": 1}"#).await.expect("the same start");
    assert!(!again.changed);
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_queue_is_declared_again_and_the_run_finishes() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(1));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(1));
    let run = start(&coordinator, r#"{"n": 40}"#).await;
    until("two starts", || log.starts() >= 2).await;
    world.broker.delete("rejoin.tasks.default");
    log.permits.add_permits(1_000);
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.inputs(), 41);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_of_the_coordinator_repeats_nothing() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(5));
    let coordinator = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(4));
    let run = start(&coordinator, r#"{"n": 40}"#).await;
    until("some starts", || log.starts() >= 6).await;
    world.broker.disconnect("a");
    log.permits.add_permits(1_000);
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.repeated(), log.inputs()), (vec![], 41));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_s_steps_go_to_another_and_finish_once_recorded() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(3));
    let coordinator = world.coordinator("a");
    let killed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let killed = killed.expect("a runtime");
    {
        let _in = killed.enter();
        std::mem::forget(world.work("w1", log.builder().concurrency(4)));
    }
    let run = start(&coordinator, r#"{"n": 30}"#).await;
    until("three ends and four more starts", || log.starts() == 7).await;
    killed.shutdown_background();
    world.broker.cut("w1");
    let _worker = world.work("w2", log.builder().concurrency(4));
    log.permits.add_permits(1_000);
    let row = world.reaches(run, RunStatus::Completed).await;
    assert_eq!((log.inputs(), row.progress.done), (31, 31));
    assert!(
        log.repeated().len() <= 4,
        "only what ran may run again: {:?}",
        log.repeated()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_another_owner_s_run_goes_by_the_inbox_and_comes_back_with_its_verdict() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
    let (first, second) = (world.coordinator("a"), world.coordinator("b"));
    let _worker = world.work("w1", log.builder());
    let run = start(&first, r#"{"n": 5}"#).await;
    until("five starts", || log.starts() == 5).await;
    let asked = if second.partitions_owned().contains(&run.partition()) {
        &first
    } else {
        &second
    };
    let reply = asked
        .submit(
            run,
            Command::Cancel {
                reason: None,
                compensate: false,
            },
        )
        .await
        .expect("the cancel");
    assert_eq!(reply.status, RunStatus::Cancelled);
    let refused = asked.submit(run, Command::Pause).await;
    assert!(matches!(refused, Err(CommandError::NotAllowed { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_handed_over_takes_its_runs_along() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(4));
    let first = world.coordinator("a");
    let _worker = world.work("w1", log.builder().concurrency(4));
    soon("ownership", first.owns(64)).await;
    let mut runs = Vec::new();
    for _ in 0..12 {
        runs.push(start(&first, r#"{"n": 5}"#).await);
    }
    until("some starts", || log.starts() >= 8).await;
    let second = world.coordinator("b");
    soon("its share", second.owns(8)).await;
    log.permits.add_permits(10_000);
    for run in runs {
        world.reaches(run, RunStatus::Completed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_has_as_many_attempts_in_flight_as_its_limit_and_another_one_goes_past_the_rest() {
    let (world, log) = (World::new(FAN_OUT).await, Log::new(0));
    let limits = Limits {
        in_flight_per_run_max: 5,
        ..Limits::default()
    };
    let config = CoordinatorConfig {
        limits,
        ..config_of("a")
    };
    let coordinator = world.coordinator_over(config, world.broker.link("a"));
    let _worker = world.work("w1", log.builder().concurrency(64));
    let giant = start(&coordinator, r#"{"n": 40}"#).await;
    for ended in 0..10 {
        until("the window is full", || log.starts() == 5 + ended).await;
        let explained = coordinator.explain(giant).await.expect("its owner is here");
        assert!(explained.attempts_total <= 5, "{}", explained.attempts_total);
        log.permits.add_permits(1);
    }
    until("the window is full", || log.starts() == 15).await;
    let small = start(&coordinator, r#"{"n": 2}"#).await;
    until("the other one goes past", || log.starts() == 17).await;
    log.permits.add_permits(100);
    world.reaches(giant, RunStatus::Completed).await;
    world.reaches(small, RunStatus::Completed).await;
    assert_eq!(log.starts(), 41 + 3);
}
