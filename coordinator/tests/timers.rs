//! Timers of runs.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_coordinator::coordinator::CoordinatorConfig;
use rejoin_shared::clock::Clock;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_worker::{StepContext, StepError, Worker};
use support::{World, config_of, start};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const FLAKY_BESIDE_SLOW: &str = "
workflow: w
steps:
  - parallel: both
    branches:
      one: [ { step: flaky, retry: { max_attempts: 2, initial: 1s, jitter: false } } ]
      two: [ { step: slow } ]
";

/// Looks at the clock without any time passing, above which an owner goes round in a circle.
const LOOKS_MAX: usize = 50_000;

/// Tells simulated time; ends an owner that goes round in a circle, which would stop that time.
struct Watched {
    began_at: Instant,
    looks: Mutex<(Timestamp, usize)>,
    goes_round: AtomicBool,
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        let now = Timestamp(1_800_000_000_000_000).plus(self.began_at.elapsed());
        let looks = {
            let mut looks = self.looks.lock().expect("the looks");
            *looks = (now, if looks.0 == now { looks.1 + 1 } else { 0 });
            looks.1
        };
        if looks == LOOKS_MAX {
            self.goes_round.store(true, Ordering::SeqCst);
            panic!("nothing waits at {now:?}");
        }
        now
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_due_while_its_run_may_have_no_more_in_flight_makes_nobody_spin() {
    let world = World::new(FLAKY_BESIDE_SLOW).await;
    let clock = Arc::new(Watched {
        began_at: Instant::now(),
        looks: Mutex::new((Timestamp(0), 0)),
        goes_round: AtomicBool::new(false),
    });
    let coordinator = world.coordinator_of(CoordinatorConfig {
        clock: clock.clone(),
        limits: Limits {
            in_flight_per_run_max: 1,
            ..Limits::default()
        },
        ..config_of("a")
    });
    let (tries, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, gate) = (tries.clone(), permits.clone());
    let flaky = move |_: StepContext, _: Json| {
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match is_first {
                true => Err(StepError::retryable("the first time")),
                false => Ok(Json::Null),
            }
        }
    };
    let slow = move |_: StepContext, _: Json| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok::<_, StepError>(Json::Null)
        }
    };
    let _worker = world.work("w1", Worker::builder().handler("flaky", flaky).handler("slow", slow));
    let run = start(&coordinator, "{}").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        !clock.goes_round.load(Ordering::SeqCst),
        "the owner went round in a circle"
    );
    assert_eq!(tries.load(Ordering::SeqCst), 1, "the slow one takes the only place");
    permits.add_permits(1);
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}
