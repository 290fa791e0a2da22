//! Time and chance, as the shell gets them: injected, so that the simulator owns both.

use std::future::Future;
use std::pin::Pin;

use rejoin_shared::time::Timestamp;
use uuid::Uuid;

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

/// A source of randomness.
pub trait Dice: Send + Sync {
    /// Any number.
    fn roll(&self) -> u64;
    /// A new id, time-ordered.
    fn id(&self) -> Uuid;
}

/// The machine's randomness.
pub struct SystemDice;

impl Dice for SystemDice {
    fn roll(&self) -> u64 {
        rand::random()
    }
    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
