//! Pause and resume (SPEC 4.3): what failed and what is missing goes on, what succeeded stays.

use std::collections::BTreeSet;

use rejoin_shared::ids::StepKey;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::scope::ScopeKind;
use crate::state::thread::{Frame, FrameKind, Way};
use crate::state::{Deadline, Leaf, Phase, RunState, Thread, ThreadEnd, Todo};

impl RunState {
    /// While it is paused, its `timeout` stands still.
    pub(super) fn pause(&mut self, at: Timestamp) {
        self.phase = Phase::Paused;
        if let Some(Deadline::At(deadline)) = self.deadline {
            self.deadline = Some(Deadline::Left(deadline.since(at)));
        }
    }

    /// Of the failed steps only those of `only` are tried again, if any are named.
    pub(super) fn resume(&mut self, at: Timestamp, only: &[StepKey]) -> Result<(), Misfit> {
        self.deadline = match (self.deadline, self.def.timeout) {
            (Some(Deadline::Left(left)), _) => Some(Deadline::At(at.plus(left))),
            (_, timeout) => timeout.map(|timeout| Deadline::At(at.plus(timeout))),
        };
        match &self.phase {
            Phase::Paused => {
                self.phase = Phase::Active;
                let held = std::mem::take(&mut self.agenda.held);
                held.into_iter().for_each(|todo| self.push_todo(todo));
            }
            // Quarantined in its compensation it goes on with that, whatever it was said to have ended as.
            Phase::Ended {
                status: RunStatus::Failed | RunStatus::CompensationFailed,
                ..
            } if self.undo.is_some() => self.revive_undo(only),
            Phase::Ended {
                status: RunStatus::Failed,
                ..
            } => {
                self.phase = Phase::Active;
                // The same attempts are wanted again: a fold that comes by here must not take them away from their workers.
                self.agenda.revoked.clear();
                self.agenda.newly_revoked.clear();
                let wanted = (!only.is_empty()).then(|| {
                    let keys = only.iter().map(|step| ThreadKey::of(*step));
                    keys.flat_map(|key| self.lineage(key)).collect()
                });
                self.revive(ThreadKey::ROOT, wanted.as_ref());
            }
            Phase::Scheduled(_) | Phase::Active | Phase::Compensating | Phase::Ended { .. } => {
                return Err("a run that goes on is not resumed".to_owned());
            }
        }
        Ok(())
    }

    /// A step that failed is outstanding again, with all that stopped because of it, in a scope that is still open; what else
    /// failed stays as it is.
    pub(super) fn reopen(&mut self, step: ThreadKey) -> Result<(), Misfit> {
        let top = self.reopened_from(step).ok_or("no open scope holds the failed step")?;
        let wanted = self.lineage(step).into_iter().collect();
        let scope = self.scopes.get_mut(&top.scope).ok_or("no such scope")?;
        let ended = scope.active.get(&top.branch).and_then(|thread| thread.end.as_ref());
        scope.error_bytes = scope.error_bytes.saturating_sub(ended.map_or(0, ThreadEnd::bytes));
        scope.failed -= 1;
        scope.running += 1;
        if scope.kind == ScopeKind::Graph {
            let before = scope.never_started.len();
            scope.never_started.retain(|_, end| *end != ThreadEnd::Cancelled);
            scope.cancelled -= u32::try_from(before - scope.never_started.len()).expect("no more than branches");
        }
        self.revive(top, Some(&wanted));
        self.after_branch(top);
        Ok(())
    }

    /// The outermost thread around a step that stopped with it, if its scope is open: with that one a reopening begins.
    pub(crate) fn reopened_from(&self, step: ThreadKey) -> Option<ThreadKey> {
        let outwards = self.lineage(step);
        let stopped = |key: &&ThreadKey| self.thread(**key).is_some_and(|thread| thread.end.is_some());
        let top = *outwards.iter().rev().find(stopped)?;
        let has_failed = matches!(self.thread(top)?.end, Some(ThreadEnd::Failed(_)));
        (has_failed && top != ThreadKey::ROOT && self.is_scope_live(top.scope)).then_some(top)
    }

    /// A thread and those that hold it, from within outwards.
    fn lineage(&self, key: ThreadKey) -> Vec<ThreadKey> {
        let outer = |key: &ThreadKey| self.scopes.get(&key.scope).map(|scope| scope.parent);
        std::iter::successors(Some(key), outer).collect()
    }

    /// Lets a thread go on from where it stopped, with fresh retry budgets, and everything below it; where `wanted` is given, of
    /// the branches that failed only those in it.
    pub(super) fn revive(&mut self, key: ThreadKey, wanted: Option<&BTreeSet<ThreadKey>>) {
        let Some(thread) = self.thread_mut(key) else { return };
        thread.end = None;
        thread.frames.iter_mut().for_each(revive_frame);
        match &mut thread.leaf {
            Leaf::Step(step) => {
                if step.has_failed {
                    step.has_failed = false;
                    step.attempt += 1;
                    self.tally.failed -= 1;
                }
                let Some(Leaf::Step(step)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
                    return;
                };
                if std::mem::take(&mut step.is_parked) {
                    step.attempt += 1;
                }
                // It may have begun, and begins once only: what was cut off goes out as another attempt.
                if step.claim.take().is_some() {
                    step.attempt += 1;
                }
                step.allowed.clear();
                step.first_started = None;
                step.not_before = None;
                self.tally.outstanding += 1;
                self.push_ready(key);
            }
            Leaf::Ready(_) => self.push_todo(Todo::Walk(key)),
            Leaf::Scope(id) => {
                let id = *id;
                self.revive_scope(id, wanted);
            }
            Leaf::Backoff(backoff) => {
                let until = backoff.until;
                self.agenda.timers.insert((until, key));
            }
            Leaf::Sleep(_) => self.enlist_sleep(key),
            Leaf::Wait(_) => self.enlist_wait(key),
            Leaf::Call(_) => self.revive_call(key),
            Leaf::Done => {
                if key == ThreadKey::ROOT {
                    self.push_todo(Todo::Finish);
                }
            }
        }
    }

    fn revive_scope(&mut self, id: u64, wanted: Option<&BTreeSet<ThreadKey>>) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        let stays = |branch: u32, thread: &Thread| {
            let key = ThreadKey { scope: id, branch };
            let has_failed = matches!(thread.end, Some(ThreadEnd::Failed(_)));
            has_failed && wanted.is_some_and(|wanted| !wanted.contains(&key))
        };
        let count = |n: usize| u32::try_from(n).expect("no more threads than branches");
        let failed = scope.active.iter().filter(|(branch, thread)| stays(**branch, thread));
        let failed = count(failed.count());
        (scope.failed_with, scope.done_before) = (None, None);
        scope.carried.allowed.clear();
        scope
            .never_started
            .retain(|_, end| wanted.is_some() && *end != ThreadEnd::Cancelled);
        let staying = scope.active.iter().filter(|(branch, thread)| stays(**branch, thread));
        let ends = staying.filter_map(|(_, thread)| thread.end.as_ref());
        scope.error_bytes = ends.chain(scope.never_started.values()).map(ThreadEnd::bytes).sum();
        scope.failed = failed + count(scope.never_started.len());
        scope.cancelled = 0;
        scope.running = count(scope.active.len()) - failed;
        scope.begun = 0;
        let unbegun = scope.advance_mark() < scope.total;
        let is_graph = scope.kind == ScopeKind::Graph;
        let active = scope.active.iter();
        let branches: Vec<u32> = active
            .filter(|(branch, thread)| !stays(**branch, thread))
            .map(|(branch, _)| *branch)
            .collect();
        if is_graph {
            self.push_todo(Todo::StartNodes(id));
        } else if unbegun {
            self.agenda.open.insert(id);
        }
        branches
            .into_iter()
            .for_each(|branch| self.revive(ThreadKey { scope: id, branch }, wanted));
        if is_graph {
            self.cancel_dependents(id);
        }
        self.push_todo(Todo::Settle(id));
    }
}

/// Fresh retry budgets; what a finally runs for goes on behind it, and leaves its try anew.
fn revive_frame(frame: &mut Frame) {
    match &mut frame.kind {
        FrameKind::Group(entry) => entry.allowed.clear(),
        FrameKind::Try(guard) | FrameKind::Catch(guard, _) => guard.is_done = false,
        FrameKind::Finally(leaving) => {
            if let Way::Error(stopped) = &mut leaving.how {
                stopped.goes_on = true;
            }
        }
        FrameKind::Body | FrameKind::Case | FrameKind::Round(_) => {}
    }
}
