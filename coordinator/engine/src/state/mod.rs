//! The state of a run: a fold of its journal.
//!
//! A run is a tree. Its outermost flow, and every branch of an open scope, is a [`Thread`]: one point of control with the
//! frames it stands in. A thread that stands at a parallel, foreach or graph waits for a [`Scope`], whose branches are
//! threads again. Threads that failed or were cancelled stay where they stopped until their failure has been handled, so
//! that a resume can go on from there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::definition::model::{Definition, NodeId};
use rejoin_shared::ids::{Namespace, RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;

use crate::decision::{Sent, WaitChange};
use crate::record::{RunStarted, ThreadKey};

pub mod bitmap;
pub mod claim;
mod place;
pub mod scope;
pub mod thread;
pub(crate) mod undo;
pub mod view;

pub use scope::Scope;
pub use thread::{Leaf, Thread, ThreadEnd};

/// The state of a run.
#[derive(Clone, Debug)]
pub struct RunState {
    pub(crate) def: Arc<Definition>,
    pub(crate) id: RunId,
    pub(crate) namespace: Namespace,
    pub(crate) version: u32,
    pub(crate) priority: Priority,
    pub(crate) input: Json,
    pub(crate) parent: Option<RunId>,
    /// The parent waits for its end.
    pub(crate) is_awaited: bool,
    /// The span of the request that began it.
    pub(crate) traceparent: Option<TraceParent>,
    /// When the last record was decided.
    pub(crate) now: Timestamp,
    pub(crate) started_at: Timestamp,
    pub(crate) last_seq: u64,
    pub(crate) phase: Phase,
    pub(crate) deadline: Option<Deadline>,
    /// What a `finish` gave as the run's output.
    pub(crate) early_output: Option<Json>,
    /// Whether anything in the definition can be undone: what completes is noted then.
    pub(crate) keeps_done: bool,
    /// Whether any of its steps is claimed before it runs.
    pub(crate) has_claims: bool,
    /// What is being undone, or was.
    pub(crate) undo: Option<undo::Undo>,
    /// Events that no wait has taken yet, by the record of their arrival.
    pub(crate) kept: BTreeMap<u64, Kept>,
    /// Names that senders gave the events that came.
    pub(crate) event_ids: BTreeSet<String>,
    pub(crate) root: Thread,
    /// The context the outermost flow began with: the base of its requests.
    pub(crate) root_base: Json,
    pub(crate) scopes: BTreeMap<u64, Scope>,
    pub(crate) tally: Tally,
    pub(crate) agenda: Agenda,
}

/// Where the run as a whole stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// It begins then.
    Scheduled(Timestamp),
    /// It goes on.
    Active,
    /// Nothing new is dispatched.
    Paused,
    /// What it did is being undone.
    Compensating,
    /// It has ended.
    Ended {
        status: RunStatus,
        output: Option<Json>,
        error: Option<ErrorValue>,
    },
}

/// An event that no wait has taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub event: String,
    pub payload: Json,
}

/// What is left of the workflow's `timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    At(Timestamp),
    /// The run is paused: the time that is left when it goes on.
    Left(Duration),
}

/// Counts of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub opened: u64,
    pub done: u64,
    pub failed: u64,
    /// Live attempts that may run now.
    pub outstanding: u64,
    /// Live attempts that wait for their time.
    pub backing_off: u64,
    /// Live steps that wait for an operator.
    pub parked: u64,
}

/// What is to be done next: derived from the fold, rebuilt by it, never stored.
///
/// Entries may be stale (their thread moved on, or was cancelled); whoever takes one checks it against the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    /// Decisions that wait for nobody.
    pub todo: VecDeque<Todo>,
    /// What of it waits for the resume of a paused run.
    pub held: Vec<Todo>,
    /// Attempts to be dispatched that were not taken yet.
    pub ready: VecDeque<(StepKey, u32)>,
    /// Attempts that become ready at their time.
    pub due: BTreeSet<(Timestamp, StepKey, u32)>,
    /// Threads whose node is tried again at its time.
    pub timers: BTreeSet<(Timestamp, ThreadKey)>,
    /// Threads that wait for an event, an answer or another run.
    pub waiting: BTreeSet<ThreadKey>,
    /// Threads whose step waits for an operator.
    pub parked: BTreeSet<ThreadKey>,
    /// Messages to other runs that go with what was folded last.
    pub outbox: Vec<Sent>,
    /// Waits that opened or ended, which the shell has not been told of yet.
    pub wait_changes: Vec<WaitChange>,
    /// Open scopes with branches that were not begun.
    pub open: BTreeSet<u64>,
    /// Attempts that were outstanding when their branch was cancelled: their completions are late.
    pub revoked: BTreeSet<(StepKey, u32)>,
    /// Those of them that the shell has not been told of yet.
    pub newly_revoked: Vec<(StepKey, u32)>,
    /// The branch that the last record ended.
    pub just_ended: Option<EndedBranch>,
}

/// A decision that waits for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// The thread's node is to be evaluated.
    Walk(ThreadKey),
    /// The thread failed inside something that may handle it.
    Unwind(ThreadKey),
    /// The scope may be settled.
    Settle(u64),
    /// Nodes of the graph may start.
    StartNodes(u64),
    /// The outermost flow has ended.
    Finish,
}

/// A branch that ended well, as its snapshot shows it.
#[derive(Clone, Debug)]
pub(crate) struct EndedBranch {
    pub output: Json,
    pub context: Json,
    pub changes: rejoin_shared::delta::Delta,
}

impl RunState {
    pub(crate) fn new(def: &Arc<Definition>, first: &RunStarted, at: Timestamp) -> RunState {
        let context = context_of(&first.input);
        RunState {
            def: def.clone(),
            id: first.run,
            namespace: first.namespace.clone(),
            version: first.version,
            priority: first.priority,
            input: first.input.clone(),
            parent: first.parent,
            is_awaited: first.is_awaited,
            traceparent: first.traceparent,
            now: at,
            started_at: at,
            last_seq: 0,
            phase: first.at.map_or(Phase::Active, Phase::Scheduled),
            deadline: def.timeout.map(|timeout| Deadline::At(at.plus(timeout))),
            early_output: None,
            keeps_done: undo::compensates(def),
            has_claims: claim::claims(def),
            undo: None,
            kept: BTreeMap::new(),
            event_ids: BTreeSet::new(),
            root: Thread::new(Definition::ROOT, Arc::from(""), context.clone(), Json::object()),
            root_base: context,
            scopes: BTreeMap::new(),
            tally: Tally::default(),
            agenda: Agenda::default(),
        }
    }

    pub(crate) fn thread(&self, key: ThreadKey) -> Option<&Thread> {
        match key {
            ThreadKey::ROOT => Some(&self.root),
            ThreadKey { scope, branch } => self.scopes.get(&scope)?.active.get(&branch).map(Box::as_ref),
        }
    }

    pub(crate) fn thread_mut(&mut self, key: ThreadKey) -> Option<&mut Thread> {
        match key {
            ThreadKey::ROOT => Some(&mut self.root),
            ThreadKey { scope, branch } => self.scopes.get_mut(&scope)?.active.get_mut(&branch).map(Box::as_mut),
        }
    }

    /// Whether the thread may still advance: neither it nor anything around it has ended.
    pub(crate) fn is_live(&self, key: ThreadKey) -> bool {
        let mut at = key;
        loop {
            match self.thread(at) {
                Some(thread) if thread.end.is_none() => {}
                _ => return false,
            }
            if at == ThreadKey::ROOT {
                return !matches!(self.phase, Phase::Ended { .. } | Phase::Compensating);
            }
            match self.scopes.get(&at.scope) {
                Some(scope) if scope.failed_with.is_none() => at = scope.parent,
                _ => return false,
            }
        }
    }

    /// Whether the scope is open and what holds it is live.
    pub(crate) fn is_scope_live(&self, id: u64) -> bool {
        self.scopes
            .get(&id)
            .is_some_and(|scope| scope.failed_with.is_none() && self.is_live(scope.parent))
    }

    /// The node a thread stands at; `None` at the end of its flow.
    pub(crate) fn node_at(&self, thread: &Thread) -> Option<NodeId> {
        let frame = thread.frames.last()?;
        self.def.flow(frame.flow).nodes.get(frame.at).copied()
    }

    /// Sequence number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The definition it runs.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.def
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The run's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Version of its workflow.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its input.
    #[must_use]
    pub fn input(&self) -> &Json {
        &self.input
    }

    /// Its place among runs.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The run's state.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match &self.phase {
            Phase::Ended { status, .. } => *status,
            Phase::Scheduled(_) => RunStatus::Scheduled,
            Phase::Paused => RunStatus::Paused,
            Phase::Compensating => RunStatus::Compensating,
            Phase::Active if self.only_waits() => RunStatus::Waiting,
            Phase::Active => RunStatus::Running,
        }
    }

    fn only_waits(&self) -> bool {
        self.tally.outstanding == 0
            && self.agenda.todo.is_empty()
            && (self.tally.parked > 0
                || self.next_timer().is_some()
                || self.agenda.waiting.iter().any(|key| self.is_live(*key)))
            && !self.agenda.open.iter().any(|id| self.has_room(*id))
    }

    /// Counts of steps.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            total: self.tally.opened,
            done: self.tally.done,
            failed: self.tally.failed,
            running: self.tally.outstanding,
            waiting: self.tally.backing_off + self.tally.parked,
        }
    }

    /// When it began: of a run that was scheduled, when that time came.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The run that called it, if one did.
    #[must_use]
    pub fn parent(&self) -> Option<RunId> {
        self.parent
    }

    /// The span of the request that started or forked it, if it named one.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.traceparent
    }

    /// The outermost flow's context.
    #[must_use]
    pub fn context(&self) -> Json {
        self.root.ctx.clone()
    }

    /// The final output and error, once it has ended.
    #[must_use]
    pub fn result(&self) -> (Option<Json>, Option<ErrorValue>) {
        match &self.phase {
            Phase::Ended { output, error, .. } => (output.clone(), error.clone()),
            Phase::Scheduled(_) | Phase::Active | Phase::Paused | Phase::Compensating => (None, None),
        }
    }

    /// Whether what it did was undone.
    #[must_use]
    pub fn is_compensated(&self) -> bool {
        let is_over = matches!(self.phase, Phase::Ended { .. });
        is_over
            && self
                .undo
                .as_ref()
                .is_some_and(|undo| undo.is_at_rest() && !undo.has_failed())
    }

    /// When it begins, while that lies ahead.
    #[must_use]
    pub fn begins_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Scheduled(at) => Some(at),
            Phase::Active | Phase::Paused | Phase::Compensating | Phase::Ended { .. } => None,
        }
    }

    /// Earliest time at which something of the run is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if let Phase::Scheduled(at) = self.phase {
            return Some(at);
        }
        if self.phase == Phase::Compensating {
            return self.next_attempt();
        }
        if self.phase != Phase::Active {
            return None;
        }
        let deadline = match self.deadline {
            Some(Deadline::At(at)) => Some(at),
            Some(Deadline::Left(_)) | None => None,
        };
        earliest(self.next_timer(), deadline)
    }

    /// Earliest time at which an attempt is due.
    fn next_attempt(&self) -> Option<Timestamp> {
        let mut due = self.agenda.due.iter();
        due.find(|(_, step, n)| self.is_outstanding(*step, *n))
            .map(|(at, ..)| *at)
    }

    /// Earliest time at which an attempt, a try or a sleep is due.
    fn next_timer(&self) -> Option<Timestamp> {
        let timer = self
            .agenda
            .timers
            .iter()
            .find(|(_, key)| self.is_live(*key))
            .map(|(at, _)| *at);
        earliest(self.next_attempt(), timer)
    }
}

/// The context that a run with this input begins with.
pub(crate) fn context_of(input: &Json) -> Json {
    match input.as_object() {
        Some(_) => input.clone(),
        None => Json::object(),
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
