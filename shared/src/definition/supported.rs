//! What a definition may say but this release does not run yet: refused at registration, so that no run meets it.
//!
//! The parser checks all of it; this list is the only place to shrink.

use super::source::{Tree, TreeKind};

/// Something of the language, by where it stands. The document itself is the owner `workflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A kind of node.
    Kind(&'static str),
    /// A key of a kind of node.
    Key(&'static str, &'static str),
    /// A key of a kind of node with this word (or `true`, `false`) as its value.
    Value(&'static str, &'static str, &'static str),
}

/// What is not run yet: nothing.
pub const NOT_YET: &[Feature] = &[];

/// The owner under which the document's own keys are listed.
pub(super) const DOCUMENT: &str = "workflow";

/// Whether `list` holds nodes of `kind`.
pub(super) fn lists_kind(list: &[Feature], kind: &str) -> bool {
    list.iter().any(|f| matches!(f, Feature::Kind(k) if *k == kind))
}

/// Whether `list` holds `key` of `owner`, as such or with this value.
pub(super) fn lists_key(list: &[Feature], owner: &str, key: &str, value: &Tree) -> bool {
    list.iter().any(|feature| match feature {
        Feature::Kind(_) => false,
        Feature::Key(o, k) => *o == owner && *k == key,
        Feature::Value(o, k, v) => *o == owner && *k == key && word_of(value) == Some(v),
    })
}

fn word_of(value: &Tree) -> Option<&str> {
    match &value.kind {
        TreeKind::Str(text) => Some(text),
        TreeKind::Bool(true) => Some("true"),
        TreeKind::Bool(false) => Some("false"),
        TreeKind::Null | TreeKind::Int(_) | TreeKind::Float(_) | TreeKind::List(_) | TreeKind::Map(_) => None,
    }
}
