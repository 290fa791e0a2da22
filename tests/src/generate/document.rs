//! Documents as text, with their keys in the order in which they were put.

use std::fmt::Write as _;

/// A part of a document.
#[derive(Clone, Debug)]
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

    /// Whether it is a map with this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        matches!(self, Doc::Map(entries) if entries.iter().any(|(k, _)| k == key))
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
