//! What running attempts store goes to their owners while they run: it outlives this worker then (SPEC 5.3).
//!
//! Each becomes a record of its run's journal, so an attempt tells them at a measured pace: none if it ends in a moment (its completion
//! carries the last one), at most one a second, and never more often than every hundredth part of the time since its first one. None
//! is told again: the next one says more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::link::Message;
use rejoin_shared::map::HashMap;
use rejoin_shared::wire::{Checkpoint, kind};
use tokio::time::Instant;

use super::Runner;
use super::outbox::BATCH_BYTES_MAX;
use crate::attempt::Stored;

/// An attempt's first one is told after so long.
const MOMENT: Duration = Duration::from_millis(100);
/// Shortest time between two of one attempt.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// An attempt that has stored one.
#[derive(Debug)]
struct Source {
    stored: Stored,
    first: Instant,
    /// When the next one may be told.
    next: Instant,
}

/// Attempts that store checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    sources: HashMap<AttemptKey, Source>,
    /// Those that have something to tell, by when.
    waiting: BTreeSet<(Instant, AttemptKey)>,
}

impl Checkpoints {
    /// An attempt has stored one.
    pub fn note(&mut self, stored: Stored, now: Instant) {
        let key = stored.key;
        let (first, next) = (now, now + MOMENT);
        let source = self.sources.entry(key).or_insert(Source { stored, first, next });
        self.waiting.insert((source.next, key));
    }

    /// When the next one is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// The attempt has ended: its completion carries the last one.
    pub fn forget(&mut self, key: &AttemptKey) {
        if let Some(source) = self.sources.remove(key) {
            self.waiting.remove(&(source.next, *key));
        }
    }

    fn take_due(&mut self, now: Instant) -> Vec<Checkpoint> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, key));
            let Some(source) = self.sources.get_mut(&key) else {
                continue;
            };
            source.next = now + PAUSE_MIN.max(now.duration_since(source.first) / 100);
            let token = source.stored.token.clone();
            let value = source.stored.control.copy_checkpoint();
            due.extend(value.map(|value| Checkpoint {
                attempt: key,
                token,
                value,
            }));
        }
        due
    }
}

impl Runner {
    /// Tells what is due.
    pub(super) fn send_checkpoints(&mut self, now: Instant) {
        if self.checkpoints.due().is_none_or(|due| due > now) {
            return;
        }
        let Some(worker) = self.worker_id() else { return };
        let mut by_owner: BTreeMap<Arc<str>, Vec<Checkpoint>> = BTreeMap::new();
        let most = self.setup.limits.output_bytes_max;
        for stored in self.checkpoints.take_due(now) {
            let bytes = stored.value.get().len();
            if bytes > most {
                tracing::warn!(attempt = ?stored.attempt, bytes, most, "a checkpoint is too large to be kept");
            } else if let Some(to) = self.ledger.reply_to(&stored.attempt) {
                by_owner.entry(to).or_default().push(stored);
            }
        }
        for (to, items) in by_owner {
            for items in in_parts(items) {
                let worker = worker.clone();
                let told = rejoin_shared::wire::Checkpoints { worker, items };
                let body = serde_json::to_vec(&told).expect("wire messages are plain data with text keys");
                self.ask(to.clone(), Message::new(kind::CHECKPOINTS, true, body));
            }
        }
    }
}

/// Each as large as a message should be, or of one checkpoint that is larger.
fn in_parts(items: Vec<Checkpoint>) -> Vec<Vec<Checkpoint>> {
    let (mut parts, mut bytes) = (Vec::<Vec<Checkpoint>>::new(), 0);
    for item in items {
        bytes += item.value.get().len();
        match parts.last_mut() {
            Some(part) if bytes <= BATCH_BYTES_MAX => part.push(item),
            Some(_) | None => {
                bytes = item.value.get().len();
                parts.push(vec![item]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use rejoin_shared::json::Json;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::attempt::lost;

    #[test]
    fn the_last_one_is_told_in_a_moment_then_once_a_second_then_by_the_hundredth_part() {
        let (sender, mut heard) = unbounded_channel();
        let attempt = lost::free().storing(sender);
        let (mut checkpoints, start) = (Checkpoints::default(), Instant::now());
        let mut told = |store: &[i64], after: u64| {
            let now = start + Duration::from_millis(after);
            store.iter().for_each(|n| attempt.store_checkpoint(&Json::Int(*n)));
            let mut count = 0;
            while let Ok(stored) = heard.try_recv() {
                count += 1;
                checkpoints.note(stored, now);
            }
            assert!(count <= 1, "one word for all that is stored before it is taken");
            let told = checkpoints.take_due(now);
            told.iter().map(|one| one.value.get().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 2], 0), [] as [&str; 0]);
        assert_eq!(told(&[3], 100), ["3"]);
        assert_eq!(told(&[], 1_500), [] as [&str; 0], "nothing new");
        assert_eq!(told(&[4], 1_500), ["4"]);
        assert_eq!(told(&[5], 2_400), [] as [&str; 0], "too soon");
        assert_eq!(told(&[6], 2_500), ["6"]);
        assert_eq!(told(&[7], 400_000), ["7"]);
        assert_eq!(told(&[8], 403_900), [] as [&str; 0]);
        assert_eq!(told(&[], 404_100), ["8"]);
        told(&[9], 404_200);
        checkpoints.forget(&attempt.key());
        assert_eq!(checkpoints.due(), None);
    }

    #[test]
    fn many_large_ones_are_told_in_several_messages() {
        let key = lost::free().key();
        let of = |bytes: usize| Checkpoint {
            attempt: key,
            token: None,
            value: crate::handler::to_raw(&Json::str(&"x".repeat(bytes))),
        };
        let half = BATCH_BYTES_MAX / 2 - 100;
        let parts = in_parts(
            [half, half, half, 2 * BATCH_BYTES_MAX, 1, 1]
                .map(of)
                .into_iter()
                .collect(),
        );
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2]);
        assert!(in_parts(Vec::new()).is_empty());
    }
}
