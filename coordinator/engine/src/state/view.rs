//! What the shell asks of a run: what may be dispatched, what a request holds, what is open.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::definition::model::NodeId;
use rejoin_shared::delta::Delta;
use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;
use rejoin_shared::time::Timestamp;

use super::claim::Claim;
use super::thread::StepState;
pub use super::undo::is_undo;
use super::undo::{Undoing, undo_call};
use super::{Leaf, Phase, RunState};
use crate::decision::{Surroundings, WaitChange};
use crate::env::eval_template;
use crate::record::{Awaited, ThreadKey};

/// An attempt that may go to a worker now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    pub attempt: u32,
    /// Its task queue.
    pub queue: Arc<str>,
    /// Its handler.
    pub handler: Arc<str>,
    /// It has to be claimed before it runs.
    pub wants_claim: bool,
}

/// Everything a request is made of.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // as in wire::Order
pub struct Request {
    pub path: String,
    pub handler: Arc<str>,
    pub queue: Arc<str>,
    pub timeout: Option<Duration>,
    pub heartbeat: Option<Duration>,
    /// The record whose base context this is (a scope's opening record; 0: the run's beginning); the same for all branches.
    pub base_seq: u64,
    /// That base context.
    pub base: Json,
    /// What turns it into the step's context.
    pub changes: Delta,
    pub input: Option<Json>,
    pub item: Option<Json>,
    pub index: Option<Json>,
    /// What an attempt before stored.
    pub checkpoint: Option<Json>,
}

/// A step that is not done: outstanding, between two attempts, or failed for good.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct OpenStep {
    pub path: String,
    pub handler: Arc<str>,
    pub queue: Arc<str>,
    pub step: StepKey,
    /// The attempt that is outstanding, or that comes next, or that failed.
    pub attempt: u32,
    pub status: OpenStatus,
    pub last_error: Option<ErrorValue>,
    /// Who has the only right to run the attempt.
    pub claim: Option<Claim>,
    /// Of a compensation: the record with which it began.
    pub opened_seq: Option<u64>,
}

/// Where an open step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStatus {
    /// It may run, or runs.
    Outstanding,
    /// The next attempt comes then.
    Retrying(Timestamp),
    /// It waits for an operator.
    Parked,
    /// It failed for good.
    Failed,
    /// What held it was cancelled.
    Cancelled,
}

/// A wait that has not ended.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct OpenWait {
    /// Sequence number of the record that opened it.
    pub seq: u64,
    pub path: String,
    /// The node's name.
    pub name: String,
    pub awaited: Awaited,
    /// Of `all`: the events that came already.
    pub received: Vec<String>,
    pub until: Option<Timestamp>,
}

/// A sleep that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpenSleep {
    /// Sequence number of the record that began it.
    pub seq: u64,
    pub path: String,
    /// The node's name.
    pub name: String,
    pub until: Timestamp,
}

/// A scope that has not been joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OpenScope {
    pub id: u64,
    pub path: String,
    pub total: u32,
    pub activated: u32,
    pub ok: u32,
    pub failed: u32,
    pub cancelled: u32,
    pub running: u32,
    /// Branches that have not ended well and were not skipped, as ranges `first..=last` of indices, in order.
    pub missing: Vec<(u32, u32)>,
    /// Those of them that are waited for, or would be after a resume: all but the failed and cancelled ones of a live scope.
    pub awaited: Vec<(u32, u32)>,
    pub is_live: bool,
}

/// What a resume would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePlan {
    /// Paths of steps that would be dispatched, at once or once others have ended, up to the given number: of a branch that has not
    /// begun the first one.
    pub dispatch: Vec<String>,
    /// How many attempts would be dispatched in all, unopened branches counted with their first step.
    pub attempts: u64,
    /// Steps whose completion is kept.
    pub kept: u64,
}

impl RunState {
    /// Takes up to `max` attempts that are outstanding, due at `now`, and were not taken since the run was loaded (or were put
    /// back). Branches that were begun come first; unopened branches are opened as they are taken.
    pub fn take_ready(&mut self, now: Timestamp, max: usize) -> Vec<Ready> {
        let mut taken = Vec::new();
        if !matches!(self.phase, Phase::Active | Phase::Compensating) {
            return taken;
        }
        self.wake_due(now);
        while taken.len() < max {
            let next = match self.agenda.ready.pop_front() {
                Some(next) => next,
                None if self.phase == Phase::Active && self.open_next() => continue,
                None => break,
            };
            taken.extend(self.ready_entry(next.0, next.1));
        }
        taken
    }

    /// Attempts that can be taken now, besides those of branches that have not begun.
    pub fn ready_now(&self) -> impl Iterator<Item = (StepKey, u32)> {
        self.agenda.ready.iter().copied()
    }

    /// For those who fold a journal to look at it: begins the branches that the owner may have dispatched by now, which leaves no
    /// record, and forgets what only an owner acts upon. `window` is how many attempts an owner dispatches at once.
    pub fn look_ahead(&mut self, window: usize) {
        let window = u64::try_from(window).unwrap_or(u64::MAX);
        while self.phase == Phase::Active && self.tally.outstanding < window && self.open_next() {}
        self.agenda.ready.clear();
        self.agenda.newly_revoked.clear();
        self.agenda.wait_changes.clear();
        self.agenda.outbox.clear();
    }

    /// Moves attempts whose time has come to the ready ones.
    fn wake_due(&mut self, now: Timestamp) {
        while let Some((at, step, attempt)) = self.agenda.due.first().copied().filter(|(at, ..)| *at <= now) {
            self.agenda.due.remove(&(at, step, attempt));
            if is_undo(step) && self.is_outstanding(step, attempt) {
                self.wake_undo(step);
                self.agenda.ready.push_back((step, attempt));
            } else if self.is_outstanding(step, attempt) {
                let Some(Leaf::Step(state)) = self.thread_mut(ThreadKey::of(step)).map(|t| &mut t.leaf) else {
                    continue;
                };
                if state.not_before.take().is_some() {
                    self.tally.backing_off -= 1;
                    self.tally.outstanding += 1;
                }
                self.agenda.ready.push_back((step, attempt));
            }
        }
    }

    /// Begins the next branch that begins with a plain step. Whether there was one.
    fn open_next(&mut self) -> bool {
        let next = self.agenda.open.iter().find_map(|id| {
            let key = ThreadKey {
                scope: *id,
                branch: self.scopes.get(id)?.begun,
            };
            (self.has_room(*id) && self.may_begin(key) && self.starts_plain(key)).then_some(key)
        });
        next.inspect(|key| self.begin_branch(*key)).is_some()
    }

    fn ready_entry(&self, step: StepKey, attempt: u32) -> Option<Ready> {
        if !self.is_outstanding(step, attempt) {
            return None;
        }
        if let Some(undoing) = self.undoing(step, attempt) {
            let call = undo_call(&self.def, undoing.visit.node)?;
            return Some(Ready {
                step,
                attempt,
                queue: call.queue.clone(),
                handler: call.uses.clone(),
                wants_claim: false,
            });
        }
        let node = self.node_at(self.thread(ThreadKey::of(step))?)?;
        let call = self.def.node(node).kind.calls()?;
        Some(Ready {
            step,
            attempt,
            queue: call.queue.clone(),
            handler: call.uses.clone(),
            wants_claim: self.is_claimed_first(step),
        })
    }

    /// Whether something of the run waits for a decision: branches whose first node must be evaluated, or what an
    /// over-long decision left. Feed [`crate::event::Event::Begin`] then.
    #[must_use]
    pub fn wants_begin(&self) -> bool {
        self.phase == Phase::Active && (!self.agenda.todo.is_empty() || self.next_evaluated().is_some())
    }

    /// An attempt that was taken is to go out again (lost, handed back, returned): it becomes ready again if it is still wanted.
    pub fn put_back(&mut self, step: StepKey, attempt: u32) {
        if self.is_outstanding(step, attempt) {
            self.agenda.ready.push_back((step, attempt));
        }
    }

    /// Whether this attempt is outstanding: its completion would be recorded.
    #[must_use]
    pub fn is_outstanding(&self, step: StepKey, attempt: u32) -> bool {
        if is_undo(step) {
            return self.undoing(step, attempt).is_some();
        }
        let key = ThreadKey::of(step);
        let stands = self.thread(key).and_then(|thread| thread.step()).is_some_and(|state| {
            state.pos == step.pos && state.attempt == attempt && !state.has_failed && !state.is_parked
        });
        stands && self.is_live(key)
    }

    /// Builds the request of an outstanding attempt.
    ///
    /// # Errors
    /// The error that the attempt fails with (feed [`crate::event::Event::Unbuildable`]).
    pub fn request(&self, step: StepKey, attempt: u32, around: Surroundings<'_>) -> Result<Request, ErrorValue> {
        if let Some(undoing) = self.undoing(step, attempt) {
            return self.undo_request(undoing, around);
        }
        let key = ThreadKey::of(step);
        let gone = || ErrorValue::new("rejoin.internal", "the attempt is not outstanding", "");
        let thread = self.thread(key).ok_or_else(gone)?;
        let state = thread.step().ok_or_else(gone)?;
        let node = self.node_at(thread).ok_or_else(gone)?;
        let call = self.def.node(node).kind.calls().ok_or_else(gone)?;
        let input = match (&state.input, &call.with) {
            (Some(given), _) => Some(given.clone()),
            (None, None) => None,
            (None, Some(template)) => {
                let env = self.env(key).with("attempt", Json::Int(i64::from(attempt)));
                Some(eval_template(template, &env, around.limits, &state.path)?)
            }
        };
        let base = self.scopes.get(&key.scope).map_or(&self.root_base, |scope| &scope.base);
        let (item, index) = self.nearest_item(key).unzip();
        Ok(Request {
            path: state.path.clone(),
            handler: call.uses.clone(),
            queue: call.queue.clone(),
            timeout: self.time_left(state, node, around.now).map_or(call.timeout, |left| {
                Some(call.timeout.map_or(left, |timeout| timeout.min(left)))
            }),
            heartbeat: call.heartbeat,
            base_seq: key.scope,
            base: base.clone(),
            changes: Delta::between(base, &thread.ctx),
            input,
            item,
            index,
            checkpoint: state.checkpoint.as_deref().cloned(),
        })
    }

    /// What is left of a step's `total_timeout`, at least a moment.
    fn time_left(&self, step: &StepState, node: NodeId, now: Timestamp) -> Option<Duration> {
        let total = self.def.node(node).kind.as_step()?.total_timeout?;
        let left = step.first_started.map_or(total, |first| first.plus(total).since(now));
        Some(left.max(Duration::from_millis(1)))
    }

    fn undo_request(&self, undoing: &Undoing, around: Surroundings<'_>) -> Result<Request, ErrorValue> {
        let visit = &undoing.visit;
        let path = visit.undo_path();
        let gone = || ErrorValue::new("rejoin.internal", "the compensation is not there", &path);
        let call = undo_call(&self.def, visit.node).ok_or_else(gone)?;
        let error = self.undo.as_ref().and_then(|undo| undo.error.as_ref());
        let input = match &call.with {
            None => visit.output.clone(),
            Some(template) => {
                let mut env = visit.env.clone().with("output", visit.output.clone());
                env = env.with("error", error.map_or(Json::Null, ErrorValue::to_json));
                env = env.with("attempt", Json::Int(i64::from(undoing.attempt)));
                eval_template(template, &env, around.limits, &path)?
            }
        };
        Ok(Request {
            handler: call.uses.clone(),
            queue: call.queue.clone(),
            timeout: call.timeout,
            heartbeat: call.heartbeat,
            base_seq: 0,
            base: self.root_base.clone(),
            changes: Delta::between(&self.root_base, &visit.ctx),
            input: Some(input),
            item: None,
            index: None,
            checkpoint: undoing.checkpoint.as_deref().cloned(),
            path,
        })
    }

    /// The base context of this record (see [`Request::base_seq`]), if its scope is still open.
    #[must_use]
    pub fn base_context(&self, seq: u64) -> Option<Json> {
        match seq {
            0 => Some(self.root_base.clone()),
            seq => self.scopes.get(&seq).map(|scope| scope.base.clone()),
        }
    }

    /// All steps that are begun and not done, in the order of their scopes and branches.
    pub fn open_steps(&self) -> impl Iterator<Item = OpenStep> + '_ {
        let branches = self.scopes.iter().flat_map(|(id, scope)| {
            scope.active.keys().map(move |branch| ThreadKey {
                scope: *id,
                branch: *branch,
            })
        });
        let steps = std::iter::once(ThreadKey::ROOT)
            .chain(branches)
            .filter_map(|key| self.open_step_at(key));
        steps.chain(self.open_undos())
    }

    /// Those of them in a scope, and in the scopes in it.
    #[must_use]
    pub fn open_steps_in(&self, scope: u64) -> Vec<OpenStep> {
        let (mut found, mut scopes) = (Vec::new(), vec![scope]);
        while let Some(id) = scopes.pop() {
            for (branch, thread) in self.scopes.get(&id).iter().flat_map(|scope| &scope.active) {
                let key = ThreadKey {
                    scope: id,
                    branch: *branch,
                };
                scopes.extend(thread.scopes());
                found.extend(self.open_step_at(key));
            }
        }
        found
    }

    /// Compensations that are begun and not done.
    fn open_undos(&self) -> impl Iterator<Item = OpenStep> + '_ {
        let begun = self.undo.iter().flat_map(|undo| &undo.begun);
        begun.filter_map(|(key, undoing)| {
            let call = undo_call(&self.def, undoing.visit.node)?;
            let status = match (undoing.has_failed, undoing.not_before) {
                (true, _) => OpenStatus::Failed,
                (false, Some(at)) => OpenStatus::Retrying(at),
                (false, None) => OpenStatus::Outstanding,
            };
            Some(OpenStep {
                path: undoing.visit.undo_path(),
                handler: call.uses.clone(),
                queue: call.queue.clone(),
                step: *key,
                attempt: undoing.attempt,
                status,
                last_error: undoing.last_error.clone(),
                claim: None,
                opened_seq: Some(undoing.opened_seq),
            })
        })
    }

    /// The record with which a compensation that is not done began.
    #[must_use]
    pub fn undo_opened(&self, step: StepKey) -> Option<u64> {
        let undoing = self.undo.as_ref()?.begun.get(&step)?;
        Some(undoing.opened_seq)
    }

    fn open_step_at(&self, key: ThreadKey) -> Option<OpenStep> {
        let thread = self.thread(key)?;
        let state = thread.step()?;
        let call = self.def.node(self.node_at(thread)?).kind.calls()?;
        let status = match (state.has_failed, self.is_live(key), state.not_before) {
            (true, ..) => OpenStatus::Failed,
            (false, true, _) if state.is_parked => OpenStatus::Parked,
            (false, false, _) => OpenStatus::Cancelled,
            (false, true, Some(at)) => OpenStatus::Retrying(at),
            (false, true, None) => OpenStatus::Outstanding,
        };
        Some(OpenStep {
            path: state.path.clone(),
            handler: call.uses.clone(),
            queue: call.queue.clone(),
            step: StepKey {
                scope: key.scope,
                branch: key.branch,
                pos: state.pos,
            },
            attempt: state.attempt,
            status,
            last_error: state.last_error.clone(),
            claim: state.claim.as_deref().cloned(),
            opened_seq: None,
        })
    }

    /// All scopes that have not been joined, outermost first.
    pub fn open_scopes(&self) -> impl Iterator<Item = OpenScope> + '_ {
        self.scopes.iter().map(|(id, scope)| {
            let is_live = self.is_scope_live(*id);
            OpenScope {
                id: *id,
                path: scope.path.to_string(),
                total: scope.total,
                activated: scope.activated(),
                ok: scope.ok,
                failed: scope.failed,
                cancelled: scope.cancelled,
                running: scope.running,
                missing: ranges_of(scope, |_| true),
                awaited: ranges_of(scope, |branch| !(is_live && has_stopped(scope, branch))),
                is_live,
            }
        })
    }

    /// Groups and scopes that are tried again later: path, when, and why they failed.
    pub fn open_backoffs(&self) -> impl Iterator<Item = (String, Timestamp, ErrorValue)> + '_ {
        self.agenda
            .timers
            .iter()
            .filter_map(|(_, key)| match &self.thread(*key)?.leaf {
                Leaf::Backoff(backoff) if self.is_live(*key) => {
                    Some((backoff.path.clone(), backoff.until, backoff.error.clone()))
                }
                Leaf::Backoff(_)
                | Leaf::Sleep(_)
                | Leaf::Wait(_)
                | Leaf::Call(_)
                | Leaf::Ready(_)
                | Leaf::Step(_)
                | Leaf::Scope(_)
                | Leaf::Done => None,
            })
    }

    /// Waits for events and answers, in the order of their scopes and branches.
    pub fn open_waits(&self) -> impl Iterator<Item = OpenWait> + '_ {
        let live = self.agenda.waiting.iter().filter(|key| self.is_live(**key));
        live.filter_map(|key| self.open_wait_at(*key))
    }

    pub(crate) fn open_wait_at(&self, key: ThreadKey) -> Option<OpenWait> {
        let Leaf::Wait(wait) = &self.thread(key)?.leaf else {
            return None;
        };
        Some(OpenWait {
            seq: wait.seq,
            path: wait.path.clone(),
            name: self.wait_at(key)?.0.to_string(),
            awaited: wait.awaited.clone(),
            received: wait.received.keys().cloned().collect(),
            until: wait.until,
        })
    }

    /// The wait node a thread stands at, with its name.
    pub(crate) fn wait_at(&self, key: ThreadKey) -> Option<(&str, &rejoin_shared::definition::model::Wait)> {
        let node = self.def.node(self.node_of(key)?);
        Some((&*node.name, node.kind.as_wait()?))
    }

    /// Calls that wait for the end of another run: path, run, and when they time out.
    pub fn open_calls(&self) -> impl Iterator<Item = (&str, RunId, Option<Timestamp>)> + '_ {
        let live = self.agenda.waiting.iter().filter(|key| self.is_live(**key));
        live.filter_map(|key| {
            let Leaf::Call(call) = &self.thread(*key)?.leaf else {
                return None;
            };
            Some((call.path.as_str(), call.child, call.until))
        })
    }

    /// The call node a thread stands at, with its name.
    pub(crate) fn call_at(&self, key: ThreadKey) -> Option<(&str, &rejoin_shared::definition::model::Call)> {
        let node = self.def.node(self.node_of(key)?);
        Some((&*node.name, node.kind.as_call()?))
    }

    /// The node a thread stands at.
    pub(crate) fn node_of(&self, key: ThreadKey) -> Option<NodeId> {
        self.node_at(self.thread(key)?)
    }

    /// Sleeps under way: path and end, soonest first.
    pub fn open_sleeps(&self) -> impl Iterator<Item = (&str, Timestamp)> + '_ {
        self.agenda
            .timers
            .iter()
            .filter_map(|(_, key)| match &self.thread(*key)?.leaf {
                Leaf::Sleep(sleep) if self.is_live(*key) => Some((sleep.path.as_str(), sleep.until)),
                Leaf::Sleep(_)
                | Leaf::Backoff(_)
                | Leaf::Wait(_)
                | Leaf::Call(_)
                | Leaf::Ready(_)
                | Leaf::Step(_)
                | Leaf::Scope(_)
                | Leaf::Done => None,
            })
    }

    /// What is stored of the step of an outstanding attempt, by an attempt before it or by itself.
    #[must_use]
    pub fn checkpoint(&self, step: StepKey, attempt: u32) -> Option<&Json> {
        match self.undoing(step, attempt) {
            Some(undoing) => undoing.checkpoint.as_deref(),
            None if !self.is_outstanding(step, attempt) => None,
            None => self.thread(ThreadKey::of(step))?.step()?.checkpoint.as_deref(),
        }
    }

    /// What a resume would dispatch, without doing it. `None` if the run is not one that can be resumed.
    #[must_use]
    pub fn resume_plan(&self, paths_max: usize, around: Surroundings<'_>) -> Option<ResumePlan> {
        let mut trial = self.clone();
        let resumed = crate::on::decide(&mut trial, crate::event::Event::Resume, around);
        if matches!(resumed, crate::decision::Decision::Ignored(_)) {
            return None;
        }
        let open: Vec<OpenStep> = trial
            .open_steps()
            .filter(|step| step.status == OpenStatus::Outstanding)
            .collect();
        let live = trial.scopes.iter().filter(|(id, _)| trial.is_scope_live(**id));
        let unopened = live.flat_map(|(id, scope)| {
            let left = (scope.begun..scope.total).filter(|branch| !scope.is_begun(*branch));
            left.map(|branch| ThreadKey { scope: *id, branch })
        });
        let (count, listed) = (unopened.clone().count(), paths_max.saturating_sub(open.len()));
        let unopened: Vec<ThreadKey> = unopened.filter(|key| trial.starts_plain(*key)).take(listed).collect();
        let mut dispatch: Vec<String> = open.iter().take(paths_max).map(|step| step.path.clone()).collect();
        // Those that wait for others' ends too: begun here, for their paths.
        dispatch.extend(unopened.into_iter().filter_map(|key| {
            trial.begin_branch(key);
            Some(trial.thread(key)?.step()?.path.clone())
        }));
        Some(ResumePlan {
            dispatch,
            attempts: (open.len() + count) as u64,
            kept: trial.tally.done,
        })
    }

    /// Whether nothing of it can be with workers, nor go to them before an event or a timer: its state is all in its journal.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let only_waits = match self.phase {
            Phase::Scheduled(_) => true,
            Phase::Active => self.only_waits(),
            Phase::Paused | Phase::Compensating | Phase::Ended { .. } => false,
        };
        only_waits && self.tally.outstanding == 0 && self.tally.backing_off == 0
    }

    /// All that stands in the table of waits, as if it had just begun.
    #[must_use]
    pub fn open_wait_changes(&self) -> Vec<WaitChange> {
        let sleeps = self.agenda.timers.iter().filter_map(|(_, key)| {
            let Leaf::Sleep(sleep) = &self.thread(*key)?.leaf else {
                return None;
            };
            let name = self.def.node(self.node_of(*key)?).name.to_string();
            let open = OpenSleep {
                seq: sleep.seq,
                path: sleep.path.clone(),
                name,
                until: sleep.until,
            };
            self.is_live(*key).then_some(WaitChange::Slept(open))
        });
        sleeps.chain(self.open_waits().map(WaitChange::Opened)).collect()
    }

    /// Bytes of memory it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        const THREAD_BYTES: usize = 400;
        let scopes: usize = self
            .scopes
            .values()
            .map(|scope| {
                500 + scope.active.len() * THREAD_BYTES
                    + scope.contributions.len() * 200
                    + scope.outputs.len() * 64
                    + scope.kept_bytes
                    + scope.error_bytes
                    + scope.succeeded.weight()
                    + scope.skipped.weight()
            })
            .sum();
        let lists = self.agenda.ready.len() + self.agenda.due.len() + self.agenda.revoked.len();
        let kept: usize = self.kept.values().map(|kept| 100 + kept.payload.text_len()).sum();
        let names: usize = self.event_ids.iter().map(|id| 48 + id.len()).sum();
        2000 + self.root.ctx_bytes_max.min(1 << 24) + self.input.text_len() + scopes + lists * 32 + kept + names
    }
}

fn has_stopped(scope: &super::Scope, branch: u32) -> bool {
    let begun = scope.active.get(&branch).and_then(|thread| thread.end.as_ref());
    begun.is_some() || scope.never_started.contains_key(&branch)
}

/// Of the branches that have not ended well and were not skipped those that `counts` picks.
fn ranges_of(scope: &super::Scope, counts: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
    let is_missing = |branch: &u32| !scope.succeeded.has(*branch) && !scope.skipped.has(*branch) && counts(*branch);
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for branch in (0..scope.total).filter(is_missing) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == branch => *last = branch,
            _ => ranges.push((branch, branch)),
        }
    }
    ranges
}
