//! Runs whose steps people look at again and again: folded once, then only moved on by what was appended since.
//!
//! ```text
//! journal ──▶ Replay, kept while the run goes on ──▶ a copy, finished with what is open now ──▶ Replayed
//!                └──▶ once the run has ended: finished for good, and kept so
//! ```
//! Pages of a large run's steps, a console that is open and repeated questions why a run waits would each fold it from its
//! beginning otherwise. A run larger than [`BYTES_MAX`] is not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use tokio::sync::Semaphore;

use super::journal::{ReadError, record};
use super::replay::{Replay, Replayed};
use crate::fleet::Held;
use crate::store::Store;

/// Memory for what is kept; what was not looked at for longest goes first.
const BYTES_MAX: usize = 128 << 20;
/// Runs kept at most.
const RUNS_MAX: usize = 64;
/// Rows fetched at a time.
const PAGE_ROWS: usize = 2_000;
/// Records after which a reading is a large one; of those only a few go on at once, as each takes memory and a core.
const LARGE_RECORDS: usize = 20_000;
/// Large readings at once.
const LARGE_AT_ONCE: usize = 2;

type Slot = Arc<tokio::sync::Mutex<Option<Seen>>>;

/// The runs.
pub struct Folds {
    kept: Mutex<Kept>,
    large: Semaphore,
}

/// How far a run was read.
enum Seen {
    /// It goes on.
    Live(Box<Replay>),
    /// It had ended.
    Ended(Arc<Replayed>),
}

#[derive(Default)]
struct Kept {
    slots: HashMap<RunId, Entry>,
    clock: u64,
}

#[derive(Default)]
struct Entry {
    used: u64,
    bytes: usize,
    slot: Slot,
}

impl Default for Folds {
    fn default() -> Folds {
        Folds {
            kept: Mutex::default(),
            large: Semaphore::new(LARGE_AT_ONCE),
        }
    }
}

impl Folds {
    /// The run as of its last record, with what its owner may have dispatched since (`window` attempts at once) and who `held`
    /// which attempts.
    ///
    /// # Errors
    /// The store's, and [`ReadError::Unreadable`].
    pub async fn look(
        &self,
        store: &dyn Store,
        definition: &Arc<Definition>,
        run: RunId,
        window: usize,
        held: &Held,
    ) -> Result<Arc<Replayed>, ReadError> {
        let slot = self.slot(run);
        let mut seen = slot.lock().await;
        let unreadable = |reason: String| ReadError::Unreadable { run, reason };
        // Taken out: what is left half read by an error, or by a reader who goes away, is not kept.
        let mut replay = match seen.take() {
            Some(Seen::Ended(replayed)) if store.journal(run, replayed.state.last_seq(), 1).await?.is_empty() => {
                *seen = Some(Seen::Ended(replayed.clone()));
                return Ok(replayed);
            }
            Some(Seen::Live(replay)) => replay,
            // Resumed since.
            Some(Seen::Ended(_)) | None => Box::new(Replay::new(definition, window)),
        };
        self.move_on(&mut replay, store, run).await?;
        let replayed = match replay.has_ended() {
            true => {
                let replayed = Arc::new(replay.finish(held).map_err(unreadable)?);
                *seen = Some(Seen::Ended(replayed.clone()));
                replayed
            }
            false => {
                let replayed = replay.clone().finish(held).map_err(unreadable)?;
                *seen = Some(Seen::Live(replay));
                Arc::new(replayed)
            }
        };
        self.weigh(run, replayed.weight());
        Ok(replayed)
    }

    async fn move_on(&self, replay: &mut Replay, store: &dyn Store, run: RunId) -> Result<(), ReadError> {
        let unreadable = |reason: String| ReadError::Unreadable { run, reason };
        let (mut records, mut permit) = (0, None);
        loop {
            let page = store.journal(run, replay.last_seq(), PAGE_ROWS).await?;
            if page.is_empty() {
                return Ok(());
            }
            records += page.len();
            if records > LARGE_RECORDS && permit.is_none() {
                permit = self.large.acquire().await.ok();
            }
            for stored in &page {
                replay
                    .take(record(stored)?, stored.row.payload_bytes())
                    .map_err(unreadable)?;
            }
        }
    }

    fn slot(&self, run: RunId) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        let entry = kept.slots.entry(run).or_default();
        entry.used = now;
        let slot = entry.slot.clone();
        kept.make_room();
        slot
    }

    fn weigh(&self, run: RunId, bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > BYTES_MAX {
            kept.slots.remove(&run);
        } else if let Some(entry) = kept.slots.get_mut(&run) {
            entry.bytes = bytes;
        }
        kept.make_room();
    }
}

impl Kept {
    fn make_room(&mut self) {
        while self.slots.len() > RUNS_MAX || self.slots.values().map(|entry| entry.bytes).sum::<usize>() > BYTES_MAX {
            let oldest = self.slots.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(run, _)| *run) else {
                return;
            };
            self.slots.remove(&oldest);
        }
    }
}
