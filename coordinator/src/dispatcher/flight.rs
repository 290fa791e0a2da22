//! Where an attempt is that was taken from its run.

use std::sync::Arc;

use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

/// A task queue of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey {
    /// The namespace.
    pub namespace: Namespace,
    /// SPEC name, without prefix.
    pub name: Arc<str>,
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
