//! What the API needs of the coordinator process it runs in. Reads come from the store; this is the rest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rejoin_shared::ids::RunId;
use rejoin_shared::link::{Link, LinkState};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::watch;

use crate::broker::dead_letters::DeadLetters;
use crate::coordinator::Coordinator;
use crate::fleet::Held;
use crate::owner::News;
use crate::owner::command::{Command, CommandError, Reply};
use crate::owner::views::{Explanation, FleetView};
use crate::read::why::Trouble;
use crate::store::{Broadcast, Store, StoreError};
use crate::survey;

/// How long the broker may be away before the process is not ready any more.
const BROKER_BLIP_MAX: Duration = Duration::from_secs(10);

/// Whether one thing the coordinator depends on works.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// Ids for runs that begin together, in one partition.
    fn new_run_ids(&self, count: usize) -> Vec<RunId>;
    /// Has the owner of `run` carry out `command`; answered after its effect is durable.
    async fn submit(&self, run: RunId, command: Command) -> Result<Reply, CommandError>;
    /// Puts a message for every run that waits for an event now; returns how many that are, once it is durable.
    async fn broadcast(&self, message: Broadcast) -> Result<u64, StoreError>;
    /// What the run waits for; `None` if it is not in memory here.
    async fn explain(&self, run: RunId) -> Option<Explanation>;
    /// Who holds which attempt of the run, as workers report it to every coordinator.
    async fn holders(&self, run: RunId) -> Held;
    /// Runs with a step whose handler no worker serves, of all coordinators and namespaces; which coordinator cannot say now, if
    /// one cannot.
    async fn unserved(&self) -> Result<Vec<RunId>, String>;
    /// Workers, which every coordinator hears, and what this one has dispatched, of all namespaces.
    async fn fleet(&self) -> FleetView;
    /// Workers, and what all coordinators have dispatched; one that does not answer is left out.
    async fn whole_fleet(&self) -> FleetView;
    /// Name of the coordinator that owns the run's partition.
    async fn owner(&self, run: RunId) -> Option<String>;
    /// How far a run gets from now on, if this process owns it; otherwise the store is to be polled.
    fn watch(&self, run: RunId) -> Option<watch::Receiver<News>>;
    /// What the broker has given up, of all namespaces.
    fn dead_letters(&self) -> &DeadLetters;
    /// Why nothing reaches any worker from here now.
    fn trouble(&self) -> Option<Trouble>;
    /// What the process depends on.
    async fn checks(&self) -> Vec<Check>;
}

/// The coordinator of this process.
pub struct Local {
    coordinator: Coordinator,
    name: String,
    store: Arc<dyn Store>,
    link: Arc<dyn Link>,
    /// Since when probes have found the broker away.
    down_since: Mutex<Option<Instant>>,
}

impl Local {
    /// Of this coordinator, `name` among the members, with its own store and link.
    #[must_use]
    pub fn new(coordinator: Coordinator, name: &str, store: Arc<dyn Store>, link: Arc<dyn Link>) -> Local {
        Local {
            coordinator,
            name: name.to_owned(),
            store,
            link,
            down_since: Mutex::new(None),
        }
    }

    /// A blip heals by itself and must not take the process out of its load balancer.
    fn broker(&self) -> Check {
        let state = *self.link.state().borrow();
        let mut down_since = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        let (ok, detail) = match state {
            LinkState::Up(_) => (true, "connected".to_owned()),
            LinkState::Blocked(_) => (true, "connected, but it blocks publishers".to_owned()),
            LinkState::Down => {
                let away = down_since.get_or_insert_with(Instant::now).elapsed();
                (
                    away < BROKER_BLIP_MAX,
                    format!("not connected for {} s", away.as_secs()),
                )
            }
        };
        if state != LinkState::Down {
            *down_since = None;
        }
        let name = "broker";
        Check { name, ok, detail }
    }
}

#[async_trait]
impl Backend for Local {
    fn new_run_id(&self) -> RunId {
        self.coordinator.new_run_id()
    }

    fn new_run_ids(&self, count: usize) -> Vec<RunId> {
        self.coordinator.new_run_ids(count)
    }

    async fn submit(&self, run: RunId, command: Command) -> Result<Reply, CommandError> {
        self.coordinator.submit(run, command).await
    }

    async fn broadcast(&self, message: Broadcast) -> Result<u64, StoreError> {
        let count = self.store.broadcast(&message).await?;
        if count > 0 {
            self.coordinator.nudge().await;
        }
        Ok(count)
    }

    async fn explain(&self, run: RunId) -> Option<Explanation> {
        self.coordinator.explain(run).await
    }

    async fn holders(&self, run: RunId) -> Held {
        self.coordinator.holders(run).await.unwrap_or_default()
    }

    async fn unserved(&self) -> Result<Vec<RunId>, String> {
        let mut runs = self.coordinator.unserved().await.ok_or_else(|| self.name.clone())?;
        let others = self.coordinator.ask_others(true).await;
        let others = others.map_err(|error| error.to_string())?;
        match others.missed.is_empty() {
            true => {
                runs.extend(others.answers.into_iter().flat_map(|answer| answer.runs));
                Ok(runs)
            }
            false => Err(others.missed.join(", ")),
        }
    }

    async fn fleet(&self) -> FleetView {
        self.coordinator.fleet().await.unwrap_or_default()
    }

    async fn whole_fleet(&self) -> FleetView {
        let mut fleet = self.fleet().await;
        match self.coordinator.ask_others(false).await {
            Ok(others) => others
                .answers
                .into_iter()
                .for_each(|answer| survey::add(&mut fleet, answer)),
            Err(error) => tracing::warn!(%error, "the other coordinators are not known"),
        }
        fleet
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

    fn watch(&self, run: RunId) -> Option<watch::Receiver<News>> {
        let is_ours = self.coordinator.partitions_owned().contains(&run.partition());
        is_ours.then(|| self.coordinator.watch(run))
    }

    fn dead_letters(&self) -> &DeadLetters {
        self.coordinator.dead_letters()
    }

    fn trouble(&self) -> Option<Trouble> {
        let state = *self.link.state().borrow();
        let (text, is_deaf) = match state {
            LinkState::Up(_) => return None,
            LinkState::Blocked(_) => ("the broker takes no messages: it has a memory or disk alarm", false),
            LinkState::Down => (
                "the broker is away: nothing reaches workers, nor is any of them heard",
                true,
            ),
        };
        Some(Trouble { text, is_deaf })
    }

    async fn checks(&self) -> Vec<Check> {
        let database = self.store.ping().await;
        let check = |name, ok, detail: String| Check { name, ok, detail };
        let answers = database.is_ok();
        vec![
            check(
                "database",
                answers,
                database.map_or_else(|e| e.to_string(), |()| "answers".to_owned()),
            ),
            self.broker(),
            check(
                "membership",
                self.coordinator.is_ready(),
                format!("{} partitions owned", self.coordinator.partitions_owned().len()),
            ),
        ]
    }
}
