//! What is wrong with a definition document: all of it at once, each with its place.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::model::Position;
use super::source::{NodeRef, Tree, TreeKind};

/// Errors that one check reports at most; a document with more is not read to its end by anybody.
pub const ERRORS_MAX: usize = 1000;
/// Characters of one key shown in a pointer or a message.
const SHOWN_CHARS_MAX: usize = 128;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionError {
    /// JSON pointer (RFC 6901) to the value in question; empty for the document as a whole.
    pub pointer: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What kind of mistake it is; stable, for programs.
    pub code: &'static str,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// Everything that is wrong with a document, in the order of its text. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DefinitionErrors(pub Vec<DefinitionError>);

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.line, self.column, self.message, self.code)?;
        match &self.suggestion {
            Some(meant) => write!(f, " (did you mean `{meant}`?)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}
impl std::error::Error for DefinitionErrors {}

/// An error before its pointer is known.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub at: Option<NodeRef>,
    pub position: Position,
    pub code: &'static str,
    pub message: String,
    pub suggestion: Option<String>,
}

impl Problem {
    /// About the value `tree`.
    pub fn at(tree: &Tree, code: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            at: Some(tree.id),
            position: tree.position,
            code,
            message: message.into(),
            suggestion: None,
        }
    }

    /// About a place in the text that is no value.
    pub fn text(position: Position, code: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            at: None,
            position,
            code,
            message: message.into(),
            suggestion: None,
        }
    }

    /// The same, shown at `position` (a key instead of its value).
    pub fn shown_at(mut self, position: Position) -> Problem {
        self.position = position;
        self
    }

    /// The same with a "did you mean".
    pub fn meant(mut self, suggestion: Option<String>) -> Problem {
        self.suggestion = suggestion;
        self
    }
}

/// Sorts `problems` by place and finds their pointers in `tree`.
pub(super) fn finish(tree: Option<&Tree>, mut problems: Vec<Problem>) -> DefinitionErrors {
    problems.sort_by_key(|p| (p.position.line, p.position.column));
    problems.truncate(ERRORS_MAX);
    let mut pointers: HashMap<NodeRef, String> = problems
        .iter()
        .filter_map(|p| p.at)
        .map(|id| (id, String::new()))
        .collect();
    if let Some(tree) = tree {
        fill_pointers(tree, &mut String::new(), &mut pointers);
    }
    let error = |p: Problem| DefinitionError {
        pointer: p.at.and_then(|id| pointers.get(&id).cloned()).unwrap_or_default(),
        line: p.position.line,
        column: p.position.column,
        code: p.code,
        message: p.message,
        suggestion: p.suggestion,
    };
    DefinitionErrors(problems.into_iter().map(error).collect())
}

fn fill_pointers(tree: &Tree, path: &mut String, wanted: &mut HashMap<NodeRef, String>) {
    if let Some(pointer) = wanted.get_mut(&tree.id) {
        pointer.clone_from(path);
    }
    let length = path.len();
    match &tree.kind {
        TreeKind::List(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push('/');
                path.push_str(&i.to_string());
                fill_pointers(item, path, wanted);
                path.truncate(length);
            }
        }
        TreeKind::Map(entries) => {
            for entry in entries {
                path.push('/');
                path.push_str(&shown(&entry.key).replace('~', "~0").replace('/', "~1"));
                fill_pointers(&entry.value, path, wanted);
                path.truncate(length);
            }
        }
        TreeKind::Null | TreeKind::Bool(_) | TreeKind::Int(_) | TreeKind::Float(_) | TreeKind::Str(_) => {}
    }
}

/// `text`, shortened so that a giant key cannot make a giant message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
