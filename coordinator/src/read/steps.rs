//! The steps of a run, one entry a visit, as a fold of its records.
//!
//! ```text
//! records ──▶ Fold::record ──▶ attempts, ends, scopes, order of opening
//! engine ───▶ Fold::finish ◀── the visits that have no recorded end
//! journal ──▶ details ──▶ outputs, logs and attempts of those visits that are shown
//! ```
//! A fold keeps little of a visit: a run may have a million of them, and outputs of any size.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::record::{Claimed, Fact, Record, StepCompleted, StepFailed, ThreadKey};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenStatus, OpenStep, is_undo};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::run::{ErrorValue, Outcome};
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::locate;

/// State of a step (INTERFACE 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StepState {
    Pending,
    Running,
    Retrying,
    Completed,
    Failed,
    Cancelled,
    Skipped,
    Parked,
}

impl StepState {
    /// All of them.
    pub const ALL: [StepState; 8] = [
        StepState::Pending,
        StepState::Running,
        StepState::Retrying,
        StepState::Completed,
        StepState::Failed,
        StepState::Cancelled,
        StepState::Skipped,
        StepState::Parked,
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepState::Pending => "pending",
            StepState::Running => "running",
            StepState::Retrying => "retrying",
            StepState::Completed => "completed",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
            StepState::Skipped => "skipped",
            StepState::Parked => "parked",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<StepState> {
        StepState::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One visit of a step.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)] // INTERFACE 8
pub struct StepView {
    pub path: String,
    pub handler: Option<String>,
    pub queue: Option<String>,
    pub state: StepState,
    pub attempt: u32,
    pub worker: Option<String>,
    pub next_retry_at: Option<Timestamp>,
    pub output: Option<Json>,
    pub error: Option<ErrorValue>,
    pub attempts: Vec<AttemptView>,
    /// Of a step with `idempotent: false`: who has the only right to run the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimView>,
}

/// A claim that holds.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ClaimView {
    pub attempt: u32,
    pub worker: String,
    pub claimed_at: Timestamp,
}

/// What a step calls.
#[derive(Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Call {
    pub handler: String,
    pub queue: String,
}

/// What a visit ended with.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Nothing, so far.
    None,
    /// What the record of this number says.
    At(u64),
    /// What an operator said.
    Is(Box<Json>),
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// As the record of this number says.
    At(u64),
    /// A claimed one that was cut off: it may have begun, and nothing records how it ended.
    CutOff(Box<AttemptView>),
}

/// One visit of a step, as far as the fold keeps it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Visit {
    opened_seq: u64,
    pub step: Option<StepKey>,
    pub path: Box<str>,
    pub call: Option<Arc<Call>>,
    pub state: StepState,
    pub attempt: u32,
    pub worker: Option<Arc<str>>,
    pub next_retry_at: Option<Timestamp>,
    pub output: Output,
    pub error: Option<Box<ErrorValue>>,
    pub attempts: Vec<Ended>,
    pub claim: Option<Box<ClaimView>>,
}

impl Visit {
    /// What calls it: handler and queue.
    #[must_use]
    pub fn called(&self) -> Option<(&str, &str)> {
        self.call.as_ref().map(|call| (&*call.handler, &*call.queue))
    }

    fn ended(&mut self, seq: u64) {
        // Nearly all have one attempt.
        self.attempts.reserve_exact(1);
        self.attempts.push(Ended::At(seq));
    }

    /// An attempt has ended by a record of its own.
    fn end_claim(&mut self, attempt: u32) {
        match &self.claim {
            Some(claim) if claim.attempt == attempt => self.claim = None,
            Some(_) | None => self.close_claim(),
        }
    }

    /// A claimed attempt was cut off.
    fn close_claim(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.attempts.push(Ended::CutOff(Box::new(AttemptView {
                attempt: claim.attempt,
                outcome: Some(Outcome::Cancelled),
                error: None,
                worker: Some(claim.worker),
                started_at: Some(claim.claimed_at),
                finished_at: None,
                logs: Vec::new(),
            })));
        }
    }
}

/// One recorded attempt.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)] // INTERFACE 8
pub struct AttemptView {
    pub attempt: u32,
    pub outcome: Option<Outcome>,
    pub error: Option<ErrorValue>,
    pub worker: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub logs: Vec<String>,
}

/// Gathers steps from records.
#[derive(Clone)]
pub struct Fold {
    def: Arc<Definition>,
    visits: Vec<Visit>,
    by_key: HashMap<StepKey, usize>,
    /// Sequence number of the last record about a thread: what it does next was opened then.
    last_seq: HashMap<ThreadKey, u64>,
    /// The scope of the last record, if it was about one.
    touched: Option<u64>,
    /// Of scopes that run few branches at a time: all below this one have begun.
    begun: HashMap<u64, u32>,
    /// The thread that opened each scope.
    parents: HashMap<u64, ThreadKey>,
    joined: HashSet<u64>,
    /// Where compensations began.
    undo_opened: HashMap<StepKey, u64>,
    ended: bool,
    calls: HashMap<String, Option<Arc<Call>>>,
}

impl Fold {
    /// Nothing yet.
    #[must_use]
    pub fn new(def: &Arc<Definition>) -> Fold {
        Fold {
            def: def.clone(),
            visits: Vec::new(),
            by_key: HashMap::default(),
            last_seq: HashMap::default(),
            touched: None,
            begun: HashMap::default(),
            parents: HashMap::default(),
            joined: HashSet::default(),
            undo_opened: HashMap::default(),
            ended: false,
            calls: HashMap::default(),
        }
    }

    /// Takes one record in.
    pub fn record(&mut self, record: &Record) {
        let seq = record.seq;
        self.touched = None;
        match &record.fact {
            Fact::StepCompleted(c) => self.completed(seq, c),
            Fact::StepFailed(f) => self.failed(seq, f),
            Fact::StepClaimed(claimed) => self.claimed(claimed, record.decided_at),
            Fact::ClaimReturned(returned) => self.entry(returned.step, &returned.path).claim = None,
            Fact::StepRetried { step, path, .. } => {
                self.entry(*step, path).state = StepState::Pending;
            }
            Fact::StepSkipped { step, path, output, .. } => {
                let entry = self.entry(*step, path);
                entry.state = StepState::Skipped;
                entry.output = Output::Is(Box::new(output.clone()));
                self.touch(ThreadKey::of(*step), seq);
            }
            Fact::StepGivenUp { step, path, error } => {
                let entry = self.entry(*step, path);
                entry.state = StepState::Failed;
                entry.error = Some(Box::new(error.clone()));
                self.touch(ThreadKey::of(*step), seq);
            }
            Fact::NodeSkipped { thread, path } => {
                self.skipped(seq, path);
                self.touch(*thread, seq);
            }
            Fact::ScopeOpened(opened) => {
                self.parents.insert(seq, opened.thread);
                self.touch(opened.thread, seq);
                self.touched = Some(seq);
            }
            Fact::ScopeJoined(joined) => {
                self.joined.insert(joined.scope);
                if let Some(thread) = self.parents.get(&joined.scope) {
                    self.touch(*thread, seq);
                }
            }
            Fact::BranchStarted { scope, branch, .. } => {
                let (scope, branch) = (*scope, *branch);
                self.touch(ThreadKey { scope, branch }, seq);
            }
            Fact::StepOpened { thread }
            | Fact::GroupOpened { thread }
            | Fact::Chosen { thread, .. }
            | Fact::ContextSet { thread, .. }
            | Fact::NodeFailed { thread, .. }
            | Fact::FlowFailed { thread, .. }
            | Fact::NodeRetryScheduled { thread, .. }
            | Fact::NodeRetried { thread }
            | Fact::TimerSet { thread, .. }
            | Fact::TimerFired { thread, .. }
            | Fact::WaitOpened { thread, .. }
            | Fact::EventTaken { thread, .. }
            | Fact::InputAnswered { thread, .. }
            | Fact::WaitTimedOut { thread, .. }
            | Fact::WaitEnded { thread, .. }
            | Fact::ChildStarted { thread, .. }
            | Fact::ChildFinished { thread, .. }
            | Fact::EventEmitted { thread, .. }
            | Fact::ErrorCaught { thread, .. }
            | Fact::TryFailed { thread, .. }
            | Fact::Finishing { thread, .. }
            | Fact::RoundStarted { thread, .. }
            | Fact::RepeatEnded { thread, .. } => {
                self.touch(*thread, seq);
            }
            Fact::RunFinished(_) => self.ended = true,
            Fact::RunResumed { .. } | Fact::RunForked(_) => self.ended = false,
            Fact::EventReceived(received) => {
                received.to.iter().for_each(|thread| self.touch(*thread, seq));
            }
            Fact::RunStarted(_)
            | Fact::RunBegun
            | Fact::CheckpointStored(_)
            | Fact::CompensationStarted { .. }
            | Fact::ChildUndone { .. }
            | Fact::Late { .. }
            | Fact::EventRefused { .. }
            | Fact::RunEdited(_)
            | Fact::RunPaused => {}
        }
    }

    /// What the thread does next was opened by this record.
    fn touch(&mut self, thread: ThreadKey, seq: u64) {
        self.last_seq.insert(thread, seq);
        self.touched = Some(thread.scope);
    }

    /// The branches that the record made room for were opened by it: they begin without one of their own.
    pub fn begin_branches(&mut self, seq: u64, state: &RunState) {
        let Some(scope) = self.touched else { return };
        let Some(below) = state.begun_below(scope) else { return };
        let before = self.begun.insert(scope, below);
        for branch in before.unwrap_or(below)..below {
            self.last_seq.entry(ThreadKey { scope, branch }).or_insert(seq);
        }
    }

    fn claimed(&mut self, claimed: &Claimed, at: Timestamp) {
        let entry = self.entry(claimed.step, &claimed.path);
        entry.close_claim();
        entry.attempt = claimed.attempt;
        entry.claim = Some(Box::new(ClaimView {
            attempt: claimed.attempt,
            worker: claimed.worker.clone(),
            claimed_at: at,
        }));
    }

    fn completed(&mut self, seq: u64, c: &StepCompleted) {
        let entry = self.entry(c.step, &c.path);
        entry.end_claim(c.attempt);
        entry.attempt = c.attempt;
        entry.state = StepState::Completed;
        entry.output = Output::At(seq);
        entry.error = None;
        entry.worker = c.worker.clone();
        entry.ended(seq);
        self.touch(ThreadKey::of(c.step), seq);
    }

    fn failed(&mut self, seq: u64, f: &StepFailed) {
        let entry = self.entry(f.step, &f.path);
        entry.attempt = f.attempt;
        entry.state = match f.retry {
            Some(_) => StepState::Retrying,
            None if f.is_parked => StepState::Parked,
            None => StepState::Failed,
        };
        entry.end_claim(f.attempt);
        entry.error = Some(Box::new(f.error.clone()));
        entry.worker = f.worker.clone();
        entry.ended(seq);
        if f.retry.is_none() {
            self.touch(ThreadKey::of(f.step), seq);
        }
    }

    fn skipped(&mut self, seq: u64, path: &str) {
        if self.call(path).is_none() {
            return;
        }
        let visit = self.fresh(seq, path, None, StepState::Skipped);
        self.visits.push(visit);
    }

    /// The record with which a compensation began.
    pub fn undo_opened(&mut self, step: StepKey, seq: Option<u64>) {
        if let Some(seq) = seq {
            self.undo_opened.entry(step).or_insert(seq);
        }
    }

    /// The visit of this step, made where it is met for the first time.
    fn entry(&mut self, step: StepKey, path: &str) -> &mut Visit {
        let index = match self.by_key.get(&step) {
            Some(index) => *index,
            None => {
                let thread = ThreadKey::of(step);
                let opened_seq = match is_undo(step) {
                    true => self.undo_opened.get(&step).copied().unwrap_or_default(),
                    false => self.last_seq.get(&thread).copied().unwrap_or(step.scope),
                };
                let visit = self.fresh(opened_seq, path, Some(step), StepState::Pending);
                self.visits.push(visit);
                self.by_key.insert(step, self.visits.len() - 1);
                self.visits.len() - 1
            }
        };
        &mut self.visits[index]
    }

    fn fresh(&mut self, opened_seq: u64, path: &str, step: Option<StepKey>, state: StepState) -> Visit {
        Visit {
            opened_seq,
            step,
            path: path.into(),
            call: self.call(path),
            state,
            attempt: u32::from(step.is_some()),
            worker: None,
            next_retry_at: None,
            output: Output::None,
            error: None,
            attempts: Vec::new(),
            claim: None,
        }
    }

    /// Handler and queue of the step at `path`; looked up once a node.
    fn call(&mut self, path: &str) -> Option<Arc<Call>> {
        let pattern = locate::pattern(path);
        if let Some(known) = self.calls.get(&pattern) {
            return known.clone();
        }
        let call = locate::call(&self.def, path).map(|call| {
            Arc::new(Call {
                handler: call.uses.to_string(),
                queue: call.queue.to_string(),
            })
        });
        self.calls.insert(pattern, call.clone());
        call
    }

    /// These visits were open when their scope, or the run, ended: they were cancelled.
    pub fn cancel(&mut self, open: &[OpenStep]) {
        for step in open {
            self.undo_opened(step.step, step.opened_seq);
            let entry = self.entry(step.step, &step.path);
            // One that has failed, and was not tried again since, stays what it is.
            if entry.state != StepState::Completed && step.status != OpenStatus::Failed {
                entry.attempt = step.attempt;
                entry.state = StepState::Cancelled;
                entry.close_claim();
            }
        }
    }

    /// The scopes that `scope` lies in, itself first, the outermost flow's 0 left out.
    #[must_use]
    pub fn enclosing(&self, scope: u64) -> Vec<u64> {
        let mut chain = Vec::new();
        let mut at = scope;
        while at != 0 && !chain.contains(&at) {
            chain.push(at);
            at = self.parents.get(&at).map_or(0, |thread| thread.scope);
        }
        chain
    }

    /// All visits in the order they were opened, with those that are `open` now.
    #[must_use]
    pub fn finish(mut self, open: &[OpenStep], held: &BTreeMap<(StepKey, u32), String>) -> Vec<Visit> {
        for step in open {
            self.open(step, held.get(&(step.step, step.attempt)));
        }
        let is_open: HashSet<StepKey> = open.iter().map(|o| o.step).collect();
        for index in 0..self.visits.len() {
            let visit = &self.visits[index];
            let unsettled = matches!(
                visit.state,
                StepState::Pending | StepState::Retrying | StepState::Running
            );
            let Some(step) = visit.step.filter(|step| unsettled && !is_open.contains(step)) else {
                continue;
            };
            if self.ended || self.enclosing(step.scope).iter().any(|s| self.joined.contains(s)) {
                self.visits[index].state = StepState::Cancelled;
                self.visits[index].close_claim();
            }
        }
        let place = |visit: &Visit| (visit.opened_seq, visit.step.map(|s| (s.scope, s.branch, s.pos)));
        self.visits.sort_by_key(place);
        self.visits
    }

    fn open(&mut self, step: &OpenStep, held_by: Option<&String>) {
        // Whoever else lists a claimed attempt has a copy that will not run.
        let held_by = step.claim.as_ref().map(|claim| &claim.worker).or(held_by);
        self.undo_opened(step.step, step.opened_seq);
        let entry = self.entry(step.step, &step.path);
        if entry.called() != Some((&step.handler, &step.queue)) {
            entry.call = Some(Arc::new(Call {
                handler: step.handler.to_string(),
                queue: step.queue.to_string(),
            }));
        }
        entry.attempt = step.attempt;
        entry.next_retry_at = match step.status {
            OpenStatus::Retrying(at) => Some(at),
            OpenStatus::Outstanding | OpenStatus::Parked | OpenStatus::Failed | OpenStatus::Cancelled => None,
        };
        entry.state = match (step.status, held_by) {
            (OpenStatus::Outstanding, Some(_)) => StepState::Running,
            (OpenStatus::Outstanding, None) => StepState::Pending,
            (OpenStatus::Retrying(_), _) => StepState::Retrying,
            (OpenStatus::Parked, _) => StepState::Parked,
            (OpenStatus::Failed, _) => StepState::Failed,
            (OpenStatus::Cancelled, _) => StepState::Cancelled,
        };
        if entry.state == StepState::Running {
            entry.worker = held_by.map(|worker| worker.as_str().into());
        }
        if let Some(error) = &step.last_error {
            entry.error = Some(Box::new(error.clone()));
        }
    }
}
