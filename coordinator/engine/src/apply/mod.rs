//! Folds records into the state. Evaluates nothing: every value that came from an expression stands in the record.

use std::sync::Arc;

use rejoin_shared::definition::model::Definition;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::record::{Fact, Record, ThreadKey};
use crate::state::thread::CallEnd;
use crate::state::undo::{Children, Undo, is_undo};
use crate::state::{Leaf, Phase, RunState, Todo};

mod advance;
mod branch;
mod call;
mod catch;
mod choose;
mod claim;
mod edit;
mod fail;
mod fork;
mod park;
mod repeat;
mod resume;
mod retry;
mod scope;
mod sleep;
mod step;
mod undo;
mod wait;

pub(crate) use branch::graph_ready;
pub(crate) use choose::case_of;
pub(crate) use step::write_output;
pub(crate) use wait::into_of;

/// A record that does not fit the state: the journal is of another run or version, or the fold has a fault.
pub type Misfit = String;

impl RunState {
    /// The state after a run's first record.
    ///
    /// # Errors
    /// Text, if `first` does not begin a run.
    pub fn begin(def: &Arc<Definition>, first: &Record) -> Result<RunState, Misfit> {
        let Fact::RunStarted(started) = &first.fact else {
            return Err("the first record does not start a run".to_owned());
        };
        let mut state = RunState::new(def, started, first.decided_at);
        state.last_seq = first.seq;
        state.root.ctx_bytes_max = state.root.ctx.text_len();
        if state.phase == Phase::Active {
            state.enter(ThreadKey::ROOT);
        }
        Ok(state)
    }

    /// Folds one more record in.
    ///
    /// # Errors
    /// Text, if the record does not fit the state.
    pub fn apply(&mut self, record: &Record) -> Result<(), Misfit> {
        if record.seq != self.last_seq + 1 {
            return Err(format!("record {} follows record {}", record.seq, self.last_seq));
        }
        self.agenda.just_ended = None;
        let before = std::mem::replace(&mut self.now, record.decided_at);
        self.fold(record, before)?;
        self.last_seq = record.seq;
        Ok(())
    }

    /// `before` is when the record before this one was decided.
    fn begin_run(&mut self, at: Timestamp) {
        self.phase = Phase::Active;
        self.started_at = at;
        let timeout = self.def.timeout;
        self.deadline = timeout.map(|timeout| crate::state::Deadline::At(at.plus(timeout)));
        self.enter(ThreadKey::ROOT);
    }

    fn fold(&mut self, record: &Record, before: Timestamp) -> Result<(), Misfit> {
        match &record.fact {
            Fact::RunStarted(_) => Err("a run starts once".to_owned()),
            Fact::RunForked(forked) => self.fork(forked, before),
            Fact::RunBegun => {
                self.begin_run(record.decided_at);
                Ok(())
            }
            Fact::StepOpened { thread } => self.open_step(*thread),
            Fact::NodeSkipped { thread, .. } => self.skip_node(*thread),
            Fact::StepClaimed(claimed) => self.claim_step(claimed, record.decided_at),
            Fact::ClaimReturned(returned) => self.return_claim(returned),
            Fact::CheckpointStored(stored) => self.store_checkpoint(stored),
            Fact::StepCompleted(completed) => self.complete_step(completed),
            Fact::StepFailed(failed) => self.fail_step(failed),
            Fact::StepRetried { step, input, .. } => self.retry_step(*step, input.clone()),
            Fact::StepSkipped { step, .. } if is_undo(*step) => self.skip_undo(*step),
            Fact::StepSkipped { step, output, .. } => self.skip_step(*step, output),
            Fact::StepGivenUp { step, error, .. } if is_undo(*step) => self.give_undo_up(*step, error),
            Fact::StepGivenUp { step, error, .. } => self.give_step_up(*step, error),
            Fact::GroupOpened { thread } => self.open_group(*thread),
            Fact::ScopeOpened(opened) => self.open_scope(opened, record.seq),
            Fact::BranchStarted { scope, branch, active } => self.start_node(*scope, *branch, *active),
            Fact::FlowFailed { thread, error } => self.fail_flow(*thread, error),
            Fact::ScopeJoined(joined) => self.join_scope(joined),
            Fact::Chosen { thread, choice, .. } => self.choose(*thread, choice),
            Fact::ContextSet { thread, changes, .. } => self.set_context(*thread, changes),
            Fact::NodeFailed { thread, error } => self.fail_node(*thread, error),
            Fact::NodeRetryScheduled { .. } => self.schedule_retry(&record.fact),
            Fact::NodeRetried { thread } => self.retry_node(*thread),
            Fact::TimerSet { thread, until, .. } => self.set_timer(*thread, record.seq, *until),
            Fact::TimerFired { thread, .. } => self.wake(*thread),
            Fact::WaitOpened {
                thread, awaited, until, ..
            } => self.open_wait(*thread, record.seq, awaited, *until),
            Fact::EventReceived(received) => self.receive(received, record.seq),
            Fact::EventRefused { .. } => Ok(()),
            Fact::EventTaken { thread, from } => self.take_kept(*thread, *from),
            Fact::InputAnswered {
                thread, value: output, ..
            }
            | Fact::WaitEnded { thread, output, .. } => self.end_wait(*thread, output),
            Fact::WaitTimedOut { thread, .. } => self.time_out_wait(*thread),
            Fact::ChildStarted { .. } => self.start_child(&record.fact),
            Fact::ChildFinished {
                thread,
                error: None,
                output,
                ..
            } => self.finish_call(*thread, output),
            Fact::ChildFinished {
                thread,
                is_resumable,
                is_left_undone,
                ..
            } => self.fail_call(*thread, CallEnd::of(*is_resumable, *is_left_undone)),
            Fact::EventEmitted { thread, .. } => self.skip_node(*thread),
            Fact::ErrorCaught {
                thread, depth, catch, ..
            } => self.catch(*thread, *depth, *catch),
            Fact::TryFailed { thread, depth, .. } => self.fail_through(*thread, *depth),
            Fact::Finishing { thread, output, .. } => {
                self.ready(*thread)?;
                self.leave_all(*thread, output.clone());
                Ok(())
            }
            Fact::RoundStarted { thread, .. } => self.begin_round(*thread),
            Fact::RepeatEnded { thread, .. } => self.end_repeat(*thread),
            Fact::Late { step, attempt, .. } => {
                self.agenda.revoked.remove(&(*step, *attempt));
                Ok(())
            }
            Fact::RunPaused => {
                self.pause(record.decided_at);
                Ok(())
            }
            Fact::CompensationStarted {
                status,
                error,
                reason,
                children,
            } => {
                self.start_undo(Undo::new(
                    *status,
                    error.clone(),
                    reason.clone(),
                    Children::of(children),
                ));
                Ok(())
            }
            Fact::ChildUndone {
                child, is_left_undone, ..
            } => self.child_undone(*child, *is_left_undone),
            Fact::RunEdited(edited) => self.edit_scope(edited),
            Fact::RunResumed { only } => self.resume(record.decided_at, only),
            Fact::RunFinished(finished) => {
                self.finish(finished);
                Ok(())
            }
        }
    }

    fn finish(&mut self, finished: &crate::record::RunFinished) {
        if finished.status != RunStatus::Completed && self.undo.is_none() {
            self.revoke_below(ThreadKey::ROOT, finished.undoes_children);
        }
        self.phase = Phase::Ended {
            status: finished.status,
            output: match finished.output_is_context {
                true => Some(self.root.ctx.clone()),
                false => finished.output.clone(),
            },
            error: finished.error.clone(),
        };
        self.tally.outstanding = 0;
        self.tally.backing_off = 0;
        self.tally.parked = 0;
        self.agenda.todo.clear();
        // A run that failed may be resumed: an event that it accepted is not sent to it again.
        if finished.status != RunStatus::Failed {
            self.kept.clear();
        }
    }

    /// The thread of a record that must be live.
    fn live(&mut self, key: ThreadKey) -> Result<&mut crate::state::Thread, Misfit> {
        self.materialize_thread(key);
        if !self.is_live(key) {
            return Err(format!("branch {} of scope {} is not live", key.branch, key.scope));
        }
        Ok(self.thread_mut(key).expect("a live thread is there"))
    }

    /// Checks that a live thread stands at a node that waits to be evaluated.
    fn ready(&mut self, key: ThreadKey) -> Result<&mut crate::state::Thread, Misfit> {
        let thread = self.live(key)?;
        match thread.leaf {
            Leaf::Ready(_) => Ok(thread),
            Leaf::Step(_)
            | Leaf::Scope(_)
            | Leaf::Backoff(_)
            | Leaf::Sleep(_)
            | Leaf::Wait(_)
            | Leaf::Call(_)
            | Leaf::Done => Err(format!(
                "branch {} of scope {} does not stand at a node",
                key.branch, key.scope
            )),
        }
    }

    pub(crate) fn push_todo(&mut self, todo: Todo) {
        let is_last = self.agenda.todo.back() == Some(&todo);
        if !is_last {
            self.agenda.todo.push_back(todo);
        }
    }
}
