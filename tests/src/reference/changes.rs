//! What a branch changed (SPEC 4.2): key by key, objects recursively, everything else one leaf.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::json::{Json, Map};

/// Changed keys of one object.
pub(super) type Changes = BTreeMap<Arc<str>, Change>;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Set(Json),
    Gone,
    Inside(Changes),
}

/// The changes from one object to another.
pub(super) fn changes(before: &Json, after: &Json) -> Changes {
    let none = Map::new();
    let before = before.as_object().unwrap_or(&none);
    let after = after.as_object().unwrap_or(&none);
    let mut out = Changes::new();
    for key in before.keys().chain(after.keys()) {
        let change = match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) if old.to_bytes() == new.to_bytes() => continue,
            (Some(old @ Json::Object(_)), Some(new @ Json::Object(_))) => Change::Inside(changes(old, new)),
            (_, Some(new)) => Change::Set(new.clone()),
            (_, None) => Change::Gone,
        };
        out.insert(key.clone(), change);
    }
    out
}

/// Applies changes: an object laid on an object merges, any other value replaces, a deletion removes what is there.
pub(super) fn apply(changes: &Changes, target: &mut Json) {
    for (key, change) in changes {
        match change {
            Change::Gone => {
                target.object_mut().remove(key);
            }
            Change::Set(value) => lay(value, target.object_mut().entry(key.clone()).or_default()),
            Change::Inside(inner) => {
                let is_object = target.get(key).is_some_and(|v| v.as_object().is_some());
                // Removing what is not there does nothing: it makes no object, and replaces no other value.
                if is_object || writes(inner) {
                    apply(inner, target.object_mut().entry(key.clone()).or_default());
                }
            }
        }
    }
}

fn writes(changes: &Changes) -> bool {
    changes.values().any(|change| match change {
        Change::Set(_) => true,
        Change::Gone => false,
        Change::Inside(inner) => writes(inner),
    })
}

fn lay(value: &Json, target: &mut Json) {
    match (value, target.as_object()) {
        (Json::Object(new), Some(_)) => {
            for (key, inner) in new.iter() {
                lay(inner, target.object_mut().entry(key.clone()).or_default());
            }
        }
        _ => *target = value.clone(),
    }
}

/// The changed keys with their values, as `merge: collect` shows them.
pub(super) fn shown(changes: &Changes) -> Json {
    let entries = changes.iter().filter_map(|(key, change)| match change {
        Change::Set(value) => Some((key.clone(), value.clone())),
        Change::Inside(inner) => writes(inner).then(|| (key.clone(), shown(inner))),
        Change::Gone => None,
    });
    Json::Object(Arc::new(entries.collect()))
}

/// Whether two branches contradict each other under `strict`.
pub(super) fn conflict(a: &Changes, b: &Changes) -> bool {
    a.iter()
        .any(|(key, mine)| b.get(key).is_some_and(|other| clash(mine, other)))
}

fn clash(a: &Change, b: &Change) -> bool {
    match (a, b) {
        (Change::Set(x), Change::Set(y)) => values_clash(x, y),
        (Change::Gone, Change::Gone) => false,
        (Change::Inside(x), Change::Inside(y)) => conflict(x, y),
        // Only nodes of a graph start from contexts that differ so: what is new to one is there for the other.
        (Change::Set(new), Change::Inside(inside)) | (Change::Inside(inside), Change::Set(new)) => {
            inside_clashes(new, inside)
        }
        (Change::Gone, _) | (_, Change::Gone) => true,
    }
}

fn inside_clashes(new: &Json, inside: &Changes) -> bool {
    let members = new.as_object().filter(|members| !members.is_empty());
    members.is_none_or(|members| {
        let mut shared = inside
            .iter()
            .filter_map(|(key, other)| Some((members.get(key)?, other)));
        shared.any(|(mine, other)| clash(&Change::Set(mine.clone()), other))
    })
}

/// New objects are compared leaf by leaf: different leaves below a new key do not contradict. An empty one is a leaf.
fn values_clash(a: &Json, b: &Json) -> bool {
    match (a.as_object(), b.as_object()) {
        (Some(x), Some(y)) if x.is_empty() != y.is_empty() => true,
        (Some(x), Some(y)) => x
            .iter()
            .any(|(key, mine)| y.get(key).is_some_and(|other| values_clash(mine, other))),
        _ => a != b,
    }
}
