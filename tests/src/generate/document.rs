//! Documents as text, with their keys in the order in which they were put.

use std::fmt::Write as _;

use rejoin_shared::definition::{Entry, Format, Tree, TreeKind, read};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    /// Keys and values, in order.
    Map(Vec<(String, Doc)>),
    /// Values.
    List(Vec<Doc>),
    /// A text.
    Text(String),
    /// Anything else, as its JSON text.
    Raw(String),
}

impl Doc {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Doc {
        Doc::Text(text.to_owned())
    }

    /// A number.
    pub fn number(n: impl std::fmt::Display) -> Doc {
        Doc::Raw(n.to_string())
    }

    /// A map with one key.
    #[must_use]
    pub fn one(key: &str, value: Doc) -> Doc {
        Doc::Map(vec![(key.to_owned(), value)])
    }

    /// A document as it was written, in YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn read(text: &str) -> Result<Doc, String> {
        let tree = read(text.as_bytes(), Format::Auto, &Limits::default());
        tree.map(|tree| Doc::of(&tree)).map_err(|errors| errors.to_string())
    }

    /// A value.
    #[must_use]
    pub fn of_json(value: &Json) -> Doc {
        match value {
            Json::Str(text) => Doc::text(text),
            Json::List(items) => Doc::List(items.iter().map(Doc::of_json).collect()),
            Json::Object(map) => {
                let entries = map.iter().map(|(key, inner)| (key.to_string(), Doc::of_json(inner)));
                Doc::Map(entries.collect())
            }
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => Doc::Raw(value.to_string()),
        }
    }

    fn of(tree: &Tree) -> Doc {
        let entry = |entry: &Entry| (entry.key.to_string(), Doc::of(&entry.value));
        match &tree.kind {
            TreeKind::Null => Doc::Raw("null".to_owned()),
            TreeKind::Bool(is_so) => Doc::Raw(is_so.to_string()),
            TreeKind::Int(n) => Doc::number(n),
            TreeKind::Float(x) => Doc::Raw(serde_json::to_string(x).expect("a number")),
            TreeKind::Str(text) => Doc::text(text),
            TreeKind::List(items) => Doc::List(items.iter().map(Doc::of).collect()),
            TreeKind::Map(entries) => Doc::Map(entries.iter().map(entry).collect()),
        }
    }

    /// The value of this key; of a map only.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Doc> {
        match self {
            Doc::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, value)| value),
            Doc::List(_) | Doc::Text(_) | Doc::Raw(_) => None,
        }
    }

    /// The entries; none if it is no map.
    #[must_use]
    pub fn entries(&self) -> &[(String, Doc)] {
        match self {
            Doc::Map(entries) => entries,
            Doc::List(_) | Doc::Text(_) | Doc::Raw(_) => &[],
        }
    }

    /// The items; none if it is no list.
    #[must_use]
    pub fn items(&self) -> &[Doc] {
        match self {
            Doc::List(items) => items,
            Doc::Map(_) | Doc::Text(_) | Doc::Raw(_) => &[],
        }
    }

    /// The number that it is.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        match self {
            Doc::Raw(raw) => raw.parse().ok(),
            Doc::Map(_) | Doc::List(_) | Doc::Text(_) => None,
        }
    }

    /// The text that it is.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Doc::Text(text) => Some(text),
            Doc::Map(_) | Doc::List(_) | Doc::Raw(_) => None,
        }
    }

    /// Whether it is a map with this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Adds a key; of a map only.
    pub fn put(&mut self, key: &str, value: Doc) {
        if let Doc::Map(entries) = self {
            entries.push((key.to_owned(), value));
        }
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Doc::Raw(raw) => out.push_str(raw),
            Doc::Text(text) => out.push_str(&quoted(text)),
            Doc::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    item.write_json(out);
                }
                out.push(']');
            }
            Doc::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(out, "{}{}:", if i > 0 { "," } else { "" }, quoted(key)).expect("writing to a String");
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// The document as YAML in block style; texts and keys are quoted.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write_yaml(0, &mut out);
        out.push('\n');
        out
    }

    fn write_yaml(&self, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match self {
            Doc::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    write!(out, "\n{pad}{}: ", quoted(key)).expect("writing to a String");
                    value.write_yaml(indent + 2, out);
                }
            }
            Doc::List(items) if !items.is_empty() => {
                for item in items {
                    write!(out, "\n{pad}- ").expect("writing to a String");
                    item.write_yaml(indent + 2, out);
                }
            }
            Doc::Map(_) | Doc::List(_) | Doc::Text(_) | Doc::Raw(_) => self.write_json(out),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
