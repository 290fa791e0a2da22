//! Time, as owners and workers get it: injected, as chance is, so that the simulator owns both.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use crate::time::Timestamp;

/// Tells the time. Lengths of time are measured by `tokio::time`, which a simulator pauses.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Returns at `at`, or at once if that has passed.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
    /// Goes by what it follows again, if that was set meanwhile: by so many microseconds, which are negative where it was set back.
    fn follow(&self) -> Option<i64> {
        None
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Set by less, the machine's clock is not followed.
const FOLLOWED_FROM_MICROS: i64 = 1_000_000;

/// A clock that nobody sets: what the machine's showed once, and what has passed since. Whoever measures by it how long others
/// were silent is not misled by a machine whose clock is set, until it says so by [`Clock::follow`].
pub struct SteadyClock {
    machine: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Never set (`CLOCK_MONOTONIC`), and still while the machine is suspended.
    base: Instant,
    /// What the machine's clock showed at `base`.
    shown: AtomicI64,
}

impl Default for SteadyClock {
    fn default() -> SteadyClock {
        SteadyClock::over(Timestamp::now)
    }
}

impl SteadyClock {
    /// By this clock of the machine.
    #[must_use]
    pub fn over(machine: impl Fn() -> Timestamp + Send + Sync + 'static) -> SteadyClock {
        let base = Instant::now();
        let shown = AtomicI64::new(machine().0);
        SteadyClock {
            machine: Box::new(machine),
            base,
            shown,
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.base.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.shown.load(Ordering::Relaxed).saturating_add(passed))
    }

    fn follow(&self) -> Option<i64> {
        let by = (self.machine)().0.saturating_sub(self.now().0);
        if by.saturating_abs() < FOLLOWED_FROM_MICROS {
            return None;
        }
        self.shown.fetch_add(by, Ordering::Relaxed);
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_steady_clock_goes_on_as_it_did_until_it_is_told_to_follow() {
        let set_by = Arc::new(AtomicI64::new(0));
        let machine = set_by.clone();
        let clock = SteadyClock::over(move || Timestamp(Timestamp::now().0 + machine.load(Ordering::Relaxed)));
        let is_near = |offset: i64| (clock.now().0 - Timestamp::now().0 - offset).abs() < FOLLOWED_FROM_MICROS / 2;
        assert!(is_near(0) && clock.follow().is_none());
        for offset in [60_000_000, -3_600_000_000] {
            let before = set_by.swap(offset, Ordering::Relaxed);
            assert!(is_near(before), "it was set, and goes on");
            let by = clock.follow().expect("it was set");
            assert!((by - (offset - before)).abs() < FOLLOWED_FROM_MICROS / 2, "{by}");
            assert!(is_near(offset) && clock.follow().is_none());
        }
    }
}
