//! The record with which the past of one run becomes that of another.

use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::trace::TraceParent;
use serde::{Deserialize, Serialize};

/// See [`super::Fact::RunForked`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunForked {
    /// The run from here on.
    pub run: RunId,
    /// The run that the records before this one come from.
    pub source: RunId,
    /// Version of the workflow from here on; all that was recorded before fits it.
    pub version: u32,
    /// Its input from here on, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// The run had failed or was cancelled, or nothing could keep it from failing: what failed and what is missing is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_revived: bool,
    /// The span of the request that forked it, which the run's own links to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}
