//! YAML 1.2 into a tree: only `true` and `false` are booleans, keys are text, one document, no anchors, no tags.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::{Entry, NodeRef, Numbering, Outcome, TREE_DEPTH_MAX, Tree, TreeKind, duplicate_key, position, too_deep};
use crate::definition::error::Problem;
use crate::definition::model::Position;

pub(super) fn read(text: &str) -> Outcome {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(scan_problem(text, &error)),
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            return (None, builder.problems);
        }
    }
    if builder.root.is_none() && builder.problems.is_empty() {
        let message = "the document is empty; it needs at least `workflow: name` and `steps:`";
        builder.problems.push(Problem::text(position(1, 1), "syntax", message));
    }
    (builder.root, builder.problems)
}

fn place(mark: Marker) -> Position {
    position(mark.line(), mark.col() + 1)
}

fn scan_problem(text: &str, error: &ScanError) -> Problem {
    let place = place(*error.marker());
    if error.info().contains("unknown anchor") {
        return alias(place);
    }
    let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or("");
    let indent = &line[..line.len() - line.trim_start().len()];
    let message = if indent.contains('\t') || error.info().contains("tab") {
        "not YAML: a tab in the indentation; indent with spaces".to_owned()
    } else {
        format!("not YAML: {}", error.info())
    };
    Problem::text(place, "syntax", message)
}

/// A list or map that is still open.
enum Open {
    List(Vec<Tree>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<Arc<str>, Position>,
        key: Option<(Arc<str>, Position)>,
    },
}

struct Frame {
    id: NodeRef,
    position: Position,
    open: Open,
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    numbers: Numbering,
    root: Option<Tree>,
    documents: usize,
    problems: Vec<Problem>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = place(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(at),
            Event::Alias(_) => Err(alias(at)),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_anchor(anchor, at)?;
                refuse_tag(tag.is_some(), at)?;
                self.scalar(&text, style, span)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_anchor(anchor, at)?;
                refuse_tag(tag.is_some(), at)?;
                self.open(at, Open::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_anchor(anchor, at)?;
                refuse_tag(tag.is_some(), at)?;
                let (entries, seen, key) = (Vec::new(), HashMap::new(), None);
                self.open(at, Open::Map { entries, seen, key })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Ok(())
            }
        }
    }

    fn document(&mut self, at: Position) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        let message = "a second document (`---`) begins here; a file holds one definition, put this one into its own";
        Err(Problem::text(at, "multiple_documents", message))
    }

    /// Whether the next node is the key of the innermost map.
    fn expects_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        )
    }

    fn open(&mut self, at: Position, open: Open) -> Result<(), Problem> {
        if self.expects_key() {
            let message = "a list or map as a key; keys are text (a text with `{` or `[` in front needs quotes)";
            return Err(Problem::text(at, "wrong_type", message));
        }
        if self.stack.len() >= TREE_DEPTH_MAX {
            return Err(too_deep(at));
        }
        let id = self.numbers.next();
        self.stack.push(Frame { id, position: at, open });
        Ok(())
    }

    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        let kind = match frame.open {
            Open::List(items) => TreeKind::List(items),
            Open::Map { entries, .. } => TreeKind::Map(entries),
        };
        self.put(Tree {
            id: frame.id,
            position: frame.position,
            verbatim: None,
            kind,
        });
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Problem> {
        let at = place(span.start);
        if text.contains('\0') {
            return Err(Problem::text(
                at,
                "nul",
                "a NUL character, which no database holds; remove it",
            ));
        }
        let plain = style == ScalarStyle::Plain;
        if self.expects_key() {
            self.key(if plain && is_null(text) { "null" } else { text }, at);
            return Ok(());
        }
        let kind = if plain {
            resolve(text)
        } else {
            Ok(TreeKind::Str(text.into()))
        };
        let kind = kind.unwrap_or_else(|message| {
            self.problems.push(Problem::text(at, "number_range", message));
            TreeKind::Null
        });
        let id = self.numbers.next();
        let nothing = plain && text.is_empty();
        let position = if nothing { self.key_position().unwrap_or(at) } else { at };
        let verbatim = verbatim(text, style, span);
        self.put(Tree {
            id,
            position,
            verbatim,
            kind,
        });
        Ok(())
    }

    /// Where the key of the value to come stands: nothing at all has no better place.
    fn key_position(&self) -> Option<Position> {
        match self.stack.last().map(|frame| &frame.open) {
            Some(Open::Map { key: Some((_, at)), .. }) => Some(*at),
            _ => None,
        }
    }

    fn key(&mut self, text: &str, at: Position) {
        if let Some(Frame {
            open: Open::Map { key, .. },
            ..
        }) = self.stack.last_mut()
        {
            *key = Some((text.into(), at));
        }
    }

    /// Puts a finished value where it belongs; the first of two equal keys stays.
    fn put(&mut self, value: Tree) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(value);
            return;
        };
        match &mut frame.open {
            Open::List(items) => items.push(value),
            Open::Map { entries, seen, key } => {
                let Some((key, key_position)) = key.take() else { return };
                match seen.get(&key) {
                    Some(first) => self.problems.push(duplicate_key(frame.id, &key, key_position, *first)),
                    None => {
                        seen.insert(key.clone(), key_position);
                        entries.push(Entry {
                            key,
                            key_position,
                            value,
                        });
                    }
                }
            }
        }
    }
}

fn alias(at: Position) -> Problem {
    let message = "anchors (`&`) and aliases (`*`) are not taken; write the value out, or use `defaults` \
                   (a text that begins so needs quotes)";
    Problem::text(at, "alias", message)
}

fn refuse_anchor(anchor: usize, at: Position) -> Result<(), Problem> {
    if anchor == 0 { Ok(()) } else { Err(alias(at)) }
}

fn refuse_tag(tagged: bool, at: Position) -> Result<(), Problem> {
    if !tagged {
        return Ok(());
    }
    let message = "tags (`!`) are not taken; write text in quotes (a text that begins so needs them too)";
    Err(Problem::text(at, "tag", message))
}

/// Columns before the first letter of a text that stands in one line, letter by letter.
fn verbatim(text: &str, style: ScalarStyle, span: Span) -> Option<u32> {
    let quotes = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Literal | ScalarStyle::Folded => return None,
    };
    let one_line = span.start.line() == span.end.line();
    let letters = span.end.index().checked_sub(span.start.index())?;
    (one_line && letters == text.chars().count() + 2 * quotes).then_some(u32::from(quotes > 0))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// What a plain scalar means by the core schema of YAML 1.2, with `true` and `false` as the only booleans.
fn resolve(text: &str) -> Result<TreeKind, &'static str> {
    if is_null(text) {
        return Ok(TreeKind::Null);
    }
    match text {
        "true" => return Ok(TreeKind::Bool(true)),
        "false" => return Ok(TreeKind::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("infinities and NaN are no JSON numbers; write it as text");
    }
    if let Some(kind) = based(text, "0x", 16).or_else(|| based(text, "0o", 8)) {
        return kind;
    }
    match number_form(unsigned) {
        Some(whole) => super::number(text.strip_prefix('+').unwrap_or(text), whole),
        None => Ok(TreeKind::Str(text.into())),
    }
}

fn based(text: &str, prefix: &str, radix: u32) -> Option<Result<TreeKind, &'static str>> {
    let digits = text.strip_prefix(prefix)?;
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).map(TreeKind::Int);
    Some(number.map_err(|_| "an integer outside -2^63 … 2^63-1; write it as text"))
}

/// Whether `text` is a number without sign: `Some(true)` an integer, `Some(false)` one with fraction or exponent.
fn number_form(text: &str) -> Option<bool> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || !digits(exponent) {
            return None;
        }
    }
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let some_digit = !whole.is_empty() || fraction.is_some_and(|f| !f.is_empty());
    let all_digits = digits(whole) && fraction.is_none_or(digits);
    (some_digit && all_digits).then_some(fraction.is_none() && exponent.is_none())
}
