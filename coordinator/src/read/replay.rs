//! A run folded by the engine, together with its steps.

use std::sync::Arc;

use rejoin_engine::record::{Fact, Joined, Quota, Record, ScopeJoined, ThreadKey};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenStep, is_undo};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;
use rejoin_shared::map::HashMap;

use super::graph::is_drawn;
use super::journal::{ReadError, record};
use super::steps::{Fold, Visit};
use crate::fleet::Held;
use crate::store::StoredRow;

/// A run as its records leave it.
#[derive(Debug)]
pub struct Replayed {
    /// Its steps, in the order in which they were opened.
    pub steps: Vec<Visit>,
    /// Its state, with what its owner may have dispatched since.
    pub state: RunState,
    /// Those of its records that [`super::graph`] draws.
    pub drawn: Vec<Record>,
    /// Bytes of those, and of errors.
    bytes: usize,
}

impl Replayed {
    /// Bytes of memory it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        const VISIT_BYTES: usize = 400;
        const RECORD_BYTES: usize = 300;
        self.state.weight() + self.steps.len() * VISIT_BYTES + self.drawn.len() * RECORD_BYTES + self.bytes
    }
}

/// Folds a run's records, one by one as they are read, into its steps and its state.
///
/// What was open when its scope or the run ended was cancelled and has no record of its own; it is read from the state
/// just before, with what its owner may have dispatched by then.
#[derive(Clone)]
pub struct Replay {
    def: Arc<Definition>,
    /// How many attempts an owner dispatches at once: those of branches without a record are open too.
    window: usize,
    steps: Fold,
    quotas: HashMap<u64, Quota>,
    state: Option<RunState>,
    drawn: Vec<Record>,
    bytes: usize,
}

impl Replay {
    /// Nothing yet.
    #[must_use]
    pub fn new(def: &Arc<Definition>, window: usize) -> Replay {
        Replay {
            def: def.clone(),
            window,
            steps: Fold::new(def),
            quotas: HashMap::default(),
            state: None,
            drawn: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether the run has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.status().is_terminal())
    }

    /// Takes the next row of the journal in.
    ///
    /// # Errors
    /// [`ReadError`] of a row that cannot be read, or does not fit the definition or those before.
    pub fn take(&mut self, stored: &StoredRow) -> Result<(), ReadError> {
        let run = stored.row.run;
        let record = record(stored)?;
        let is_failure = matches!(
            record.fact,
            Fact::StepFailed(_) | Fact::StepGivenUp { .. } | Fact::StepSkipped { .. }
        );
        if is_failure || is_drawn(&record.fact) {
            self.bytes += stored.row.payload_bytes() * MEMORY_PER_BYTE;
        }
        self.fold(record)
            .map_err(|reason| ReadError::Unreadable { run, reason })
    }

    fn fold(&mut self, record: Record) -> Result<(), String> {
        let cut_off = match (&mut self.state, ends(&record.fact, &mut self.quotas, record.seq)) {
            (Some(state), Ends::Scope(scope)) => {
                state.look_ahead(self.window);
                state.open_steps_in(scope)
            }
            (Some(state), Ends::ScopeAt(thread)) => {
                state.look_ahead(self.window);
                let scope = state.scope_at(thread);
                scope.map(|scope| state.open_steps_in(scope)).unwrap_or_default()
            }
            (Some(state), Ends::All) => {
                state.look_ahead(self.window);
                state.open_steps().collect()
            }
            (Some(_), Ends::Nothing) | (None, _) => Vec::new(),
        };
        if let (Some(state), Fact::RunPaused) = (&mut self.state, &record.fact) {
            // What was dispatched by then goes on, and nothing begins afterwards.
            state.look_ahead(self.window);
        }
        if let (Some(state), Some(step)) = (&self.state, undone(&record.fact)) {
            self.steps.undo_opened(step, state.undo_opened(step));
        }
        let state = fold_in(&mut self.state, &self.def, &record)?;
        self.steps.record(&record);
        self.steps.begin_branches(record.seq, state);
        self.steps.cancel(&cut_off);
        if is_drawn(&record.fact) {
            self.drawn.push(record);
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
            steps: self.steps.finish(&open, held),
            state,
            drawn: self.drawn,
            bytes: self.bytes,
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

/// Bytes of memory that a byte of JSON text takes as a tree, about.
const MEMORY_PER_BYTE: usize = 3;

/// The compensation that a record is about.
fn undone(fact: &Fact) -> Option<StepKey> {
    let step = if let Fact::StepCompleted(completed) = fact {
        completed.step
    } else if let Fact::StepFailed(failed) = fact {
        failed.step
    } else if let Fact::StepSkipped { step, .. } | Fact::StepGivenUp { step, .. } = fact {
        *step
    } else {
        return None;
    };
    is_undo(step).then_some(step)
}

/// What a record can end without a record of its own.
enum Ends {
    Nothing,
    /// The open steps in this scope.
    Scope(u64),
    /// Those in the scope that this thread waits at.
    ScopeAt(ThreadKey),
    All,
}

/// Whether this record can end steps that have no record of their own. A join that waited for all of its branches cannot;
/// that is nearly every one.
fn ends(fact: &Fact, quotas: &mut HashMap<u64, Quota>, seq: u64) -> Ends {
    match fact {
        Fact::ScopeOpened(opened) => {
            quotas.insert(seq, opened.quota);
            Ends::Nothing
        }
        // The next try has branches of its own.
        Fact::NodeRetryScheduled {
            thread, depth: None, ..
        } => Ends::ScopeAt(*thread),
        // A scope that failed may be joined again: a resume opens it anew.
        Fact::ScopeJoined(ScopeJoined { scope, result, .. }) => match (result, quotas.get(scope)) {
            (Joined::Failed(_), _) | (Joined::Ok(_), Some(Quota::Need(_))) => Ends::Scope(*scope),
            (Joined::Ok(_), Some(Quota::All | Quota::Whatever | Quota::Tolerate(_)) | None) => Ends::Nothing,
        },
        Fact::RunEdited(edited) => {
            quotas.extend(edited.edits.quota.map(|quota| (edited.scope, quota)));
            Ends::Nothing
        }
        Fact::CompensationStarted { .. } | Fact::RunFinished(_) => Ends::All,
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
        | Fact::ChildUndone { .. }
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
        | Fact::RunResumed { .. } => Ends::Nothing,
    }
}
