//! `rejoin.branches_failed`: what a scope's failure says of its branches (SPEC 4.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::definition::model::Definition;
use rejoin_shared::json::{Json, Map};
use rejoin_shared::limits::FAILED_BRANCHES_LISTED_MAX;
use rejoin_shared::run::ErrorValue;

use super::results::end_of;
use crate::state::{Scope, ThreadEnd};

/// Type of the error.
pub(crate) const BRANCHES_FAILED: &str = "rejoin.branches_failed";

/// The error of a scope whose join cannot succeed any more.
pub(crate) fn branches_failed(def: &Definition, scope: &Scope) -> ErrorValue {
    let failed: Vec<(u32, &ErrorValue)> = failed_branches(scope);
    let mut by_type: BTreeMap<&str, i64> = BTreeMap::new();
    failed
        .iter()
        .for_each(|(_, error)| *by_type.entry(&error.kind).or_default() += 1);
    let listed = failed.iter().take(FAILED_BRANCHES_LISTED_MAX).map(|(branch, error)| {
        Json::from_entries([
            ("branch", Json::str(&scope.branch_name(def, *branch))),
            (
                "path",
                scope
                    .branch_path(def, *branch)
                    .map_or(Json::Null, |path| Json::str(&path)),
            ),
            ("error", error.to_json()),
        ])
    });
    let types: Map = by_type
        .iter()
        .map(|(kind, n)| (Arc::from(*kind), Json::Int(*n)))
        .collect();
    let details = Json::from_entries([
        ("total", Json::Int(i64::from(scope.activated()))),
        ("failed", Json::Int(i64::from(scope.failed))),
        ("branches", Json::list(listed.collect())),
        ("by_type", Json::Object(Arc::new(types))),
    ]);
    ErrorValue {
        details: Some(details),
        causes: causes(&failed),
        ..ErrorValue::new(BRANCHES_FAILED, message(scope, &failed), &scope.path)
    }
}

fn message(scope: &Scope, failed: &[(u32, &ErrorValue)]) -> String {
    let counts = format!("{} of {} branches failed", scope.failed, scope.activated());
    match failed.first() {
        Some((_, first)) => format!("{counts}; the first: {}: {}", first.kind, first.message),
        None => format!("{counts}: not enough branches can succeed"),
    }
}

fn failed_branches(scope: &Scope) -> Vec<(u32, &ErrorValue)> {
    let begun = scope.active.keys().chain(scope.never_started.keys());
    let mut failed: Vec<_> = begun
        .filter_map(|branch| match end_of(scope, *branch)? {
            ThreadEnd::Failed(error) => Some((*branch, error)),
            ThreadEnd::Cancelled => None,
        })
        .collect();
    failed.sort_by_key(|(branch, _)| *branch);
    failed
}

/// The innermost errors, one flat list.
fn causes(failed: &[(u32, &ErrorValue)]) -> Vec<ErrorValue> {
    let innermost = failed.iter().flat_map(|(_, error)| match error.causes.is_empty() {
        true => vec![(*error).clone()],
        false => error.causes.clone(),
    });
    innermost.take(FAILED_BRANCHES_LISTED_MAX).collect()
}
