//! Single values: names, numbers, words, durations, key paths, patterns.

use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use super::fields::Fields;
use crate::definition::duration;
use crate::definition::error::{Problem, shown};
use crate::definition::keys::{Percent, Shape};
use crate::definition::model::{Into, Position};
use crate::definition::source::{Entry, NodeRef, Tree, TreeKind};
use crate::ids::is_name;
use crate::json::Json;
use crate::keypath::KeyPath;
use crate::suggest::nearest;
use crate::time::Timestamp;

/// Names that paths give a meaning of their own (SPEC 1).
pub(super) const RESERVED_NAMES: &[&str] = &["default", "catch", "finally", "compensate", "continue"];
/// Names that expressions give a meaning of their own (SPEC 2).
const EXPRESSION_NAMES: &[&str] = &[
    "input", "ctx", "results", "item", "index", "error", "payload", "output", "run", "attempt",
];
/// Words that CEL keeps for itself.
const CEL_WORDS: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Characters of a handler's or an event's name.
const FREE_NAME_CHARS_MAX: usize = 256;

/// A key path and where it is written.
pub(super) struct WrittenPath {
    path: KeyPath,
    at: NodeRef,
    position: Position,
}

impl WrittenPath {
    /// Written as the value `tree`.
    pub fn value(path: KeyPath, tree: &Tree) -> WrittenPath {
        let (at, position) = (tree.id, tree.position);
        WrittenPath { path, at, position }
    }

    /// Written as the key of `entry`.
    pub fn key(path: KeyPath, entry: &Entry) -> WrittenPath {
        let (at, position) = (entry.value.id, entry.key_position);
        WrittenPath { path, at, position }
    }
}

impl Checker<'_> {
    /// Text at `tree` that is a name by SPEC 2.
    pub(super) fn name(&mut self, tree: &Tree) -> Option<Arc<str>> {
        let Some(text) = tree.text() else {
            let message = format!("a name is text; this is {}", tree.kind_name());
            return self.refuse(tree, "wrong_type", message);
        };
        self.check_name(tree, text)?;
        Some(text.clone())
    }

    fn check_name(&mut self, tree: &Tree, text: &str) -> Option<()> {
        if is_name(text) {
            return Some(());
        }
        let message = format!(
            "`{}` is no name: a letter, then at most 63 letters, digits, `_` or `-`",
            shown(text)
        );
        let problem = Problem::at(tree, "bad_name", message).meant(repaired(text));
        self.note(problem);
        None
    }

    /// A name that paths are made of: of a node or a branch. `tree` is what an error is about.
    pub(super) fn path_name(&mut self, tree: &Tree, text: &str) -> Option<()> {
        self.check_name(tree, text)?;
        if RESERVED_NAMES.contains(&text) {
            let words = RESERVED_NAMES.join(", ");
            let message =
                format!("nodes and branches cannot be named `{text}` (reserved: {words}); choose another name");
            return self.refuse(tree, "reserved_name", message);
        }
        Some(())
    }

    /// The name of a variable in expressions; `own` is its default, which is the only reserved word it may be.
    pub(super) fn variable(&mut self, fields: &Fields<'_>, key: &str, own: &str) -> Option<Arc<str>> {
        if !fields.has(key) {
            return Some(own.into());
        }
        let tree = fields.get(key)?;
        let text = tree.text()?;
        let mut letters = text.chars();
        let identifier = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
            && text.len() <= crate::limits::NAME_CHARS_MAX;
        if !identifier {
            let meant = Some(text.replace('-', "_")).filter(|t| is_name(t));
            let message = format!(
                "`{}` is no identifier of expressions: letters, digits and `_` only",
                shown(text)
            );
            self.note(Problem::at(tree, "bad_name", message).meant(meant));
            return None;
        }
        let taken = CEL_WORDS.contains(&&**text) || (EXPRESSION_NAMES.contains(&&**text) && **text != *own);
        if taken {
            let message = format!("`{text}` has a meaning of its own in expressions; choose another name");
            return self.refuse(tree, "reserved_name", message);
        }
        Some(text.clone())
    }

    /// Name by SPEC 2 at `key`.
    pub(super) fn name_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
        fields.get(key).and_then(|tree| self.name(tree))
    }

    /// A handler's name: any text, but not empty and not endless.
    pub(super) fn handler_name_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
        let tree = fields.get(key)?;
        let text = tree.text()?;
        self.check_free_name(tree, text, "a handler's name")?;
        Some(text.clone())
    }

    pub(super) fn check_free_name(&mut self, tree: &Tree, text: &str, what: &str) -> Option<()> {
        let printable = !text.chars().any(char::is_control) && text.trim() == text;
        if printable && !text.is_empty() && text.chars().count() <= FREE_NAME_CHARS_MAX {
            return Some(());
        }
        let message =
            format!("{what} is 1 to {FREE_NAME_CHARS_MAX} characters without control characters or space at its ends");
        self.refuse(tree, "bad_name", message)
    }

    /// The word at `key`, one of those its table lists.
    pub(super) fn word_at<'t>(&mut self, fields: &Fields<'t>, key: &str) -> Option<&'t str> {
        let (tree, shape) = fields.shaped(key)?;
        let Shape::Words(words) = shape else {
            unreachable!("only keys of words are read as words")
        };
        self.word(tree, words)
    }

    /// The word `tree`, one of `words`.
    pub(super) fn word<'t>(&mut self, tree: &'t Tree, words: &[&'static str]) -> Option<&'t str> {
        let text: &str = tree.text()?;
        if words.contains(&text) {
            return Some(text);
        }
        let message = format!("`{}` is none of {}", shown(text), words.join(", "));
        self.note(Problem::at(tree, "bad_value", message).meant(nearest(text, words.iter().copied())));
        None
    }

    pub(super) fn bool_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<bool> {
        fields.get(key)?.boolean()
    }

    /// The integer at `key`, at least what its table says.
    pub(super) fn int_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<u32> {
        let (tree, shape) = fields.shaped(key)?;
        match (&tree.kind, shape) {
            (TreeKind::Int(n), Shape::Int(least)) => self.int_from(tree, *n, least),
            _ => unreachable!("the form was checked, and only keys of integers are read as such"),
        }
    }

    fn int_from(&mut self, tree: &Tree, n: i64, least: i64) -> Option<u32> {
        match u32::try_from(n) {
            Ok(small) if n >= least => Some(small),
            _ => {
                let message = format!("{n} is out of range: from {least} to {}", u32::MAX);
                self.refuse(tree, "bad_value", message)
            }
        }
    }

    /// A literal number, word or percentage where a [`Shape::Count`] stands.
    pub(super) fn check_count(
        &mut self,
        tree: &Tree,
        least: i64,
        words: &[&'static str],
        percent: Percent,
    ) -> Option<()> {
        if let Some(n) = tree.integer() {
            return self.int_from(tree, n, least).map(|_| ());
        }
        let text: &str = tree.text()?;
        let share = if percent == Percent::Yes {
            percentage(text)
        } else {
            None
        };
        if words.contains(&text) || share.is_some_and(|p| p > 0.0 || least == 0) {
            return Some(());
        }
        let meant = match text.parse::<u32>() {
            Ok(n) => Some(n.to_string()),
            Err(_) => nearest(text, words.iter().copied()),
        };
        let takes = Shape::Count(least, &[], percent).describe();
        let words = words.iter().map(|w| format!(", `{w}`")).collect::<String>();
        let message = format!("`{}` does not fit here; this takes {takes}{words}", shown(text));
        self.note(Problem::at(tree, "bad_value", message).meant(meant));
        None
    }

    /// The duration at `key`, which must be more than nothing.
    pub(super) fn positive_duration_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        let duration = self.duration_at(fields, key)?;
        if duration.is_zero() {
            let message = format!("`{key}` of nothing would end everything at once; leave the key out for no limit");
            return self.refuse(fields.get(key)?, "bad_duration", message);
        }
        Some(duration)
    }

    pub(super) fn duration_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        fields.get(key).and_then(|tree| self.duration(tree))
    }

    /// A literal duration.
    pub(super) fn duration(&mut self, tree: &Tree) -> Option<Duration> {
        let text = tree.text()?;
        let duration = duration::parse(text);
        if duration.is_none() {
            let meant = text.trim().parse::<u32>().ok().map(|n| format!("{n}s"));
            let message = format!(
                "`{}` is no duration; write numbers with units, larger first (250ms, 1.5s, 1h30m, 3d), or ISO 8601 (PT5M)",
                shown(text)
            );
            self.note(Problem::at(tree, "bad_duration", message).meant(meant));
        }
        duration
    }

    /// A literal time.
    pub(super) fn check_time(&mut self, tree: &Tree) -> Option<()> {
        let text = tree.text()?;
        if Timestamp::parse(text).is_some() {
            return Some(());
        }
        let message = format!("`{}` is no RFC 3339 time like 2030-01-31T08:00:00Z", shown(text));
        self.refuse(tree, "bad_value", message)
    }

    /// The key path `text`, written at `tree`.
    pub(super) fn key_path(&mut self, tree: &Tree, text: &str) -> Option<KeyPath> {
        let path = KeyPath::parse(text);
        if path.is_none() {
            let message = format!(
                "`{}` is no key path: keys joined by dots, none of them empty (a dot inside a key is `\\.`)",
                shown(text)
            );
            self.note(Problem::at(tree, "bad_key_path", message));
        }
        path
    }

    pub(super) fn key_path_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<KeyPath> {
        let tree = fields.get(key)?;
        let text = tree.text()?;
        self.key_path(tree, text)
    }

    /// `into` of a step, wait or call.
    pub(super) fn output_path(&mut self, fields: &Fields<'_>) -> Option<Into> {
        match fields.get("into") {
            None if fields.has("into") => None,
            None => Some(Into::Merge),
            Some(tree) => match tree.text() {
                Some(text) => self.key_path(tree, text).map(Into::At),
                None => Some(Into::Drop),
            },
        }
    }

    /// Notes every path that begins with, or is the beginning of, an earlier one of the same node.
    pub(super) fn check_overlaps(&mut self, paths: &[WrittenPath]) {
        // Sorted, a path that begins with another follows it with only such paths between them.
        let mut sorted: Vec<&WrittenPath> = paths.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path).then(a.at.cmp(&b.at)));
        let mut shortest: Option<&WrittenPath> = None;
        for item in sorted {
            let Some(before) = shortest.filter(|before| before.path.overlaps(&item.path)) else {
                shortest = Some(item);
                continue;
            };
            let later = if before.at > item.at { before } else { item };
            let message = format!(
                "the key paths `{}` and `{}` of one node overlap: which comes last would decide; keep one",
                shown(&before.path.to_string()),
                shown(&item.path.to_string())
            );
            self.note(Problem {
                at: Some(later.at),
                ..Problem::text(later.position, "overlapping_paths", message)
            });
        }
    }

    /// Globs over error types.
    pub(super) fn patterns_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Vec<String>> {
        let items = fields.get(key)?.items()?;
        let read: Vec<Option<String>> = items.iter().map(|item| self.pattern(item)).collect();
        read.into_iter().collect()
    }

    fn pattern(&mut self, tree: &Tree) -> Option<String> {
        match tree.text() {
            None => {
                let message = format!("a pattern over error types is text; this is {}", tree.kind_name());
                self.refuse(tree, "wrong_type", message)
            }
            Some(text) if text.trim_start_matches('!').is_empty() => self.refuse(
                tree,
                "bad_value",
                "an empty pattern matches nothing; write a type, or `*` for any characters",
            ),
            Some(text) => Some(text.to_string()),
        }
    }

    /// The plain value, if it is not too deep.
    pub(super) fn json(&mut self, tree: &Tree) -> Option<Json> {
        let json = tree.to_json();
        if json.is_none() {
            let max = crate::limits::JSON_DEPTH_MAX;
            self.note(Problem::at(
                tree,
                "too_deep",
                format!("a value nested deeper than {max} levels"),
            ));
        }
        json
    }

    /// A JSON Schema that can be used.
    pub(super) fn schema_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Json> {
        let tree = fields.get(key)?;
        let schema = self.json(tree)?;
        if let Some(problem) = (self.judge)(&schema) {
            let at = problem.at.iter().fold(tree, |at, key| inner(at, key).unwrap_or(at));
            let message = format!("`{key}` is no JSON Schema that can be used: {}", problem.message);
            self.note(Problem::at(at, "bad_schema", message));
        }
        Some(schema)
    }

    pub(super) fn json_at(&mut self, fields: &Fields<'_>, key: &str) -> Option<Json> {
        fields.get(key).and_then(|tree| self.json(tree))
    }
}

/// The member or item of a value.
fn inner<'t>(tree: &'t Tree, key: &str) -> Option<&'t Tree> {
    match (tree.entries(), tree.items()) {
        (Some(entries), _) => entries
            .iter()
            .find(|entry| *entry.key == *key)
            .map(|entry| &entry.value),
        (None, Some(items)) => items.get(key.parse::<usize>().ok()?),
        (None, None) => None,
    }
}

/// `80%` as a number from 0 to 100.
fn percentage(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok()?;
    (plain && value <= 100.0).then_some(value)
}

/// A name made of what is no name, by replacing what cannot stand in one.
fn repaired(text: &str) -> Option<String> {
    if text.chars().count() > crate::limits::NAME_CHARS_MAX || text.starts_with('=') {
        return None;
    }
    let replaced: String = text
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    Some(
        replaced
            .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
            .to_owned(),
    )
    .filter(|t| is_name(t))
}
