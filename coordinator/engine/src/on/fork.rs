//! A run is forked.

use rejoin_shared::run::RunStatus;

use crate::decision::{Apply, Ignored, Surroundings};
use crate::event::Fork;
use crate::machine::Machine;
use crate::record::{Fact, RunForked};
use crate::state::{Phase, RunState};

/// Forks a run: `past` is what its journal folds to at the position. The state and the first records of its own.
///
/// Where the past has ended in a failure, or can lead to nothing else, what failed and what is missing is tried again, as by a
/// resume: a fork that could only fail once more would be of no use to anybody.
///
/// # Errors
/// [`Ignored::NotAllowed`] where nothing is left to do, or what was done is being undone.
pub fn fork(past: &RunState, fork: Fork, around: Surroundings<'_>) -> Result<(RunState, Apply), Ignored> {
    let not_allowed = |text: &str| Err(Ignored::NotAllowed(text.to_owned()));
    if past.undo.is_some() {
        return not_allowed("at that position what the run had done is being undone; name an earlier one");
    }
    let is_revived = match &past.phase {
        Phase::Ended {
            status: RunStatus::Failed | RunStatus::Cancelled,
            ..
        } => true,
        Phase::Ended { .. } => return not_allowed("the run has completed there; name an earlier position"),
        Phase::Scheduled(_) | Phase::Active | Phase::Paused => {
            let (tried, _) = forked(past, &fork, false, around);
            matches!(
                tried.status(),
                RunStatus::Failed | RunStatus::Compensating | RunStatus::CompensationFailed
            )
        }
        Phase::Compensating => return not_allowed("at that position the run is being compensated"),
    };
    Ok(forked(past, &fork, is_revived, around))
}

fn forked(past: &RunState, fork: &Fork, is_revived: bool, around: Surroundings<'_>) -> (RunState, Apply) {
    let mut state = past.clone();
    let fact = Fact::RunForked(RunForked {
        run: fork.run,
        source: past.id,
        version: fork.version,
        input: fork.input.clone(),
        is_revived,
        traceparent: fork.traceparent,
    });
    let random = u64::try_from(around.now.0).unwrap_or_default() ^ past.last_seq;
    let mut machine = Machine::new(&mut state, around, random);
    machine.emit(fact);
    machine.walk();
    let apply = machine.into_apply();
    (state, apply)
}
