//! What `decide` answers, as plain data: no channel, no handle.

use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::state::view::{OpenSleep, OpenWait};

/// What the shell knows and the engine may not ask for.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Now, by the owner's clock.
    pub now: Timestamp,
    /// The limits in force.
    pub limits: &'a Limits,
}

/// What an event means for a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Append these, then do those.
    Apply(Apply),
    /// Nothing changes.
    Ignored(Ignored),
}

/// Records to append, and what to do once they are durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apply {
    /// In order; already folded into the state.
    pub records: Vec<Record>,
    /// To be done after the commit.
    pub effects: Vec<Effect>,
    /// Waits that opened or ended, for those who look for waits without reading journals; written with the records.
    pub waits: Vec<WaitChange>,
    /// Messages to other runs; written with the records.
    pub sent: Vec<Sent>,
}

/// A wait that opened or ended.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitChange {
    /// It waits from now on.
    Opened(OpenWait),
    /// A sleep began.
    Slept(OpenSleep),
    /// It waits no more; named by the record that opened it.
    Over(u64),
}

/// A message to other runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// An event.
    Event {
        /// The run it is for; without one every run that waits for it.
        to: Option<RunId>,
        /// Its name.
        event: String,
        /// What it carries.
        payload: Json,
        /// The same one counts once.
        id: String,
    },
    /// A run is called.
    Start {
        /// Its id.
        child: RunId,
        /// The workflow.
        workflow: String,
        /// Its version; the newest by default.
        version: Option<u32>,
        /// Its input, not checked yet.
        input: Json,
        /// Whether the caller waits for its end.
        is_awaited: bool,
    },
    /// Nobody waits for a called run any more.
    Cancel {
        /// Which.
        child: RunId,
        /// The caller fails or undoes what it did: what the child did is undone too.
        compensate: bool,
    },
    /// A called run that had failed is waited for again: it goes on, or says how it ended since.
    GoOn {
        /// Which.
        child: RunId,
    },
    /// This run has ended, and its caller waits for that.
    Ended {
        /// The caller.
        parent: RunId,
        /// The record of the end.
        seq: u64,
        /// How.
        end: ChildEnd,
    },
}

/// How a called run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnd {
    /// With this output.
    Ok(Json),
    /// It failed or was cancelled, or could not be started.
    Error {
        /// Why.
        error: ErrorValue,
        /// Whether it can go on from where it failed.
        is_resumable: bool,
        /// What it did was to be undone, and something could not be.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_left_undone: bool,
        /// It was to go on, and is not there any more: deleted, or its retention is over.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_gone: bool,
    },
}

/// What may leave the process after the commit. Dispatching is not among them: it is pulled.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// These attempts are no longer wanted: drop them if they are queued, tell whoever runs them.
    Revoke(Vec<(StepKey, u32)>),
    /// The run ended.
    Ended(RunStatus),
}

/// Why an event changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A completion that is recorded already, or of an attempt that was given up.
    Duplicate,
    /// A completion for a run or branch that has ended.
    Late,
    /// A claim that its asker has already.
    Granted,
    /// A claim on an attempt that another worker, or another delivery, has claimed.
    ClaimedElsewhere,
    /// A claim on an attempt that is not outstanding, or the loss or return of one that is not held.
    NoSuchClaim,
    /// Nothing was due.
    NothingDue,
    /// A command that the state does not allow: a 409 with this text.
    NotAllowed(String),
    /// A command about something that is not there: a 404 with this text.
    NotThere(String),
    /// A command whose values do not fit: a 422 with this text.
    Unfit(String),
    /// An event for which the run has no more room: a 429.
    Full,
    /// A command whose effect is there already (a cancel of a cancelled run).
    AlreadySo,
}
