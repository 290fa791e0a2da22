//! An open parallel, foreach or graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, FlowId, Join, NodeId, RetryPolicy};
use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;
use rejoin_shared::path;
use rejoin_shared::run::ErrorValue;

use super::RunState;
use super::bitmap::Bitmap;
use super::thread::{Thread, ThreadEnd, Visits};
use super::undo::Done;
use crate::record::{Branches, Edits, Quota, ScopeOpened, ThreadKey};

/// An open parallel, foreach or graph, or one that failed and may be resumed.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(crate) parent: ThreadKey,
    pub(crate) node: NodeId,
    pub(crate) path: Arc<str>,
    pub(crate) kind: ScopeKind,
    pub(crate) items: Items,
    /// Branches in all, inactive ones too.
    pub(crate) total: u32,
    /// Those whose `when` did not hold.
    pub(crate) skipped: Bitmap,
    pub(crate) skipped_count: u32,
    pub(crate) quota: Quota,
    pub(crate) concurrency: Option<u32>,
    /// The parent's context and results at the fork.
    pub(crate) base: Json,
    pub(crate) base_results: Json,
    /// At most so many bytes is the base's JSON text.
    pub(crate) base_bytes_max: usize,
    /// All branches below were begun, skipped or have ended.
    pub(crate) begun: u32,
    /// Threads that were begun and have not ended well.
    pub(crate) active: BTreeMap<u32, Box<Thread>>,
    /// Branches that cannot start any more (a graph's): what they need failed, or their start did.
    pub(crate) never_started: BTreeMap<u32, ThreadEnd>,
    pub(crate) succeeded: Bitmap,
    /// Branches that run now.
    pub(crate) running: u32,
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    pub(crate) cancelled: u32,
    /// What successful branches changed; those that changed nothing are not in it.
    pub(crate) contributions: BTreeMap<u32, Contribution>,
    /// Outputs of successful branches, where they are kept.
    pub(crate) outputs: BTreeMap<u32, Json>,
    /// Bytes of those.
    pub(crate) kept_bytes: usize,
    /// Bytes of the errors of failed branches.
    pub(crate) error_bytes: usize,
    /// `last_wins`: the value of each changed top-level key in the branch that completed last.
    pub(crate) last: BTreeMap<Arc<str>, Option<Json>>,
    /// A loop's context as the last successful item left it.
    pub(crate) flowing: Option<Json>,
    /// What is kept for another try of the whole node.
    pub(crate) carried: Carried,
    /// What the branches that ended well did and can be undone, in the order of their ends.
    pub(crate) done: Vec<Vec<Done>>,
    /// How many of those there were when a branch failed: what that did lies between them.
    pub(crate) stopped_behind: BTreeMap<u32, usize>,
    /// Set when its join failed.
    pub(crate) failed_with: Option<ErrorValue>,
    /// How much the thread that holds it had done when a finally began for its failure: what was done in it comes behind that.
    pub(crate) done_before: Option<usize>,
}

/// What a branch changed, and what it makes of the keys that `reduce` names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contribution {
    /// Changes outside the reduced keys.
    pub(crate) changes: Delta,
    /// Per entry of `reduce`: value at the start and at the end, if the branch takes part.
    pub(crate) reduced: Vec<Option<(Option<Json>, Json)>>,
    /// Order of completion.
    pub(crate) order: u64,
    /// The context the branch ended with.
    pub(crate) ended: Json,
}

/// What another try of a scope node knows of the earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// Failures that each retry policy allowed.
    pub(crate) allowed: Vec<u32>,
    /// What an operator made different.
    pub(crate) edits: Edits,
    /// Visits of the branches' nodes, so that their paths go on counting.
    pub(crate) visits: BTreeMap<u32, Vec<Visits>>,
}

/// How a scope runs its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    Parallel,
    FanOut,
    Loop,
    Graph,
}

/// What a foreach runs over.
#[derive(Clone, Debug)]
pub(crate) enum Items {
    /// Branches with names of their own.
    Named,
    List(Arc<Vec<Json>>),
    Map(Arc<Vec<(Arc<str>, Json)>>),
    Count,
}

impl Scope {
    pub(crate) fn open(
        def: &Definition,
        opened: &ScopeOpened,
        node: NodeId,
        parent: &Thread,
        carried: Carried,
    ) -> Scope {
        let (items, total) = items_of(def, node, &opened.branches);
        let mut skipped = Bitmap::default();
        let mut skipped_count = 0;
        if let Branches::Named { inactive } = &opened.branches {
            inactive.iter().for_each(|index| skipped.insert(*index));
            skipped_count = u32::try_from(inactive.len()).expect("fewer branches than nodes");
        }
        Scope {
            parent: opened.thread,
            node,
            path: opened.path.as_str().into(),
            kind: kind_of(def, node),
            items,
            total,
            skipped,
            skipped_count,
            quota: opened.quota,
            concurrency: opened.concurrency,
            base: parent.ctx.clone(),
            base_results: parent.results.clone(),
            base_bytes_max: parent.ctx_bytes_max,
            begun: 0,
            active: BTreeMap::new(),
            never_started: BTreeMap::new(),
            succeeded: Bitmap::default(),
            running: 0,
            ok: 0,
            failed: 0,
            cancelled: 0,
            contributions: BTreeMap::new(),
            outputs: BTreeMap::new(),
            kept_bytes: 0,
            error_bytes: 0,
            last: BTreeMap::new(),
            flowing: (kind_of(def, node) == ScopeKind::Loop).then(|| parent.ctx.clone()),
            carried,
            done: Vec::new(),
            failed_with: None,
            stopped_behind: BTreeMap::new(),
            done_before: None,
        }
    }

    pub(crate) fn join<'d>(&self, def: &'d Definition) -> &'d Join {
        def.join(self.node).expect("a scope's node has a join")
    }

    /// The retry of the whole node.
    pub(crate) fn retry<'s>(&'s self, def: &'s Definition) -> &'s [RetryPolicy] {
        let edited = self.carried.edits.retry.as_deref();
        edited.unwrap_or_else(|| &self.join(def).retry)
    }

    /// Branches whose `when` held, as far as it has been read.
    pub(crate) fn activated(&self) -> u32 {
        self.total - self.skipped_count
    }

    /// Whether the branch was begun, skipped, or has ended.
    pub(crate) fn is_begun(&self, branch: u32) -> bool {
        self.succeeded.has(branch)
            || self.skipped.has(branch)
            || self.active.contains_key(&branch)
            || self.never_started.contains_key(&branch)
    }

    /// Moves the mark over everything begun, and returns it.
    pub(crate) fn advance_mark(&mut self) -> u32 {
        while self.begun < self.total && self.is_begun(self.begun) {
            self.begun += 1;
        }
        self.begun
    }

    /// The flow of a branch.
    pub(crate) fn flow(&self, def: &Definition, branch: u32) -> FlowId {
        let kind = &def.node(self.node).kind;
        let parallel = kind
            .as_parallel()
            .map(|parallel| parallel.branches[branch as usize].flow);
        let graph = || kind.as_graph().map(|graph| graph.nodes[branch as usize].flow);
        let foreach = || kind.as_foreach().map(|foreach| foreach.flow);
        parallel
            .or_else(graph)
            .or_else(foreach)
            .expect("only these open scopes")
    }

    /// Name of a branch: its own, `[index]`, or `[key]`.
    pub(crate) fn branch_name(&self, def: &Definition, branch: u32) -> String {
        let kind = &def.node(self.node).kind;
        match (&self.items, kind.as_parallel(), kind.as_graph()) {
            (Items::Map(entries), ..) => entries[branch as usize].0.to_string(),
            (Items::Named, Some(parallel), _) => parallel.branches[branch as usize].name.to_string(),
            (Items::Named, _, Some(graph)) => graph.nodes[branch as usize].name.to_string(),
            (Items::Named | Items::List(_) | Items::Count, ..) => branch.to_string(),
        }
    }

    /// Path of a branch; `None` if it is too long.
    pub(crate) fn branch_path(&self, def: &Definition, branch: u32) -> Option<String> {
        match &self.items {
            Items::Named => path::child(&self.path, &self.branch_name(def, branch), 1),
            Items::List(_) | Items::Count => path::item(&self.path, branch),
            Items::Map(entries) => path::keyed_item(&self.path, &entries[branch as usize].0),
        }
    }

    /// Whether [`Self::branch_path`] is short enough.
    pub(crate) fn has_branch_path(&self, def: &Definition, branch: u32) -> bool {
        match &self.items {
            Items::List(_) | Items::Count => path::has_item(&self.path, branch),
            Items::Named | Items::Map(_) => self.branch_path(def, branch).is_some(),
        }
    }

    /// A foreach's item and its index (or key).
    pub(crate) fn item(&self, branch: u32) -> Option<(Json, Json)> {
        let index = Json::Int(i64::from(branch));
        match &self.items {
            Items::Named => None,
            Items::List(items) => Some((items[branch as usize].clone(), index)),
            Items::Count => Some((index.clone(), index)),
            Items::Map(entries) => {
                let (key, value) = &entries[branch as usize];
                Some((value.clone(), Json::Str(key.clone())))
            }
        }
    }
}

impl RunState {
    /// The open scope that a thread waits at.
    #[must_use]
    pub fn scope_at(&self, key: ThreadKey) -> Option<u64> {
        self.thread(key)?.leaf.scope()
    }

    /// Of an open scope that runs few branches at a time: all below this one may have begun by now. `None` of others: their
    /// branches begin together, or with a record of their own.
    #[must_use]
    pub fn begun_below(&self, scope: u64) -> Option<u32> {
        let scope = self.scopes.get(&scope)?;
        let most = match scope.kind {
            ScopeKind::Loop => 1,
            ScopeKind::Parallel | ScopeKind::FanOut => scope.concurrency?,
            ScopeKind::Graph => return None,
        };
        let over = scope.ok + scope.failed + scope.cancelled + scope.skipped_count;
        Some(over.saturating_add(most).min(scope.total))
    }
}

fn kind_of(def: &Definition, node: NodeId) -> ScopeKind {
    let kind = &def.node(node).kind;
    match kind.as_foreach() {
        Some(foreach) if foreach.join.concurrency.is_none() => ScopeKind::Loop,
        Some(_) => ScopeKind::FanOut,
        None if kind.as_graph().is_some() => ScopeKind::Graph,
        None => ScopeKind::Parallel,
    }
}

fn items_of(def: &Definition, node: NodeId, branches: &Branches) -> (Items, u32) {
    let count = |n: usize| u32::try_from(n).expect("limited when it was opened");
    match branches {
        Branches::Named { .. } => {
            let kind = &def.node(node).kind;
            let parallel = kind.as_parallel().map(|parallel| parallel.branches.len());
            let graph = || kind.as_graph().map(|graph| graph.nodes.len());
            (Items::Named, count(parallel.or_else(graph).unwrap_or(0)))
        }
        Branches::List(Json::List(items)) => (Items::List(items.clone()), count(items.len())),
        Branches::Map(Json::Object(map)) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            let total = count(entries.len());
            (Items::Map(Arc::new(entries)), total)
        }
        Branches::List(_) | Branches::Map(_) => (Items::Count, 0),
        Branches::Count(n) => (Items::Count, *n),
    }
}
