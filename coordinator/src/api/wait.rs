//! Waiting for a run to end, and for its journal to grow.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{Namespace, RunId};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Api;
use super::problem::Problem;
use crate::store::{RunRow, StoredRow};

/// Longest `?wait=`.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often the store is asked about a run of another coordinator.
const POLL: Duration = Duration::from_millis(250);
/// A busy run commits often: the store is asked at most once in this time.
const PAUSE: Duration = Duration::from_millis(20);
/// Kind of the record that ends a run; the run's row changes in the same batch.
const END_KIND: &str = "run_finished";

/// Tells when a run may have new records.
pub struct Growth(Option<broadcast::Receiver<Arc<StoredRow>>>);

impl Growth {
    /// Of this run, from now on: what is there already is to be read before the first wait.
    #[must_use]
    pub fn of(api: &Api, run: RunId) -> Growth {
        Growth(api.backend.watch(run))
    }

    /// Waits for news until `deadline`; without a subscription, for the next poll.
    pub async fn next(&mut self, deadline: Instant) {
        let poll = deadline.min(Instant::now() + POLL);
        let Some(rows) = &mut self.0 else {
            return sleep_until(poll).await;
        };
        // Also polled: the run's partition may move to another process without a word.
        match timeout_at(poll, rows.recv()).await {
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {
                sleep_until(deadline.min(Instant::now() + PAUSE)).await;
                while !matches!(rows.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
            }
            Ok(Err(RecvError::Closed)) => self.0 = None,
            Err(_) => {}
        }
    }

    /// Waits until the run may have ended, or for the next poll: what else happens to it is passed over.
    async fn next_end(&mut self, deadline: Instant) {
        let poll = deadline.min(Instant::now() + POLL);
        let Some(rows) = &mut self.0 else {
            return sleep_until(poll).await;
        };
        loop {
            match timeout_at(poll, rows.recv()).await {
                Ok(Ok(stored)) if stored.row.kind != END_KIND => {}
                Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => return,
                Ok(Err(RecvError::Closed)) => {
                    self.0 = None;
                    return;
                }
            }
        }
    }
}

impl Api {
    /// Waits until the run has ended, `wait` is over or the process stops. Tells which.
    ///
    /// # Errors
    /// The store's, and 404.
    pub(super) async fn wait_for_end(
        &self,
        namespace: &Namespace,
        run: RunId,
        wait: Duration,
    ) -> Result<(RunRow, bool), Problem> {
        let deadline = Instant::now() + wait;
        let mut growth = Growth::of(self, run);
        loop {
            let row = self.run(namespace, &run.to_string()).await?;
            let ended = row.status.is_terminal();
            if ended || Instant::now() >= deadline || self.stopping.is_cancelled() {
                return Ok((row, ended));
            }
            tokio::select! {
                () = growth.next_end(deadline) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }
}
