//! What was read of the runs that people look at again and again, one slot a run: whoever looks at a run locks its slot, so that no two
//! read the same journal at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::ids::RunId;

/// Runs kept at most.
const RUNS_MAX: usize = 64;

/// Of one run; empty while nothing was read.
pub type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// The slots. The one that was not looked at for longest goes first.
pub struct Slots<T> {
    kept: Mutex<Kept<T>>,
    /// Memory for all of them.
    bytes_max: usize,
}

struct Kept<T> {
    by_run: HashMap<RunId, Entry<T>>,
    clock: u64,
}

struct Entry<T> {
    used: u64,
    bytes: usize,
    slot: Slot<T>,
}

impl<T> Slots<T> {
    /// None yet.
    #[must_use]
    pub fn new(bytes_max: usize) -> Slots<T> {
        let kept = Kept {
            by_run: HashMap::new(),
            clock: 0,
        };
        Slots {
            kept: Mutex::new(kept),
            bytes_max,
        }
    }

    /// That of a run.
    pub fn of(&self, run: RunId) -> Slot<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        let entry = kept.by_run.entry(run).or_insert_with(|| Entry {
            used: 0,
            bytes: 0,
            slot: Arc::default(),
        });
        entry.used = now;
        let slot = entry.slot.clone();
        kept.make_room(self.bytes_max);
        slot
    }

    /// What is in a run's slot takes so much memory; what would not fit alone is not kept.
    pub fn weigh(&self, run: RunId, bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > self.bytes_max {
            kept.by_run.remove(&run);
        } else if let Some(entry) = kept.by_run.get_mut(&run) {
            entry.bytes = bytes;
        }
        kept.make_room(self.bytes_max);
    }

    /// Keeps nothing of a run.
    pub fn forget(&self, run: RunId) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_run.remove(&run);
    }
}

impl<T> Kept<T> {
    fn make_room(&mut self, bytes_max: usize) {
        let mut bytes: usize = self.by_run.values().map(|entry| entry.bytes).sum();
        while self.by_run.len() > RUNS_MAX || bytes > bytes_max {
            let oldest = self.by_run.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(run, _)| *run) else {
                return;
            };
            bytes -= self.by_run.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Partition;

    use super::*;

    fn runs(count: usize) -> Vec<RunId> {
        (0..count).map(|_| RunId::new_in(Partition(3))).collect()
    }

    async fn is_kept(slots: &Slots<u8>, run: RunId) -> bool {
        slots.of(run).lock().await.is_some()
    }

    async fn keep(slots: &Slots<u8>, run: RunId, bytes: usize) {
        *slots.of(run).lock().await = Some(1);
        slots.weigh(run, bytes);
    }

    #[tokio::test]
    async fn what_was_not_looked_at_for_longest_goes_first_where_memory_is_short() {
        let (slots, runs) = (Slots::new(100), runs(3));
        keep(&slots, runs[0], 40).await;
        keep(&slots, runs[1], 40).await;
        assert!(is_kept(&slots, runs[0]).await);
        keep(&slots, runs[2], 40).await;
        assert!(is_kept(&slots, runs[0]).await && is_kept(&slots, runs[2]).await);
        assert!(!is_kept(&slots, runs[1]).await);
    }

    #[tokio::test]
    async fn one_that_would_not_fit_alone_drives_nobody_out() {
        let (slots, runs) = (Slots::new(100), runs(2));
        keep(&slots, runs[0], 40).await;
        keep(&slots, runs[1], 101).await;
        assert!(is_kept(&slots, runs[0]).await && !is_kept(&slots, runs[1]).await);
    }

    #[tokio::test]
    async fn no_more_runs_are_kept_than_may_be() {
        let (slots, runs) = (Slots::new(100), runs(RUNS_MAX + 1));
        for run in &runs {
            keep(&slots, *run, 0).await;
        }
        assert!(!is_kept(&slots, runs[0]).await && is_kept(&slots, runs[RUNS_MAX]).await);
    }
}
