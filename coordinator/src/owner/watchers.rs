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

    /// Tells the watchers of `run`, if it has any, that there are new records. Those who are told its row are told for the last time:
    /// whoever wants to know more watches it anew.
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
        // It may have been resumed in the same append.
        let is_over = |row: &mut RunRow| row.status.is_terminal();
        let row = watched.row.take_if(is_over).map(Arc::new);
        let is_over = row.is_some();
        watched.news.send_modify(|news| {
            news.ends += 1;
            news.row = row;
        });
        // Nobody keeps its row any longer than those who are told.
        if is_over {
            all.remove(&run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use rejoin_shared::ids::{Namespace, Partition};
    use rejoin_shared::run::{Counts, Priority, Progress, RunStatus};

    use super::*;

    fn row(id: RunId) -> RunRow {
        RunRow {
            id,
            namespace: Namespace::default_name(),
            workflow: "w".to_owned(),
            version: 1,
            status: RunStatus::Running,
            priority: Priority::Normal,
            input: Bytes::new(),
            context: None,
            output: None,
            error: None,
            compensated: false,
            tags: BTreeMap::new(),
            idempotency_key: None,
            parent: None,
            forked_from: None,
            progress: Progress::default(),
            counts: Counts::default(),
            wake_at: None,
            created_at: Timestamp(0),
            started_at: None,
            finished_at: None,
        }
    }

    fn change(run: RunId, status: RunStatus) -> RunChange {
        RunChange {
            run,
            status,
            progress: Progress::default(),
            counts: Counts::default(),
            wake_at: None,
            ended: None,
            reopened: false,
        }
    }

    fn written(has_ended: bool) -> Written<'static> {
        Written {
            created: None,
            change: None,
            at: Timestamp(1),
            has_ended,
        }
    }

    #[tokio::test]
    async fn all_are_told_of_an_end_and_of_the_next_one() {
        let (watchers, run) = (Watchers::default(), RunId::new_in(Partition(1)));
        let mut both = [watchers.watch(run), watchers.watch(run)];
        watchers.tell(run, &written(false));
        assert!(both.iter().all(|news| news.has_changed().is_ok_and(|changed| changed)));
        for ends in 1..=2 {
            watchers.tell(run, &written(true));
            for news in &mut both {
                let seen = news.wait_for(|news| news.ends == ends).await.expect("it was told");
                assert!(seen.row.is_none(), "nobody saw it begin");
            }
        }
    }

    #[tokio::test]
    async fn who_watched_a_run_since_before_it_began_gets_its_row_once_it_is_over() {
        let (watchers, row) = (Watchers::default(), row(RunId::new_in(Partition(1))));
        let mut news = watchers.watch(row.id);
        let change = |status| change(row.id, status);
        let began = Written {
            created: Some(&row),
            ..written(false)
        };
        watchers.tell(row.id, &began);
        let resumed = Written {
            change: Some(&change(RunStatus::Running)),
            ..written(true)
        };
        watchers.tell(row.id, &resumed);
        let seen = news.wait_for(|news| news.ends == 1).await.expect("it was told");
        assert!(seen.row.is_none(), "it was resumed as it ended");
        drop(seen);
        let ended = Written {
            change: Some(&change(RunStatus::Failed)),
            ..written(true)
        };
        watchers.tell(row.id, &ended);
        let seen = news.wait_for(|news| news.ends == 2).await.expect("it was told");
        assert_eq!(seen.row.as_ref().map(|row| row.status), Some(RunStatus::Failed));
        assert!(watchers.0.lock().expect("the map").is_empty());
    }
}
