//! Runs whose steps people look at again and again: folded once, then only moved on by what was appended since.
//!
//! ```text
//! journal ──▶ Replay, kept while the run goes on ──▶ a copy, finished with what is open now ──▶ Replayed
//!                └──▶ once the run has ended: finished for good, and kept so
//! ```
//! Pages of a large run's steps, a console that is open and repeated questions why a run waits would each fold it from its
//! beginning otherwise. A run larger than [`BYTES_MAX`] is not kept.

use std::sync::Arc;

use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use tokio::sync::Semaphore;

use super::journal::{Mark, ReadError, next_page};
use super::replay::{Replay, Replayed};
use super::slots::Slots;
use crate::fleet::Held;
use crate::store::Store;

/// Memory for what is kept.
const BYTES_MAX: usize = 128 << 20;
/// Records after which a reading is a large one; of those only a few go on at once, as each takes memory and a core.
const LARGE_RECORDS: usize = 20_000;
/// Large readings at once.
const LARGE_AT_ONCE: usize = 2;

/// The runs.
pub struct Folds {
    slots: Slots<(Seen, Mark)>,
    large: Semaphore,
}

/// How far a run was read.
enum Seen {
    /// It goes on.
    Live(Box<Replay>),
    /// It had ended.
    Ended(Arc<Replayed>),
}

impl Default for Folds {
    fn default() -> Folds {
        Folds {
            slots: Slots::new(BYTES_MAX),
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
        let slot = self.slots.of(run);
        let mut kept = slot.lock().await;
        // Taken out: what is left half read by an error, or by a reader who goes away, is not kept.
        let (seen, mut mark) = match kept.take() {
            Some((seen, mark)) if mark.stands(store, run).await? => (Some(seen), Some(mark)),
            Some(_) | None => (None, None),
        };
        let mut page = next_page(store, run, &mut mark).await?;
        let mut replay = match seen {
            Some(Seen::Ended(replayed)) if page.is_empty() => {
                *kept = mark.map(|mark| (Seen::Ended(replayed.clone()), mark));
                return Ok(replayed);
            }
            Some(Seen::Live(replay)) => replay,
            // Resumed since: it is read from its beginning.
            Some(Seen::Ended(_)) => {
                mark = None;
                page = next_page(store, run, &mut mark).await?;
                Box::new(Replay::new(definition, window))
            }
            None => Box::new(Replay::new(definition, window)),
        };
        let unreadable = |reason: String| ReadError::Unreadable { run, reason };
        let (mut records, mut permit) = (0, None);
        while !page.is_empty() {
            records += page.len();
            if records > LARGE_RECORDS && permit.is_none() {
                permit = self.large.acquire().await.ok();
            }
            page.iter().try_for_each(|stored| replay.take(stored))?;
            page = next_page(store, run, &mut mark).await?;
        }
        let (seen, replayed) = match replay.has_ended() {
            true => {
                let replayed = Arc::new(replay.finish(held).map_err(unreadable)?);
                (Seen::Ended(replayed.clone()), replayed)
            }
            false => {
                let replayed = replay.clone().finish(held).map_err(unreadable)?;
                (Seen::Live(replay), Arc::new(replayed))
            }
        };
        *kept = mark.map(|mark| (seen, mark));
        self.slots.weigh(run, replayed.weight());
        Ok(replayed)
    }
}
