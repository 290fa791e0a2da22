//! How long ended runs are kept.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use crate::run::RunStatus;

/// `[retention]`: how long ended runs are kept whose workflow does not say so; without a key for ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long completed runs are kept whose workflow does not say so; none: for ever. Example: `30d`.
    #[schemars(with = "Option<String>")]
    pub completed: Option<Span>,
    /// How long failed runs are kept whose workflow does not say so; none: for ever. Example: `90d`.
    #[schemars(with = "Option<String>")]
    pub failed: Option<Span>,
    /// How long runs whose compensation failed are kept whose workflow does not say so; none: for ever. Example: `90d`.
    #[schemars(with = "Option<String>")]
    pub compensation_failed: Option<Span>,
    /// How long cancelled runs are kept whose workflow does not say so; none: for ever. Example: `30d`.
    #[schemars(with = "Option<String>")]
    pub cancelled: Option<Span>,
}

impl Retention {
    /// Final states with how long runs in them are kept; those that are kept for ever left out.
    #[must_use]
    pub fn by_state(&self) -> Vec<(RunStatus, Duration)> {
        let all = [
            (RunStatus::Completed, self.completed),
            (RunStatus::Failed, self.failed),
            (RunStatus::CompensationFailed, self.compensation_failed),
            (RunStatus::Cancelled, self.cancelled),
        ];
        all.into_iter()
            .filter_map(|(status, keep)| Some((status, keep?.0)))
            .collect()
    }
}
