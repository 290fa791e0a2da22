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
            biased;
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
    async fn show_letters(&self) {
        match tokio::time::timeout(ANSWER_MAX, self.letters.count()).await {
            Ok(Ok(count)) => self.metrics.dead_letters.set(as_f64(count)),
            Ok(Err(error)) => tracing::debug!(%error, "dead letters could not be counted"),
            Err(_) => tracing::debug!("dead letters could not be counted in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::link::memory::MemoryBroker;
    use rejoin_shared::link::{Address, Message};
    use rejoin_shared::topology::Topology;

    use super::*;
    use crate::store::embedded::EmbeddedStore;

    #[tokio::test]
    async fn dead_letters_are_counted_and_none_where_there_is_no_queue_for_them() {
        let (broker, topology) = (MemoryBroker::default(), Topology::default());
        let link = broker.link("test");
        let store = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
        let letters = DeadLetters::new(link.clone(), &topology);
        let gauges = Gauges::new(store, letters, Metrics::new());
        gauges.metrics.dead_letters.set(7.0);
        gauges.show_letters().await;
        assert_eq!(as_count(&gauges), 0);
        link.declare(&topology.dead_queue()).await.expect("declared");
        for _ in 0..2 {
            let letter = Message::new("letter", true, Vec::new());
            let to = Address::Queue(topology.dead());
            link.publish(&to, letter).await.expect("sent");
        }
        gauges.show_letters().await;
        assert_eq!(as_count(&gauges), 2);
    }

    fn as_count(gauges: &Gauges) -> i64 {
        let text = gauges.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("rejoin_dead_letters "));
        line.and_then(|value| value.parse().ok()).expect("a whole number")
    }
}
