//! What services need of runs: the same that a client gets by the API.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Its namespace.
    pub namespace: Namespace,
    /// The workflow.
    pub workflow: String,
    /// Its version; none: the newest.
    pub version: Option<u32>,
    /// Checked against the definition's schema when it starts.
    pub input: Json,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// The same key starts no second run, whatever else differs.
    pub key: Option<String>,
}

/// A run as a service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub status: RunStatus,
    /// When it was started.
    pub created_at: Timestamp,
    /// Why it failed, for people.
    pub error: Option<String>,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// It may work later.
    #[error("{0}")]
    Passing(String),
    /// It does not work as it was asked.
    #[error("{0}")]
    Refused(String),
}

/// Starts, cancels and sees runs.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Starts a run, or finds the one that its key had started.
    async fn start(&self, launch: &Launch) -> Result<RunId, RunsError>;
    /// Cancels a run; one that has ended stays as it is.
    async fn cancel(&self, run: RunId, reason: &str) -> Result<(), RunsError>;
    /// A run; none if it was deleted.
    async fn see(&self, run: RunId) -> Result<Option<Seen>, RunsError>;
}
