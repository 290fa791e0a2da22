//! Changes between two contexts (SPEC 4.2): key by key, objects recursively, everything else one leaf.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{Json, Map};

/// What turns one object into another. As JSON: `{"set": [value], "deleted": null, "nested": {…}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta(pub BTreeMap<Arc<str>, Change>);

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value now, which it had not.
    Set(Json),
    /// It was there and is not any more.
    Deleted,
    /// It was an object and still is; this changed inside.
    Nested(Delta),
}

impl Delta {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes from `before` to `after`. What both share in storage is not looked at.
    ///
    /// Values that are no objects count as empty ones.
    #[must_use]
    pub fn between(before: &Json, after: &Json) -> Delta {
        if before.same_storage(after) {
            return Delta::default();
        }
        let none = Map::new();
        let before = before.as_object().unwrap_or(&none);
        let after = after.as_object().unwrap_or(&none);
        let mut changes = BTreeMap::new();
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            changes.insert(key.clone(), Change::Deleted);
        }
        for (key, new) in after {
            if let Some(change) = change_between(before.get(key), new) {
                changes.insert(key.clone(), change);
            }
        }
        Delta(changes)
    }

    /// Lays the changes on `base`: an object on an object merges, any other value replaces, a deletion removes.
    pub fn apply(&self, base: &mut Json) {
        if self.is_empty() {
            return;
        }
        let map = base.object_mut();
        for (key, change) in &self.0 {
            match change {
                Change::Deleted => {
                    map.remove(key);
                }
                // Removing what is not there makes no object, and replaces no other value.
                Change::Nested(inner) => match map.get_mut(key) {
                    Some(old @ Json::Object(_)) => inner.apply(old),
                    _ if !inner.writes() => {}
                    _ => inner.apply(map.entry(key.clone()).or_default()),
                },
                Change::Set(value) => match map.get_mut(key) {
                    Some(old) => lay(old, value),
                    None => {
                        map.insert(key.clone(), value.clone());
                    }
                },
            }
        }
    }

    /// Whether it sets anything, rather than only deleting.
    fn writes(&self) -> bool {
        self.0.values().any(|change| match change {
            Change::Set(_) => true,
            Change::Deleted => false,
            Change::Nested(inner) => inner.writes(),
        })
    }

    /// The changed keys with their values, as `merge: collect` shows them: deletions do not, nor objects in which nothing else was done.
    #[must_use]
    pub fn shown(&self) -> Json {
        let entries = self.0.iter().filter_map(|(key, change)| match change {
            Change::Set(value) => Some((key.clone(), value.clone())),
            Change::Nested(inner) => inner.writes().then(|| (key.clone(), inner.shown())),
            Change::Deleted => None,
        });
        Json::Object(Arc::new(entries.collect()))
    }

    /// What was changed at and below this place, as [`Self::shown`]; `None`: it was deleted, or nothing was.
    #[must_use]
    pub fn shown_at(&self, path: &[Arc<str>]) -> Option<Json> {
        let Some((key, below)) = path.split_first() else {
            return Some(self.shown());
        };
        match self.0.get(key)? {
            Change::Set(value) => below.iter().try_fold(value, |value, key| value.get(key)).cloned(),
            Change::Nested(inner) => inner.shown_at(below),
            Change::Deleted => None,
        }
    }
}

fn change_between(before: Option<&Json>, after: &Json) -> Option<Change> {
    match before {
        Some(old @ Json::Object(_)) if matches!(after, Json::Object(_)) => {
            let inner = Delta::between(old, after);
            (!inner.is_empty()).then_some(Change::Nested(inner))
        }
        Some(old) if old == after => None,
        _ => Some(Change::Set(after.clone())),
    }
}

/// Lays `value` on `old`: objects merge, anything else replaces.
pub fn lay(old: &mut Json, value: &Json) {
    match (old.as_object(), value) {
        (Some(_), Json::Object(new)) => {
            let map = old.object_mut();
            for (key, value) in new.iter() {
                match map.get_mut(key) {
                    Some(inner) => lay(inner, value),
                    None => {
                        map.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        _ => *old = value.clone(),
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Change::Set(value) => [value].serialize(serializer),
            Change::Deleted => serializer.serialize_unit(),
            Change::Nested(inner) => inner.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Change, D::Error> {
        from_json(&Json::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a change"))
    }
}

fn from_json(json: &Json) -> Option<Change> {
    match json {
        Json::Null => Some(Change::Deleted),
        Json::List(items) => match items.as_slice() {
            [value] => Some(Change::Set(value.clone())),
            _ => None,
        },
        Json::Object(map) => {
            let inner = map.iter().map(|(key, value)| Some((key.clone(), from_json(value)?)));
            Some(Change::Nested(Delta(inner.collect::<Option<_>>()?)))
        }
        Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect("test JSON")
    }

    #[test]
    fn changes_laid_on_the_base_give_the_context_again_and_survive_their_text() {
        let cases = [
            (
                r#"{"a":1,"b":{"c":1,"d":2}}"#,
                r#"{"a":1,"b":{"c":1}}"#,
                r#"{"b":{"d":null}}"#,
            ),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":[1.0]}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":[1]}"#, r#"{"a":[[1]]}"#),
            (r#"{"a":5}"#, r#"{"a":{"x":{}}}"#, r#"{"a":[{"x":{}}]}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":{}}"#, r#"{"a":{"x":null}}"#),
            (r#"{"a":[1,{"k":2}]}"#, r#"{"a":[1,{"k":2}]}"#, r#"{}"#),
        ];
        for (before, after, text) in cases {
            let delta = Delta::between(&json(before), &json(after));
            assert_eq!(serde_json::to_string(&delta).expect("plain data"), text);
            assert_eq!(serde_json::from_str::<Delta>(text).expect("own text"), delta);
            let mut laid = json(before);
            delta.apply(&mut laid);
            assert_eq!(laid, json(after));
        }
    }

    #[test]
    fn what_is_shared_is_not_compared() {
        let base = json(r#"{"big":{"x":[1,2,3]}}"#);
        assert!(Delta::between(&base, &base.clone()).is_empty());
    }
}
