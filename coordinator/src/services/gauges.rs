//! Gauges of what goes on beside the owner, who stands still while it waits for the database: connections, dead letters.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::dead_letters::DeadLetters;
use crate::metrics::{Metrics, as_f64};
use crate::store::Store;

/// Between two looks at the pool, which cost nothing.
const POOL_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the dead letters, each a question to the broker.
const LETTERS_PAUSE: Duration = Duration::from_secs(15);
/// Longest wait for the broker's answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The service.
pub struct Gauges {
    store: Arc<dyn Store>,
    letters: DeadLetters,
    metrics: Metrics,
}

impl Gauges {
    /// Of this store's pool and of these letters.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, letters: DeadLetters, metrics: Metrics) -> Gauges {
        Gauges {
            store,
            letters,
            metrics,
        }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let pool = async {
            loop {
                self.show_pool();
                tokio::time::sleep(POOL_PAUSE).await;
            }
        };
        let letters = async {
            loop {
                self.show_letters().await;
                tokio::time::sleep(LETTERS_PAUSE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = pool => {}
            () = letters => {}
        }
    }

    fn show_pool(&self) {
        let Some(pool) = self.store.pool() else { return };
        let connections = &self.metrics.store_pool_connections;
        connections.with_label_values(&["in_use"]).set(as_f64(pool.in_use));
        connections.with_label_values(&["idle"]).set(as_f64(pool.idle));
        self.metrics.store_pool_waiting.set(as_f64(pool.waiting));
    }

    /// What was last known stays while the broker does not answer.
    pub async fn show_letters(&self) {
        match tokio::time::timeout(ANSWER_MAX, self.letters.count()).await {
            Ok(Ok(count)) => self.metrics.dead_letters.set(as_f64(count)),
            Ok(Err(error)) => tracing::debug!(%error, "dead letters could not be counted"),
            Err(_) => tracing::debug!("dead letters could not be counted in time"),
        }
    }
}
