//! The document as it was written: an ordered tree of values that knows where each stands.
//!
//! YAML and JSON give the same tree, so that everything behind it (checks, digest, storage) knows one form only.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::{DefinitionErrors, Problem, finish};
use super::model::Position;
use crate::json::{Json, Map};
use crate::limits::{JSON_DEPTH_MAX, Limits};

mod json;
mod yaml;

/// Levels of lists and maps a document may have: enough for every level of nodes with a value of full depth in it.
pub(super) const TREE_DEPTH_MAX: usize = 512;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
    /// JSON if it is JSON, else YAML.
    Auto,
}

/// Number of a value within its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeRef(pub(super) u32);

/// A value of the document and its place.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) id: NodeRef,
    /// Where it begins.
    pub position: Position,
    /// Of a text that stands in the source letter by letter: columns from its beginning to its first letter.
    verbatim: Option<u32>,
    /// What it is.
    pub kind: TreeKind,
}

/// What a value of the document is.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // JSON's kinds, numbers in two
pub enum TreeKind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: Arc<str>,
    /// Where the key begins.
    pub key_position: Position,
    /// Its value.
    pub value: Tree,
}

/// Two trees are equal when their content is, order included; places do not count.
impl PartialEq for Tree {
    fn eq(&self, other: &Tree) -> bool {
        match (&self.kind, &other.kind) {
            (TreeKind::Null, TreeKind::Null) => true,
            (TreeKind::Bool(a), TreeKind::Bool(b)) => a == b,
            (TreeKind::Int(a), TreeKind::Int(b)) => a == b,
            (TreeKind::Float(a), TreeKind::Float(b)) => a.to_bits() == b.to_bits(),
            (TreeKind::Str(a), TreeKind::Str(b)) => a == b,
            (TreeKind::List(a), TreeKind::List(b)) => a == b,
            (TreeKind::Map(a), TreeKind::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key == other.key && self.value == other.value
    }
}

/// Reads `source` into a tree.
///
/// # Errors
/// What is wrong with its text: size, UTF-8, syntax, keys given twice, numbers out of range.
pub fn read(source: &[u8], format: Format, limits: &Limits) -> Result<Tree, DefinitionErrors> {
    let start = Position { line: 1, column: 1 };
    if source.len() > limits.definition_bytes_max {
        let max = limits.definition_bytes_max;
        let message = format!("the document has {} bytes, more than the {max} allowed", source.len());
        return Err(finish(None, vec![Problem::text(start, "too_large", message)]));
    }
    read_unbounded(source, format)
}

/// [`read`] without the limit on size.
pub(super) fn read_unbounded(source: &[u8], format: Format) -> Result<Tree, DefinitionErrors> {
    let text = text_of(source).map_err(|p| finish(None, vec![p]))?;
    let (tree, problems) = match format {
        Format::Yaml => yaml::read(text),
        Format::Json => json::read(text),
        Format::Auto => read_either(text),
    };
    match tree {
        Some(tree) if problems.is_empty() => Ok(tree),
        tree => Err(finish(tree.as_ref(), problems)),
    }
}

/// A tree as far as there is one, and what is wrong.
type Outcome = (Option<Tree>, Vec<Problem>);

fn read_either(text: &str) -> Outcome {
    let Some(inside) = text.trim_start().strip_prefix('{') else {
        return yaml::read(text);
    };
    let as_json = json::read(text);
    if as_json.1.iter().all(|p| p.code != "syntax") {
        return as_json;
    }
    // A YAML flow map begins like JSON. What begins with a key in double quotes was meant as JSON.
    let as_yaml = yaml::read(text);
    let meant_as_json = inside.trim_start().starts_with(['"', '}']) && !as_yaml.1.is_empty();
    if meant_as_json { as_json } else { as_yaml }
}

fn text_of(source: &[u8]) -> Result<&str, Problem> {
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
    let text = std::str::from_utf8(source).map_err(|e| {
        let position = place_after(&source[..e.valid_up_to()]);
        Problem::text(
            position,
            "not_utf8",
            "the document is no UTF-8 text from here; save it as UTF-8",
        )
    })?;
    match text.find('\0') {
        Some(at) => {
            let position = place_after(&source[..at]);
            Err(Problem::text(
                position,
                "nul",
                "a NUL character, which no database holds; remove it",
            ))
        }
        None => Ok(text),
    }
}

fn place_after(valid: &[u8]) -> Position {
    let line_start = valid.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&valid[line_start..]).chars().count();
    let lines = valid.iter().filter(|b| **b == b'\n').count();
    position(lines + 1, column + 1)
}

fn position(line: usize, column: usize) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position {
        line: number(line),
        column: number(column),
    }
}

impl Tree {
    /// The entries, if it is a map.
    #[must_use]
    pub fn entries(&self) -> Option<&[Entry]> {
        if let TreeKind::Map(entries) = &self.kind {
            Some(entries)
        } else {
            None
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn items(&self) -> Option<&[Tree]> {
        if let TreeKind::List(items) = &self.kind {
            Some(items)
        } else {
            None
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&Arc<str>> {
        if let TreeKind::Str(text) = &self.kind {
            Some(text)
        } else {
            None
        }
    }

    /// The truth value, if it is one.
    pub(super) fn boolean(&self) -> Option<bool> {
        if let TreeKind::Bool(b) = self.kind {
            Some(b)
        } else {
            None
        }
    }

    /// The integer, if it is one.
    pub(super) fn integer(&self) -> Option<i64> {
        if let TreeKind::Int(n) = self.kind {
            Some(n)
        } else {
            None
        }
    }

    /// The value at `key`, if it is a map with that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entries()?.iter().find(|e| &*e.key == key).map(|e| &e.value)
    }

    /// Where the character after `before` others of this text stands, if that is plain to see.
    pub(super) fn place_in_text(&self, before: usize) -> Option<Position> {
        let columns = self.verbatim?.saturating_add(u32::try_from(before).ok()?);
        Some(Position {
            line: self.position.line,
            column: self.position.column.saturating_add(columns),
        })
    }

    /// What it is, for messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            TreeKind::Null => "nothing (null)",
            TreeKind::Bool(_) => "true or false",
            TreeKind::Int(_) => "an integer",
            TreeKind::Float(_) => "a number with a fraction",
            TreeKind::Str(_) => "text",
            TreeKind::List(_) => "a list",
            TreeKind::Map(_) => "a map",
        }
    }

    /// The plain value, without order and places. `None` if it is deeper than a JSON value may be.
    pub(super) fn to_json(&self) -> Option<Json> {
        self.json_within(JSON_DEPTH_MAX)
    }

    fn json_within(&self, levels: usize) -> Option<Json> {
        Some(match &self.kind {
            TreeKind::Null => Json::Null,
            TreeKind::Bool(b) => Json::Bool(*b),
            TreeKind::Int(n) => Json::Int(*n),
            TreeKind::Float(x) => Json::Float(*x),
            TreeKind::Str(text) => Json::Str(text.clone()),
            TreeKind::List(items) => {
                let levels = levels.checked_sub(1)?;
                Json::list(items.iter().map(|i| i.json_within(levels)).collect::<Option<_>>()?)
            }
            TreeKind::Map(entries) => {
                let levels = levels.checked_sub(1)?;
                let value = |e: &Entry| Some((e.key.clone(), e.value.json_within(levels)?));
                Json::Object(Arc::new(entries.iter().map(value).collect::<Option<Map>>()?))
            }
        })
    }

    /// The document as compact JSON text in its own order: what is stored.
    #[must_use]
    pub fn canonical_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out, Order::AsWritten);
        out
    }

    fn write_json(&self, out: &mut Vec<u8>, order: Order) {
        match &self.kind {
            TreeKind::Null => out.extend_from_slice(b"null"),
            TreeKind::Bool(b) => write_scalar(out, b),
            TreeKind::Int(n) => write_scalar(out, n),
            TreeKind::Float(x) => write_scalar(out, x),
            TreeKind::Str(text) => write_scalar(out, &**text),
            TreeKind::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    out.extend_from_slice(if i == 0 { b"" } else { b"," });
                    item.write_json(out, order.inside(""));
                }
                out.push(b']');
            }
            TreeKind::Map(entries) => {
                let mut entries: Vec<&Entry> = entries.iter().collect();
                if order == Order::Sorted {
                    entries.sort_by(|a, b| a.key.cmp(&b.key));
                }
                out.push(b'{');
                for (i, entry) in entries.into_iter().enumerate() {
                    out.extend_from_slice(if i == 0 { b"" } else { b"," });
                    write_scalar(out, &*entry.key);
                    out.push(b':');
                    entry.value.write_json(out, order.inside(&entry.key));
                }
                out.push(b'}');
            }
        }
    }

    /// SHA-256 of the compact JSON text in hex: the identity of a version. White space, comments and the choice between YAML and
    /// JSON do not count, and the order of keys only where it says something: below `branches`, `nodes` and `cases`.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = Vec::new();
        self.write_json(&mut text, Order::Sorted);
        Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Maps whose entries are in an order that counts.
const ORDERED: [&str; 3] = ["branches", "nodes", "cases"];

/// In which order the keys of a map are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// All of them as they stand there.
    AsWritten,
    /// By name.
    Sorted,
    /// As they stand there, and below by name again.
    Counts,
}

impl Order {
    /// That of what stands below a key.
    fn inside(self, key: &str) -> Order {
        match self {
            Order::AsWritten => Order::AsWritten,
            Order::Sorted | Order::Counts if ORDERED.contains(&key) => Order::Counts,
            Order::Sorted | Order::Counts => Order::Sorted,
        }
    }
}

fn write_scalar<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("scalars and finite numbers always have a JSON text");
}

/// Gives every value of one document its number.
#[derive(Default)]
struct Numbering(u32);

impl Numbering {
    fn next(&mut self) -> NodeRef {
        self.0 = self.0.saturating_add(1);
        NodeRef(self.0)
    }
}

fn duplicate_key(map: NodeRef, key: &str, at: Position, first: Position) -> Problem {
    let message = format!(
        "the key `{}` is given twice, first in line {}; remove one",
        super::error::shown(key),
        first.line
    );
    Problem {
        at: Some(map),
        position: at,
        code: "duplicate_key",
        message,
        suggestion: None,
    }
}

fn too_deep(at: Position) -> Problem {
    let message = format!("lists and maps are nested deeper than {TREE_DEPTH_MAX} levels");
    Problem::text(at, "too_deep", message)
}

/// The number that `text` (digits, sign, fraction, exponent) reads as; else what is wrong with it.
fn number(text: &str, whole: bool) -> Result<TreeKind, &'static str> {
    if whole {
        let out_of_range = "an integer outside -2^63 … 2^63-1; write it as text or with a fraction";
        return text.parse().map(TreeKind::Int).map_err(|_| out_of_range);
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(TreeKind::Float(x)),
        _ => Err("a number beyond the range of doubles; write it as text"),
    }
}
