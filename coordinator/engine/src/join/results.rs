//! `results` and collected outputs of a scope.

use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, NodeId, ResultsNamed};
use rejoin_shared::json::{Json, Map};

use crate::state::scope::{Items, ScopeKind};
use crate::state::{Scope, ThreadEnd};

/// The name under which `results` keeps this scope, if any expression can read it.
pub(crate) fn kept_name(def: &Definition, node: NodeId) -> Option<Arc<str>> {
    let name = &def.node(node).name;
    let kept = match &def.results_named {
        ResultsNamed::All => true,
        ResultsNamed::These(names) => names.contains(name),
    };
    kept.then(|| name.clone())
}

/// Outputs of the successful branches, as `collect_as` puts them: a map by branch name, or a list in item order.
pub(crate) fn collected(def: &Definition, scope: &Scope) -> Json {
    if !scope.join(def).keep_outputs {
        return Json::Null;
    }
    shape(def, scope, |branch| scope.outputs.get(&branch).cloned())
}

/// One value a branch, in the shape of the scope: `null` for a foreach's absent ones, left out of a map of names.
pub(crate) fn shape(def: &Definition, scope: &Scope, value: impl Fn(u32) -> Option<Json>) -> Json {
    match &scope.items {
        Items::Named => Json::Object(Arc::new(
            (0..scope.total)
                .filter_map(|b| Some((scope.branch_name(def, b).into(), value(b)?)))
                .collect(),
        )),
        Items::Map(entries) => {
            let keyed = entries
                .iter()
                .zip(0..)
                .map(|((key, _), b)| (key.clone(), value(b).unwrap_or_default()));
            Json::Object(Arc::new(keyed.collect()))
        }
        Items::List(_) | Items::Count => Json::list((0..scope.total).map(|b| value(b).unwrap_or_default()).collect()),
    }
}

/// What `results.<node>` holds once the scope has been joined, or has failed.
pub(crate) fn entry(def: &Definition, scope: &Scope) -> Json {
    shape_all(def, scope, |branch| branch_entry(scope, branch))
}

/// What one branch is in `results`.
pub(super) fn branch_entry(scope: &Scope, branch: u32) -> Json {
    let (status, output, error) = if scope.succeeded.has(branch) {
        (
            "ok",
            scope.outputs.get(&branch).cloned().unwrap_or_default(),
            Json::Null,
        )
    } else if scope.skipped.has(branch) {
        ("skipped", Json::Null, Json::Null)
    } else {
        match end_of(scope, branch) {
            Some(ThreadEnd::Failed(error)) => ("error", Json::Null, error.to_json()),
            Some(ThreadEnd::Cancelled) | None => ("cancelled", Json::Null, Json::Null),
        }
    };
    Json::from_entries([("status", Json::str(status)), ("output", output), ("error", error)])
}

/// How a branch ended that did not succeed.
pub(super) fn end_of(scope: &Scope, branch: u32) -> Option<&ThreadEnd> {
    scope
        .active
        .get(&branch)
        .and_then(|thread| thread.end.as_ref())
        .or_else(|| scope.never_started.get(&branch))
}

fn shape_all(def: &Definition, scope: &Scope, value: impl Fn(u32) -> Json) -> Json {
    match scope.kind {
        ScopeKind::Parallel | ScopeKind::Graph => {
            let named: Map = (0..scope.total)
                .map(|b| (scope.branch_name(def, b).into(), value(b)))
                .collect();
            Json::Object(Arc::new(named))
        }
        ScopeKind::FanOut | ScopeKind::Loop => shape(def, scope, |branch| Some(value(branch))),
    }
}
