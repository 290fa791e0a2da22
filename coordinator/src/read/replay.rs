//! A run folded by the engine, together with its steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::record::{Fact, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;

use super::open::{OpenStep, open_steps};
use super::steps::{Fold, StepView};

/// Who holds which attempt of the run.
pub type Held = BTreeMap<(StepKey, u32), String>;

/// Folds `records` into the state they give.
///
/// # Errors
/// Text, if they do not fit the definition or each other.
pub fn state(def: &Arc<Definition>, records: &[Record]) -> Result<RunState, String> {
    let (first, rest) = records.split_first().ok_or("the journal is empty")?;
    let mut state = RunState::begin(def, first)?;
    for record in rest {
        state.apply(record)?;
    }
    Ok(state)
}

/// The steps of the run that these records are of.
///
/// What was open when its scope or the run ended was cancelled and has no record of its own; it is read from the state
/// just before.
///
/// # Errors
/// As [`state`].
pub fn steps(def: &Arc<Definition>, records: &[Record], held: &Held) -> Result<Vec<StepView>, String> {
    let (first, rest) = records.split_first().ok_or("the journal is empty")?;
    let mut state = RunState::begin(def, first)?;
    let mut fold = Fold::new(def);
    fold.record(first);
    for record in rest {
        if matches!(record.fact, Fact::ScopeJoined(_) | Fact::RunFinished(_)) {
            let before = open_steps(&state);
            state.apply(record)?;
            fold.record(record);
            if !before.is_empty() {
                cancel_what_vanished(&mut fold, before, &state);
            }
        } else {
            state.apply(record)?;
            fold.record(record);
        }
    }
    Ok(fold.finish(&open_steps(&state), held))
}

fn cancel_what_vanished(fold: &mut Fold<'_>, before: Vec<OpenStep>, after: &RunState) {
    let still: std::collections::HashSet<StepKey> = open_steps(after).into_iter().map(|o| o.step).collect();
    let gone: Vec<OpenStep> = before.into_iter().filter(|o| !still.contains(&o.step)).collect();
    fold.cancel(&gone);
}
