//! Scopes: what they open with, and what their joins come to.

use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;
use serde::{Deserialize, Serialize};

use super::ThreadKey;

/// See [`super::Fact::ScopeOpened`]. Its sequence number names the scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeOpened {
    /// The thread that forks.
    pub thread: ThreadKey,
    /// The node's path.
    #[serde(skip)]
    pub path: String,
    /// What it forks into.
    pub branches: Branches,
    /// What the join asks for.
    pub quota: Quota,
    /// Branches at once; `None` is unbounded. A loop has 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// How many branches must succeed, or may fail (SPEC 4.1), as it was read at the fork.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// All must succeed: the default under `fail_fast`.
    All,
    /// Whatever succeeds is enough: the default under `complete_all`.
    Whatever,
    /// At least so many must succeed.
    Need(Share),
    /// At most so many may fail.
    Tolerate(Share),
}

/// A number of branches, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred activated ones.
    Percent(f64),
}

/// The branches of a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branches {
    /// Of a parallel or graph: indices of those whose `when` did not hold (a parallel's only; a graph's are read later).
    Named {
        /// In ascending order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inactive: Vec<u32>,
    },
    /// A list: one item a branch.
    List(Json),
    /// A map: one entry a branch, in the order of the keys.
    Map(Json),
    /// The integers from 0 below this.
    Count(u32),
}

/// See [`super::Fact::ScopeJoined`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeJoined {
    /// The scope.
    pub scope: u64,
    /// The node's path.
    #[serde(skip)]
    pub path: String,
    /// What came of it.
    pub result: Joined,
    /// Snapshot of the branch that ended with this, as stored.
    #[serde(skip)]
    pub snapshot: Option<Json>,
}

/// The result of a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// The merged context, as changes against the fork's base.
    Ok(Delta),
    /// Why it failed; the changes of the branches are lost.
    Failed(ErrorValue),
}
