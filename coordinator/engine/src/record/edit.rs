//! The record of an operator's edit of an open scope.

use rejoin_shared::definition::model::RetryPolicy;
use serde::{Deserialize, Serialize};

use super::Quota;

/// See [`super::Fact::RunEdited`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEdited {
    /// The scope.
    pub scope: u64,
    /// Its path.
    #[serde(skip)]
    pub path: String,
    /// What is different from now on.
    #[serde(flatten)]
    pub edits: Edits,
    /// Branches that run although fewer may run at once now: most began without a record, and a fold knows of them from here only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<u32>,
}

/// What an operator made different about a scope; it holds for further tries of the same node too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edits {
    /// Branches at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Width>,
    /// What the join asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The retry of the whole node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Vec<RetryPolicy>>,
}

impl Edits {
    /// Lays later edits over these.
    pub fn add(&mut self, later: Edits) {
        self.concurrency = later.concurrency.or(self.concurrency);
        self.quota = later.quota.or(self.quota);
        self.retry = later.retry.or(self.retry.take());
    }
}

/// How many branches run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// All of them.
    Unbounded,
    /// So many.
    AtMost(u32),
}

impl Width {
    /// As a scope keeps it.
    #[must_use]
    pub fn most(self) -> Option<u32> {
        match self {
            Width::Unbounded => None,
            Width::AtMost(most) => Some(most),
        }
    }
}
