//! The link to RabbitMQ, over lapin.
//!
//! ```text
//! AmqpLink ─ supervisor: Session::open ─▶ watch ─▶ (first failure) ─▶ back-off ─▶ Session::open …
//!                          ├─ publishing connection: one confirm channel, owned by the Publisher task
//!                          └─ consuming connection: Admin channel (declares, depth), one channel a consumer
//! ```

mod admin;
mod config;
mod consumer;
mod convert;
mod failure;
mod publisher;
mod session;
mod silence;
mod stuck;
mod supervisor;
mod transport;
mod unsettled;
mod vanished;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::AmqpConfig;
use self::consumer::AmqpConsumer;
use self::publisher::Outgoing;
use self::session::Session;
use self::stuck::Stuck;
use self::vanished::Vanished;
use super::{
    Address, Consumer, Depth, Link, LinkError, LinkState, Message, Published, QueueKind, QueueSpec, Receipt, Settle,
};
use crate::topology::Topology;

/// What was published is awaited for so long when the link is closed.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A link to RabbitMQ that connects again for ever.
pub struct AmqpLink {
    shared: Arc<Shared>,
}

/// What the link and its supervisor share.
struct Shared {
    config: AmqpConfig,
    state: watch::Sender<LinkState>,
    session: Mutex<Option<Arc<Session>>>,
    /// Why the last attempt to connect failed; none since one went well.
    failure: Mutex<Option<String>>,
    vanished: Arc<Vanished>,
    stuck: Stuck,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl AmqpLink {
    /// A link that connects in the background; watch [`Link::state`]. Ends with [`Link::close`] or when it is dropped.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn connect(config: AmqpConfig) -> Arc<AmqpLink> {
        let shared = Arc::new(Shared {
            config,
            state: watch::channel(LinkState::Down).0,
            session: Mutex::new(None),
            failure: Mutex::new(None),
            vanished: Arc::default(),
            stuck: Stuck::default(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        });
        shared.tracker.spawn(supervisor::run(shared.clone()));
        Arc::new(AmqpLink { shared })
    }

    /// Why there is no connection, if the last attempt failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Deletes a queue with all that is in it: what runs still need of that is published again.
    ///
    /// # Errors
    /// The broker's; a queue that is not there is none.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), LinkError> {
        let session = self.shared.session()?;
        session.admin.delete_queue(&session.consuming, queue).await
    }

    /// Deletes everything that stands at the broker under the names of `topology` and these task queues of the default
    /// namespace, with all that is in it. For installations that were made to be thrown away.
    ///
    /// # Errors
    /// The first failure; what is not there is none.
    pub async fn delete_all(&self, topology: &Topology, task_queues: &[&str]) -> Result<(), LinkError> {
        let session = self.shared.session()?;
        for queue in topology.durable_names(task_queues) {
            session.admin.delete_queue(&session.consuming, &queue).await?;
        }
        for exchange in [topology.reports(), topology.workers(), topology.events_exchange()] {
            session.admin.delete_exchange(&session.consuming, &exchange).await?;
        }
        Ok(())
    }
}

impl Shared {
    fn session(&self) -> Result<Arc<Session>, LinkError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let live = session.as_ref().filter(|session| !session.ended.is_cancelled());
        live.cloned().ok_or(LinkError::Down)
    }

    /// What the outcome of a publish tells of its queue.
    fn note_outcome(self: &Arc<Self>, queue: &str, outcome: &Result<Published, LinkError>) {
        match outcome {
            Ok(Published::Accepted | Published::Refused) => self.stuck.clear(queue),
            Ok(Published::Unroutable) => {
                self.stuck.clear(queue);
                self.vanished.note(queue);
            }
            Err(error) => self.suspect(queue, error),
        }
    }

    /// The broker did not do something with a queue.
    fn suspect(self: &Arc<Self>, queue: &str, error: &LinkError) {
        let is_slow = matches!(error, LinkError::TimedOut(_));
        if is_slow && self.config.mends_queues && self.stuck.note(queue) {
            self.tracker.spawn(stuck::mend(self.clone(), queue.to_owned()));
        }
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

#[async_trait]
impl Link for AmqpLink {
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        // An exclusive one is ours alone.
        if matches!(queue.kind, QueueKind::Durable { .. }) {
            self.shared.vanished.mourn(&queue.name).await;
        }
        let session = self.shared.session()?;
        session.admin.declare(&session.consuming, queue).await
    }

    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
        let (answer, outcome) = oneshot::channel();
        let outgoing = Outgoing {
            to: to.clone(),
            message,
            answer,
        };
        // Everything up to here and this line runs before the first await: the order of the calls.
        let queued = self.shared.session()?.outgoing.send(outgoing);
        queued.map_err(|_| LinkError::Down)?;
        let limit = self.shared.config.publish_timeout;
        let outcome = match tokio::time::timeout(limit, outcome).await {
            Ok(outcome) => outcome.unwrap_or(Err(LinkError::Down)),
            Err(_) => Err(failure::timed_out(limit)),
        };
        if let Address::Queue(queue) | Address::Through { queue, .. } = to {
            self.shared.note_outcome(queue, &outcome);
        }
        outcome
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        let session = self.shared.session()?;
        let subscribed = AmqpConsumer::subscribe(session, self.shared.vanished.clone(), queue, prefetch).await;
        match &subscribed {
            Ok(_) => self.shared.stuck.clear(queue),
            Err(error) => self.shared.suspect(queue, error),
        }
        Ok(Box::new(subscribed?))
    }

    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        match self.shared.session() {
            Ok(session) => Ok(session.consumers.settle(receipt, how)),
            // Whatever it names ended with its connection.
            Err(_) => Ok(false),
        }
    }

    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError> {
        let session = self.shared.session()?;
        session.admin.depth(&session.consuming, queue).await
    }

    fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    async fn close(&self) {
        let deadline = tokio::time::sleep(DRAIN_MAX);
        if let Ok(session) = self.shared.session() {
            session.draining.cancel();
            tokio::select! {
                () = session.drained.cancelled() => {}
                () = deadline => tracing::warn!("the link is closed with unconfirmed publishes"),
            }
        }
        self.shared.stop.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }
}

impl Drop for AmqpLink {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
    }
}
