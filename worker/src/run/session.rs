//! The connection's side of the loop: subscribing as a new incarnation, and noticing that it is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, select_all};
use rejoin_shared::dice::Dice;
use rejoin_shared::link::Address;
use rejoin_shared::link::{Consumer, Delivery, Link, LinkError, LinkState, Published, QueueSpec};
use rejoin_shared::wire::{Report, WorkerId};
use tokio::time::Instant;

use super::reports::message_of;
use super::{Runner, WorkerError};
use crate::attempt::TRUST;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether an owner has made a task queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(250);
/// Messages of the own queue that may wait here.
const OWN_PREFETCH: u16 = 256;
const PREFETCH_MAX: u32 = 256;

/// Where a delivery came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Own,
    Tasks,
}

/// What a session's consumers brought.
pub(super) enum Heard {
    Delivery(Source, Box<Delivery>),
    /// A subscription ended.
    Over,
}

/// A subscribed incarnation.
pub(super) struct Session {
    pub worker: WorkerId,
    made: Instant,
    generation: u64,
    consumers: Vec<(Source, Box<dyn Consumer>)>,
}

enum State {
    Waiting(Instant),
    Connecting(BoxFuture<'static, Result<Box<Session>, LinkError>>),
    Up(Box<Session>),
}

/// What a connection brought.
pub(super) enum Next {
    Heard(Heard),
    Connected(Result<Box<Session>, LinkError>),
}

/// Connected, connecting, or waiting to try again.
pub(super) struct Connection {
    state: State,
    failures: u32,
    /// Who this worker was in its last session.
    last: Option<WorkerId>,
}

impl Connection {
    pub fn new() -> Connection {
        Connection {
            state: State::Waiting(Instant::now()),
            failures: 0,
            last: None,
        }
    }

    /// The session, if there is one.
    pub fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Up(session) => Some(session),
            State::Waiting(_) | State::Connecting(_) => None,
        }
    }

    /// When to try again.
    pub fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until) => Some(*until),
            State::Connecting(_) | State::Up(_) => None,
        }
    }

    /// Whatever the broker brings next; may be dropped and called again.
    pub async fn next(&mut self) -> Next {
        match &mut self.state {
            State::Waiting(_) => std::future::pending().await,
            State::Connecting(connecting) => Next::Connected(connecting.await),
            State::Up(session) => Next::Heard(session.next().await),
        }
    }

    fn wait(&mut self, now: Instant, dice: &dyn Dice) {
        let delay = RETRY_FIRST.saturating_mul(1 << self.failures.min(10)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(now + dice.shorten(delay));
    }
}

impl Session {
    async fn next(&mut self) -> Heard {
        let (sources, nexts): (Vec<Source>, Vec<_>) = self
            .consumers
            .iter_mut()
            .map(|(source, consumer)| (*source, consumer.next()))
            .unzip();
        let (delivery, index, _) = select_all(nexts).await;
        match delivery {
            Some(delivery) => Heard::Delivery(sources[index], Box::new(delivery)),
            None => Heard::Over,
        }
    }

    /// A delivery that is there already; of the own queue first, so that cancels overtake what they cancel.
    fn try_next(&mut self) -> Option<(Source, Delivery)> {
        let mut consumers = self.consumers.iter_mut();
        consumers.find_map(|(source, consumer)| Some((*source, consumer.try_next()?)))
    }
}

/// Everything needed to subscribe.
struct Plan {
    link: Arc<dyn Link>,
    generation: u64,
    own: QueueSpec,
    tasks: Vec<QueueSpec>,
    prefetch: u16,
    reports: Address,
    report: Report,
    made: Instant,
}

impl Plan {
    /// A session whose first report is too old would be over at once.
    async fn subscribe_in_time(self) -> Result<Box<Session>, LinkError> {
        let timed_out = LinkError::TimedOut(TRUST.as_secs() * 1000);
        tokio::time::timeout(TRUST, self.subscribe())
            .await
            .unwrap_or(Err(timed_out))
    }

    /// Subscribes: the own queue first, then a report so that owners know us (and make the task queues where we may not), and only
    /// then work.
    async fn subscribe(self) -> Result<Box<Session>, LinkError> {
        self.link.declare(&self.own).await?;
        let mut consumers = vec![(Source::Own, self.link.consume(&self.own.name, OWN_PREFETCH).await?)];
        match self.link.publish(&self.reports, message_of(&self.report)).await? {
            Published::Accepted => {}
            Published::Unroutable | Published::Refused => return Err(LinkError::TimedOut(0)),
        }
        for queue in &self.tasks {
            self.have(queue).await?;
            consumers.push((Source::Tasks, self.link.consume(&queue.name, self.prefetch).await?));
        }
        Ok(Box::new(Session {
            worker: self.report.worker,
            made: self.made,
            generation: self.generation,
            consumers,
        }))
    }
}

impl Plan {
    /// Makes sure that a task queue is there. A worker with few rights waits until an owner that heard its report has made it.
    async fn have(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        loop {
            if self.link.depth(&queue.name).await?.is_some() {
                return Ok(());
            }
            match self.link.declare(queue).await {
                Err(LinkError::Forbidden { .. }) => tokio::time::sleep(QUEUE_PAUSE).await,
                other => return other,
            }
        }
    }
}

impl Runner {
    /// Who this worker is now; `None` while it has no session.
    pub(super) fn worker_id(&self) -> Option<WorkerId> {
        self.connection.session().map(|session| session.worker.clone())
    }

    /// Who tells what was completed: that does not have to wait for the next session.
    pub(super) fn teller(&self) -> Option<WorkerId> {
        self.worker_id().or_else(|| self.connection.last.clone())
    }

    /// Whether messages can leave.
    pub(super) fn is_linked(&self) -> bool {
        !matches!(*self.link_state.borrow(), LinkState::Down)
    }

    /// Ends a session that is over, and begins one when the link is there.
    pub(super) fn keep_connected(&mut self, now: Instant) {
        let link_state = *self.link_state.borrow_and_update();
        let over = match (&self.connection.state, link_state) {
            (State::Up(_), LinkState::Down) => true,
            (State::Up(session), LinkState::Up(generation) | LinkState::Blocked(generation)) => {
                session.generation != generation || !self.reports.is_trusted(now)
            }
            (State::Waiting(_) | State::Connecting(_), _) => false,
        };
        if over {
            self.end_session(now);
        }
        let due = self.connection.due().is_some_and(|due| due <= now);
        if let (true, LinkState::Up(generation)) = (due, link_state) {
            let plan = self.plan(generation, now);
            self.connection.state = State::Connecting(Box::pin(plan.subscribe_in_time()));
        } else if due {
            // Woken when the link's state changes; this is the net.
            self.connection.state = State::Waiting(now + TRUST);
        }
    }

    /// The link came back while we waited: no need to wait on.
    pub(super) fn retry_connection(&mut self) {
        self.outbox.retry_now();
        if let State::Waiting(until) = &mut self.connection.state {
            *until = (*until).min(Instant::now() + RETRY_FIRST);
        }
    }

    fn plan(&self, generation: u64, now: Instant) -> Plan {
        let worker = WorkerId {
            name: self.setup.name.clone(),
            incarnation: self.setup.dice.id(),
        };
        let topology = &self.setup.topology;
        // A worker that drains comes back to tell what it has, not for more.
        let queues: &[String] = if self.drain.is_begun() { &[] } else { &self.setup.queues };
        let tasks = queues.iter();
        let mut report = self.reports.make(worker, &self.setup, &self.ledger);
        report.number = 1;
        report.probes.clear();
        report.draining = self.drain.is_begun();
        Plan {
            link: self.link.clone(),
            generation,
            own: topology.worker_queue(report.worker.incarnation),
            tasks: tasks
                .map(|queue| topology.task_queue(&self.setup.namespace, queue))
                .collect(),
            prefetch: u16::try_from((self.setup.concurrency * 2).clamp(2, PREFETCH_MAX)).expect("clamped just above"),
            reports: Address::Fanout(topology.reports()),
            report,
            made: now,
        }
    }

    /// The new incarnation is subscribed, or could not be.
    pub(super) fn begin_session(&mut self, session: Result<Session, LinkError>) -> Result<(), WorkerError> {
        match session {
            Ok(session) => {
                tracing::info!(worker = %session.worker.name, incarnation = %session.worker.incarnation, "worker subscribed");
                self.reports.restart(session.made);
                self.connection.last = Some(session.worker.clone());
                self.outbox.retry_now();
                self.connection.failures = 0;
                self.connection.state = State::Up(Box::new(session));
            }
            Err(e @ LinkError::Refused { .. }) => return Err(WorkerError::Refused(e)),
            // With few rights it waits until a coordinator has made what it may not make itself.
            Err(
                e @ (LinkError::Down | LinkError::TimedOut(_) | LinkError::NoQueue(_) | LinkError::Forbidden { .. }),
            ) => {
                tracing::warn!(error = %e, "worker could not subscribe; it tries again");
                self.connection.wait(Instant::now(), &*self.setup.dice);
            }
        }
        Ok(())
    }

    /// Nothing is held of the task queues any more: what the broker still delivers goes to others.
    pub(super) fn stop_consuming(&mut self) {
        if let State::Up(session) = &mut self.connection.state {
            session.consumers.retain(|(source, _)| *source == Source::Own);
        }
    }

    /// Drops what had only been delivered; a claim that was asked for goes back, granted or not. What runs goes on, and is known to the owners by the next first report.
    fn end_session(&mut self, now: Instant) {
        tracing::warn!(worker = %self.setup.name, "connection lost; what was not begun is dropped");
        let claimed = self.ledger.drop_unstarted();
        self.hand_back(claimed);
        self.checks.clear();
        self.suspects.clear();
        self.contexts.drop_fetches();
        self.connection.wait(now, &*self.setup.dice);
    }

    /// Takes a delivery, and whatever else is there.
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Over => self.end_session(Instant::now()),
            Heard::Delivery(source, delivery) => {
                self.take(source, *delivery);
                self.take_what_is_there();
            }
        }
    }

    /// Takes every delivery that is there already.
    pub(super) fn take_what_is_there(&mut self) {
        while let Some((source, delivery)) = self.try_next() {
            self.take(source, delivery);
        }
    }

    fn try_next(&mut self) -> Option<(Source, Delivery)> {
        match &mut self.connection.state {
            State::Up(session) => session.try_next(),
            State::Waiting(_) | State::Connecting(_) => None,
        }
    }

    fn take(&mut self, source: Source, delivery: Delivery) {
        match source {
            Source::Tasks => self.take_delivery(delivery),
            Source::Own => self.take_own(&delivery),
        }
    }
}
