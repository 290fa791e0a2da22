//! What the API needs of the coordinator process it runs in. Reads come from the store; this is the rest.

use std::sync::Arc;

use async_trait::async_trait;
use rejoin_shared::ids::RunId;
use rejoin_shared::link::{Link, LinkState};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::coordinator::Coordinator;
use crate::owner::command::{Command, CommandError, Reply};
use crate::owner::views::{Explanation, FleetView};
use crate::store::{Store, StoredRow};

/// Whether one thing the coordinator depends on works.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `database`, `broker`, `membership`
    pub name: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// For people.
    pub detail: String,
}

/// The coordinator process behind the API.
#[async_trait]
pub trait Backend: Send + Sync {
    /// An id for a new run, in a partition of this process if it owns any.
    fn new_run_id(&self) -> RunId;
    /// Has the owner of `run` carry out `command`; answered after its effect is durable.
    async fn submit(&self, run: RunId, command: Command) -> Result<Reply, CommandError>;
    /// What the run waits for; `None` if it is not in memory here.
    async fn explain(&self, run: RunId) -> Option<Explanation>;
    /// Workers and queues, of all namespaces.
    async fn fleet(&self) -> FleetView;
    /// Name of the coordinator that owns the run's partition.
    async fn owner(&self, run: RunId) -> Option<String>;
    /// Committed rows of a run from now on, if this process owns it; otherwise the store is to be polled.
    fn watch(&self, run: RunId) -> Option<broadcast::Receiver<Arc<StoredRow>>>;
    /// What the process depends on.
    async fn checks(&self) -> Vec<Check>;
}

/// The coordinator of this process.
pub struct Local {
    /// It.
    pub coordinator: Coordinator,
    /// Its name among the members.
    pub name: String,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Its link to the broker.
    pub link: Arc<dyn Link>,
}

#[async_trait]
impl Backend for Local {
    fn new_run_id(&self) -> RunId {
        self.coordinator.new_run_id()
    }

    async fn submit(&self, run: RunId, command: Command) -> Result<Reply, CommandError> {
        self.coordinator.submit(run, command).await
    }

    async fn explain(&self, run: RunId) -> Option<Explanation> {
        self.coordinator.explain(run).await
    }

    async fn fleet(&self) -> FleetView {
        self.coordinator.fleet().await.unwrap_or_default()
    }

    async fn owner(&self, run: RunId) -> Option<String> {
        if self.coordinator.partitions_owned().contains(&run.partition()) {
            return Some(self.name.clone());
        }
        let rows = self.store.partitions().await.ok()?;
        let row = rows
            .into_iter()
            .find(|row| row.partition == run.partition() && row.is_live)?;
        row.owner.map(|member| member.name)
    }

    fn watch(&self, run: RunId) -> Option<broadcast::Receiver<Arc<StoredRow>>> {
        let is_ours = self.coordinator.partitions_owned().contains(&run.partition());
        is_ours.then(|| self.coordinator.watch(run))
    }

    async fn checks(&self) -> Vec<Check> {
        let database = self.store.ping().await;
        let link = *self.link.state().borrow();
        let check = |name, ok, detail: String| Check { name, ok, detail };
        vec![
            check(
                "database",
                database.is_ok(),
                database.map_or_else(|e| e.to_string(), |()| "answers".to_owned()),
            ),
            check(
                "broker",
                // A blip heals by itself, and the membership is what tells whether runs go on.
                true,
                match link {
                    LinkState::Up(_) => "connected".to_owned(),
                    LinkState::Blocked(_) => "connected, blocks publishers".to_owned(),
                    LinkState::Down => "not connected".to_owned(),
                },
            ),
            check(
                "membership",
                self.coordinator.is_ready(),
                format!("{} partitions owned", self.coordinator.partitions_owned().len()),
            ),
        ]
    }
}
