//! The forms that values at keys may have.

use super::keys::Key;
use super::source::{Tree, TreeKind};

/// What may stand at a key, as far as its form goes.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Anything; strings that start with `= ` are expressions.
    Template,
    /// Free text.
    Text,
    /// Text, or an expression after `= `.
    TextTemplate,
    /// A name by the rule of SPEC 2.
    Name,
    /// CEL.
    Expr,
    /// CEL, or a plain `true` or `false`.
    Condition,
    /// `30s`
    Duration,
    /// `30s`, or an expression after `= `.
    DurationTemplate,
    /// An RFC 3339 time, or an expression after `= `.
    TimeTemplate,
    /// An integer from this on.
    Int(i64),
    /// An integer from this on, a word, a percentage, or an expression after `= `.
    Count(i64, &'static [&'static str], Percent),
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A key path.
    KeyPath,
    /// A key path, or null.
    IntoPath,
    /// A list of key paths.
    KeyPaths,
    /// Globs over error types.
    Patterns,
    /// A list of names.
    Names,
    /// A list of nodes.
    Nodes,
    /// A map with these keys.
    Object(&'static [Key]),
    /// A map of names (or case keys) to this.
    MapOf(&'static Shape),
    /// A list of this.
    ListOf(&'static Shape),
    /// Any of these.
    Either(&'static [Shape]),
    /// A list of any values.
    AnyList,
    /// A JSON Schema.
    JsonSchema,
}

/// Whether a percentage may stand at a [`Shape::Count`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Percent {
    Yes,
    No,
}

impl Shape {
    /// Whether `tree` is of the outer form this takes; what is inside is checked where it is read.
    pub fn takes(self, tree: &Tree) -> bool {
        let kind = &tree.kind;
        match self {
            Shape::Template => true,
            Shape::Text
            | Shape::TextTemplate
            | Shape::Name
            | Shape::Expr
            | Shape::Duration
            | Shape::DurationTemplate
            | Shape::TimeTemplate
            | Shape::Words(_)
            | Shape::KeyPath => matches!(kind, TreeKind::Str(_)),
            Shape::Condition => matches!(kind, TreeKind::Str(_) | TreeKind::Bool(_)),
            Shape::Int(_) => matches!(kind, TreeKind::Int(_)),
            Shape::Count(..) => matches!(kind, TreeKind::Int(_) | TreeKind::Str(_)),
            Shape::Number => matches!(kind, TreeKind::Int(_) | TreeKind::Float(_)),
            Shape::Bool => matches!(kind, TreeKind::Bool(_)),
            Shape::IntoPath => matches!(kind, TreeKind::Str(_) | TreeKind::Null),
            Shape::KeyPaths | Shape::Patterns | Shape::Names | Shape::Nodes | Shape::ListOf(_) | Shape::AnyList => {
                matches!(kind, TreeKind::List(_))
            }
            Shape::Object(_) | Shape::MapOf(_) => matches!(kind, TreeKind::Map(_)),
            Shape::Either(shapes) => shapes.iter().any(|s| s.takes(tree)),
            Shape::JsonSchema => matches!(kind, TreeKind::Map(_) | TreeKind::Bool(_)),
        }
    }

    /// What this takes, for messages.
    pub fn describe(self) -> String {
        match self {
            Shape::Template => "any value".into(),
            Shape::Text => "text".into(),
            Shape::TextTemplate => "text, or an expression after `= `".into(),
            Shape::Name => "a name".into(),
            Shape::Expr => "an expression (text)".into(),
            Shape::Condition => "an expression (text), or true or false".into(),
            Shape::Duration => "a duration as text, like \"30s\" or \"1h30m\"".into(),
            Shape::DurationTemplate => "a duration as text, like \"30s\", or an expression after `= `".into(),
            Shape::TimeTemplate => "a time as text, like \"2030-01-31T08:00:00Z\", or an expression after `= `".into(),
            Shape::Int(least) => format!("an integer from {least}"),
            Shape::Count(least, words, percent) => describe_count(least, words, percent),
            Shape::Number => "a number".into(),
            Shape::Bool => "true or false".into(),
            Shape::Words(words) => format!("one of {}", words.join(", ")),
            Shape::KeyPath => "a key path (text)".into(),
            Shape::IntoPath => "a key path (text), or null".into(),
            Shape::KeyPaths => "a list of key paths".into(),
            Shape::Patterns => "a list of patterns over error types".into(),
            Shape::Names => "a list of names".into(),
            Shape::Nodes => "a list of nodes".into(),
            Shape::Object(keys) => {
                let names: Vec<_> = keys.iter().map(|k| k.name).collect();
                format!("a map with the keys {}", names.join(", "))
            }
            Shape::MapOf(_) => "a map".into(),
            Shape::ListOf(_) | Shape::AnyList => "a list".into(),
            Shape::Either(shapes) => shapes.iter().map(|s| s.describe()).collect::<Vec<_>>().join(", or "),
            Shape::JsonSchema => "a JSON Schema (a map)".into(),
        }
    }
}

fn describe_count(least: i64, words: &[&str], percent: Percent) -> String {
    let mut out = format!("an integer from {least}");
    for word in words {
        out.push_str(&format!(", `{word}`"));
    }
    if percent == Percent::Yes {
        out.push_str(", a percentage like \"80%\"");
    }
    out + ", or an expression after `= `"
}
