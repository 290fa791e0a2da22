//! The loop: one task that owns all state of a worker, so that its order of doing things is the order of these lines.
//!
//! ```text
//! task queues ─ intake ─▶ ledger ◀─ checks (may it run?) ◀─ own queue
//!                           │ slots: as many as may run at once
//!                           ▼
//!                   attempt::execute ─▶ outbox ─ confirm ─▶ ledger ─ ack ─▶ task queues
//! ```
//!
//! The loop outlives connections. What runs goes on while the broker is away; what had only been delivered is dropped,
//! for the broker will deliver it again, and a new incarnation subscribes.

mod begin;
mod checkpoints;
mod checks;
mod contexts;
mod drain;
mod intake;
mod ledger;
mod outbox;
mod own_queue;
mod reports;
mod session;
mod slots;
mod span;
mod suspects;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rejoin_shared::clock::Clock;
use rejoin_shared::dice::Dice;
use rejoin_shared::ids::Namespace;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::{Link, LinkError, LinkState, Message, Published, Receipt, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::export::Tracer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::begin::Paces;
use self::checkpoints::Checkpoints;
use self::checks::Checks;
use self::contexts::Contexts;
use self::drain::Drain;
use self::ledger::Ledger;
use self::outbox::{Batch, Outbox};
use self::reports::{ReportSent, Reports};
use self::session::{Connection, Heard, Session};
use self::suspects::Suspects;
use crate::attempt::{Ended, Stored};
use crate::handler::Handlers;

/// What a worker is; fixed from its start.
pub(crate) struct Setup {
    pub name: String,
    pub namespace: Namespace,
    pub queues: Vec<String>,
    pub concurrency: u32,
    pub drain: Duration,
    pub topology: Topology,
    pub limits: Limits,
    pub handlers: Handlers,
    pub tracer: Tracer,
    pub clock: Arc<dyn Clock>,
    pub dice: Arc<dyn Dice>,
}

/// Why a worker gave up. A broker that is merely away is waited for.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A queue exists with other arguments, or may not be used.
    #[error("the broker does not let this worker work")]
    Refused(#[source] LinkError),
}

/// Asks the loop whether it turns; whoever watches over the process has one.
#[derive(Clone, Debug)]
pub struct Probe(mpsc::Sender<Question>);

/// Wants to know whether there is a session.
pub(crate) type Question = oneshot::Sender<bool>;

impl Probe {
    /// A probe, and where its questions come out.
    pub(crate) fn new() -> (Probe, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(1);
        (Probe(questions), asked)
    }

    /// Whether the worker is subscribed and gets work; `None`: its loop has ended. It does not answer while the loop hangs.
    pub async fn is_subscribed(&self) -> Option<bool> {
        let (question, answer) = oneshot::channel();
        self.0.send(question).await.ok()?;
        answer.await.ok()
    }
}

/// Runs a worker until `cancellation` and the end of its drain.
pub(crate) async fn run(
    setup: Setup,
    link: Arc<dyn Link>,
    asked: mpsc::Receiver<Question>,
    cancellation: CancellationToken,
) -> Result<(), WorkerError> {
    let mut runner = Runner::new(setup, link, asked);
    while !runner.is_finished() {
        runner.pump();
        let event = runner.next_event(&cancellation).await;
        runner.handle(event)?;
    }
    runner.tracker.close();
    tracing::info!(worker = %runner.setup.name, "worker stopped");
    Ok(())
}

impl Drop for Runner {
    /// Nothing outlives its worker.
    fn drop(&mut self) {
        self.ledger.kill_running();
    }
}

/// What wakes the loop.
enum Event {
    Stop,
    Heard(Heard),
    Ended(Vec<Ended>),
    Stored(Stored),
    Sent(Sent),
    Connected(Result<Session, LinkError>),
    LinkChanged,
    Asked(Question),
    Due,
}

/// A call to the link that came back.
pub(crate) enum Sent {
    /// Completions and hand-backs.
    Batch(Batch, Result<Published, LinkError>),
    /// A report.
    Report(ReportSent, Result<Published, LinkError>),
    /// A question to the owner, or its event queue declared; asked again if no answer comes.
    Question(Arc<str>, Result<Published, LinkError>),
    /// A settled delivery, or a queue declared again.
    Nothing,
}

pub(crate) type Io = FuturesUnordered<BoxFuture<'static, Sent>>;

pub(crate) struct Runner {
    setup: Arc<Setup>,
    link: Arc<dyn Link>,
    link_state: watch::Receiver<LinkState>,
    asked: mpsc::Receiver<Question>,
    connection: Connection,
    ledger: Ledger,
    checks: Checks,
    checkpoints: Checkpoints,
    suspects: Suspects,
    contexts: Contexts,
    outbox: Outbox,
    reports: Reports,
    drain: Drain,
    io: Io,
    /// How quick each handler is.
    paces: Paces,
    ended_sender: mpsc::UnboundedSender<Vec<Ended>>,
    ended: mpsc::UnboundedReceiver<Vec<Ended>>,
    stored_sender: mpsc::UnboundedSender<Stored>,
    stored: mpsc::UnboundedReceiver<Stored>,
    tracker: TaskTracker,
}

impl Runner {
    fn new(setup: Setup, link: Arc<dyn Link>, asked: mpsc::Receiver<Question>) -> Runner {
        // Unbounded, and yet bounded: there is at most one message for each slot.
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let (stored_sender, stored) = mpsc::unbounded_channel();
        Runner {
            link_state: link.state(),
            link,
            asked,
            connection: Connection::new(),
            ledger: Ledger::default(),
            checks: Checks::default(),
            checkpoints: Checkpoints::default(),
            suspects: Suspects::default(),
            contexts: Contexts::default(),
            outbox: Outbox::default(),
            reports: Reports::new(setup.clock.now()),
            drain: Drain::default(),
            io: FuturesUnordered::new(),
            paces: Paces::default(),
            ended_sender,
            ended,
            stored_sender,
            stored,
            tracker: TaskTracker::new(),
            setup: Arc::new(setup),
        }
    }

    /// Does everything that can be done now without waiting.
    fn pump(&mut self) {
        let now = Instant::now();
        self.keep_connected(now);
        self.continue_drain(now);
        self.hand_back_unserved(now);
        self.fill_slots(now);
        self.ask_again(now);
        self.ask_about_a_suspect(now);
        self.send_checkpoints(now);
        self.send_outbox(now);
        self.send_report(now);
    }

    /// Waits for whatever comes first.
    async fn next_event(&mut self, cancellation: &CancellationToken) -> Event {
        let due = self.next_due();
        let stopping = self.drain.is_begun();
        tokio::select! {
            biased;
            () = cancellation.cancelled(), if !stopping => Event::Stop,
            Ok(()) = self.link_state.changed() => Event::LinkChanged,
            Some(question) = self.asked.recv() => Event::Asked(question),
            Some(ended) = self.ended.recv() => Event::Ended(ended),
            Some(stored) = self.stored.recv() => Event::Stored(stored),
            Some(sent) = self.io.next(), if !self.io.is_empty() => Event::Sent(sent),
            connected = self.connection.next() => match connected {
                session::Next::Heard(heard) => Event::Heard(heard),
                session::Next::Connected(session) => Event::Connected(session.map(|session| *session)),
            },
            () = sleep_until(due) => Event::Due,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), WorkerError> {
        match event {
            Event::Stop => self.begin_drain(),
            Event::Heard(heard) => self.hear(heard),
            Event::Ended(ended) => {
                ended.into_iter().for_each(|ended| self.finish_attempt(ended));
                while let Ok(ended) = self.ended.try_recv() {
                    ended.into_iter().for_each(|ended| self.finish_attempt(ended));
                }
            }
            Event::Stored(stored) if self.ledger.runs(&stored.key, &stored.control) => {
                self.checkpoints.note(stored, Instant::now());
            }
            // It has ended since: its completion carries the last one.
            Event::Stored(_) => {}
            Event::Sent(sent) => self.note_sent(sent),
            Event::Connected(session) => return self.begin_session(session),
            Event::LinkChanged => self.retry_connection(),
            // Whoever asked may not wait any more.
            Event::Asked(question) => drop(question.send(self.connection.session().is_some())),
            Event::Due => {}
        }
        Ok(())
    }

    fn note_sent(&mut self, sent: Sent) {
        match sent {
            Sent::Batch(batch, result) => self.note_batch(batch, result),
            Sent::Report(report, result) => self.note_report(report, result),
            Sent::Question(to, Ok(Published::Unroutable)) => self.declare_events(&to),
            Sent::Question(_, _) | Sent::Nothing => {}
        }
    }

    /// The earliest point in time at which [`Self::pump`] has something to do.
    fn next_due(&self) -> Option<Instant> {
        let dues = [
            self.connection.due(),
            self.drain.due(),
            self.ledger.unserved_due(),
            self.checks.due(),
            self.suspects.due().filter(|_| self.connection.session().is_some()),
            self.contexts.due(),
            self.checkpoints.due().filter(|_| self.connection.session().is_some()),
            self.outbox_due(),
            self.reports.due(self.connection.session().is_some()),
        ];
        dues.into_iter().flatten().min()
    }

    /// Settles deliveries, without waiting for it.
    fn settle(&self, receipts: Vec<(Receipt, Settle)>) {
        for (receipt, how) in receipts {
            let link = self.link.clone();
            self.io.push(Box::pin(async move {
                // An error or `false` means that the connection is gone: the message comes again and is checked.
                if let Err(e) = link.settle(receipt, how).await {
                    tracing::debug!(error = %e, "a delivery could not be settled");
                }
                Sent::Nothing
            }));
        }
    }

    fn ask(&self, to: Arc<str>, message: Message) {
        let (link, address) = (self.link.clone(), self.setup.topology.to_events(&to));
        self.io.push(Box::pin(async move {
            let sent = link.publish(&address, message).await;
            Sent::Question(to, sent)
        }));
    }

    /// Declares the event queue of this name again: its deletion is no reason to lose what is sent to it.
    fn declare_events(&self, name: &str) {
        let Some(queue) = event_queue_named(&self.setup.topology, name) else {
            return;
        };
        let link = self.link.clone();
        self.io.push(Box::pin(async move {
            if let Err(e) = link.declare(&queue).await {
                tracing::warn!(queue = queue.name, error = %e, "an event queue could not be declared again");
            }
            Sent::Nothing
        }));
    }
}

fn event_queue_named(topology: &Topology, name: &str) -> Option<rejoin_shared::link::QueueSpec> {
    let queues = (0..rejoin_shared::ids::PARTITIONS).map(|n| topology.event_queue(n));
    queues.into_iter().find(|queue| queue.name == name)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => pending().await,
    }
}
