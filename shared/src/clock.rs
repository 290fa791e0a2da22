//! Time, as owners and workers get it: injected, as chance is, so that the simulator owns both.

use std::future::Future;
use std::pin::Pin;

use crate::time::Timestamp;

/// Tells the time. Lengths of time are measured by `tokio::time`, which a simulator pauses.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Returns at `at`, or at once if that has passed.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
