//! Puts a coordinator together: lease, membership, publisher, consumers, and the one owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rejoin_shared::clock::{Clock, SteadyClock};
use rejoin_shared::dice::{Dice, SystemDice};
use rejoin_shared::ids::{PARTITIONS, Partition, RunId};
use rejoin_shared::limits::Limits;
use rejoin_shared::link::{Link, Receipt, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::export::Tracer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::consumers::{Consumers, Entrance, Listeners, read_notices};
use crate::broker::dead_letters::DeadLetters;
use crate::broker::gate::Gate;
use crate::broker::publisher;
use crate::fleet::Held;
use crate::inbox;
use crate::members::lease::{Lease, LeaseKeeper, Renewal, ThreadKeeper};
use crate::members::{join, watch as watch_members};
use crate::metrics::Metrics;
use crate::owner::command::{Command, CommandError, Reply};
use crate::owner::definitions::{DefinitionError, Definitions};
use crate::owner::inbound::{CommandCall, Inbound};
use crate::owner::views::{Explanation, FleetView};
use crate::owner::{Inputs, News, Owner, Parts, Watchers};
use crate::store::{Member, Store, StoreError};
use crate::survey::{Asker, Others, Surveys, answer_all};

/// Deliveries between the consumers and the owner.
const EVENTS_MAX: usize = 1_024;
/// Commands between callers and the owner.
const COMMANDS_MAX: usize = 1_024;
/// Reports and the like between their readers and the owner.
const NOTICES_MAX: usize = 1_024;
/// Surveys of other coordinators that wait to be answered.
const SURVEYS_MAX: usize = 64;
/// Longest wait for the owner's answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the tasks at shutdown.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// What a coordinator is told at its start.
#[derive(Clone)]
pub struct CoordinatorConfig {
    /// Stable name, unique among the coordinators of a database.
    pub name: String,
    /// Where its API listens, for people and forwarding.
    pub address: String,
    /// Of the membership lease, in ms.
    pub lease_ms: u64,
    /// Bytes that runs which only wait may take in memory.
    pub cache_bytes_max: usize,
    /// Longest hand-over at a stop.
    pub drain: Duration,
    /// Names of queues.
    pub topology: Topology,
    /// Limits in force.
    pub limits: Limits,
    /// Whose messages are taken in.
    pub gate: Arc<Gate>,
    /// A store with a connection of its own for the lease; `None`: the same store.
    pub lease_store: Option<Arc<dyn Store>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws random numbers.
    pub dice: Arc<dyn Dice>,
    /// Renews the lease.
    pub lease_keeper: Arc<dyn LeaseKeeper>,
    /// Exports a span for each run that ends. Who makes it closes it, after [`Coordinator::shutdown`].
    pub tracer: Tracer,
}

impl CoordinatorConfig {
    /// A configuration with everything else as it is usual.
    #[must_use]
    pub fn new(name: &str) -> CoordinatorConfig {
        CoordinatorConfig {
            name: name.to_owned(),
            address: String::new(),
            lease_ms: 10_000,
            cache_bytes_max: 256 * 1024 * 1024,
            drain: Duration::from_secs(10),
            topology: Topology::default(),
            limits: Limits::default(),
            gate: Arc::new(Gate::open()),
            lease_store: None,
            clock: Arc::new(SteadyClock::default()),
            dice: Arc::new(SystemDice),
            lease_keeper: Arc::new(ThreadKeeper),
            tracer: Tracer::off(),
        }
    }
}

/// A running coordinator, as API and command line use it.
#[derive(Clone)]
pub struct Coordinator {
    parts: Parts,
    dead_letters: DeadLetters,
    commands: mpsc::Sender<CommandCall>,
    notices: mpsc::Sender<Inbound>,
    surveys: Surveys,
    owned: watch::Receiver<Vec<Partition>>,
    stop: CancellationToken,
    owner_done: CancellationToken,
    late_stop: CancellationToken,
}

impl Coordinator {
    /// Starts a coordinator. It joins, takes its partitions, and works until `stop` or [`Coordinator::shutdown`].
    #[must_use]
    pub fn start(
        config: CoordinatorConfig,
        store: Arc<dyn Store>,
        link: Arc<dyn Link>,
        stop: CancellationToken,
    ) -> Coordinator {
        let (owned_tx, owned) = watch::channel(Vec::new());
        let parts = Parts {
            definitions: Arc::new(Definitions::new(store.clone(), config.limits.clone())),
            member: Member {
                name: config.name.clone(),
                incarnation: config.dice.id(),
                address: config.address.clone(),
            },
            store,
            link,
            clock: config.clock.clone(),
            dice: config.dice.clone(),
            limits: config.limits.clone(),
            topology: config.topology.clone(),
            gate: config.gate.clone(),
            metrics: Metrics::new(),
            tracer: config.tracer.clone(),
            watchers: Watchers::default(),
            lease: Arc::new(Lease::default()),
            cache_bytes_max: config.cache_bytes_max,
            drain: config.drain,
            owned: owned_tx,
            is_ready: Arc::new(AtomicBool::new(false)),
            tasks: TaskTracker::new(),
        };
        let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
        let (notices, notices_rx) = mpsc::channel(NOTICES_MAX);
        let coordinator = Coordinator {
            dead_letters: DeadLetters::new(parts.link.clone(), &parts.topology),
            parts,
            commands,
            notices,
            surveys: Surveys::default(),
            owned,
            stop,
            owner_done: CancellationToken::new(),
            late_stop: CancellationToken::new(),
        };
        coordinator
            .parts
            .tasks
            .spawn(coordinator.clone().work(config, commands_rx, notices_rx));
        coordinator
    }

    async fn work(
        self,
        config: CoordinatorConfig,
        commands: mpsc::Receiver<CommandCall>,
        notices: mpsc::Receiver<Inbound>,
    ) {
        let _done = self.owner_done.clone().drop_guard();
        let parts = self.parts.clone();
        let joined = join(parts.store.as_ref(), &parts.member, config.lease_ms);
        let earlier = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            earlier = joined => earlier,
        };
        let renewal = Renewal {
            store: config.lease_store.clone().unwrap_or_else(|| parts.store.clone()),
            member: parts.member.clone(),
            lease_ms: config.lease_ms,
            lease: parts.lease.clone(),
        };
        if let Err(error) = renewal.run_once().await {
            tracing::warn!(%error, "lease could not be renewed");
        }
        config.lease_keeper.keep(renewal, self.late_stop.clone());
        let (told_tx, told) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::channel(EVENTS_MAX);
        let (out, out_rx) = mpsc::unbounded_channel();
        let (settles, settles_rx) = mpsc::unbounded_channel();
        let late = self.late_stop.clone();
        let tasks = &parts.tasks;
        tasks.spawn(publisher::run(
            parts.link.clone(),
            out_rx,
            told_tx.clone(),
            parts.metrics.clone(),
            late.clone(),
        ));
        tasks.spawn(settle_all(parts.link.clone(), settles_rx));
        let entrance = Entrance {
            gate: config.gate.clone(),
            metrics: parts.metrics.clone(),
        };
        self.listen(entrance.clone(), &late);
        tasks.spawn(watch_members(parts.store.clone(), self.notices.clone(), late.clone()));
        let (link, topology) = (parts.link.clone(), parts.topology.clone());
        let limits = parts.limits.clone();
        let consumers = Consumers::new(link, topology, limits, events_tx, entrance, tasks.clone());
        let inputs = Inputs {
            events,
            commands,
            notices,
            told,
            link: parts.link.state(),
        };
        let owner = Owner::new(parts.clone(), inputs, out, told_tx, settles, consumers, earlier);
        Box::pin(owner.run(self.stop.clone())).await;
        self.late_stop.cancel();
    }

    /// Reads the own queue, and answers what other coordinators ask.
    fn listen(&self, entrance: Entrance, stop: &CancellationToken) {
        let parts = &self.parts;
        let (me, link, topology) = (parts.member.incarnation, parts.link.clone(), parts.topology.clone());
        let (questions, asked) = mpsc::channel(SURVEYS_MAX);
        let listeners = Listeners {
            entrance,
            notices: self.notices.clone(),
            questions,
            surveys: self.surveys.clone(),
        };
        let reading = read_notices(link.clone(), topology.clone(), me, listeners, stop.clone());
        parts.tasks.spawn(reading);
        let answering = answer_all(self.clone(), link, topology, me, asked);
        let stop = stop.clone();
        parts.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = answering => {}
            }
        });
    }

    /// What all other coordinators that live have to tell.
    ///
    /// # Errors
    /// The store's.
    pub async fn ask_others(&self, wants_runs: bool) -> Result<Others, StoreError> {
        let asker = Asker {
            store: &*self.parts.store,
            link: &*self.parts.link,
            topology: &self.parts.topology,
            surveys: &self.surveys,
            me: self.parts.member.incarnation,
        };
        asker.ask(self.parts.dice.id(), wants_runs).await
    }

    /// Asks the owner of `run`: in this process directly, elsewhere by the inbox.
    ///
    /// # Errors
    /// [`CommandError`]; [`CommandError::Unavailable`] may be asked again.
    pub async fn submit(&self, run: RunId, command: Command) -> Result<Reply, CommandError> {
        if self.owned.borrow().contains(&run.partition()) {
            match self.ask_own(run, command.clone()).await {
                // It was handed over while the command was on its way.
                Err(CommandError::Elsewhere) => {}
                answered => return answered,
            }
        }
        if command.is_for_own() {
            return Err(CommandError::Superseded);
        }
        inbox::ask(&self.parts.store, &self.parts.link, &self.parts.topology, run, &command).await
    }

    /// Asks the owner in this process.
    async fn ask_own(&self, run: RunId, command: Command) -> Result<Reply, CommandError> {
        let prepared = inbox::prepare(run, &command, &self.parts.definitions)
            .await
            .map_err(|error| match error {
                DefinitionError::Store(error) => CommandError::unavailable(error.to_string()),
                error @ DefinitionError::Newer(..) => CommandError::unavailable(error.to_string()),
                DefinitionError::Unknown(..) | DefinitionError::Unreadable(..) | DefinitionError::NoPast(_) => {
                    CommandError::Refused {
                        message: error.to_string(),
                    }
                }
            })?;
        let (reply, answer) = oneshot::channel();
        let call = CommandCall {
            run,
            command,
            prepared,
            reply,
        };
        let stopped = || CommandError::unavailable("the coordinator stops");
        let asked = async {
            self.commands.send(call).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        };
        let late = || CommandError::unavailable("no answer in time; it may still be obeyed");
        tokio::time::timeout(ANSWER_MAX, asked)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Tells all owners that some inbox holds something new.
    pub async fn nudge(&self) {
        inbox::nudge(&self.parts.link, &self.parts.topology).await;
    }

    /// An id for a new run: in a partition this process owns, if it owns any.
    #[must_use]
    pub fn new_run_id(&self) -> RunId {
        let owned = self.owned.borrow();
        let roll = self.parts.dice.roll();
        let count = u64::try_from(owned.len()).unwrap_or(0);
        let place = roll.checked_rem(count).and_then(|place| usize::try_from(place).ok());
        let any = Partition(u8::try_from(roll % u64::from(PARTITIONS)).unwrap_or(0));
        let partition = place.and_then(|place| owned.get(place).copied()).unwrap_or(any);
        RunId::from_uuid_in(self.parts.dice.id(), partition)
    }

    /// Ids for runs that begin together: in one partition, of this process if it owns any.
    #[must_use]
    pub fn new_run_ids(&self, count: usize) -> Vec<RunId> {
        let partition = self.new_run_id().partition();
        let ids = std::iter::repeat_with(|| RunId::from_uuid_in(self.parts.dice.id(), partition));
        ids.take(count).collect()
    }

    /// Partitions this process owns, those not counted that it hands over.
    #[must_use]
    pub fn partitions_owned(&self) -> Vec<Partition> {
        self.owned.borrow().clone()
    }

    /// Waits until it owns at least `count` partitions.
    pub async fn owns(&self, count: usize) {
        // The sender lives in `parts`, so this cannot fail.
        self.owned.clone().wait_for(|owned| owned.len() >= count).await.ok();
    }

    /// Whether lease and membership are in order.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts.is_ready.load(Ordering::Acquire)
    }

    /// How often the owner was at work so far: it rises while the process moves, several times a second.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.parts.lease.moves()
    }

    /// How far a run that this process owns gets, from now on.
    #[must_use]
    pub fn watch(&self, run: RunId) -> watch::Receiver<News> {
        self.parts.watchers.watch(run)
    }

    /// What a run waits for; `None` if it is not in memory here.
    pub async fn explain(&self, run: RunId) -> Option<Explanation> {
        let (reply, answer) = oneshot::channel();
        self.notices.send(Inbound::Explain(run, reply)).await.ok()?;
        tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.ok()?
    }

    /// Who holds which attempt of a run, whoever owns it; `None` if the owner here does not answer.
    pub async fn holders(&self, run: RunId) -> Option<Held> {
        let (reply, answer) = oneshot::channel();
        self.notices.send(Inbound::Holders(run, reply)).await.ok()?;
        tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.ok()
    }

    /// Runs of this process with a step whose handler no worker serves, newest first, at most 10,000; `None` if its owner does not
    /// answer.
    pub async fn unserved(&self) -> Option<Vec<RunId>> {
        let (reply, answer) = oneshot::channel();
        self.notices.send(Inbound::Unserved(reply)).await.ok()?;
        tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.ok()
    }

    /// Workers and queues, as this process sees them; `None` if its owner does not answer.
    pub async fn fleet(&self) -> Option<FleetView> {
        let (reply, answer) = oneshot::channel();
        self.notices.send(Inbound::Fleet(reply)).await.ok()?;
        tokio::time::timeout(ANSWER_MAX, answer).await.ok()?.ok()
    }

    /// What the broker has given up, of all namespaces.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Definitions, parsed.
    #[must_use]
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.parts.definitions
    }

    /// Hands over: stops consuming, drains, acknowledges, releases its partitions.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.owner_done.cancelled().await;
        self.parts.tasks.close();
        if tokio::time::timeout(SHUTDOWN_MAX, self.parts.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
    }
}

/// Settles deliveries in the order the owner says; ends with the owner.
async fn settle_all(link: Arc<dyn Link>, mut settles: mpsc::UnboundedReceiver<(Receipt, Settle)>) {
    while let Some((receipt, how)) = settles.recv().await {
        // Of an earlier connection: the broker delivers it again, and it is judged again.
        if let Err(error) = link.settle(receipt, how).await {
            tracing::debug!(%error, "delivery not settled");
        }
    }
}
