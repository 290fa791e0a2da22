//! Runs that people look at again and again: what was read is not read again, and what a database lost is not shown.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rejoin_coordinator::fleet::Held;
use rejoin_coordinator::owner::command::Command;
use rejoin_coordinator::read::folds::Folds;
use rejoin_coordinator::read::replay::Replayed;
use rejoin_coordinator::read::states::States;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::definition::{Format, parse};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;
use support::faulty::{Fault, Faulty};
use support::{Log, World, start};

const DOCUMENT: &str = "
workflow: w
steps:
  - foreach: each
    items: '20'
    concurrency: unbounded
    merge: discard
    steps: [ { step: count, with: { i: '= index' } } ]
  - wait: go
    event: go
  - { step: count, with: { i: 99 } }
";
const WINDOW: usize = 4_096;

/// A run that waits behind twenty steps, and how it is looked at.
struct Looked {
    world: World,
    store: Faulty,
    definition: Arc<Definition>,
    run: RunId,
    folds: Folds,
    states: States,
    _worker: tokio_util::sync::DropGuard,
    coordinator: rejoin_coordinator::coordinator::Coordinator,
}

impl Looked {
    async fn waiting() -> Looked {
        let (world, log) = (World::new(DOCUMENT).await, Log::new(1_000));
        let coordinator = world.coordinator("one");
        let worker = world.work("worker", log.builder());
        let run = start(&coordinator, "{}").await;
        world.reaches(run, RunStatus::Waiting).await;
        let definition = parse(DOCUMENT.as_bytes(), Format::Yaml, &Limits::default());
        Looked {
            store: Faulty::new(world.store.clone(), Fault::OtherHistory, Arc::default()),
            definition: Arc::new(definition.expect("a definition")),
            folds: Folds::default(),
            states: States::default(),
            _worker: worker,
            coordinator,
            world,
            run,
        }
    }

    /// The steps, and how many rows were read for them.
    async fn steps(&self) -> (Arc<Replayed>, usize) {
        let before = self.store.rows_read.load(Ordering::SeqCst);
        let held = Held::default();
        let looked = self.folds.look(&self.store, &self.definition, self.run, WINDOW, &held);
        let run = looked.await.expect("a run");
        (run, self.store.rows_read.load(Ordering::SeqCst) - before)
    }

    /// How many steps are done, and how many rows were read for that.
    async fn done(&self) -> (u64, usize) {
        let before = self.store.rows_read.load(Ordering::SeqCst);
        let look = |state: &rejoin_engine::state::RunState| state.progress().done;
        let looked = self.states.look(&self.store, &self.definition, self.run, WINDOW, look);
        let done = looked.await.expect("a run").expect("a state");
        (done, self.store.rows_read.load(Ordering::SeqCst) - before)
    }

    async fn goes_on(&self) {
        let go = Command::Signal {
            from: Namespace::default_name(),
            event: "go".to_owned(),
            payload: Json::Null,
            id: None,
            is_addressed: true,
            sender: None,
        };
        self.coordinator.submit(self.run, go).await.expect("taken");
        self.world.reaches(self.run, RunStatus::Completed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_is_read_on_from_where_it_was_looked_at() {
    let looked = Looked::waiting().await;
    let (first, whole) = looked.steps().await;
    assert!(first.steps.len() == 20 && whole > 20, "{whole} rows");
    let (again, rows) = looked.steps().await;
    assert_eq!(
        (again.steps.len(), rows),
        (20, 1),
        "the last row, to see that it stands"
    );
    assert_eq!(looked.done().await, (20, whole));
    assert_eq!(looked.done().await, (20, 1));
    looked.goes_on().await;
    let (ended, rows) = looked.steps().await;
    assert!(ended.steps.len() == 21 && rows < 8, "{rows} rows");
    let (same, rows) = looked.steps().await;
    assert!(Arc::ptr_eq(&ended, &same) && rows == 1, "{rows} rows");
    looked.coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_another_than_it_was_is_read_anew() {
    let looked = Looked::waiting().await;
    let (_, whole) = looked.steps().await;
    looked.done().await;
    *looked.store.refused.lock().expect("the run") = Some(looked.run);
    let (steps, rows) = looked.steps().await;
    assert_eq!((steps.steps.len(), rows), (20, whole + 1));
    assert_eq!(looked.done().await, (20, whole + 1));
    looked.coordinator.shutdown().await;
}
