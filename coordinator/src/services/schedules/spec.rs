//! What a schedule is asked to do.

use std::collections::BTreeMap;

use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::services::runs::Launch;
use crate::store::ScheduleRow;

/// What happens to a tick while the run before it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It starts nothing.
    #[default]
    Skip,
    /// It starts when that one has ended.
    Queue,
    /// It starts.
    Allow,
    /// That one is cancelled, and it starts.
    CancelPrevious,
}

impl Overlap {
    /// The names, for people.
    pub const NAMES: &str = "skip, queue, allow or cancel_previous";

    /// The policy of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Overlap> {
        match name {
            "skip" => Some(Overlap::Skip),
            "queue" => Some(Overlap::Queue),
            "allow" => Some(Overlap::Allow),
            "cancel_previous" => Some(Overlap::CancelPrevious),
            _ => None,
        }
    }
}

/// A schedule as it was asked for (INTERFACE 8), without its name; times and durations as they were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Spec {
    pub workflow: String,
    /// None: the newest at the time of the start.
    pub version: Option<u32>,
    pub input: Json,
    pub cron: Option<String>,
    pub every: Option<String>,
    pub timezone: String,
    pub overlap: Overlap,
    pub catch_up: String,
    pub tags: BTreeMap<String, String>,
}

impl Spec {
    /// As a row keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a schedule is plain data")
    }

    /// From a row.
    ///
    /// # Errors
    /// Text of another version.
    pub fn of(row: &ScheduleRow) -> serde_json::Result<Spec> {
        rejoin_shared::json::read_own(&row.spec)
    }

    /// The run of one tick of the schedule `name`. Whoever starts that tick starts it by the same key.
    #[must_use]
    pub fn launch(&self, namespace: &Namespace, name: &str, tick: Timestamp) -> Launch {
        Launch {
            key: Some(format!("schedule/{name}/{tick}")),
            ..self.launch_now(namespace, None)
        }
    }

    /// A run beside the ticks, perhaps with another input.
    #[must_use]
    pub fn launch_now(&self, namespace: &Namespace, input: Option<Json>) -> Launch {
        Launch {
            namespace: namespace.clone(),
            workflow: self.workflow.clone(),
            version: self.version,
            input: input.unwrap_or_else(|| self.input.clone()),
            tags: self.tags.clone(),
            key: None,
        }
    }
}
