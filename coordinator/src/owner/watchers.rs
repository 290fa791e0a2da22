//! Who watches which run: told how far its journal has got, once that is durable.

use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use rejoin_shared::time::Timestamp;
use tokio::sync::watch;

use crate::store::{RunChange, RunRow};

/// How far a run has got.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// How often it has ended since it was first watched.
    pub ends: u64,
    /// Its row as the last of these ends left it, if it was watched since before it began: the store need not be asked.
    pub row: Option<Arc<RunRow>>,
}

/// What was written of a run.
pub struct Written<'a> {
    /// Its row, if it began.
    pub created: Option<&'a RunRow>,
    /// What changed in its row.
    pub change: Option<&'a RunChange>,
    /// When.
    pub at: Timestamp,
    /// Whether it has ended with it.
    pub has_ended: bool,
}

#[derive(Default)]
struct Watched {
    news: watch::Sender<News>,
    /// Its row, if it was watched when it began.
    row: Option<RunRow>,
}

/// The watchers of this process's runs.
#[derive(Clone, Default)]
pub struct Watchers(Arc<Mutex<HashMap<RunId, Watched>>>);

impl Watchers {
    /// News of `run` from now on.
    #[must_use]
    pub fn watch(&self, run: RunId) -> watch::Receiver<News> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, watched| watched.news.receiver_count() > 0);
        all.entry(run).or_default().news.subscribe()
    }

    /// Tells the watchers of `run`, if it has any, that there are new records. Those of one that has ended are told last: whoever wants
    /// to know more watches it anew.
    pub fn tell(&self, run: RunId, written: &Written<'_>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = all.get_mut(&run) else {
            return;
        };
        if let Some(created) = written.created {
            watched.row = Some(created.clone());
        }
        if let (Some(row), Some(change)) = (&mut watched.row, written.change) {
            row.change(change, written.at);
        }
        if !written.has_ended {
            return watched.news.send_modify(|_| {});
        }
        let row = watched.row.take().map(Arc::new);
        watched.news.send_modify(|news| {
            news.ends += 1;
            news.row = row;
        });
        all.remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Partition;

    use super::*;

    #[tokio::test]
    async fn an_end_is_told_to_all_and_lets_go_of_the_run() {
        let (watchers, run) = (Watchers::default(), RunId::new_in(Partition(1)));
        let mut both = [watchers.watch(run), watchers.watch(run)];
        let at = Timestamp(1);
        let ending = |has_ended| Written {
            created: None,
            change: None,
            at,
            has_ended,
        };
        watchers.tell(run, &ending(false));
        assert!(both.iter().all(|news| news.has_changed().is_ok_and(|changed| changed)));
        watchers.tell(run, &ending(true));
        for news in &mut both {
            let seen = news.wait_for(|news| news.ends > 0).await.expect("it was told");
            assert!(seen.row.is_none(), "nobody saw it begin");
        }
        assert!(watchers.0.lock().expect("the map").is_empty());
    }
}
