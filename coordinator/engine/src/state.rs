//! The state of a run: a fold of its journal. (Signatures first.)

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::definition::model::Definition;
use rejoin_shared::delta::Delta;
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use crate::decision::{Apply, Decision, Surroundings};
use crate::event::{Event, Start};
use crate::record::Record;

/// The state of a run.
#[derive(Clone, Debug)]
pub struct RunState;

/// An attempt that may go to a worker now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    pub attempt: u32,
    /// Its task queue.
    pub queue: Arc<str>,
    /// Its handler.
    pub handler: Arc<str>,
}

/// Everything a request is made of.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // as in wire::Order
pub struct Request {
    pub path: String,
    pub handler: Arc<str>,
    pub queue: Arc<str>,
    pub idempotency_key: String,
    pub timeout: Option<Duration>,
    pub heartbeat: Option<Duration>,
    /// The record whose base context this is (a scope's opening record; 0: the run's beginning); the same for all branches.
    pub base_seq: u64,
    /// That base context.
    pub base: Json,
    /// What turns it into the step's context.
    pub changes: Delta,
    pub input: Option<Json>,
    pub item: Option<Json>,
    pub index: Option<Json>,
}

/// Starts a run: its state and the first records.
#[must_use]
pub fn start(_def: &Arc<Definition>, _start: Start, _around: Surroundings<'_>) -> (RunState, Apply) {
    unimplemented!()
}

/// Decides what `event` means. Advances `state` by exactly the records it returns (or not at all).
pub fn decide(_state: &mut RunState, _event: Event, _around: Surroundings<'_>) -> Decision {
    unimplemented!()
}

impl RunState {
    /// The state after a run's first record.
    ///
    /// # Errors
    /// Text, if `first` does not begin a run of this definition.
    pub fn begin(_def: &Arc<Definition>, _first: &Record) -> Result<RunState, String> {
        unimplemented!()
    }
    /// Folds one more record in.
    ///
    /// # Errors
    /// Text, if the record does not fit the state: the journal is not of this run and version.
    pub fn apply(&mut self, _record: &Record) -> Result<(), String> {
        unimplemented!()
    }
    /// Sequence number of the last record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        unimplemented!()
    }
    /// The run's state.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        unimplemented!()
    }
    /// Counts of steps.
    #[must_use]
    pub fn progress(&self) -> Progress {
        unimplemented!()
    }
    /// Takes up to `max` attempts that are outstanding, due at `now`, and were not taken since the run was loaded (or were put
    /// back). Branches that were begun come first; unopened branches are opened as they are taken.
    pub fn take_ready(&mut self, _now: Timestamp, _max: usize) -> Vec<Ready> {
        unimplemented!()
    }
    /// Whether further branches wait to be begun by [`Event::Begin`] (their first node must be evaluated).
    #[must_use]
    pub fn wants_begin(&self) -> bool {
        unimplemented!()
    }
    /// An attempt that was taken is to go out again (lost, handed back, returned): it becomes ready again if it is still wanted.
    pub fn put_back(&mut self, _step: StepKey, _attempt: u32) {
        unimplemented!()
    }
    /// Whether this attempt is outstanding: its completion would be recorded.
    #[must_use]
    pub fn is_outstanding(&self, _step: StepKey, _attempt: u32) -> bool {
        unimplemented!()
    }
    /// Builds the request of an outstanding attempt.
    ///
    /// # Errors
    /// The error that the attempt fails with (feed [`Event::Unbuildable`]).
    pub fn request(&self, _step: StepKey, _attempt: u32, _around: Surroundings<'_>) -> Result<Request, ErrorValue> {
        unimplemented!()
    }
    /// The base context of this record (see [`Request::base_seq`]), if its scope is still open.
    #[must_use]
    pub fn base_context(&self, _seq: u64) -> Option<Json> {
        unimplemented!()
    }
    /// Earliest time at which something of the run is due (a retry's attempt, a timer).
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        unimplemented!()
    }
    /// The outermost flow's context.
    #[must_use]
    pub fn context(&self) -> Json {
        unimplemented!()
    }
    /// The final output and error, once it has ended.
    #[must_use]
    pub fn result(&self) -> (Option<Json>, Option<ErrorValue>) {
        unimplemented!()
    }
    /// Bytes of memory it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        unimplemented!()
    }
}
