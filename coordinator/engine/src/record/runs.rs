//! How a run begins and ends.

use std::collections::BTreeMap;

use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, Priority, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;
use serde::{Deserialize, Serialize};

/// See [`super::Fact::RunStarted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RunStarted {
    pub run: RunId,
    pub namespace: Namespace,
    pub workflow: String,
    pub version: u32,
    pub input: Json,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The parent waits for its end.
    #[serde(default)]
    pub is_awaited: bool,
    /// It begins no earlier: a record of its own says when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The span of the request that started it, which the run's own links to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

/// A run that the one to be undone had called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoneChild {
    /// Its id.
    pub child: RunId,
    /// The call's path.
    pub path: String,
    /// It has ended already, and something that it did could not be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_left_undone: bool,
}

/// See [`super::Fact::RunFinished`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RunFinished {
    pub status: RunStatus,
    /// `finish`'s.
    #[serde(skip)]
    pub output: Option<Json>,
    /// The output is the final context, which a reader of the journal has anyway. Before format 3 it stood in `output` all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_is_context: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorValue>,
    /// Why an operator cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Runs that it waits for are cancelled, and undo what they did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoes_children: bool,
}
