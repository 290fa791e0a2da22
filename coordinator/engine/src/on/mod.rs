//! What each event means, one file a kind.

mod checkpoint;
mod child;
mod claim;
mod completed;
mod control;
mod edit;
mod fork;
mod operate;
mod operate_undo;
mod signal;

pub use fork::fork;

use crate::decision::{Decision, Ignored, Surroundings};
use crate::event::{Event, Failure, Start};
use crate::machine::Machine;
use crate::record::{Fact, Record, RunStarted};
use crate::state::{Phase, RunState};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::run::Outcome;
use std::sync::Arc;

/// Starts a run: its state and the first records.
#[must_use]
pub fn start(def: &Arc<Definition>, start: Start, around: Surroundings<'_>) -> (RunState, crate::decision::Apply) {
    let started = RunStarted {
        run: start.run,
        namespace: start.namespace,
        workflow: def.workflow.to_string(),
        version: start.version,
        input: start.input,
        tags: start.tags,
        priority: start.priority,
        parent: start.parent,
        is_awaited: start.is_awaited,
        at: start.at.filter(|at| *at > around.now),
        traceparent: start.traceparent,
    };
    let first = Record {
        seq: 1,
        decided_at: around.now,
        fact: Fact::RunStarted(started),
    };
    let mut state = RunState::begin(def, &first).expect("a run that starts begins with its start");
    let mut machine = Machine::new(&mut state, around, 0);
    machine.walk();
    let mut apply = machine.into_apply();
    apply.records.insert(0, first);
    (state, apply)
}

/// Decides what `event` means. Advances `state` by exactly the records it returns (or not at all).
pub fn decide(state: &mut RunState, event: Event, around: Surroundings<'_>) -> Decision {
    let random = if let Event::Completed(completed) = &event {
        completed.random
    } else {
        u64::try_from(around.now.0).unwrap_or_default() ^ state.last_seq
    };
    let mut machine = Machine::new(state, around, random);
    let ignored = match event {
        Event::Completed(completed) => machine.completed(*completed).err(),
        Event::Unbuildable { step, attempt, error } => {
            let failure = Failure {
                error,
                outcome: Outcome::Error,
                retryable: true,
                retry_after: None,
                checkpoint: None,
            };
            machine.unbuildable(step, attempt, failure).err()
        }
        Event::Claim {
            step,
            attempt,
            worker,
            key,
        } => machine.claim(step, attempt, worker, key).err(),
        Event::ClaimReturned { step, attempt, claim } => machine.claim_returned(step, attempt, claim).err(),
        Event::ClaimLost { step, attempt, claim } => machine.claim_lost(step, attempt, claim).err(),
        Event::Checkpoint { step, attempt, value } => machine.checkpoint(step, attempt, value).err(),
        Event::TimerDue => {
            machine.timers_due();
            Some(Ignored::NothingDue)
        }
        Event::Loaded => {
            // What the fold came by on its way stands in the tables already.
            machine.state.agenda.wait_changes.clear();
            machine.state.agenda.outbox.clear();
            Some(Ignored::NothingDue)
        }
        Event::Begin { .. } => Some(Ignored::NothingDue),
        Event::Signal {
            from,
            event,
            payload,
            id,
            is_addressed,
            sender,
        } => match from == machine.state.namespace {
            true => machine.signal(event, payload, id, is_addressed, sender).err(),
            false => Some(Ignored::NothingDue),
        },
        Event::Answer { path, value } => machine.answer(path, value).err(),
        Event::ChildEnded { child, end } => machine.child_ended(child, end).err(),
        Event::GoOn { .. } => machine.go_on_for_parent().err(),
        Event::Operate { steps, what } => machine.operate(&steps, what).err(),
        Event::Edit { path, edit } => machine.edit(&path, edit).err(),
        Event::Cancel { reason, compensate } => machine.cancel(reason, compensate).err(),
        Event::Pause => machine.pause().err(),
        Event::Resume => machine.resume().err(),
        Event::Quarantine { message } => machine.quarantine(message).err(),
    };
    if !matches!(machine.state.phase, Phase::Ended { .. }) {
        machine.walk();
    }
    match ignored {
        Some(why) if machine.is_empty() && !machine.sends() => Decision::Ignored(why),
        _ => Decision::Apply(machine.into_apply()),
    }
}
