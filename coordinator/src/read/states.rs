//! States of runs that people look at again and again: folded once, then only moved on by what was appended since.
//!
//! Any coordinator can answer for any run this way, owner or not, at the cost of the new records alone.

use std::sync::Arc;

use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;

use super::journal::{Mark, ReadError, next_page, record};
use super::replay::fold_in;
use super::slots::Slots;
use crate::store::Store;

/// The states. What they take is not counted: those of runs that go on alone are kept, and their owners hold the same.
pub struct States(Slots<(RunState, Mark)>);

impl Default for States {
    fn default() -> States {
        States(Slots::new(usize::MAX))
    }
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
        let slot = self.0.of(run);
        let mut kept = slot.lock().await;
        // Taken out: what is left half read by an error, or by a reader who goes away, is not kept.
        let (mut state, mut mark) = match kept.take() {
            Some((state, mark)) if mark.stands(store, run).await? => (Some(state), Some(mark)),
            Some(_) | None => (None, None),
        };
        let unreadable = |reason: String| ReadError::Unreadable { run, reason };
        loop {
            let page = next_page(store, run, &mut mark).await?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                fold_in(&mut state, definition, &record(stored)?).map_err(unreadable)?;
            }
        }
        let (Some(mut state), Some(mark)) = (state, mark) else {
            return Ok(None);
        };
        state.look_ahead(window);
        let shown = look(&state);
        match state.status().is_terminal() {
            true => self.0.forget(run),
            false => *kept = Some((state, mark)),
        }
        Ok(Some(shown))
    }
}
