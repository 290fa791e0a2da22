//! Counts the spans that wait and those that are lost, and says so in the log: once when it begins, then now and then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often lost spans are told of at most.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What became of spans.
#[derive(Debug)]
pub(super) struct Tally {
    queue_max: usize,
    queued: AtomicUsize,
    lost: AtomicUsize,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    is_failing: bool,
    /// Why the last request failed.
    cause: String,
}

impl Tally {
    pub fn new(queue_max: usize) -> Tally {
        Tally {
            queue_max,
            queued: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            told: Mutex::default(),
        }
    }

    /// Takes a place in the queue; if there is none the span is lost.
    pub fn admit(&self) -> bool {
        if self.queued.fetch_add(1, Ordering::Relaxed) < self.queue_max {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.tell_sometimes();
        false
    }

    /// A request failed, and this is why; it may be repeated.
    pub fn note_cause(&self, cause: String) {
        self.told().cause = cause;
    }

    /// Spans have left the queue: to the collector, or nowhere.
    pub fn note_sent(&self, count: usize, error: Option<&str>) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
        let mut told = self.told();
        match error {
            None if told.is_failing => {
                told.is_failing = false;
                let lost = self.lost.swap(0, Ordering::Relaxed);
                tracing::info!(lost, "spans reach the collector again");
            }
            None => {}
            Some(error) => {
                self.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut told.is_failing, true) {
                    told.at = Some(Instant::now());
                    tracing::warn!(
                        error,
                        cause = told.cause,
                        "spans do not reach the collector and are dropped"
                    );
                }
            }
        }
        drop(told);
        self.tell_sometimes();
    }

    fn tell_sometimes(&self) {
        let mut told = self.told();
        let now = Instant::now();
        if told.at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            told.at = Some(now);
            tracing::warn!(lost, cause = told.cause, "spans were dropped");
        }
    }

    /// The last word: what was lost since, and what is queued if it could not be sent.
    pub fn tell_rest(&self, is_unsent: bool) {
        let unsent = if is_unsent {
            self.queued.load(Ordering::Relaxed)
        } else {
            0
        };
        let lost = self.lost.swap(0, Ordering::Relaxed) + unsent;
        if lost > 0 {
            tracing::warn!(lost, cause = self.told().cause, "spans were dropped");
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_no_more_until_some_have_left() {
        let tally = Tally::new(2);
        assert_eq!([tally.admit(), tally.admit(), tally.admit()], [true, true, false]);
        tally.note_sent(1, None);
        assert_eq!([tally.admit(), tally.admit()], [true, false]);
    }

    #[test]
    fn what_is_lost_is_counted_until_it_is_told() {
        let tally = Tally::new(3);
        assert!(tally.admit() && tally.admit() && tally.admit());
        tally.note_sent(3, Some("away"));
        assert_eq!(tally.lost.load(Ordering::Relaxed), 3, "told when it goes again");
        assert!(tally.admit());
        tally.note_sent(1, None);
        assert_eq!(tally.lost.load(Ordering::Relaxed), 0);
    }
}
