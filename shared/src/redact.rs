//! Values that show nowhere: those of configured keys, in answers of the API and in logs. What is stored stays as it is.

use std::borrow::Cow;
use std::io::{self, Write};

use regex::{Captures, Regex, RegexBuilder};

use crate::json::Json;

/// Stands where something is not shown.
const MASK: &str = "***";

/// Replaces the values of some keys.
#[derive(Clone, Debug)]
pub struct Redactor {
    /// In lower case.
    keys: Vec<String>,
    in_text: Regex,
}

impl Redactor {
    /// Of keys with commas between them, whatever their case; `None` without any.
    ///
    /// # Panics
    /// Never: whatever a key holds is quoted.
    #[must_use]
    pub fn of(keys: &str) -> Option<Redactor> {
        let keys = keys.split(',').map(|key| key.trim().to_lowercase());
        let keys: Vec<String> = keys.filter(|key| !key.is_empty()).collect();
        if keys.is_empty() {
            return None;
        }
        let quoted: Vec<String> = keys.iter().map(|key| regex::escape(key)).collect();
        // `key=value`, `key: value`, `"key":"value"`, and JSON within a text of JSON. The value ends as it began.
        let pattern = format!(
            r#"(?P<key>(?P<quote>\\*["']?)\b(?:{})\b\\*["']?\s*[:=]\s*)(?P<value>\\+".*?\\+"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&}}\])"']+)"#,
            quoted.join("|")
        );
        let in_text = RegexBuilder::new(&pattern).case_insensitive(true).build();
        Some(Redactor {
            keys,
            in_text: in_text.expect("keys are quoted"),
        })
    }

    /// Masks the values of the keys in a document, at any depth, and in its texts.
    pub fn json(&self, document: &mut Json) {
        match document {
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
            Json::Str(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked.into();
                }
            }
            Json::List(items) => {
                std::sync::Arc::make_mut(items)
                    .iter_mut()
                    .for_each(|item| self.json(item));
            }
            Json::Object(_) => {
                for (key, value) in document.object_mut().iter_mut() {
                    match self.hides(key) && !value.is_null() {
                        true => *value = Json::str(MASK),
                        false => self.json(value),
                    }
                }
            }
        }
    }

    fn hides(&self, key: &str) -> bool {
        self.keys.iter().any(|hidden| hidden.eq_ignore_ascii_case(key))
    }

    /// Masks the values of the keys in a text.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.in_text.replace_all(text, |found: &Captures<'_>| {
            let part = |name: &str| found.name(name).map_or("", |part| part.as_str());
            let (key, value) = (part("key"), part("value"));
            let quote_at = value
                .find(['"', '\''])
                .filter(|at| value[..*at].chars().all(|c| c == '\\'));
            let quote = match quote_at {
                Some(end) => &value[..=end],
                None => part("quote"),
            };
            format!("{key}{quote}{MASK}{quote}")
        })
    }
}

/// Writes lines without what is not to show.
pub struct Masked<W> {
    pub(crate) inner: W,
    pub(crate) redactor: Redactor,
}

impl<W: Write> Write for Masked<W> {
    /// A line comes as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.inner.write_all(self.redactor.text(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::of("password, Card_Number").expect("keys")
    }

    #[test]
    fn values_of_the_keys_are_masked_at_any_depth_and_whatever_they_are() {
        let text = br#"{"a":[{"PASSWORD":{"x":1}},"password=geheim ok"],"card_number":4711,"password":null,"word":"password"}"#;
        let mut document = Json::parse(text).expect("JSON");
        redactor().json(&mut document);
        let expected =
            r#"{"a":[{"PASSWORD":"***"},"password=*** ok"],"card_number":"***","password":null,"word":"password"}"#;
        assert_eq!(document.to_string(), expected);
    }

    #[test]
    fn a_text_keeps_everything_but_the_values() {
        for (text, expected) in [
            ("login password=geheim, user=x", "login password=***, user=x"),
            ("Password: 'ge heim' then", "Password: '***' then"),
            (r#"{"password":"ge\"heim","n":1}"#, r#"{"password":"***","n":1}"#),
            (r#"{"card_number":4711}"#, r#"{"card_number":"***"}"#),
            (
                r#"{"message":"got {\"password\":\"geheim\",\"n\":1}"}"#,
                r#"{"message":"got {\"password\":\"***\",\"n\":1}"}"#,
            ),
            ("passwords=2 are none", "passwords=2 are none"),
        ] {
            assert_eq!(redactor().text(text), expected);
        }
        assert!(matches!(redactor().text("nothing to hide"), Cow::Borrowed(_)));
    }

    #[test]
    fn log_lines_are_masked_as_they_are_written() {
        let mut lines = Vec::new();
        let mut masked = Masked {
            inner: &mut lines,
            redactor: redactor(),
        };
        masked.write_all(b"INFO password=geheim\n").expect("written");
        assert_eq!(lines, b"INFO password=***\n");
    }

    #[test]
    fn without_keys_there_is_nothing_to_do() {
        assert!(Redactor::of(" , ").is_none());
        assert!(Redactor::of("a.b(").expect("a key").text("a.b(").contains("a.b("));
    }
}
