//! How many requests each caller may send: a bucket each, that refills all the time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use uuid::Uuid;

/// Callers that are remembered; beyond that those whose buckets are full are forgotten.
const CALLERS_MAX: usize = 10_000;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// One who shows this token.
    Token(Uuid),
    /// Everybody, where no tokens are needed.
    Anybody,
    /// All whose token was refused: to guess one takes for ever.
    Refused,
}

/// The buckets.
pub struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<Sender, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// So many a second each, and twice as many at once.
    #[must_use]
    pub fn new(per_second: u32) -> Rates {
        Rates {
            per_second: f64::from(per_second),
            buckets: Mutex::default(),
        }
    }

    /// Takes one out of the sender's bucket, if there is one left.
    #[must_use]
    pub fn take(&self, sender: Sender, now: Instant) -> bool {
        let full = self.per_second * 2.0;
        let refilled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.left + since * self.per_second).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX {
            buckets.retain(|_, bucket| refilled(bucket) < full);
        }
        let bucket = buckets.entry(sender).or_insert(Bucket { left: full, at: now });
        let left = refilled(bucket);
        let may = left >= 1.0;
        *bucket = Bucket {
            left: if may { left - 1.0 } else { left },
            at: now,
        };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_sender_gets_its_rate_and_twice_as_much_at_once_and_takes_nothing_from_others() {
        let rates = Rates::new(5);
        let began = Instant::now();
        let (one, other) = (Sender::Token(Uuid::from_u128(1)), Sender::Token(Uuid::from_u128(2)));
        let taken = |sender, at| (0..100).filter(|_| rates.take(sender, at)).count();
        assert_eq!(taken(one, began), 10);
        assert_eq!(taken(other, began), 10);
        assert_eq!(taken(one, began + Duration::from_secs(1)), 5);
        assert_eq!(taken(one, began + Duration::from_secs(100)), 10);
    }
}
