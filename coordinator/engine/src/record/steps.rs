//! What becomes of steps and their attempts.

use std::sync::Arc;

use rejoin_shared::ids::{ClaimKey, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::run::{ErrorValue, Outcome};
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

/// See [`super::Fact::StepClaimed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    #[serde(skip)]
    pub attempt: u32,
    /// The step's path.
    #[serde(skip)]
    pub path: String,
    /// The worker's name.
    #[serde(skip)]
    pub worker: String,
    /// Which worker, and which delivery.
    pub key: ClaimKey,
}

/// See [`super::Fact::StepCompleted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCompleted {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    #[serde(skip)]
    pub attempt: u32,
    /// The step's path.
    #[serde(skip)]
    pub path: String,
    /// The handler's output.
    #[serde(skip)]
    pub output: Json,
    /// Context writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(KeyPath, Json)>,
    /// Context removals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<KeyPath>,
    /// Where a decision by handler goes on; absent for steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Worker's clock.
    pub started_at: Timestamp,
    /// Worker's clock.
    pub finished_at: Timestamp,
    /// Who ran it.
    #[serde(skip)]
    pub worker: Option<Arc<str>>,
    /// Lines.
    #[serde(skip)]
    pub logs: Vec<String>,
    /// Snapshot of the branch that ended with this, as stored.
    #[serde(skip)]
    pub snapshot: Option<Json>,
}

/// What an attempt that goes on has stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointStored {
    /// The step visit.
    pub step: StepKey,
    /// The attempt.
    #[serde(skip)]
    pub attempt: u32,
    /// Any JSON.
    #[serde(skip)]
    pub value: Json,
    /// The step's path.
    #[serde(skip)]
    pub path: String,
}

/// See [`super::Fact::StepFailed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFailed {
    /// The step visit.
    pub step: StepKey,
    /// The attempt that failed.
    #[serde(skip)]
    pub attempt: u32,
    /// The step's path.
    #[serde(skip)]
    pub path: String,
    /// Why.
    pub error: ErrorValue,
    /// How.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
    /// The next attempt, if one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<NodeRetry>,
    /// The step waits for an operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_parked: bool,
    /// What the attempt stored for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Json>,
    /// Worker's clock; absent where no worker had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Worker's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Who ran it.
    #[serde(skip)]
    pub worker: Option<Arc<str>>,
    /// Lines.
    #[serde(skip)]
    pub logs: Vec<String>,
}

/// Another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRetry {
    /// Index of the policy that allows it.
    pub policy: usize,
    /// Earliest time.
    pub at: Timestamp,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// A case of a branch, by index.
    Case(u32),
    /// A branch's default.
    Default,
    /// No case and no default, or a decision that goes on.
    Continue,
    /// A goto's target, by name.
    Goto(String),
}
