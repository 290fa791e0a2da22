//! Who watches which run: committed rows are broadcast to them.

use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use tokio::sync::broadcast;

use crate::store::StoredRow;

/// Rows a slow watcher may lag behind; then it reads the journal.
const LAG_MAX: usize = 1_024;

/// The watchers of this process's runs.
#[derive(Clone, Default)]
pub struct Watchers(Arc<Mutex<HashMap<RunId, broadcast::Sender<Arc<StoredRow>>>>>);

impl Watchers {
    /// Committed rows of `run` from now on.
    #[must_use]
    pub fn watch(&self, run: RunId) -> broadcast::Receiver<Arc<StoredRow>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, sender| sender.receiver_count() > 0);
        all.entry(run)
            .or_insert_with(|| broadcast::channel(LAG_MAX).0)
            .subscribe()
    }

    /// Tells the watchers of `run`, if it has any.
    pub fn tell(&self, run: RunId, rows: impl Iterator<Item = StoredRow>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(&run) {
            // A watcher that has left needs nothing.
            rows.for_each(|row| drop(sender.send(Arc::new(row))));
        }
    }
}
