//! Removes what has outlived its use, however many coordinators there are: ended runs whose retention is over, and what was left
//! of deleted ones, snapshots of joined branches where they are not to be kept, verdicts nobody fetched, keys that are free again.
//!
//! Small batches, each one statement that skips what others have in hand; between full ones others get their turn.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::run::RunStatus;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::{Dropped, Store, StoreError};

/// Runs deleted by one statement.
const RUNS_MAX: usize = 100;
/// Pause after a look that found less than it could take.
const PAUSE: Duration = Duration::from_secs(10);
/// Pause between full batches.
const BREATH: Duration = Duration::from_millis(50);

/// What one look removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs, by state.
    pub runs: Vec<(RunStatus, u64)>,
    /// Snapshots of branches that were joined, where the workflow asks for that.
    pub dropped: Dropped,
    /// Rows of other tables that nobody needs any more.
    pub rows: u64,
}

impl Swept {
    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.runs.is_empty() && self.dropped.scopes == 0 && self.rows == 0
    }
}

/// The service.
#[derive(Clone)]
pub struct Retention {
    store: Arc<dyn Store>,
    keep: Vec<(RunStatus, Duration)>,
}

impl Retention {
    /// Over this store; `keep` says how long ended runs are kept whose workflow does not say so.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, keep: Vec<(RunStatus, Duration)>) -> Retention {
        Retention { store, keep }
    }

    /// Works until `stop`.
    pub async fn run(self, metrics: Metrics, stop: CancellationToken) {
        loop {
            let pause = match self.run_once().await {
                Ok(swept) => {
                    count(&metrics, &swept);
                    if swept.is_nothing() { PAUSE } else { BREATH }
                }
                Err(error) => {
                    tracing::warn!(%error, "what has outlived its use could not be removed");
                    PAUSE
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Removes one batch of everything.
    ///
    /// # Errors
    /// The store's; what was removed before stays removed.
    pub async fn run_once(&self) -> Result<Swept, StoreError> {
        let runs = self.store.delete_expired(&self.keep, RUNS_MAX).await?;
        let dropped = self.store.drop_snapshots().await?;
        let rows = self.store.sweep().await?;
        Ok(Swept { runs, dropped, rows })
    }

    /// How many runs would go in all, by state, and how many snapshots.
    ///
    /// # Errors
    /// The store's.
    pub async fn due(&self) -> Result<(Vec<(RunStatus, u64)>, u64), StoreError> {
        let runs = self.store.expired(&self.keep).await?;
        Ok((runs, self.store.snapshots_to_drop().await?))
    }
}

fn count(metrics: &Metrics, swept: &Swept) {
    for (status, runs) in &swept.runs {
        let deleted = metrics.runs_deleted.with_label_values(&[status.as_str()]);
        deleted.inc_by(crate::metrics::as_f64(usize::try_from(*runs).unwrap_or(usize::MAX)));
        tracing::info!(
            state = status.as_str(),
            runs,
            "runs deleted as their retention was over"
        );
    }
}
