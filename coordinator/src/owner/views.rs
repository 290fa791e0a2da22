//! What the owner shows of itself, as plain data.

use rejoin_shared::ids::{Namespace, StepKey};
use rejoin_shared::run::{Counts, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::Serialize;

/// What a run waits for.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Explanation {
    pub status: RunStatus,
    pub progress: Progress,
    pub counts: Counts,
    /// Taken attempts, at most [`ATTEMPTS_SHOWN_MAX`].
    pub attempts: Vec<AttemptView>,
    /// How many there are.
    pub attempts_total: usize,
    /// When something of the run is due by itself.
    pub next_due: Option<Timestamp>,
}

/// Attempts of one run shown at most.
pub const ATTEMPTS_SHOWN_MAX: usize = 1_000;

/// An outstanding attempt.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct AttemptView {
    pub step: StepKey,
    pub attempt: u32,
    pub path: Option<String>,
    pub queue: String,
    pub handler: String,
    pub place: Place,
}

/// Where an attempt is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Place {
    /// Waits for credit.
    Unsent,
    /// No worker of its queue serves its handler.
    NoWorker,
    /// On its way to the broker or a worker.
    Sent,
    /// A worker has it.
    Held {
        /// Its name.
        worker: String,
    },
    /// It may be lost: a probe will tell.
    Doubtful,
}

/// Workers and queues, as this coordinator sees them.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct FleetView {
    pub workers: Vec<WorkerView>,
    pub queues: Vec<QueueView>,
}

/// A worker.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct WorkerView {
    pub name: String,
    pub incarnation: uuid::Uuid,
    pub namespace: Namespace,
    pub queues: Vec<String>,
    pub handlers: Vec<String>,
    pub slots: u32,
    pub busy: u32,
    pub held: usize,
    pub draining: bool,
    /// Whether it gets new work: it does not drain, and was heard a moment ago.
    pub takes_work: bool,
    pub started_at: Timestamp,
    pub version: Option<String>,
    pub seen_at: Timestamp,
}

impl FleetView {
    /// Whether a worker of this queue serves this handler and takes new work.
    #[must_use]
    pub fn serves(&self, namespace: &Namespace, queue: &str, handler: &str) -> bool {
        let among = |list: &[String], name: &str| list.iter().any(|entry| entry == name);
        let mut takers = self
            .workers
            .iter()
            .filter(|w| w.takes_work && w.namespace == *namespace);
        takers.any(|w| among(&w.queues, queue) && among(&w.handlers, handler))
    }
}

/// A task queue.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct QueueView {
    pub namespace: Namespace,
    pub queue: String,
    /// Attempts that wait here.
    pub waiting: usize,
    /// Attempts on their way or at workers.
    pub out: usize,
    pub doubtful: usize,
    pub probing: bool,
    pub workers: usize,
    pub slots: u32,
    pub busy: u32,
    /// Handlers with ready steps that no worker of the queue serves.
    pub unserved: Vec<String>,
}
