//! Key paths (SPEC 2): keys joined by dots, a dot inside a key is `\.`; no list indices.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{Json, Map};
use crate::limits::JSON_DEPTH_MAX;

/// A non-empty list of object keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(Vec<Arc<str>>);

impl KeyPath {
    /// Reads the text form. `None` if a key is empty, an escape is unknown, or it leads deeper than a value may be.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeyPath> {
        let mut keys = Vec::new();
        let mut key = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(escaped @ ('.' | '\\')) => key.push(escaped),
                    _ => return None,
                },
                '.' if key.is_empty() => return None,
                '.' => keys.push(std::mem::take(&mut key).into()),
                other => key.push(other),
            }
        }
        if key.is_empty() {
            return None;
        }
        keys.push(key.into());
        (keys.len() <= JSON_DEPTH_MAX).then_some(KeyPath(keys))
    }

    /// The path of one key, whatever characters it holds.
    #[must_use]
    pub fn of_key(key: Arc<str>) -> KeyPath {
        KeyPath(vec![key])
    }

    /// The path of these keys, outermost first, whatever characters they hold.
    #[must_use]
    pub fn of_keys(keys: Vec<Arc<str>>) -> KeyPath {
        KeyPath(keys)
    }

    /// The keys, outermost first.
    #[must_use]
    pub fn keys(&self) -> &[Arc<str>] {
        &self.0
    }

    /// Whether one of the two begins with the other (equal paths too).
    #[must_use]
    pub fn overlaps(&self, other: &KeyPath) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// What stands at this path in `root`; `None` if a key before it is missing or no object.
    #[must_use]
    pub fn read<'a>(&self, root: &'a Json) -> Option<&'a Json> {
        self.0.iter().try_fold(root, |at, key| at.as_object()?.get(key))
    }

    /// Writes `value` at this path; makes the objects on the way and replaces what is none.
    pub fn write(&self, root: &mut Json, value: Json) {
        let mut at = root;
        for key in &self.0 {
            if at.as_object().is_none() {
                *at = Json::Object(Arc::new(Map::new()));
            }
            let Json::Object(map) = at else {
                unreachable!("made an object just above")
            };
            at = Arc::make_mut(map).entry(key.clone()).or_insert(Json::Null);
        }
        *at = value;
    }

    /// Removes what stands at this path; what is not there is left so.
    pub fn remove(&self, root: &mut Json) {
        if self.read(root).is_none() {
            return;
        }
        let (last, front) = self.0.split_last().expect("a key path has at least one key");
        let mut at = root;
        for key in front {
            let Json::Object(map) = at else { return };
            let Some(next) = Arc::make_mut(map).get_mut(key) else {
                return;
            };
            at = next;
        }
        if let Json::Object(map) = at {
            Arc::make_mut(map).remove(last);
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, key) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            write!(f, "{dot}{}", key.replace('\\', "\\\\").replace('.', "\\."))?;
        }
        Ok(())
    }
}

impl Serialize for KeyPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyPath, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        KeyPath::parse(&text).ok_or_else(|| serde::de::Error::custom("not a key path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_no_deeper_than_a_value_may_be() {
        assert!(KeyPath::parse(&["a"; 128].join(".")).is_some());
        assert!(KeyPath::parse(&["a"; 129].join(".")).is_none());
    }

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect("test JSON")
    }

    #[test]
    fn text_and_back_keeps_dots_inside_keys() {
        let path = KeyPath::parse(r"a\.b.c\\d").expect("a key path");
        assert_eq!(path.keys().iter().map(|k| &**k).collect::<Vec<_>>(), ["a.b", r"c\d"]);
        assert_eq!(path.to_string(), r"a\.b.c\\d");
        for bad in ["", ".", "a.", ".a", "a..b", r"a\b"] {
            assert_eq!(KeyPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn writing_makes_objects_and_replaces_what_is_none() {
        let mut root = json(r#"{"a":5,"k":1}"#);
        KeyPath::parse("a.b.c").expect("path").write(&mut root, Json::Int(1));
        assert_eq!(root, json(r#"{"a":{"b":{"c":1}},"k":1}"#));
    }

    #[test]
    fn removing_what_is_not_there_does_nothing() {
        let mut root = json(r#"{"a":{"b":1},"k":[]}"#);
        let before = root.clone();
        for path in ["x", "a.x", "k.x", "a.b.c"] {
            KeyPath::parse(path).expect("path").remove(&mut root);
            assert_eq!(root, before);
        }
        KeyPath::parse("a.b").expect("path").remove(&mut root);
        assert_eq!(root, json(r#"{"a":{},"k":[]}"#));
    }
}
