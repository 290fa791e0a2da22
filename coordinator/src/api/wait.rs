//! Waiting for a run to end, and for its journal to grow.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{Namespace, RunId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Api;
use super::backend::Backend;
use super::problem::{Code, Problem};
use crate::owner::News;
use crate::store::RunRow;

/// Longest `?wait=`.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often the store is asked about a run of another coordinator.
const POLL: Duration = Duration::from_millis(250);
/// A busy run commits often: the store is asked at most once in this time.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells when a run may have new records.
pub struct Growth {
    backend: Arc<dyn Backend>,
    run: RunId,
    /// `None`: another coordinator's run.
    news: Option<watch::Receiver<News>>,
    /// How often it had ended when it was last looked at.
    ends: u64,
    /// Its row as that end left it, if it began before these eyes.
    row: Option<Arc<RunRow>>,
}

impl Growth {
    /// Of this run, from now on: what is there already is to be read before the first wait.
    #[must_use]
    pub fn of(api: &Api, run: RunId) -> Growth {
        let news = api.backend.watch(run);
        let ends = news.as_ref().map_or(0, |news| news.borrow().ends);
        Growth {
            backend: api.backend.clone(),
            run,
            news,
            ends,
            row: None,
        }
    }

    /// Watches on, from now: whoever was told of the end that counts is told no more.
    fn watch_anew(&mut self) {
        self.news = self.backend.watch(self.run);
        self.ends = 0;
    }

    /// Waits for news until `deadline`; without a subscription, for the next poll.
    pub async fn next(&mut self, deadline: Instant) {
        let poll = deadline.min(Instant::now() + POLL);
        let Some(news) = &mut self.news else {
            return sleep_until(poll).await;
        };
        // Also polled: the run's partition may move to another process without a word.
        match timeout_at(poll, news.changed()).await {
            Ok(Ok(())) => {
                sleep_until(deadline.min(Instant::now() + PAUSE)).await;
                news.mark_unchanged();
            }
            Ok(Err(_)) => self.watch_anew(),
            Err(_) => {}
        }
    }

    /// Waits until the run may have ended, or for the next poll: what else happens to it is passed over.
    async fn next_end(&mut self, deadline: Instant) {
        let poll = deadline.min(Instant::now() + POLL);
        let Some(news) = &mut self.news else {
            return sleep_until(poll).await;
        };
        let known = self.ends;
        let ended = timeout_at(poll, news.wait_for(|news| news.ends != known)).await;
        match ended.map(|ended| ended.map(|news| News::clone(&news))) {
            Ok(Ok(news)) => (self.ends, self.row) = (news.ends, news.row),
            Ok(Err(_)) => self.watch_anew(),
            Err(_) => {}
        }
    }
}

impl Api {
    /// Waits until the run has ended, `wait` is over or the process stops. Tells which. Where `growth` has followed it since before
    /// it began, the store is asked nothing that memory knows.
    ///
    /// # Errors
    /// The store's, and 404.
    pub(super) async fn wait_for_end(
        &self,
        namespace: &Namespace,
        run: RunId,
        (growth, is_new): (Option<Growth>, bool),
        wait: Duration,
    ) -> Result<(RunRow, bool), Problem> {
        let deadline = Instant::now() + wait;
        let mut growth = match growth {
            Some(mut growth) => {
                self.next_end(&mut growth, deadline).await;
                if let Some(row) = growth.row.take() {
                    return Ok((Arc::unwrap_or_clone(row), true));
                }
                growth
            }
            None => Growth::of(self, run),
        };
        loop {
            let row = match self.run(namespace, &run.to_string()).await {
                // What this call has begun goes on when the database is back.
                Err(problem) if is_new && problem.code() == Code::Unavailable && Instant::now() < deadline => {
                    self.next_end(&mut growth, deadline).await;
                    if self.stopping.is_cancelled() {
                        return Err(problem);
                    }
                    continue;
                }
                row => row?,
            };
            let ended = row.status.is_terminal();
            if ended || Instant::now() >= deadline || self.stopping.is_cancelled() {
                return Ok((row, ended));
            }
            self.next_end(&mut growth, deadline).await;
        }
    }

    async fn next_end(&self, growth: &mut Growth, deadline: Instant) {
        tokio::select! {
            () = growth.next_end(deadline) => {}
            () = self.stopping.cancelled() => {}
        }
    }
}
