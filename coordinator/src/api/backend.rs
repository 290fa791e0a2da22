//! What the API needs of the coordinator process it runs in. Reads come from the store; this is the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rejoin_engine::event::Start;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::{AttemptKey, Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::{Counts, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// A command for a run; answered after its effect is durable.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin a new run. One that exists already is [`Verdict::AlreadySo`].
    Start {
        /// What to start.
        start: Box<Start>,
        /// The version it names, compiled.
        definition: Arc<Definition>,
        /// The key it was started with, for lists.
        idempotency_key: Option<String>,
    },
    /// End it.
    Cancel {
        /// For people.
        reason: Option<String>,
    },
    /// Dispatch nothing new.
    Pause,
    /// Go on.
    Resume,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Durable.
    Done,
    /// It was so before.
    AlreadySo,
    /// The state does not allow it, and why.
    NotAllowed(String),
    /// No such run.
    NoRun,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The same command may work later; it may even have been taken.
    #[error("{0}")]
    Away(String),
    /// These data cannot be stored.
    #[error("{0}")]
    Refused(String),
}

/// A run as its owner has it in memory.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // INTERFACE 8
pub struct LiveRun {
    pub status: RunStatus,
    pub context: Json,
    pub progress: Progress,
    pub counts: Counts,
}

/// A worker as it last reported itself.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // wire::Report
pub struct WorkerView {
    pub name: String,
    pub incarnation: uuid::Uuid,
    #[serde(skip)]
    pub namespace: Namespace,
    pub queues: Vec<String>,
    pub handlers: Vec<String>,
    pub slots: u32,
    pub busy: u32,
    pub held: u64,
    pub draining: bool,
    pub started_at: Timestamp,
    pub last_seen_at: Timestamp,
}

/// A task queue.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct QueueView {
    pub name: String,
    #[serde(skip)]
    pub namespace: Namespace,
    /// Messages ready at the broker, where it is known.
    pub depth: Option<u64>,
    /// Attempts that are due and not dispatched.
    pub outstanding: u64,
    pub workers: u64,
    pub slots: u64,
    pub busy: u64,
    /// Handlers that some worker of the queue serves.
    pub handlers: Vec<String>,
}

/// Workers and queues, of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    /// By name.
    pub workers: Vec<WorkerView>,
    /// By name.
    pub queues: Vec<QueueView>,
    /// Which worker holds which attempt (of the runs asked for).
    pub held: BTreeMap<AttemptKey, String>,
}

impl FleetView {
    /// Whether a worker of `queue` serves `handler`.
    #[must_use]
    pub fn serves(&self, namespace: &Namespace, queue: &str, handler: &str) -> bool {
        let among = |list: &[String], name: &str| list.iter().any(|entry| entry == name);
        self.workers
            .iter()
            .any(|w| w.namespace == *namespace && among(&w.queues, queue) && among(&w.handlers, handler))
    }
}

/// Whether one thing the coordinator depends on works.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `database`, `broker`, `partitions`, …
    pub name: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// For people.
    pub detail: String,
}

/// The coordinator process behind the API.
#[async_trait]
pub trait Backend: Send + Sync {
    /// An id for a new run, in a partition of this process; `None` while it owns none.
    fn new_run_id(&self) -> Option<RunId>;
    /// Has the owner of `run` carry out `command`, waits up to 10 s for the verdict.
    async fn submit(&self, run: RunId, command: Command) -> Result<Verdict, SubmitError>;
    /// The run as its owner holds it, if that is this process and it is loaded.
    async fn live(&self, run: RunId) -> Option<LiveRun>;
    /// Workers and queues, and who holds attempts of `run`.
    async fn fleet(&self, run: Option<RunId>) -> FleetView;
    /// Name of the coordinator that owns the run's partition.
    async fn owner(&self, run: RunId) -> Option<String>;
    /// Sequence number of the last committed record of a run of this process; `None`: another's, poll the store.
    fn watch(&self, run: RunId) -> Option<watch::Receiver<u64>>;
    /// What the process depends on.
    async fn checks(&self) -> Vec<Check>;
}
