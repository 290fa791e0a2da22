//! One scan over JSON text (RFC 8259): builds the value and refuses what SPEC 3 refuses.

use std::fmt;
use std::sync::Arc;

use super::{Json, Map};
use crate::limits::JSON_DEPTH_MAX;

/// Why text is no JSON value that Rejoin takes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Byte offset into the text.
    pub offset: usize,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What can be wrong with JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonProblem {
    /// Not JSON: what was expected instead.
    Syntax(&'static str),
    /// The text ends inside a value.
    UnexpectedEnd,
    /// Something follows the value.
    TrailingText,
    /// Deeper than [`JSON_DEPTH_MAX`] levels.
    TooDeep,
    /// An integer outside −2^63 … 2^63−1.
    IntegerRange,
    /// A double beyond the range of IEEE 754.
    DoubleRange,
    /// A NUL character in a string: PostgreSQL cannot hold it.
    Nul,
    /// Bytes that are no UTF-8, or half a surrogate pair.
    NotUtf8,
}

impl JsonProblem {
    /// Whether the text is JSON, only not within Rejoin's limits.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            JsonProblem::TooDeep | JsonProblem::IntegerRange | JsonProblem::DoubleRange | JsonProblem::Nul
        )
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match self.problem {
            JsonProblem::Syntax(expected) => write!(f, "not JSON at byte {at}: expected {expected}"),
            JsonProblem::UnexpectedEnd => write!(f, "not JSON: the text ends inside a value (byte {at})"),
            JsonProblem::TrailingText => write!(f, "not JSON: something follows the value at byte {at}"),
            JsonProblem::TooDeep => write!(f, "nested deeper than {JSON_DEPTH_MAX} levels at byte {at}"),
            JsonProblem::IntegerRange => {
                write!(
                    f,
                    "an integer outside -2^63 … 2^63-1 at byte {at}; write it as text or with a fraction"
                )
            }
            JsonProblem::DoubleRange => write!(f, "a number beyond the range of doubles at byte {at}"),
            JsonProblem::Nul => write!(
                f,
                "a NUL character (\\u0000) in a string at byte {at}, which no database holds"
            ),
            JsonProblem::NotUtf8 => write!(f, "bytes that are no valid UTF-8 text at byte {at}"),
        }
    }
}

impl std::error::Error for JsonError {}

type Parsed<T> = Result<T, JsonError>;

pub(super) fn parse(text: &[u8], depth_max: usize) -> Parsed<Json> {
    let mut scanner = Scanner { text, at: 0, depth_max };
    scanner.skip_space();
    let value = scanner.value(0)?;
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.error(JsonProblem::TrailingText));
    }
    Ok(value)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth_max: usize,
}

impl Scanner<'_> {
    fn error(&self, problem: JsonProblem) -> JsonError {
        JsonError {
            offset: self.at,
            problem,
        }
    }

    fn expected(&self, what: &'static str) -> JsonError {
        let ended = self.at >= self.text.len();
        self.error(if ended {
            JsonProblem::UnexpectedEnd
        } else {
            JsonProblem::Syntax(what)
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Parsed<Json> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(|text| Json::Str(text.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &'static str, value: Json) -> Parsed<Json> {
        if self.text[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.expected("true, false or null"))
    }

    fn enter(&mut self, depth: usize) -> Parsed<()> {
        if depth > self.depth_max {
            return Err(self.error(JsonProblem::TooDeep));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Parsed<Json> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::list(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::list(items));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Json> {
        self.enter(depth)?;
        let mut map = Map::new();
        if self.take(b'}') {
            return Ok(Json::Object(Arc::new(map)));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in quotes"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("a colon"));
            }
            self.skip_space();
            let value = self.value(depth)?;
            map.insert(key.into(), value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(Arc::new(map)));
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or }"));
            }
        }
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.expected("a digit"))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Parsed<Json> {
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
        let text = std::str::from_utf8(&self.text[start..self.at]).expect("digits and signs are ASCII");
        let fail = |problem| JsonError { offset: start, problem };
        if whole {
            return text.parse().map(Json::Int).map_err(|_| fail(JsonProblem::IntegerRange));
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Json::Float(x)),
            _ => Err(fail(JsonProblem::DoubleRange)),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            let plain = std::str::from_utf8(&self.text[start..self.at]).map_err(|e| JsonError {
                offset: start + e.valid_up_to(),
                problem: JsonProblem::NotUtf8,
            })?;
            out.push_str(plain);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(0) => return Err(self.error(JsonProblem::Nul)),
                _ => return Err(self.expected("an escaped control character")),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let escaped = self.peek().ok_or_else(|| self.error(JsonProblem::UnexpectedEnd))?;
        self.at += 1;
        Ok(match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(start),
            _ => {
                return Err(JsonError {
                    offset: start,
                    problem: JsonProblem::Syntax("a known escape"),
                });
            }
        })
    }

    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let half = JsonError {
            offset: start,
            problem: JsonProblem::NotUtf8,
        };
        let first = self.hex4()?;
        let code = match first {
            0 => {
                return Err(JsonError {
                    offset: start,
                    problem: JsonProblem::Nul,
                });
            }
            0xD800..=0xDBFF => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(half);
                }
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(half);
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(half)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or_else(|| self.expected("four hex digits"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> JsonProblem {
        Json::parse(text.as_bytes()).expect_err(text).problem
    }

    #[test]
    fn values_come_back_as_their_text() {
        for text in [
            "null",
            "true",
            "[]",
            "{}",
            "1.0",
            "-0.0",
            "1",
            "9223372036854775807",
            "-9223372036854775808",
            "1e300",
            "0.1",
            r#"{"a":[1,2.5,{"b":null}],"é":"😀\n"}"#,
        ] {
            let value = Json::parse(text.as_bytes()).expect(text);
            let again = Json::parse(&value.to_bytes()).expect("own text");
            assert_eq!(value, again);
            if text != "1e300" {
                assert_eq!(value.to_string(), text);
            }
            assert_eq!(value.text_len(), value.to_bytes().len());
        }
        assert_eq!(
            Json::parse(br#""\ud83d\ude00\u00e9\/""#).expect("escapes"),
            Json::str("😀é/")
        );
    }

    #[test]
    fn an_integer_and_a_double_of_the_same_size_differ() {
        assert_ne!(Json::Int(1), Json::Float(1.0));
        assert_ne!(Json::Float(0.0), Json::Float(-0.0));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_place() {
        assert_eq!(problem("9223372036854775808"), JsonProblem::IntegerRange);
        assert_eq!(problem("-9223372036854775809"), JsonProblem::IntegerRange);
        assert_eq!(problem("1e999"), JsonProblem::DoubleRange);
        assert_eq!(problem(r#""a\u0000b""#), JsonProblem::Nul);
        assert_eq!(problem(r#""\ud800""#), JsonProblem::NotUtf8);
        assert_eq!(problem("[1,"), JsonProblem::UnexpectedEnd);
        assert_eq!(problem("1 2"), JsonProblem::TrailingText);
        for bad in [
            "[1,]",
            "{\"a\" 1}",
            "01",
            "+1",
            "nul",
            "'a'",
            "{a:1}",
            "\"\t\"",
            ".5",
            "1.",
        ] {
            assert!(!problem(bad).is_limit(), "{bad}");
        }
        assert_eq!(
            Json::parse(b"\"\xff\"").expect_err("bytes").problem,
            JsonProblem::NotUtf8
        );
    }

    #[test]
    fn what_we_wrote_ourselves_is_read_with_what_stands_around_values_of_128_levels() {
        #[derive(serde::Deserialize)]
        struct Envelope {
            #[serde(flatten)]
            rest: std::collections::BTreeMap<String, Json>,
        }
        for levels in [1, 126, 127, 128, 200, 511] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
            let own = Json::parse_own(text.as_bytes()).expect("own text");
            assert_eq!(own.depth(), levels + 1);
            let read: Envelope = crate::json::read_own(text.as_bytes()).expect("own document");
            assert_eq!(Some(&read.rest["a"]), own.get("a"));
        }
        let text = "[".repeat(100_000);
        assert!(Json::parse_own(text.as_bytes()).is_err());
        assert!(crate::json::read_own::<Json>(text.as_bytes()).is_err());
    }

    #[test]
    fn depth_128_is_taken_and_129_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(nested(128).as_bytes()).is_ok());
        assert_eq!(problem(&nested(129)), JsonProblem::TooDeep);
    }
}
