//! What can happen to a run, as plain data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::ChildEnd;
use rejoin_shared::definition::model::RetryPolicy;
use rejoin_shared::ids::{ClaimId, ClaimKey, Namespace, RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::run::{ErrorValue, Outcome, Priority};
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;
use serde::{Deserialize, Serialize};

/// Something that happened, or is asked for.
#[derive(Clone, Debug)]
pub enum Event {
    /// An attempt ended.
    Completed(Box<Completed>),
    /// A worker asks for the only right to run an attempt (`idempotent: false`).
    Claim {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// The worker's name.
        worker: String,
        /// Which worker, and which delivery.
        key: ClaimKey,
    },
    /// A worker gives a claim back: it has not begun the attempt, and will not.
    ClaimReturned {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Which claim.
        claim: ClaimId,
    },
    /// The worker that holds a claim is gone, and with it what is known of the attempt.
    ClaimLost {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Which claim.
        claim: ClaimId,
    },
    /// An attempt that goes on stored something.
    Checkpoint {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Any JSON.
        value: Json,
    },
    /// The request of an attempt could not be built (its `with` failed): it never leaves the process.
    Unbuildable {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// `rejoin.expression` or `rejoin.too_large`.
        error: ErrorValue,
    },
    /// Some timer of the run may be due.
    TimerDue,
    /// There is room for `room` more attempts: open further branches whose first node must be evaluated first.
    Begin {
        /// Most branches to begin.
        room: usize,
    },
    /// The run was loaded: go on with whatever waits for nobody.
    Loaded,
    /// An event came.
    Signal {
        /// The namespace it comes from.
        from: Namespace,
        /// Its name.
        event: String,
        /// What it carries.
        payload: Json,
        /// What the sender calls it: the same one counts once.
        id: Option<String>,
        /// It is for this very run: kept if no wait takes it.
        is_addressed: bool,
        /// The run that sent it: nobody is told if it is refused, so that is recorded.
        sender: Option<RunId>,
    },
    /// Somebody answers the input that waits at this path.
    Answer {
        /// The wait's path.
        path: String,
        /// The answer, which fits.
        value: Json,
    },
    /// A run that this one called has ended.
    ChildEnded {
        /// Which.
        child: RunId,
        /// How.
        end: ChildEnd,
    },
    /// The caller waits again for this run, which had failed.
    GoOn {
        /// The caller.
        parent: RunId,
    },
    /// An operator does something about single steps.
    Operate {
        /// Which.
        steps: Steps,
        /// What.
        what: StepOperation,
    },
    /// An operator edits the open scope at this path.
    Edit {
        /// The scope's path.
        path: String,
        /// What is to be different.
        edit: ScopeEdit,
    },
    /// An operator cancels the run.
    Cancel {
        /// For people.
        reason: Option<String>,
        /// What it did is undone.
        compensate: bool,
    },
    /// An operator pauses the run.
    Pause,
    /// An operator resumes a paused, failed or cancelled run.
    Resume,
    /// The run cannot be handled: it fails with `rejoin.internal`.
    Quarantine {
        /// What went wrong.
        message: String,
    },
}

/// Which steps an operation is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steps {
    /// Those at these paths.
    At(Vec<String>),
    /// All whose last error has this type.
    WithError(String),
}

/// What an operator makes different about an open scope; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeEdit {
    /// Branches at once.
    pub concurrency: Option<Json>,
    /// How many branches must succeed.
    pub need: Option<Json>,
    /// How many may fail.
    pub tolerate: Option<Json>,
    /// Retries of the whole node, read and completed by the caller.
    pub retry: Option<Vec<RetryPolicy>>,
}

/// What an operator does about a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOperation {
    /// Tries it again, with a fresh retry budget.
    Retry {
        /// What it gets in place of its `with`.
        #[serde(default)]
        input: Option<Json>,
    },
    /// Goes on as if it had returned this.
    Skip {
        /// Its value.
        value: Json,
    },
    /// Lets it fail with this.
    Fail {
        /// The error.
        error: ErrorValue,
    },
}

/// An attempt ended.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    pub attempt: u32,
    /// How.
    pub end: End,
    /// Who ran it.
    pub worker: Option<Arc<str>>,
    /// Worker's clock.
    pub started_at: Timestamp,
    /// Worker's clock.
    pub finished_at: Timestamp,
    /// Lines.
    pub logs: Vec<String>,
    /// A random number, for the jitter of a retry.
    pub random: u64,
}

/// How an attempt ended, checked against the limits.
#[derive(Clone, Debug)]
pub enum End {
    /// The handler returned.
    Ok {
        /// `null` changes nothing.
        output: Json,
        /// Context writes.
        set: Vec<(KeyPath, Json)>,
        /// Context removals, done first.
        unset: Vec<KeyPath>,
    },
    /// It failed.
    Error(Failure),
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Type, message, details; the engine adds path and attempt.
    pub error: ErrorValue,
    /// Error, time-out or lost.
    pub outcome: Outcome,
    /// False: the handler called it final.
    pub retryable: bool,
    /// Earliest next attempt, from now.
    pub retry_after: Option<Duration>,
    /// What the handler stored for its next attempt; none: what an attempt before stored stays.
    pub checkpoint: Option<Json>,
}

/// A run is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its id.
    pub run: RunId,
    /// Its namespace.
    pub namespace: Namespace,
    /// The workflow's version.
    pub version: u32,
    /// Checked against the definition's schema by the caller.
    pub input: Json,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Order among runs.
    pub priority: Priority,
    /// The run that called it.
    pub parent: Option<RunId>,
    /// That run waits for its end.
    pub is_awaited: bool,
    /// It begins no earlier.
    pub at: Option<Timestamp>,
    /// The span of the request that started it.
    pub traceparent: Option<TraceParent>,
}

/// A run is to be forked: what was folded so far becomes its past.
#[derive(Clone, Debug)]
pub struct Fork {
    /// Its id.
    pub run: RunId,
    /// The workflow's version, which the past fits.
    pub version: u32,
    /// Its input, if that is another one; checked against the definition's schema by the caller.
    pub input: Option<Json>,
    /// The span of the request that forked it.
    pub traceparent: Option<TraceParent>,
}
