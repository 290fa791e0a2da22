//! What `decide` answers, as plain data: no channel, no handle.

use rejoin_shared::ids::StepKey;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::record::Record;

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
    /// Nothing was due.
    NothingDue,
    /// A command that the state does not allow: a 409 with this text.
    NotAllowed(String),
    /// A command whose effect is there already (a cancel of a cancelled run).
    AlreadySo,
}
