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

/// Bytes of the errors listed in one error, and of its causes. Fan-outs in fan-outs would multiply them a hundredfold a
/// level; beyond this they are listed in [`short`].
const LISTED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the message of an error in short.
const SHORT_MESSAGE_BYTES_MAX: usize = 1024;

/// The error of a scope whose join cannot succeed any more.
pub(crate) fn branches_failed(def: &Definition, scope: &Scope) -> ErrorValue {
    let failed: Vec<(u32, &ErrorValue)> = failed_branches(scope);
    let mut by_type: BTreeMap<&str, i64> = BTreeMap::new();
    failed
        .iter()
        .for_each(|(_, error)| *by_type.entry(&error.kind).or_default() += 1);
    let mut room = LISTED_BYTES_MAX;
    let listed = failed.iter().take(FAILED_BRANCHES_LISTED_MAX).map(|(branch, error)| {
        Json::from_entries([
            ("branch", Json::str(&scope.branch_name(def, *branch))),
            (
                "path",
                scope
                    .branch_path(def, *branch)
                    .map_or(Json::Null, |path| Json::str(&path)),
            ),
            ("error", within(&mut room, error).to_json()),
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
        Some((_, first)) => format!("{counts}; the first: {}: {}", first.kind, cut(&first.message)),
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
        true => std::slice::from_ref(*error),
        false => error.causes.as_slice(),
    });
    let mut room = LISTED_BYTES_MAX;
    let listed = innermost.take(FAILED_BRANCHES_LISTED_MAX);
    listed.map(|error| within(&mut room, error)).collect()
}

/// The error as it is while there is room for it, or in short.
fn within(room: &mut usize, error: &ErrorValue) -> ErrorValue {
    let bytes = error.to_json().text_len();
    if bytes > *room {
        return short(error);
    }
    *room -= bytes;
    error.clone()
}

/// An error without what it lists itself; the counts by type stay, which patterns look at.
fn short(error: &ErrorValue) -> ErrorValue {
    let counts = error.details.clone().filter(|_| error.kind == BRANCHES_FAILED);
    let counts = counts.map(|mut details| {
        details.object_mut().remove("branches");
        details
    });
    ErrorValue {
        message: cut(&error.message).to_owned(),
        details: counts,
        causes: Vec::new(),
        ..error.clone()
    }
}

fn cut(message: &str) -> &str {
    let most = SHORT_MESSAGE_BYTES_MAX.min(message.len());
    let end = (0..=most).rev().find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_listed_in_short_with_its_counts() {
        let inner = Json::list(vec![Json::str(&"x".repeat(10_000))]);
        let by_type = Json::from_entries([("a.b", Json::Int(1))]);
        let error = ErrorValue {
            details: Some(Json::from_entries([("branches", inner), ("by_type", by_type.clone())])),
            ..ErrorValue::new(BRANCHES_FAILED, "m".repeat(5_000), "/f")
        };
        let mut room = 16_000;
        assert_eq!(within(&mut room, &error), error);
        let second = within(&mut room, &error);
        assert_eq!(second.message.len(), SHORT_MESSAGE_BYTES_MAX);
        assert_eq!(second.details, Some(Json::from_entries([("by_type", by_type)])));
    }
}
