//! Merges the contexts of a scope's branches (SPEC 4.2).

use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, Join, Merge, Snapshots};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::run::ErrorValue;

use super::reduce::{Part, Unfit, reduce};
use super::strict::{Conflict, Others, Strict};
use super::{graph, results};
use crate::state::Scope;
use crate::state::scope::{Contribution, ScopeKind};

/// The context behind the join, without what `into` writes by hand.
///
/// # Errors
/// `rejoin.merge_conflict` or `rejoin.reduce_failed`.
pub(crate) fn merged(def: &Definition, scope: &Scope) -> Result<Json, ErrorValue> {
    let join = scope.join(def);
    let mut ctx = match scope.kind {
        _ if def.snapshots == Snapshots::None => scope.base.clone(),
        ScopeKind::Loop => match join.merge {
            Merge::Collect | Merge::Discard => scope.base.clone(),
            Merge::DeepMerge | Merge::LastWins | Merge::Strict => {
                scope.flowing.clone().unwrap_or_else(|| scope.base.clone())
            }
        },
        ScopeKind::Graph => graph::merged(def, scope)?,
        ScopeKind::Parallel | ScopeKind::FanOut => fan_in(def, scope, join)?,
    };
    if let Some(path) = collect_path(def, scope, join) {
        path.write(&mut ctx, collected(def, scope, join));
    }
    Ok(ctx)
}

fn fan_in(def: &Definition, scope: &Scope, join: &Join) -> Result<Json, ErrorValue> {
    let mut ctx = scope.base.clone();
    match join.merge {
        Merge::DeepMerge => scope
            .contributions
            .values()
            .for_each(|part| part.changes.apply(&mut ctx)),
        Merge::Strict => {
            let mut strict = Strict::default();
            for (branch, part) in &scope.contributions {
                strict
                    .add(*branch, &part.changes, Others::All)
                    .map_err(|c| conflict_error(def, scope, &c))?;
                part.changes.apply(&mut ctx);
            }
        }
        Merge::LastWins => write_last(&scope.last, &mut ctx),
        Merge::Collect | Merge::Discard => {}
    }
    let parts: Vec<_> = scope.contributions.iter().collect();
    reduce_into(def, scope, &parts, &mut ctx)?;
    Ok(ctx)
}

pub(super) fn write_last(last: &std::collections::BTreeMap<Arc<str>, Option<Json>>, ctx: &mut Json) {
    for (key, value) in last {
        match value {
            Some(value) => ctx.object_mut().insert(key.clone(), value.clone()),
            None => ctx.object_mut().remove(key),
        };
    }
}

/// Puts the accumulated keys in, from the given branches' contributions in this order.
pub(super) fn reduce_into(
    def: &Definition,
    scope: &Scope,
    parts: &[(&u32, &Contribution)],
    ctx: &mut Json,
) -> Result<(), ErrorValue> {
    for (index, (path, how)) in scope.join(def).reduce.iter().enumerate() {
        let taking_part: Vec<Part<'_>> = parts
            .iter()
            .filter_map(|(branch, part)| {
                let (start, end) = part.reduced.get(index)?.as_ref()?;
                Some(Part {
                    branch: **branch,
                    start: start.as_ref(),
                    end,
                })
            })
            .collect();
        let value =
            reduce(*how, path.read(&scope.base), &taking_part).map_err(|u| reduce_error(def, scope, path, &u))?;
        if let Some(value) = value {
            path.write(ctx, value);
        }
    }
    Ok(())
}

fn collect_path(def: &Definition, scope: &Scope, join: &Join) -> Option<KeyPath> {
    match (&join.collect_as, join.merge) {
        (Some(path), _) => Some(path.clone()),
        (None, Merge::Collect) => Some(KeyPath::of_key(def.node(scope.node).name.clone())),
        (None, _) => None,
    }
}

fn collected(def: &Definition, scope: &Scope, join: &Join) -> Json {
    match join.merge {
        Merge::Collect => results::shape(def, scope, |branch| {
            scope.succeeded.has(branch).then(|| {
                scope
                    .contributions
                    .get(&branch)
                    .map_or_else(Json::object, |part| part.changes.shown())
            })
        }),
        Merge::DeepMerge | Merge::LastWins | Merge::Strict | Merge::Discard => results::collected(def, scope),
    }
}

pub(super) fn conflict_error(def: &Definition, scope: &Scope, conflict: &Conflict) -> ErrorValue {
    let path = KeyPath::of_keys(conflict.path.clone()).to_string();
    let names = [conflict.branches.0, conflict.branches.1].map(|branch| scope.branch_name(def, branch));
    let shown = |value: &Option<Json>| {
        value
            .as_ref()
            .map_or_else(|| "(deleted)".to_owned(), ToString::to_string)
    };
    let (first, second) = (
        wanted(scope, conflict, conflict.branches.0, &conflict.values.0),
        wanted(scope, conflict, conflict.branches.1, &conflict.values.1),
    );
    let message = format!(
        "branches {} and {} both changed {path}: {} against {}",
        names[0],
        names[1],
        cut(&shown(&first)),
        cut(&shown(&second))
    );
    let as_json = |value: &Option<Json>| value.clone().unwrap_or(Json::Null);
    ErrorValue {
        details: Some(Json::from_entries([
            ("path", Json::str(&path)),
            (
                "branches",
                Json::list(names.iter().map(|name| Json::str(name)).collect()),
            ),
            ("values", Json::list(vec![as_json(&first), as_json(&second)])),
        ])),
        ..ErrorValue::new("rejoin.merge_conflict", message, &scope.path)
    }
}

/// What a branch wants at the place of a conflict; where it changed something below, all that it changed there.
fn wanted(scope: &Scope, conflict: &Conflict, branch: u32, value: &Option<Json>) -> Option<Json> {
    let part = scope.contributions.get(&branch);
    let changed = part.and_then(|part| part.changes.shown_at(&conflict.path));
    value.clone().map(|value| changed.unwrap_or(value))
}

fn reduce_error(def: &Definition, scope: &Scope, path: &KeyPath, unfit: &Unfit) -> ErrorValue {
    let branch = unfit.branch.map(|branch| scope.branch_name(def, branch));
    let whose = branch.as_ref().map_or_else(
        || "the context before the fork".to_owned(),
        |name| format!("branch {name}"),
    );
    ErrorValue {
        details: Some(Json::from_entries([
            ("key", Json::str(&path.to_string())),
            ("branch", branch.map_or(Json::Null, |name| Json::str(&name))),
        ])),
        ..ErrorValue::new(
            "rejoin.reduce_failed",
            format!("{path}: {} ({whose})", unfit.reason),
            &scope.path,
        )
    }
}

/// Long values are cut in messages; `details` has them whole.
fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
