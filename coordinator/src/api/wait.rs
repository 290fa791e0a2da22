//! Waiting for a run to end, and for its journal to grow.

use std::time::Duration;

use rejoin_shared::ids::{Namespace, RunId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Api;
use super::problem::Problem;
use crate::store::RunRow;

/// Longest `?wait=`.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often the store is asked about a run of another coordinator.
const POLL: Duration = Duration::from_millis(250);
/// A busy run commits often: the store is asked at most once in this time.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells when a run may have new records.
pub struct Growth(Option<watch::Receiver<u64>>);

impl Growth {
    /// Of this run.
    #[must_use]
    pub fn of(api: &Api, run: RunId) -> Growth {
        let mut receiver = api.backend.watch(run);
        // What is there already is read before the first wait.
        if let Some(receiver) = &mut receiver {
            receiver.mark_unchanged();
        }
        Growth(receiver)
    }

    /// Waits for news until `deadline`; without a subscription, for the next poll.
    pub async fn next(&mut self, deadline: Instant) {
        let poll = deadline.min(Instant::now() + POLL);
        let Some(receiver) = &mut self.0 else {
            return sleep_until(poll).await;
        };
        // Also polled: the run's partition may move to another process without a word.
        match timeout_at(poll, receiver.changed()).await {
            Ok(Ok(())) => sleep_until(deadline.min(Instant::now() + PAUSE)).await,
            Ok(Err(_)) => self.0 = None,
            Err(_) => {}
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
                () = growth.next(deadline) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }
}
