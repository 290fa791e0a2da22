//! Who watches which run: told how far its journal has got, once that is durable.

use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use tokio::sync::watch;

/// How far a run has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// How often it has ended since it was first watched.
    pub ends: u64,
}

/// The watchers of this process's runs.
#[derive(Clone, Default)]
pub struct Watchers(Arc<Mutex<HashMap<RunId, watch::Sender<News>>>>);

impl Watchers {
    /// News of `run` from now on.
    #[must_use]
    pub fn watch(&self, run: RunId) -> watch::Receiver<News> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, sender| sender.receiver_count() > 0);
        all.entry(run).or_default().subscribe()
    }

    /// Tells the watchers of `run`, if it has any, that there are new records.
    pub fn tell(&self, run: RunId, has_ended: bool) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(&run) {
            sender.send_modify(|news| news.ends += u64::from(has_ended));
        }
    }
}
