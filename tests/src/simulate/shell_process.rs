//! A simulated process: everything it says to the world goes through its fuse, and stops when that blows.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_shared::clock::Clock;
use rejoin_shared::dice::Dice as ShellDice;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::START;
use crate::dice::Dice;

/// Bugs that the simulator of the shell must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// An append loses a row, so that a gap is committed.
    GapInTheChain,
    /// Workers run what was published again without asking.
    UncheckedTwin,
    /// Workers are told to run what they should drop.
    WrongVerdict,
    /// A completion is acknowledged when it arrives.
    AckBeforeCommit,
    /// What was decided is acted upon though nothing was written.
    EffectsBeforeCommit,
    /// Whoever lost a partition writes to it all the same.
    NoEpochCheck,
    /// Workers take a redelivered message for a new one.
    RedeliveredRunsAgain,
    /// No probe ever asks what was lost with the broker.
    NoReconcile,
    /// No row says when its run has to be looked at.
    NoTimeToWake,
    /// Workers begin without a claim what has to be claimed.
    UnclaimedStart,
    /// The key of a start is forgotten: it starts another run when it comes again.
    KeyForgotten,
    /// Who takes the tick of a schedule writes that it is gone, not that it is to be started.
    TickForgotten,
}

/// Blows after a number of calls: the process has died between two effects, and says nothing any more.
#[derive(Debug, Default)]
pub struct Fuse {
    is_blown: AtomicBool,
    /// Calls it still lets through; below zero: all.
    left: AtomicI64,
    /// It stands still until then.
    frozen_until: Mutex<Option<tokio::time::Instant>>,
}

impl Fuse {
    /// One that holds until it is lit.
    #[must_use]
    pub fn new() -> Arc<Fuse> {
        let fuse = Fuse::default();
        fuse.left.store(-1, Ordering::SeqCst);
        Arc::new(fuse)
    }

    /// Lets `calls` more calls through, then blows.
    pub fn light(&self, calls: i64) {
        self.left.store(calls, Ordering::SeqCst);
    }

    /// Whether the process is dead.
    #[must_use]
    pub fn is_blown(&self) -> bool {
        self.is_blown.load(Ordering::SeqCst)
    }

    /// Blows now.
    pub fn blow(&self) {
        self.is_blown.store(true, Ordering::SeqCst);
    }

    /// Stands still for so long: what it says to the world until then comes late.
    pub fn freeze(&self, time: Duration) {
        *self.frozen_until.lock().expect("the frost") = Some(tokio::time::Instant::now() + time);
    }

    /// Returns at once in a living process, never in a dead one.
    pub async fn pass(&self) {
        let until = *self.frozen_until.lock().expect("the frost");
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        match self.left.load(Ordering::SeqCst) {
            0 => self.blow(),
            n if n > 0 => drop(self.left.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
        if self.is_blown() {
            std::future::pending::<()>().await;
        }
    }
}

/// Looks at the clock without any time passing, above which somebody goes round in a circle.
const LOOKS_MAX: u64 = 300_000;

/// Simulated time: the paused clock of the runtime.
#[derive(Clone, Debug)]
pub struct SimClock {
    began_at: tokio::time::Instant,
    /// When it was looked at last, and how often it has been since that time began.
    looks: Arc<Mutex<(Timestamp, u64)>>,
}

impl SimClock {
    /// Begins now, at [`START`].
    #[must_use]
    pub fn new() -> SimClock {
        SimClock {
            began_at: tokio::time::Instant::now(),
            looks: Arc::new(Mutex::new((START, 0))),
        }
    }

    /// Now.
    ///
    /// # Panics
    /// If time stands still because the caller never waits: that ends the caller, and with it the circle.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        let now = START.plus(self.began_at.elapsed());
        let is_standing = {
            let mut looks = self.looks.lock().expect("the looks");
            *looks = (now, if looks.0 == now { looks.1 + 1 } else { 0 });
            // Once: whoever unwinds may look at the clock.
            looks.1 == LOOKS_MAX
        };
        assert!(!is_standing, "a process goes round in a circle at {now:?}");
        now
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::new()
    }
}

/// The clock of one process: it may be off, and jump.
#[derive(Clone, Debug)]
pub struct OwnClock {
    time: SimClock,
    off_ms: Arc<AtomicI64>,
}

impl OwnClock {
    /// One that is right.
    #[must_use]
    pub fn new(time: &SimClock) -> OwnClock {
        OwnClock {
            time: time.clone(),
            off_ms: Arc::default(),
        }
    }

    /// From now on it is off by so much.
    pub fn set_off(&self, ms: i64) {
        self.off_ms.store(ms, Ordering::SeqCst);
    }

    /// It goes so much forward, or back.
    pub fn jump(&self, ms: i64) {
        self.off_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.time.time().0 + self.off_ms.load(Ordering::SeqCst) * 1000)
    }
}

/// Seeded chance.
pub struct SimDice(Mutex<Dice>);

impl SimDice {
    /// Of this seed.
    #[must_use]
    pub fn new(seed: u64) -> SimDice {
        SimDice(Mutex::new(Dice::new(seed)))
    }

    /// Whether something of `percent` happens now.
    pub fn chance(&self, percent: usize) -> bool {
        self.0.lock().expect("the dice").chance(percent)
    }

    /// A number from 0 below `n`.
    pub fn below(&self, n: usize) -> usize {
        self.0.lock().expect("the dice").below(n)
    }
}

impl ShellDice for SimDice {
    fn roll(&self) -> u64 {
        self.0.lock().expect("the dice").any()
    }
    fn id(&self) -> Uuid {
        let mut dice = self.0.lock().expect("the dice");
        Uuid::from_u64_pair(dice.any(), dice.any())
    }
}
