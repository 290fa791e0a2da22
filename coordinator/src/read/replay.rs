//! A run folded by the engine, together with its steps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rejoin_engine::record::{Fact, Joined, Quota, Record, ScopeJoined};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::OpenStep;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;

use super::steps::{Fold, StepView};
use crate::fleet::Held;

/// A run as its records leave it.
#[derive(Debug)]
pub struct Replayed {
    /// Its steps, in the order in which they were opened.
    pub steps: Vec<StepView>,
    /// Its state, with what its owner may have dispatched since.
    pub state: RunState,
}

/// Folds `records` into the state they give.
///
/// # Errors
/// Text, if they do not fit the definition or each other.
pub fn state(def: &Arc<Definition>, records: &[Record]) -> Result<RunState, String> {
    let (first, rest) = records.split_first().ok_or("the journal is empty")?;
    let mut state = RunState::begin(def, first).map_err(|e| e.to_string())?;
    for record in rest {
        state.apply(record).map_err(|e| e.to_string())?;
    }
    Ok(state)
}

/// The steps of the run that these records are of.
///
/// What was open when its scope or the run ended was cancelled and has no record of its own; it is read from the state
/// just before. `window` is how many attempts an owner dispatches at once: those of branches without a record are open too.
///
/// # Errors
/// As [`state`].
pub fn steps(def: &Arc<Definition>, records: &[Record], held: &Held, window: usize) -> Result<Replayed, String> {
    let (first, rest) = records.split_first().ok_or("the journal is empty")?;
    let mut state = RunState::begin(def, first).map_err(|e| e.to_string())?;
    let mut fold = Fold::new(def);
    let mut quotas = HashMap::new();
    fold.record(first);
    for record in rest {
        let before = match may_cancel(&record.fact, &mut quotas, record.seq) {
            true => state.open_steps().collect(),
            false => Vec::new(),
        };
        state.apply(record).map_err(|e| e.to_string())?;
        fold.record(record);
        if !before.is_empty() {
            cancel_what_vanished(&mut fold, before, &state);
        }
    }
    state.look_ahead(window);
    let open: Vec<OpenStep> = state.open_steps().collect();
    Ok(Replayed {
        steps: fold.finish(&open, held),
        state,
    })
}

/// Whether this record can end steps that have no record of their own. A join that waited for all of its branches cannot;
/// that is nearly every one, and looking at all open steps at each would cost the square of their number.
fn may_cancel(fact: &Fact, quotas: &mut HashMap<u64, Quota>, seq: u64) -> bool {
    match fact {
        Fact::ScopeOpened(opened) => {
            quotas.insert(seq, opened.quota);
            false
        }
        Fact::ScopeJoined(ScopeJoined { scope, result, .. }) => match (result, quotas.remove(scope)) {
            (Joined::Failed(_), _) | (Joined::Ok(_), Some(Quota::Need(_))) => true,
            (Joined::Ok(_), Some(Quota::All | Quota::Whatever | Quota::Tolerate(_)) | None) => false,
        },
        Fact::RunEdited(edited) => {
            quotas.extend(edited.edits.quota.map(|quota| (edited.scope, quota)));
            false
        }
        Fact::CompensationStarted { .. } | Fact::RunFinished(_) => true,
        Fact::RunStarted(_)
        | Fact::RunBegun
        | Fact::StepOpened { .. }
        | Fact::StepClaimed(_)
        | Fact::ClaimReturned(_)
        | Fact::NodeSkipped { .. }
        | Fact::StepCompleted(_)
        | Fact::StepFailed(_)
        | Fact::GroupOpened { .. }
        | Fact::BranchStarted { .. }
        | Fact::FlowFailed { .. }
        | Fact::Chosen { .. }
        | Fact::ContextSet { .. }
        | Fact::NodeFailed { .. }
        | Fact::NodeRetryScheduled { .. }
        | Fact::NodeRetried { .. }
        | Fact::TimerSet { .. }
        | Fact::TimerFired { .. }
        | Fact::WaitOpened { .. }
        | Fact::EventReceived(_)
        | Fact::EventRefused { .. }
        | Fact::EventTaken { .. }
        | Fact::InputAnswered { .. }
        | Fact::WaitTimedOut { .. }
        | Fact::WaitEnded { .. }
        | Fact::StepRetried { .. }
        | Fact::StepSkipped { .. }
        | Fact::StepGivenUp { .. }
        | Fact::ChildStarted { .. }
        | Fact::ChildFinished { .. }
        | Fact::EventEmitted { .. }
        | Fact::ErrorCaught { .. }
        | Fact::TryFailed { .. }
        | Fact::Finishing { .. }
        | Fact::RoundStarted { .. }
        | Fact::RepeatEnded { .. }
        | Fact::Late { .. }
        | Fact::RunPaused
        | Fact::RunForked(_)
        | Fact::RunResumed { .. } => false,
    }
}

fn cancel_what_vanished(fold: &mut Fold<'_>, before: Vec<OpenStep>, after: &RunState) {
    let still: HashSet<StepKey> = after.open_steps().map(|o| o.step).collect();
    let gone: Vec<OpenStep> = before.into_iter().filter(|o| !still.contains(&o.step)).collect();
    fold.cancel(&gone);
}
