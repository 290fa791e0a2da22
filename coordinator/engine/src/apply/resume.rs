//! Pause and resume (SPEC 4.3): what failed and what is missing goes on, what succeeded stays.

use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::scope::ScopeKind;
use crate::state::thread::{Frame, FrameKind, Way};
use crate::state::{Deadline, Leaf, Phase, RunState, Todo};

impl RunState {
    /// While it is paused, its `timeout` stands still.
    pub(super) fn pause(&mut self, at: Timestamp) {
        self.phase = Phase::Paused;
        if let Some(Deadline::At(deadline)) = self.deadline {
            self.deadline = Some(Deadline::Left(deadline.since(at)));
        }
    }

    pub(super) fn resume(&mut self, at: Timestamp) -> Result<(), Misfit> {
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
            } if self.undo.is_some() => self.revive_undo(),
            Phase::Ended {
                status: RunStatus::Failed,
                ..
            } => {
                self.phase = Phase::Active;
                // The same attempts are wanted again: a fold that comes by here must not take them away from their workers.
                self.agenda.revoked.clear();
                self.agenda.newly_revoked.clear();
                self.revive(ThreadKey::ROOT);
            }
            Phase::Scheduled(_) | Phase::Active | Phase::Compensating | Phase::Ended { .. } => {
                return Err("a run that goes on is not resumed".to_owned());
            }
        }
        Ok(())
    }

    /// Lets a thread go on from where it stopped, with fresh retry budgets, and everything below it.
    pub(super) fn revive(&mut self, key: ThreadKey) {
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
                step.allowed.clear();
                step.first_started = None;
                step.not_before = None;
                self.tally.outstanding += 1;
                self.push_ready(key);
            }
            Leaf::Ready(_) => self.push_todo(Todo::Walk(key)),
            Leaf::Scope(id) => {
                let id = *id;
                self.revive_scope(id);
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

    fn revive_scope(&mut self, id: u64) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        (scope.failed_with, scope.done_before) = (None, None);
        (scope.failed, scope.cancelled) = (0, 0);
        scope.carried.allowed.clear();
        scope.never_started.clear();
        scope.running = u32::try_from(scope.active.len()).expect("no more threads than branches");
        scope.begun = 0;
        let unbegun = scope.advance_mark() < scope.total;
        let is_graph = scope.kind == ScopeKind::Graph;
        let branches: Vec<u32> = scope.active.keys().copied().collect();
        if is_graph {
            self.push_todo(Todo::StartNodes(id));
        } else if unbegun {
            self.agenda.open.insert(id);
        }
        branches
            .into_iter()
            .for_each(|branch| self.revive(ThreadKey { scope: id, branch }));
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
