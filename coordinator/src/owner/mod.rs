//! The one shell (DESIGN 3, 4): events of one batch are decided, appended in one statement, and only then acted upon.
//!
//! ```text
//!  wait ─▶ take in ─▶ judge (the one caller of `decide`) ─▶ commit ─▶ packs leave ─▶ act (the one executor of effects)
//!                                                           └ meanwhile: pack what it makes ready, judge what comes
//! ```
//! One batch is in flight at a time, so nothing can overtake: acks, answers, verdicts and revocations of a batch leave
//! after its commit, those of ignored events too. While it is, what nobody else can see is done for the next one ([`ahead`]).

mod act;
mod ahead;
mod batch;
mod claims;
pub mod command;
mod commit;
pub mod completion;
pub mod definitions;
mod fence;
mod foreign;
pub mod inbound;
mod judge;
mod load;
mod mail;
mod partitions;
mod queries;
mod questions;
mod rest;
pub mod run;
mod span;
mod starts;
mod tend;
mod tickets;
pub mod views;
mod watchers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rejoin_shared::clock::Clock;
use rejoin_shared::dice::Dice;
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::limits::Limits;
use rejoin_shared::link::{Link, LinkState, Receipt, Settle};
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::time::Timestamp;
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::export::Tracer;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::broker::consumers::Consumers;
use crate::broker::gate::Gate;
use crate::broker::publisher::Outgoing;
use crate::dispatcher::{Around, Dispatcher, Pumped, Runs};
use crate::fleet::{Deaf, Fleet};
use crate::members::Membership;
use crate::members::lease::Lease;
use crate::metrics::Metrics;
use crate::store::{Claim, Member, Store};
use claims::Claims;
use command::CommandError;
use definitions::Definitions;
use fence::Fences;
use foreign::Foreign;
use inbound::{CommandCall, Inbound, Incoming, Item, Origin};
use load::Loader;
use tickets::Tickets;
pub use watchers::{News, Watchers};

/// Unsettled deliveries above which no more are taken in.
const TICKETS_MAX: usize = 20_000;
/// Deliveries taken in at least, each round.
const EVENTS_MIN: usize = 64;
/// Items that wait to be judged above which nothing more is taken in.
const BACKLOG_MAX: usize = 10_000;

/// What the owner is made of and shares with others.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub link: Arc<dyn Link>,
    pub clock: Arc<dyn Clock>,
    pub dice: Arc<dyn Dice>,
    pub limits: Limits,
    pub topology: Topology,
    pub gate: Arc<Gate>,
    pub metrics: Metrics,
    pub tracer: Tracer,
    pub definitions: Arc<Definitions>,
    pub watchers: Watchers,
    pub lease: Arc<Lease>,
    pub member: Member,
    /// Longest hand-over at a stop.
    pub drain: std::time::Duration,
    /// Bytes that runs at rest may take.
    pub cache_bytes_max: usize,
    /// What this process owns, for those who draw ids.
    pub owned: watch::Sender<Vec<Partition>>,
    /// Whether it can serve.
    pub is_ready: Arc<AtomicBool>,
    pub tasks: TaskTracker,
}

/// What reaches the owner.
pub struct Inputs {
    /// Deliveries of event queues.
    pub events: mpsc::Receiver<Incoming>,
    /// Commands of this process.
    pub commands: mpsc::Receiver<CommandCall>,
    /// Reports, membership, questions.
    pub notices: mpsc::Receiver<Inbound>,
    /// What the owner itself has asked for; bounded by what it asks.
    pub told: mpsc::UnboundedReceiver<Inbound>,
    /// The link's state.
    pub link: watch::Receiver<LinkState>,
}

struct Loading {
    number: u64,
    parked: Vec<Item>,
}

/// The owner of some partitions' runs.
pub struct Owner {
    parts: Parts,
    inputs: Inputs,
    out: mpsc::UnboundedSender<Outgoing>,
    own: mpsc::UnboundedSender<Inbound>,
    loader: Loader,
    consumers: Consumers,
    dispatcher: Dispatcher,
    fleet: Fleet,
    claims: BTreeMap<Partition, Claim>,
    handing_over: BTreeSet<Partition>,
    membership: Membership,
    earlier: Option<Uuid>,
    home: Option<Partition>,
    runs: Runs,
    loading: HashMap<RunId, Loading>,
    loads: u64,
    rest: rest::Rest,
    /// Ended runs in memory, oldest first.
    ended: VecDeque<RunId>,
    /// Runs that could not be handled: the second failure is final.
    quarantined: HashSet<RunId>,
    /// Runs that cannot be read here, and why: not tried again before their partition was away.
    left: HashMap<RunId, (load::Lack, Arc<str>)>,
    backlog: VecDeque<Item>,
    /// Questions that cannot be answered yet, by run and question: asked again, one takes the place of the other.
    deferred: BTreeMap<(RunId, Uuid), Item>,
    /// They are judged again no earlier.
    ask_again_at: Timestamp,
    /// Workers that were asked for a report, and when.
    asked: HashMap<Uuid, Timestamp>,
    foreign: Foreign,
    /// Claims on attempts, as opposed to those on partitions.
    attempt_claims: Claims,
    fences: Fences,
    tickets: Tickets,
    timers: BinaryHeap<Reverse<(Timestamp, RunId)>>,
    /// Runs that cannot be folded, with why and what waited for them.
    broken: Vec<(RunId, String, Vec<Item>)>,
    /// Inbox rows that cannot be obeyed, whatever the run's state.
    refused: Vec<(RunId, Origin, CommandError)>,
    /// Items for runs that are not there.
    missing: Vec<Item>,
    /// Runs whose rows are to be written for progress.
    stale: Vec<RunId>,
    /// What was done ahead of the append under way.
    ahead: ahead::Ahead,
    settles: mpsc::UnboundedSender<(Receipt, Settle)>,
    membership_is_new: bool,
    mail: mail::Mail,
    next_tick: Timestamp,
    ticks: u64,
    is_draining: bool,
}

impl Owner {
    /// An owner of nothing yet.
    #[must_use]
    pub fn new(
        parts: Parts,
        inputs: Inputs,
        out: mpsc::UnboundedSender<Outgoing>,
        own: mpsc::UnboundedSender<Inbound>,
        settles: mpsc::UnboundedSender<(Receipt, Settle)>,
        consumers: Consumers,
        earlier: Option<Uuid>,
    ) -> Owner {
        let now = parts.clock.now();
        let loader = Loader {
            store: parts.store.clone(),
            definitions: parts.definitions.clone(),
            turns: Arc::new(tokio::sync::Semaphore::new(load::LOADS_MAX)),
            waiting: load::Waiting::default(),
            told: own.clone(),
        };
        Owner {
            parts,
            inputs,
            out,
            own,
            loader,
            consumers,
            dispatcher: Dispatcher::default(),
            fleet: Fleet::new(now),
            claims: BTreeMap::new(),
            handing_over: BTreeSet::new(),
            membership: Membership::default(),
            earlier,
            home: None,
            runs: Runs::default(),
            loading: HashMap::default(),
            loads: 0,
            rest: rest::Rest::default(),
            ended: VecDeque::new(),
            quarantined: HashSet::default(),
            left: HashMap::default(),
            backlog: VecDeque::new(),
            deferred: BTreeMap::new(),
            ask_again_at: now,
            asked: HashMap::default(),
            foreign: Foreign::default(),
            attempt_claims: Claims::default(),
            fences: Fences::default(),
            tickets: Tickets::default(),
            timers: BinaryHeap::new(),
            broken: Vec::new(),
            refused: Vec::new(),
            missing: Vec::new(),
            stale: Vec::new(),
            ahead: ahead::Ahead::default(),
            settles,
            membership_is_new: false,
            mail: mail::Mail::new(now),
            next_tick: now,
            ticks: 0,
            is_draining: false,
        }
    }

    /// Works until `stop`, then hands everything over.
    pub async fn run(mut self, stop: tokio_util::sync::CancellationToken) {
        self.set_out();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.wait() => {}
            }
            if let Some(by) = self.parts.clock.follow() {
                self = self.begin_anew(by);
            }
            self.run_once().await;
        }
        self.hand_everything_over().await;
    }

    fn set_out(&mut self) {
        let link_state = *self.inputs.link.borrow_and_update();
        self.link_changed(link_state);
        self.begin_looking();
    }

    /// The machine's clock was set by so many microseconds: an owner that remembers nothing goes on, as after a restart. Whatever was
    /// measured by that clock means nothing any more, above all who was silent for how long.
    fn begin_anew(mut self, by: i64) -> Owner {
        self.undo_ahead();
        let seconds = by / 1_000_000;
        self.drop_partitions(&format!("the machine's clock was set by {seconds} s"));
        let backlog = std::mem::take(&mut self.backlog);
        let waiting = backlog
            .into_iter()
            .chain(std::mem::take(&mut self.deferred).into_values());
        let waiting = waiting.chain(std::mem::take(&mut self.missing));
        let broken = std::mem::take(&mut self.broken).into_iter();
        let waiting = waiting.chain(broken.flat_map(|(_, _, items)| items));
        let waiting: Vec<Item> = waiting.collect();
        waiting.into_iter().for_each(|item| self.turn_away(item));
        let loads = self.loads;
        let Owner {
            parts,
            inputs,
            out,
            own,
            settles,
            consumers,
            ..
        } = self;
        let mut owner = Owner::new(parts, inputs, out, own, settles, consumers, None);
        // An answer to what was asked before is told from those to come.
        owner.loads = loads;
        owner.set_out();
        owner
    }

    /// One round: what is there is judged, committed, acted upon; then what has credit is dispatched.
    pub async fn run_once(&mut self) {
        self.parts.lease.mark_move();
        self.take_in();
        // Partitions come and go, and runs leave, only while all that was decided is durable; the same goes for packs.
        if self.ahead.drafts.is_empty() {
            self.tick().await;
            self.fire_timers();
        }
        let drafts = self.judge_backlog();
        self.commit(drafts).await;
        self.pass_fences();
        self.put_wanted_fences_up();
        if self.ahead.drafts.is_empty() {
            self.pump();
            self.let_runs_leave();
        }
    }

    /// Waits until there is something to do; leaves it where it is, or puts it into the backlog.
    async fn wait(&mut self) {
        let has_answers = !self.broken.is_empty() || !self.refused.is_empty() || !self.missing.is_empty();
        let may_dispatch = self.home.is_some() && !self.is_draining;
        let has_more = may_dispatch && self.dispatcher.has_more();
        if !self.backlog.is_empty() || has_answers || has_more || !self.ahead.drafts.is_empty() {
            return;
        }
        self.wait_for_input().await;
    }

    /// Waits until something comes, or is due.
    async fn wait_for_input(&mut self) {
        let at = self
            .timers
            .peek()
            .map_or(self.next_tick, |Reverse((at, _))| (*at).min(self.next_tick));
        let timer = self.parts.clock.sleep_until(at);
        let takes_events = self.tickets.len() < TICKETS_MAX;
        let inputs = &mut self.inputs;
        tokio::select! {
            biased;
            Some(inbound) = inputs.told.recv() => self.take(inbound),
            Some(inbound) = inputs.notices.recv() => self.take(inbound),
            Some(call) = inputs.commands.recv() => self.take_command(call),
            Some(incoming) = inputs.events.recv(), if takes_events => self.take_event(incoming),
            Ok(()) = inputs.link.changed() => {
                let state = *self.inputs.link.borrow_and_update();
                self.link_changed(state);
            }
            () = timer => {}
        }
    }

    /// Takes in what is there, without waiting.
    fn take_in(&mut self) {
        if self.inputs.link.has_changed().unwrap_or(false) {
            let state = *self.inputs.link.borrow_and_update();
            self.link_changed(state);
        }
        while let Ok(inbound) = self.inputs.told.try_recv() {
            self.take(inbound);
        }
        for _ in 0..1_000 {
            let Ok(inbound) = self.inputs.notices.try_recv() else {
                break;
            };
            self.take(inbound);
        }
        while self.backlog.len() < BACKLOG_MAX {
            let Ok(call) = self.inputs.commands.try_recv() else {
                break;
            };
            self.take_command(call);
        }
        // Events come in even beside a long backlog: it may wait for one of them.
        let (mut taken, least) = (0, EVENTS_MIN);
        while (self.backlog.len() < BACKLOG_MAX || taken < least) && self.tickets.len() < TICKETS_MAX {
            taken += 1;
            let Ok(incoming) = self.inputs.events.try_recv() else {
                break;
            };
            self.take_event(incoming);
        }
    }

    fn link_changed(&mut self, state: LinkState) {
        let is_up = matches!(state, LinkState::Up(_));
        self.parts.metrics.broker_up.set(f64::from(u8::from(is_up)));
        match is_up {
            true => self.fleet.hears(Deaf::Link, self.parts.clock.now()),
            false => self.fleet.deafen(Deaf::Link),
        }
        self.dispatcher.link_changed(is_up, &self.fleet);
    }

    /// The dispatcher together with what it looks at.
    fn dispatching(&mut self) -> (&mut Dispatcher, &mut Runs, Around<'_>) {
        let now = self.parts.clock.now();
        let around = Around {
            now,
            until: now.plus(self.parts.lease.left()),
            limits: &self.parts.limits,
            fleet: &self.fleet,
            topology: &self.parts.topology,
            name: &self.parts.member.name,
            home: self.home.unwrap_or(Partition(0)),
            dice: self.parts.dice.as_ref(),
            metrics: &self.parts.metrics,
            tokens: self.parts.gate.tokens(),
            tracer: &self.parts.tracer,
        };
        (&mut self.dispatcher, &mut self.runs, around)
    }

    fn pump(&mut self) {
        let pumped = self.pumped();
        self.let_go(pumped);
    }

    /// The packs of what has credit; what they need to be decided goes into the backlog.
    fn pumped(&mut self) -> Pumped {
        if self.home.is_none() || self.is_draining {
            return Pumped::default();
        }
        let (dispatcher, runs, around) = self.dispatching();
        let mut pumped = dispatcher.pump(runs, &around);
        for (run, event) in std::mem::take(&mut pumped.events) {
            self.push_own(run, event);
        }
        pumped
    }

    /// Packs leave.
    fn let_go(&self, pumped: Pumped) {
        let now = self.parts.clock.now();
        for joined_at in pumped.joined {
            let waited = now.since(joined_at);
            self.parts.metrics.join_seconds.observe(waited.as_secs_f64());
        }
        for (why, count) in pumped.whys {
            self.parts.metrics.dispatched(why, count);
        }
        self.publish_all(pumped.outgoing);
    }

    fn publish_all(&self, outgoing: Vec<Outgoing>) {
        for message in outgoing {
            // The publisher ends at shutdown only; then nothing more has to leave.
            self.out.send(message).ok();
        }
    }

    fn push_own(&mut self, run: RunId, event: rejoin_engine::event::Event) {
        self.touch(run);
        self.backlog.push_back(Item {
            run,
            what: inbound::What::Event(event),
            origin: inbound::Origin::Own,
        });
    }
}
