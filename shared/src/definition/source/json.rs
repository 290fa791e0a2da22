//! JSON (RFC 8259) into a tree that keeps the order of keys and knows its places.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Entry, Numbering, Outcome, TREE_DEPTH_MAX, Tree, TreeKind, duplicate_key, position, too_deep};
use crate::definition::error::Problem;
use crate::definition::model::Position;

pub(super) fn read(text: &str) -> Outcome {
    let mut reader = Reader {
        text,
        at: 0,
        place: Place::default(),
        numbers: Numbering::default(),
        duplicates: Vec::new(),
    };
    match reader.document() {
        Ok(tree) => (Some(tree), reader.duplicates),
        Err(problem) => {
            reader.duplicates.push(problem);
            (None, reader.duplicates)
        }
    }
}

/// A known place: it only ever moves on, so that finding all places costs one walk over the text.
#[derive(Clone, Copy)]
struct Place {
    offset: usize,
    line: usize,
    column: usize,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            offset: 0,
            line: 1,
            column: 1,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    place: Place,
    numbers: Numbering,
    duplicates: Vec<Problem>,
}

type Read<T> = Result<T, Problem>;

impl Reader<'_> {
    fn document(&mut self) -> Read<Tree> {
        self.skip_space();
        let tree = self.value(0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(tree),
            Some(_) => Err(self.syntax("the end of the document: something follows the value")),
        }
    }

    fn place_of(&mut self, offset: usize) -> Position {
        let mut place = if offset < self.place.offset {
            Place::default()
        } else {
            self.place
        };
        for c in self.text[place.offset..offset].chars() {
            if c == '\n' {
                place.line += 1;
                place.column = 1;
            } else {
                place.column += 1;
            }
        }
        place.offset = offset;
        self.place = place;
        position(place.line, place.column)
    }

    fn here(&mut self) -> Position {
        self.place_of(self.at)
    }

    fn fail(&mut self, offset: usize, code: &'static str, message: &str) -> Problem {
        let place = self.place_of(offset);
        Problem::text(place, code, message)
    }

    fn syntax(&mut self, expected: &str) -> Problem {
        let message = match self.text[self.at..].chars().next() {
            Some(c) => format!("not JSON: `{}` stands where {expected} is expected", c.escape_debug()),
            None => format!("not JSON: the text ends where {expected} is expected"),
        };
        self.fail(self.at, "syntax", &message)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Read<Tree> {
        let (place, id, start) = (self.here(), self.numbers.next(), self.at);
        let kind = match self.peek() {
            Some(b'{' | b'[') if depth >= TREE_DEPTH_MAX => return Err(too_deep(place)),
            Some(b'{') => TreeKind::Map(self.map(id, depth + 1)?),
            Some(b'[') => TreeKind::List(self.list(depth + 1)?),
            Some(b'"') => TreeKind::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", TreeKind::Bool(true))?,
            Some(b'f') => self.word("false", TreeKind::Bool(false))?,
            Some(b'n') => self.word("null", TreeKind::Null)?,
            _ => return Err(self.syntax("a value")),
        };
        // A quote on each side and no escapes in between.
        let plain = |text: &Arc<str>| self.at - start == text.len() + 2;
        let verbatim = matches!(&kind, TreeKind::Str(text) if plain(text)).then_some(1);
        Ok(Tree {
            id,
            position: place,
            verbatim,
            kind,
        })
    }

    fn word(&mut self, word: &str, kind: TreeKind) -> Read<TreeKind> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(kind);
        }
        Err(self.syntax("true, false or null"))
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Tree>> {
        self.at += 1;
        self.skip_space();
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(items);
            }
            if !self.take(b',') {
                return Err(self.syntax("a comma or ]"));
            }
        }
    }

    fn map(&mut self, id: super::NodeRef, depth: usize) -> Read<Vec<Entry>> {
        self.at += 1;
        self.skip_space();
        let (mut entries, mut seen) = (Vec::new(), HashMap::new());
        if self.take(b'}') {
            return Ok(entries);
        }
        loop {
            self.skip_space();
            let entry = self.entry(depth)?;
            match seen.insert(entry.key.clone(), entry.key_position) {
                None => entries.push(entry),
                Some(first) => {
                    let problem = duplicate_key(id, &entry.key, entry.key_position, first);
                    self.duplicates.push(problem);
                }
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(entries);
            }
            if !self.take(b',') {
                return Err(self.syntax("a comma or }"));
            }
        }
    }

    fn entry(&mut self, depth: usize) -> Read<Entry> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax("a key in double quotes"));
        }
        let key_position = self.here();
        let key = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.syntax("a colon"));
        }
        self.skip_space();
        let value = self.value(depth)?;
        Ok(Entry {
            key,
            key_position,
            value,
        })
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.syntax("a digit"))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Read<TreeKind> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            whole = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        super::number(&self.text[start..self.at], whole).map_err(|message| self.fail(start, "number_range", message))
    }

    fn string(&mut self) -> Read<Arc<str>> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') else {
                self.at = self.text.len();
                return Err(self.syntax("a closing quote"));
            };
            out.push_str(&rest[..stop]);
            self.at += stop;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.syntax("an escape like \\n (no raw line break or tab inside text)")),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let start = self.at;
        self.at += 1;
        let c = match self.peek() {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'u') => {
                self.at += 1;
                return self.unicode(start);
            }
            _ => return Err(self.syntax("one of the escapes \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self, start: usize) -> Read<char> {
        const HALF: &str =
            "half a surrogate pair, which is no character; write \\ud83d\\ude00, or the character itself";
        let first = self.hex4()?;
        let code = match first {
            0 => {
                return Err(self.fail(
                    start,
                    "nul",
                    "a NUL character (\\u0000), which no database holds; remove it",
                ));
            }
            0xD800..=0xDBFF => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(self.fail(start, "syntax", HALF));
                }
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.fail(start, "syntax", HALF));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.fail(start, "syntax", HALF))
    }

    fn hex4(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.syntax("four hex digits"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}
