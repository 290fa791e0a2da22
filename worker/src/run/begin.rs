//! Begins attempts: those of quick handlers several in one task, so that what they complete comes back together.
//!
//! A task of its own costs a quick attempt more than its handler does, and what ends one by one leaves in as many messages. So
//! attempts that are likely to end without ever waiting are polled one after the other by one task; whichever waits all the same
//! goes on in a task of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures_util::poll;
use rejoin_shared::map::HashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::span::{self, Origin};
use super::{Runner, Setup};
use crate::attempt::{Attempt, Ended, execute};
use crate::handler::Handle;

/// What one task polls one after the other is likely to take no longer: slots are for running side by side.
const TOGETHER_NANOS: u64 = 500_000;
/// Attempts that one may hold up which takes longer than its like.
const TOGETHER_MAX: usize = 16;
/// Weight of the last sample in a mean: one eighth.
const SHARE: u64 = 8;

/// How long a handler keeps its thread before it first waits or ends, recent attempts weighing more.
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Nobody knows: as if it took for ever.
    const UNKNOWN: u64 = u64::MAX;

    fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, nanos: u64) {
        let mean = match self.nanos() {
            Self::UNKNOWN => nanos,
            mean => mean - mean / SHARE + nanos / SHARE,
        };
        self.0.store(mean, Ordering::Relaxed);
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace(AtomicU64::new(Pace::UNKNOWN))
    }
}

/// The paces of all handlers, by name.
#[derive(Default)]
pub(super) struct Paces(HashMap<Box<str>, Arc<Pace>>);

impl Paces {
    /// Of one handler.
    pub fn of(&mut self, handler: &str) -> Arc<Pace> {
        if let Some(pace) = self.0.get(handler) {
            return pace.clone();
        }
        self.0.entry(handler.into()).or_default().clone()
    }
}

/// An attempt that has its slot.
pub(super) struct Starting {
    pub attempt: Arc<Attempt>,
    pub handler: Arc<dyn Handle>,
    pub origin: Arc<Origin>,
    pub pace: Arc<Pace>,
}

/// Parts them so that what one task does one after the other is little.
fn parted(starting: Vec<Starting>) -> Vec<Vec<Starting>> {
    let mut parts: Vec<Vec<Starting>> = Vec::new();
    let mut left: Option<u64> = None;
    for one in starting {
        let nanos = one.pace.nanos();
        let has_room = parts.last().is_some_and(|last| last.len() < TOGETHER_MAX);
        let fits = left.filter(|_| has_room).and_then(|left| left.checked_sub(nanos));
        left = fits.or_else(|| TOGETHER_NANOS.checked_sub(nanos));
        match (fits, parts.last_mut()) {
            (Some(_), Some(last)) => last.push(one),
            (_, _) => parts.push(vec![one]),
        }
    }
    parts
}

type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Where attempts run.
#[derive(Clone)]
struct Ground {
    setup: Arc<Setup>,
    ended: mpsc::UnboundedSender<Vec<Ended>>,
    tracker: TaskTracker,
}

impl Ground {
    async fn run_together(self, starting: Vec<Starting>) {
        let mut at_once = Vec::with_capacity(starting.len());
        for one in starting {
            let pace = one.pace.clone();
            let mut running: Running = Box::pin(run(self.setup.clone(), one));
            let began = Instant::now();
            let polled = poll!(running.as_mut());
            pace.note(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX - 1));
            match polled {
                Poll::Ready(ended) => at_once.push(ended),
                Poll::Pending => drop(self.tracker.spawn(self.clone().wait_for(running))),
            }
        }
        self.tell(at_once);
    }

    async fn wait_for(self, running: Running) {
        let ended = running.await;
        self.tell(vec![ended]);
    }

    fn tell(&self, ended: Vec<Ended>) {
        // The loop is gone only when the process is going.
        if !ended.is_empty() && self.ended.send(ended).is_err() {
            tracing::debug!("attempts ended after their worker");
        }
    }
}

async fn run(setup: Arc<Setup>, starting: Starting) -> Ended {
    let Starting {
        attempt,
        handler,
        origin,
        pace: _,
    } = starting;
    let end = execute(attempt.clone(), handler, &*setup.clock).await;
    if let Some(completion) = &end.completion {
        span::export(&setup, &origin, &attempt, completion);
    }
    end
}

impl Runner {
    /// Runs what has its slots.
    pub(super) fn begin(&self, starting: Vec<Starting>) {
        for part in parted(starting) {
            let ground = Ground {
                setup: self.setup.clone(),
                ended: self.ended_sender.clone(),
                tracker: self.tracker.clone(),
            };
            self.tracker.spawn(ground.run_together(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use rejoin_shared::clock::SystemClock;
    use rejoin_shared::dice::SystemDice;
    use rejoin_shared::ids::Namespace;
    use rejoin_shared::limits::Limits;
    use rejoin_shared::topology::Topology;
    use rejoin_shared::trace::export::Tracer;
    use rejoin_shared::wire::AttemptEnd;

    use super::*;
    use crate::attempt::lost;
    use crate::handler::{Handlers, Outcome, error};

    /// Waits for so many milliseconds, then ends.
    struct Ending(u64);

    #[async_trait]
    impl Handle for Ending {
        async fn handle(&self, _: Arc<Attempt>) -> Outcome {
            if self.0 > 0 {
                tokio::time::sleep(Duration::from_millis(self.0)).await;
            }
            AttemptEnd::Error(error("it.ended", String::new()))
        }
    }

    fn starting(handler: Ending, pace: &Arc<Pace>) -> Starting {
        Starting {
            attempt: Arc::new(lost::free()),
            handler: Arc::new(handler),
            origin: Arc::new(Origin {
                queue: "default".into(),
                is_sampled: false,
            }),
            pace: pace.clone(),
        }
    }

    fn of_pace(nanos: u64) -> Arc<Pace> {
        let pace = Pace::default();
        pace.note(nanos);
        Arc::new(pace)
    }

    #[test]
    fn what_is_not_known_to_be_quick_gets_a_task_of_its_own() {
        let (quick, half, slow) = (of_pace(1_000), of_pace(TOGETHER_NANOS / 2), of_pace(TOGETHER_NANOS + 1));
        let sizes = |paces: &[&Arc<Pace>]| {
            let starting = paces.iter().map(|pace| starting(Ending(0), pace)).collect();
            parted(starting).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[&quick; 40]), [16, 16, 8]);
        assert_eq!(sizes(&[&half; 5]), [2, 2, 1]);
        let near = of_pace(TOGETHER_NANOS / 20);
        assert_eq!(sizes(&[&near; 32]), [16, 16], "each part has its own time");
        assert_eq!(sizes(&[&slow, &slow, &quick, &quick, &slow, &quick]), [1, 1, 2, 1, 1]);
        assert_eq!(sizes(&[&Arc::default(), &of_pace(0), &quick]), [1, 2]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn a_slow_attempt_weighs_for_a_while() {
        let pace = of_pace(1_000);
        pace.note(80_000_000);
        assert!(pace.nanos() > TOGETHER_NANOS);
        (0..50).for_each(|_| pace.note(1_000));
        assert!(pace.nanos() < TOGETHER_NANOS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_at_once_comes_back_together_and_what_waits_holds_nobody_up() {
        let (sender, mut ended) = mpsc::unbounded_channel();
        let ground = Ground {
            setup: Arc::new(Setup {
                name: "w".to_owned(),
                namespace: Namespace::default_name(),
                queues: Vec::new(),
                concurrency: 1,
                drain: Duration::ZERO,
                topology: Topology::default(),
                limits: Limits::default(),
                handlers: Handlers::new(),
                tracer: Tracer::off(),
                clock: Arc::new(SystemClock),
                dice: Arc::new(SystemDice),
            }),
            ended: sender,
            tracker: TaskTracker::new(),
        };
        let pace = of_pace(0);
        let mut all = Vec::new();
        for ms in [0, 50, 0, 20, 0] {
            all.push(starting(Ending(ms), &pace));
        }
        ground.run_together(all).await;
        let mut counts = Vec::new();
        while let Some(ended) = ended.recv().await {
            assert!(ended.iter().all(|ended| ended.completion.is_some()));
            counts.push(ended.len());
        }
        assert_eq!(counts, [3, 1, 1]);
    }
}
