//! The service over an embedded store, runs that end when a test says so, and a clock that the tests own.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use rejoin_shared::ids::Partition;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

use super::progress::{CAUGHT_UP_MAX, FAILURES_MAX};
use super::*;
use crate::services::runs::Launch;
use crate::store::embedded::EmbeddedStore;

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600;

fn second(n: i64) -> Timestamp {
    Timestamp((START + n) * 1_000_000)
}

/// What the next start does.
#[derive(Clone, Debug, Default)]
enum Fault {
    #[default]
    None,
    Answer(RunsError),
    /// The coordinator dies before, or after, the run has started.
    DieBefore,
    DieAfter,
}

#[derive(Default)]
struct Inside {
    /// In the order they were started.
    runs: Vec<(String, RunId, RunStatus)>,
    calls: usize,
    fault: Fault,
}

#[derive(Default)]
struct FakeRuns(Mutex<Inside>);

impl FakeRuns {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic under it")
    }

    fn begin(&self, key: &str) -> RunId {
        let mut inside = self.inside();
        if let Some((_, run, _)) = inside.runs.iter().find(|(of, ..)| of == key) {
            return *run;
        }
        let run = RunId::new_in(Partition(1));
        inside.runs.push((key.to_owned(), run, RunStatus::Running));
        run
    }

    /// The ticks whose runs were started, as seconds from the beginning.
    fn ticks(&self) -> Vec<i64> {
        let inside = self.inside();
        let tick = |key: &str| Timestamp::parse(key.rsplit('/').next().expect("a tick")).expect("a time");
        inside
            .runs
            .iter()
            .map(|(key, ..)| tick(key).0 / 1_000_000 - START)
            .collect()
    }

    /// All runs that go on end so.
    fn end(&self, status: RunStatus) {
        for (.., is) in &mut self.inside().runs {
            if !is.is_terminal() {
                *is = status;
            }
        }
    }

    fn states(&self) -> Vec<RunStatus> {
        self.inside().runs.iter().map(|(.., status)| *status).collect()
    }
}

#[async_trait]
impl Runs for FakeRuns {
    async fn start(&self, launch: &Launch) -> Result<RunId, RunsError> {
        self.inside().calls += 1;
        let fault = self.inside().fault.clone();
        let key = launch.key.clone().expect("a tick has a key");
        match fault {
            Fault::None => Ok(self.begin(&key)),
            Fault::Answer(error) => Err(error),
            Fault::DieBefore => std::future::pending().await,
            Fault::DieAfter => {
                self.begin(&key);
                std::future::pending().await
            }
        }
    }

    async fn cancel(&self, run: RunId, _: &str) -> Result<(), RunsError> {
        for (_, of, status) in &mut self.inside().runs {
            if *of == run && !status.is_terminal() {
                *status = RunStatus::Cancelled;
            }
        }
        Ok(())
    }

    async fn see(&self, run: RunId) -> Result<Option<Seen>, RunsError> {
        let inside = self.inside();
        Ok(inside
            .runs
            .iter()
            .find(|(_, of, _)| *of == run)
            .map(|(_, _, status)| Seen {
                status: *status,
                created_at: second(0),
                error: (*status == RunStatus::Failed).then(|| "boom: it broke".to_owned()),
            }))
    }
}

struct World {
    store: Arc<dyn Store>,
    runs: Arc<FakeRuns>,
}

impl World {
    /// One schedule `s`, made at second 0.
    async fn new(every: &str, overlap: Overlap, catch_up: &str) -> World {
        let spec = Spec {
            workflow: "w".to_owned(),
            version: None,
            input: Json::Null,
            cron: None,
            every: Some(every.to_owned()),
            timezone: "UTC".to_owned(),
            overlap,
            catch_up: catch_up.to_owned(),
            tags: BTreeMap::new(),
        };
        let row = ScheduleRow {
            namespace: Namespace::default_name(),
            name: "s".to_owned(),
            spec: spec.to_bytes().into(),
            revision: 0,
            is_paused: false,
            anchor_at: second(0),
            next_at: None,
            pending: Vec::new(),
            caught_up: 0,
            last_run: None,
            open_runs: Vec::new(),
            failures: 0,
            last_error: None,
            wake_at: None,
        };
        let mut progress = read(row).expect("a valid schedule");
        progress.aim(second(0));
        progress.sleep(None);
        let world = World {
            store: Arc::new(EmbeddedStore::in_memory().expect("a store in memory")),
            runs: Arc::default(),
        };
        assert!(world.store.add_schedule(&progress.row).await.expect("added"));
        world
    }

    fn coordinator(&self) -> Schedules {
        Schedules::new(self.store.clone(), self.runs.clone())
    }

    /// A coordinator does all there is to do at this second.
    async fn at(&self, n: i64) {
        let coordinator = self.coordinator();
        while coordinator.run_once(second(n)).await.expect("the store answers") > 0 {}
    }

    async fn through(&self, seconds: std::ops::RangeInclusive<i64>) {
        for n in seconds {
            self.at(n).await;
        }
    }

    /// A coordinator that dies at a start.
    async fn dies_at(&self, n: i64, fault: Fault) {
        self.runs.inside().fault = fault;
        let coordinator = self.coordinator();
        let dying = coordinator.run_once(second(n));
        let cut = tokio::time::timeout(Duration::from_millis(200), dying).await;
        assert!(cut.is_err(), "it came to a start");
        self.runs.inside().fault = Fault::None;
    }

    async fn row(&self) -> ScheduleRow {
        let row = self.store.schedule(&Namespace::default_name(), "s").await;
        row.expect("the store answers").expect("the schedule is there")
    }

    async fn change(&self, what: impl FnMut(&mut Progress) -> Option<Timestamp>) {
        let changed = change(&*self.store, &Namespace::default_name(), "s", what).await;
        changed.expect("it can be changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_coordinators_one_starts_each_tick() {
    let world = World::new("5s", Overlap::Allow, "0s").await;
    let coordinators: Vec<Schedules> = (0..3).map(|_| world.coordinator()).collect();
    for n in 0..=31 {
        let at_once = coordinators.iter().map(|coordinator| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.run_once(second(n)).await })
        });
        for done in at_once.collect::<Vec<_>>() {
            done.await.expect("no panic").expect("the store answers");
        }
    }
    assert_eq!(world.runs.ticks(), [5, 10, 15, 20, 25, 30]);
    assert_eq!(world.runs.inside().calls, 6, "nobody even tried a tick of another");
}

#[tokio::test]
async fn skip_starts_nothing_while_the_run_before_goes_on() {
    let world = World::new("10s", Overlap::Skip, "0s").await;
    world.through(0..=35).await;
    assert_eq!(world.runs.ticks(), [10]);
    world.runs.end(RunStatus::Completed);
    world.through(36..=45).await;
    assert_eq!(world.runs.ticks(), [10, 40]);
}

#[tokio::test]
async fn a_run_that_was_triggered_and_ended_does_not_hide_the_one_that_goes_on() {
    let world = World::new("10s", Overlap::Skip, "0s").await;
    world.through(0..=15).await;
    let triggered = world.runs.begin("by hand");
    if let Some(run) = world.runs.inside().runs.last_mut() {
        run.2 = RunStatus::Completed;
    }
    let note = |progress: &mut Progress| {
        progress.row.last_run = Some(triggered);
        progress.row.wake_at
    };
    world.change(note).await;
    world.through(16..=35).await;
    assert_eq!(world.runs.states(), [RunStatus::Running, RunStatus::Completed]);
}

#[tokio::test]
async fn queue_starts_each_tick_when_the_run_before_has_ended() {
    let world = World::new("10s", Overlap::Queue, "0s").await;
    world.through(0..=200).await;
    assert_eq!(world.runs.ticks(), [10]);
    for n in 1..=3 {
        world.runs.end(RunStatus::Completed);
        world.through(200 + n * 6..=205 + n * 6).await;
    }
    // However late: they were taken in time.
    assert_eq!(world.runs.ticks(), [10, 20, 30, 40]);
}

#[tokio::test]
async fn allow_starts_each_tick() {
    let world = World::new("10s", Overlap::Allow, "0s").await;
    world.through(0..=40).await;
    assert_eq!(world.runs.ticks(), [10, 20, 30, 40]);
    assert_eq!(world.runs.states(), [RunStatus::Running; 4]);
}

#[tokio::test]
async fn cancel_previous_ends_the_run_before() {
    let world = World::new("10s", Overlap::CancelPrevious, "0s").await;
    world.through(0..=30).await;
    assert_eq!(world.runs.ticks(), [10, 20, 30]);
    let (cancelled, running) = (RunStatus::Cancelled, RunStatus::Running);
    assert_eq!(world.runs.states(), [cancelled, cancelled, running]);
    assert_eq!(world.row().await.failures, 0, "who cancels has not failed");
}

#[tokio::test]
async fn ticks_missed_by_more_than_the_window_are_passed_over() {
    let world = World::new("1m", Overlap::Allow, "0s").await;
    world.at(630).await;
    assert_eq!(world.runs.ticks(), [600], "a minute of grace");
    let world = World::new("1m", Overlap::Allow, "5m").await;
    world.at(630).await;
    assert_eq!(world.runs.ticks(), [360, 420, 480, 540, 600]);
    world.at(660).await;
    assert_eq!(world.runs.ticks().last(), Some(&660));
}

#[tokio::test]
async fn only_so_many_missed_ticks_are_made_up() {
    let world = World::new("10s", Overlap::Allow, "1d").await;
    world.at(7_205).await;
    let made_up: Vec<i64> = (1..=i64::from(CAUGHT_UP_MAX)).map(|n| n * 10).collect();
    assert_eq!(world.runs.ticks(), made_up);
    assert_eq!(world.row().await.next_at, Some(second(7_210)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_dies_at_a_start_neither_loses_nor_doubles_the_tick() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        let world = World::new("1h", Overlap::Skip, "0s").await;
        world.dies_at(3_600, fault.clone()).await;
        assert_eq!(world.row().await.pending, [second(3_600)], "{fault:?}");
        world.through(3_601..=3_659).await;
        assert_eq!(world.runs.inside().calls, 1, "{fault:?}: it may still be at it");
        world.through(3_660..=3_662).await;
        assert_eq!(
            (world.runs.ticks(), world.runs.inside().calls),
            (vec![3_600], 2),
            "{fault:?}"
        );
        let row = world.row().await;
        let run = world.runs.inside().runs[0].1;
        assert_eq!(
            (row.last_run, row.pending, row.open_runs),
            (Some(run), vec![], vec![run])
        );
    }
}

#[tokio::test]
async fn a_start_that_may_work_later_is_tried_again_and_is_no_failure() {
    let world = World::new("1h", Overlap::Skip, "0s").await;
    world.runs.inside().fault = Fault::Answer(RunsError::Passing("away".to_owned()));
    world.through(3_600..=3_611).await;
    let row = world.row().await;
    assert_eq!((world.runs.inside().calls, row.failures), (3, 0));
    assert!(row.last_error.expect("told").contains("away"));
    world.runs.inside().fault = Fault::None;
    world.through(3_612..=3_620).await;
    assert_eq!(world.runs.ticks(), [3_600]);
    world.runs.end(RunStatus::Completed);
    world.at(3_700).await;
    assert_eq!(world.row().await.last_error, None);
}

#[tokio::test]
async fn it_pauses_itself_after_so_many_failed_runs_in_a_row() {
    let world = World::new("10m", Overlap::Skip, "0s").await;
    let failures = i64::from(FAILURES_MAX);
    for n in 1..=failures + 1 {
        world.at(n * 600).await;
        // One that completes begins the count anew.
        let end = if n == 2 {
            RunStatus::Completed
        } else {
            RunStatus::Failed
        };
        world.runs.end(end);
        world.at(n * 600 + 60).await;
    }
    let row = world.row().await;
    assert_eq!((row.failures, row.is_paused), (FAILURES_MAX - 1, false));
    assert!(row.last_error.expect("told").ends_with("failed: boom: it broke"));
    world.at((failures + 2) * 600).await;
    world.runs.end(RunStatus::Failed);
    world.at((failures + 2) * 600 + 60).await;
    let row = world.row().await;
    assert_eq!((row.is_paused, row.next_at, row.wake_at), (true, None, None));
    assert!(
        row.last_error
            .expect("told")
            .starts_with("paused after 10 failures in a row")
    );
}

#[tokio::test]
async fn starts_that_are_refused_count_as_failures() {
    let world = World::new("10s", Overlap::Skip, "0s").await;
    world.runs.inside().fault = Fault::Answer(RunsError::Refused("no such workflow".to_owned()));
    world.through(0..=500).await;
    assert_eq!(world.runs.inside().calls, usize::try_from(FAILURES_MAX).expect("small"));
    let row = world.row().await;
    assert!(row.is_paused && row.last_error.expect("told").contains("no such workflow"));
}

#[tokio::test]
async fn a_paused_schedule_starts_nothing_and_makes_nothing_up() {
    let world = World::new("10s", Overlap::Queue, "1h").await;
    world.through(0..=25).await;
    world
        .change(|progress| {
            progress.pause();
            progress.row.wake_at
        })
        .await;
    world.runs.end(RunStatus::Completed);
    world.through(26..=100).await;
    assert_eq!(world.runs.ticks(), [10]);
    world
        .change(|progress| {
            progress.resume(second(101));
            progress.row.wake_at
        })
        .await;
    world.through(101..=112).await;
    assert_eq!(world.runs.ticks(), [10, 110]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_put_off() {
    let world = World::new("10s", Overlap::Skip, "0s").await;
    let broken = ScheduleRow {
        name: "broken".to_owned(),
        spec: bytes::Bytes::from_static(b"{}"),
        wake_at: Some(second(0)),
        ..world.row().await
    };
    assert!(world.store.add_schedule(&broken).await.expect("added"));
    world.at(10).await;
    assert_eq!(world.runs.ticks(), [10]);
    let row = world.store.schedule(&Namespace::default_name(), "broken").await;
    let row = row.expect("the store answers").expect("it is there");
    assert_eq!(row.wake_at, Some(second(70)));
}
