//! States of runs that people look at again and again: folded once, then only moved on by what was appended since.
//!
//! Any coordinator can answer for any run this way, owner or not, at the cost of the new records alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;

use super::journal::{ReadError, record};
use super::replay::fold_in;
use crate::store::Store;

/// Runs kept at most; the one that was not looked at for longest goes first.
const RUNS_MAX: usize = 64;
/// Rows fetched at a time.
const PAGE_ROWS: usize = 2000;

type Slot = Arc<tokio::sync::Mutex<Option<RunState>>>;

/// The states.
#[derive(Default)]
pub struct States(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    slots: HashMap<RunId, (u64, Slot)>,
    clock: u64,
}

impl States {
    /// Shows `look` the run's state as of its last record, with what its owner may have dispatched since (`window` attempts at
    /// once); `None` if it has none.
    ///
    /// # Errors
    /// The store's, and [`ReadError::Unreadable`].
    pub async fn look<R>(
        &self,
        store: &dyn Store,
        definition: &Arc<Definition>,
        run: RunId,
        window: usize,
        look: impl FnOnce(&RunState) -> R,
    ) -> Result<Option<R>, ReadError> {
        let slot = self.slot(run);
        let mut kept = slot.lock().await;
        let moved = move_on(&mut kept, store, definition, run).await;
        if moved.is_err() {
            *kept = None;
        }
        moved?;
        if let Some(state) = kept.as_mut() {
            state.look_ahead(window);
        }
        let shown = kept.as_ref().map(look);
        if kept.as_ref().is_none_or(|state| state.status().is_terminal()) {
            self.drop_run(run);
        }
        Ok(shown)
    }

    fn slot(&self, run: RunId) -> Slot {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        if kept.slots.len() >= RUNS_MAX && !kept.slots.contains_key(&run) {
            let oldest = kept
                .slots
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(run, _)| *run);
            oldest.and_then(|oldest| kept.slots.remove(&oldest));
        }
        let entry = kept.slots.entry(run).or_default();
        entry.0 = now;
        entry.1.clone()
    }

    fn drop_run(&self, run: RunId) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.slots.remove(&run);
    }
}

async fn move_on(
    kept: &mut Option<RunState>,
    store: &dyn Store,
    definition: &Arc<Definition>,
    run: RunId,
) -> Result<(), ReadError> {
    let unreadable = |reason: String| ReadError::Unreadable { run, reason };
    loop {
        let after = kept.as_ref().map_or(0, RunState::last_seq);
        let page = store.journal(run, after, PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(());
        }
        for stored in &page {
            fold_in(kept, definition, &record(stored)?).map_err(unreadable)?;
        }
    }
}
