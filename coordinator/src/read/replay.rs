//! A run folded by the engine, together with its steps.

use std::sync::Arc;

use rejoin_engine::record::{Fact, Joined, Quota, Record, ScopeJoined};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::OpenStep;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;
use rejoin_shared::map::{HashMap, HashSet};

use super::steps::{Fold, Visit};
use crate::fleet::Held;

/// A run as its records leave it.
#[derive(Debug)]
pub struct Replayed {
    /// Its steps, in the order in which they were opened.
    pub steps: Vec<Visit>,
    /// Its state, with what its owner may have dispatched since.
    pub state: RunState,
}

/// Folds a run's records, one by one as they are read, into its steps and its state.
///
/// What was open when its scope or the run ended was cancelled and has no record of its own; it is read from the state
/// just before, with what its owner may have dispatched by then.
pub struct Replay<'a> {
    def: &'a Arc<Definition>,
    /// How many attempts an owner dispatches at once: those of branches without a record are open too.
    window: usize,
    fold: Fold<'a>,
    quotas: HashMap<u64, Quota>,
    state: Option<RunState>,
}

impl<'a> Replay<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(def: &'a Arc<Definition>, window: usize) -> Replay<'a> {
        Replay {
            def,
            window,
            fold: Fold::new(def),
            quotas: HashMap::default(),
            state: None,
        }
    }

    /// Takes the next record in.
    ///
    /// # Errors
    /// Text, if it does not fit the definition or those before.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        let before = match (&mut self.state, may_cancel(&record.fact, &mut self.quotas, record.seq)) {
            (Some(state), true) => {
                state.look_ahead(self.window);
                state.open_steps().collect()
            }
            (Some(_) | None, _) => Vec::new(),
        };
        let state = fold_in(&mut self.state, self.def, record)?;
        self.fold.record(record);
        self.fold.begin_branches(record.seq, state);
        if !before.is_empty() {
            cancel_what_vanished(&mut self.fold, before, state);
        }
        Ok(())
    }

    /// What all of them gave.
    ///
    /// # Errors
    /// Text, if there were none.
    pub fn finish(self, held: &Held) -> Result<Replayed, String> {
        let mut state = self.state.ok_or("the journal is empty")?;
        state.look_ahead(self.window);
        let open: Vec<OpenStep> = state.open_steps().collect();
        Ok(Replayed {
            steps: self.fold.finish(&open, held),
            state,
        })
    }
}

/// Folds the next record into a run's state; the first one begins it.
///
/// # Errors
/// Text, if it does not fit the definition or those before.
pub fn fold_in<'a>(
    state: &'a mut Option<RunState>,
    def: &Arc<Definition>,
    record: &Record,
) -> Result<&'a RunState, String> {
    match state {
        Some(state) => {
            state.apply(record)?;
            Ok(state)
        }
        None => Ok(state.insert(RunState::begin(def, record)?)),
    }
}

/// Whether this record can end steps that have no record of their own. A join that waited for all of its branches cannot;
/// that is nearly every one, and looking at all open steps at each would cost the square of their number.
fn may_cancel(fact: &Fact, quotas: &mut HashMap<u64, Quota>, seq: u64) -> bool {
    match fact {
        Fact::ScopeOpened(opened) => {
            quotas.insert(seq, opened.quota);
            false
        }
        // A scope that failed may be joined again: a resume opens it anew.
        Fact::ScopeJoined(ScopeJoined { scope, result, .. }) => match (result, quotas.get(scope)) {
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
        | Fact::CheckpointStored(_)
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
