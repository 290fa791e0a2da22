//! Where an attempt is that was taken from its run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

/// A task queue of a namespace: each attempt carries one, so it is cheap to copy and to look up.
#[derive(Clone, Debug, PartialOrd, Ord)]
pub struct QueueKey(Arc<QueueName>);

/// What a [`QueueKey`] names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// The namespace.
    pub namespace: Namespace,
    /// SPEC name, without prefix.
    pub name: Arc<str>,
    hash: u64,
}

impl QueueKey {
    /// The key of a queue.
    #[must_use]
    pub fn new(namespace: Namespace, name: Arc<str>) -> QueueKey {
        let mut hasher = DefaultHasher::new();
        (&namespace, &name).hash(&mut hasher);
        QueueKey(Arc::new(QueueName {
            namespace,
            name,
            hash: hasher.finish(),
        }))
    }
}

impl Deref for QueueKey {
    type Target = QueueName;

    fn deref(&self) -> &QueueName {
        &self.0
    }
}

impl PartialEq for QueueKey {
    fn eq(&self, other: &QueueKey) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for QueueKey {}

impl Hash for QueueKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A taken attempt.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its task queue.
    pub queue: QueueKey,
    /// Its handler.
    pub handler: Arc<str>,
    /// It has to be claimed before it runs: it travels alone.
    pub wants_claim: bool,
    /// Where it is.
    pub phase: Phase,
    /// When the broker had confirmed it.
    pub confirmed_at: Option<Timestamp>,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not on the wire: no credit, or no worker serves its handler.
    Waiting,
    /// Handed to the publisher with this number.
    Publishing(u64),
    /// Confirmed by the broker, and listed by no worker since.
    Sent {
        /// Number of its publish.
        publish: u64,
        /// When it was confirmed, or last listed.
        since: Timestamp,
    },
    /// A worker (this incarnation) holds it: it said so, or was allowed to run it.
    Held(Uuid),
    /// It may be on the wire or not: a probe of its queue will tell.
    Doubtful,
}

impl Phase {
    /// Whether it takes up room in its queue's window.
    #[must_use]
    pub fn is_out(self) -> bool {
        match self {
            Phase::Waiting => false,
            Phase::Publishing(_) | Phase::Sent { .. } | Phase::Held(_) | Phase::Doubtful => true,
        }
    }
}
