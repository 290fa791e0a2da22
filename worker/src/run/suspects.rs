//! Suspects that a worker did not survive begin one after the other: when the next one vanishes, the one that it had begun last is
//! to blame, and none that was merely near it (SPEC 5.4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::AttemptKey;
use tokio::time::Instant;

use super::Runner;

/// One that has run for so long lets the next one begin: what takes days would hold the others up for days.
const ALONE: Duration = Duration::from_secs(30);

/// One that waits for those before it.
struct Waiting {
    key: AttemptKey,
    reply_to: Arc<str>,
}

/// Suspects that are held here.
#[derive(Default)]
pub(super) struct Suspects {
    waiting: VecDeque<Waiting>,
    /// The one that was asked about last, and when.
    alone: Option<(AttemptKey, Instant)>,
}

impl Suspects {
    pub fn add(&mut self, key: AttemptKey, reply_to: &Arc<str>) {
        let reply_to = reply_to.clone();
        self.waiting.push_back(Waiting { key, reply_to });
    }

    /// Forgets those that wait; what runs goes on.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// When the next one may begin although the one before it has not ended.
    pub fn due(&self) -> Option<Instant> {
        self.alone
            .filter(|_| !self.waiting.is_empty())
            .map(|(_, since)| since + ALONE)
    }

    /// The next one to ask about, if it may begin now. `holds`: whether an attempt is still here.
    fn next(&mut self, now: Instant, holds: impl Fn(&AttemptKey) -> bool) -> Option<Waiting> {
        let is_alone = |(key, since): &(AttemptKey, Instant)| holds(key) && now < *since + ALONE;
        if self.alone.as_ref().is_some_and(is_alone) {
            return None;
        }
        self.alone = None;
        let next = std::iter::from_fn(|| self.waiting.pop_front()).find(|next| holds(&next.key))?;
        self.alone = Some((next.key, now));
        Some(next)
    }
}

impl Runner {
    /// Asks about the next suspect, for a confirmed start blames one only.
    pub(super) fn ask_about_a_suspect(&mut self, now: Instant) {
        if self.worker_id().is_none() {
            return;
        }
        let ledger = &self.ledger;
        let Some(next) = self.suspects.next(now, |key| ledger.holds(key)) else {
            return;
        };
        self.ask_about(&next.reply_to, vec![next.key], true, true);
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, RunId, StepKey};

    use super::*;

    fn key(pos: u32) -> AttemptKey {
        let step = StepKey {
            scope: 0,
            branch: 0,
            pos,
        };
        let run = RunId::from_uuid_in(uuid::Uuid::nil(), Partition(1));
        AttemptKey { run, step, attempt: 1 }
    }

    #[test]
    fn each_begins_when_the_one_before_it_has_ended_or_has_run_for_long() {
        let now = Instant::now();
        let mut suspects = Suspects::default();
        let to: Arc<str> = "events".into();
        (1..=4).for_each(|pos| suspects.add(key(pos), &to));
        let mut next = |at, gone: &[u32]| {
            let gone: Vec<AttemptKey> = gone.iter().map(|pos| key(*pos)).collect();
            suspects
                .next(at, |key| !gone.contains(key))
                .map(|next| next.key.step.pos)
        };
        assert_eq!(next(now, &[]), Some(1));
        assert_eq!(next(now, &[]), None);
        // The second one was dropped meanwhile.
        assert_eq!(next(now, &[1, 2]), Some(3));
        let later = now + ALONE;
        assert_eq!(next(later - Duration::from_millis(1), &[1, 2]), None);
        assert_eq!(next(later, &[1, 2]), Some(4));
        assert_eq!(next(later + ALONE, &[]), None);
    }
}
