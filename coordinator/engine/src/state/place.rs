//! Where a point of control stands, for those who compare a journal with a definition.

use super::{Leaf, RunState};
use crate::record::{Fact, ThreadKey};

impl RunState {
    /// The path at which the thread of this record stands before it is folded in, with the path that the record names. `None` for
    /// a record that is about no single place, or about the undoing of one.
    pub fn place_of(&mut self, fact: &Fact) -> Option<(Option<String>, String)> {
        let (thread, path) = named(fact)?;
        self.materialize_thread(thread);
        Some((self.stands_at(thread), path))
    }

    fn stands_at(&self, key: ThreadKey) -> Option<String> {
        match &self.thread(key)?.leaf {
            Leaf::Ready(entered) => Some(entered.path.clone()),
            Leaf::Step(step) => Some(step.path.clone()),
            Leaf::Scope(id) => self.scopes.get(id).map(|scope| scope.path.to_string()),
            Leaf::Backoff(backoff) => Some(backoff.path.clone()),
            Leaf::Sleep(sleep) => Some(sleep.path.clone()),
            Leaf::Wait(wait) => Some(wait.path.clone()),
            Leaf::Call(call) => Some(call.path.clone()),
            Leaf::Done => None,
        }
    }
}

/// The thread that a record is about, with the path of the node it stands at.
fn named(fact: &Fact) -> Option<(ThreadKey, String)> {
    let (thread, path) = match fact {
        Fact::StepCompleted(done) => (ThreadKey::of(done.step), &done.path),
        Fact::StepFailed(failed) => (ThreadKey::of(failed.step), &failed.path),
        Fact::StepClaimed(claimed) | Fact::ClaimReturned(claimed) => (ThreadKey::of(claimed.step), &claimed.path),
        Fact::CheckpointStored(stored) => (ThreadKey::of(stored.step), &stored.path),
        Fact::StepRetried { step, path, .. }
        | Fact::StepSkipped { step, path, .. }
        | Fact::StepGivenUp { step, path, .. } => (ThreadKey::of(*step), path),
        Fact::ScopeOpened(opened) => (opened.thread, &opened.path),
        Fact::NodeSkipped { thread, path }
        | Fact::Chosen { thread, path, .. }
        | Fact::ContextSet { thread, path, .. }
        | Fact::TimerSet { thread, path, .. }
        | Fact::TimerFired { thread, path, .. }
        | Fact::WaitOpened { thread, path, .. }
        | Fact::InputAnswered { thread, path, .. }
        | Fact::WaitTimedOut { thread, path }
        | Fact::WaitEnded { thread, path, .. }
        | Fact::ChildStarted { thread, path, .. }
        | Fact::ChildFinished { thread, path, .. }
        | Fact::EventEmitted { thread, path, .. }
        | Fact::Finishing { thread, path, .. }
        | Fact::RoundStarted { thread, path }
        | Fact::RepeatEnded { thread, path, .. } => (*thread, path),
        Fact::RunStarted(_)
        | Fact::RunBegun
        | Fact::StepOpened { .. }
        | Fact::GroupOpened { .. }
        | Fact::BranchStarted { .. }
        | Fact::FlowFailed { .. }
        | Fact::ScopeJoined(_)
        | Fact::NodeFailed { .. }
        | Fact::NodeRetryScheduled { .. }
        | Fact::NodeRetried { .. }
        | Fact::EventReceived(_)
        | Fact::EventRefused { .. }
        | Fact::EventTaken { .. }
        | Fact::ErrorCaught { .. }
        | Fact::TryFailed { .. }
        | Fact::Late { .. }
        | Fact::CompensationStarted { .. }
        | Fact::ChildUndone { .. }
        | Fact::RunPaused
        | Fact::RunEdited(_)
        | Fact::RunResumed { .. }
        | Fact::RunForked(_)
        | Fact::RunFinished(_) => return None,
    };
    (!path.ends_with("/compensate")).then(|| (thread, path.clone()))
}
