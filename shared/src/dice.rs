//! Chance, injected so that a simulator owns it.

use std::time::Duration;

use uuid::Uuid;

/// A source of randomness.
pub trait Dice: Send + Sync {
    /// Any number.
    fn roll(&self) -> u64;

    /// A new id, time-ordered.
    fn id(&self) -> Uuid;

    /// The pause shortened by up to a half: those that failed together come back apart.
    fn shorten(&self, pause: Duration) -> Duration {
        pause.mul_f64(0.5 + self.roll() as f64 / u64::MAX as f64 / 2.0)
    }
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
