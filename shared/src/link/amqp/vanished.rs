//! Queues that were there and are not: they are declared again only after a moment.
//!
//! When a queue is deleted, the broker tells each channel that reads it, one after the other. A channel that hears of it once
//! a queue of that name stands again moves its subscription there, says nothing to the client, and then forgets that it did
//! (RabbitMQ 3.10, `handle_consuming_queue_down_or_eol` in `rabbit_channel`): messages count as delivered and never come.
//! So whoever notices first waits, until all have been told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The broker needs milliseconds for it.
const MOURNING: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Vanished(Mutex<HashMap<String, Instant>>);

impl Vanished {
    /// The queue was found missing.
    pub(super) fn note(&self, queue: &str) {
        let now = Instant::now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, until| *until > now);
        noted.entry(queue.to_owned()).or_insert(now + MOURNING);
    }

    /// Waits until the queue may be declared again.
    pub(super) async fn mourn(&self, queue: &str) {
        let noted = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(queue)
            .copied();
        if let Some(until) = noted {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_vanished_queue_is_waited_for_and_not_longer_for_being_missed_again() {
        let (vanished, began) = (Vanished::default(), Instant::now());
        vanished.mourn("there").await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        vanished.note("gone");
        tokio::time::advance(MOURNING / 2).await;
        vanished.note("gone");
        vanished.mourn("gone").await;
        assert_eq!(began.elapsed(), MOURNING);
    }
}
