//! A machine whose clock is set while its coordinator works.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rejoin_coordinator::coordinator::CoordinatorConfig;
use rejoin_shared::clock::SteadyClock;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use support::{Log, World, config_of, soon, start, started, until};

const FAN_OUT: &str = "
workflow: w
steps:
  - foreach: each
    items: ctx.n
    concurrency: unbounded
    steps: [ { step: count, idempotent: false, with: { i: '= index' } } ]
";

/// The machine's clock is ahead by so many seconds.
#[derive(Clone, Default)]
struct Machine(Arc<AtomicI64>);

impl Machine {
    fn set(&self, ahead_s: i64) {
        self.0.store(ahead_s * 1_000_000, Ordering::Relaxed);
    }

    fn clock(&self) -> SteadyClock {
        let ahead = self.0.clone();
        SteadyClock::over(move || Timestamp(Timestamp::now().0 + ahead.load(Ordering::Relaxed)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_forward_makes_no_worker_silent_and_back_stops_nothing() {
    let world = World::new(FAN_OUT).await;
    let machine = Machine::default();
    let coordinator = world.coordinator_of(CoordinatorConfig {
        clock: Arc::new(machine.clock()),
        ..config_of("a")
    });
    let log = Log::new(0);
    let _holder = world.work("w1", log.builder().concurrency(4));
    let run = start(&coordinator, r#"{"n": 4}"#).await;
    until("the handlers began", || log.starts() == 4).await;
    // It has nothing to do, and would take what its owner takes from the other.
    let _idle = world.work("w2", log.builder().concurrency(4));
    machine.set(60);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!((log.starts(), log.repeated()), (4, vec![]), "the first one lives");
    log.permits.add_permits(4);
    world.reaches(run, RunStatus::Completed).await;
    machine.set(-7_200);
    log.permits.add_permits(2);
    let later = coordinator.new_run_id();
    soon("another start", async {
        // Until its partitions are back it may be asked to come again.
        while started(&coordinator, later, r#"{"n": 2}"#).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    world.reaches(later, RunStatus::Completed).await;
    assert_eq!(log.starts(), 6);
}
