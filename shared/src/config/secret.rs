//! Addresses that may hold a password.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

const MASK: &str = "***";

/// An address whose password shows in no log, no error and no print-out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps an address.
    #[must_use]
    pub fn new(url: &str) -> SecretUrl {
        SecretUrl(url.to_owned())
    }

    /// The address with its password, for whoever connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn masked(&self) -> String {
        let scheme = self.0.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))) {
            return masked_keywords(&self.0);
        }
        let (before, query) = match self.0.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (&*self.0, None),
        };
        let mut shown = masked_authority(before);
        if let Some(query) = query {
            let parts: Vec<String> = query.split('&').map(masked_parameter).collect();
            shown = format!("{shown}?{}", parts.join("&"));
        }
        shown
    }
}

/// A password or key: shows in no log, no error and no print-out.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Itself, for whoever needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

/// `scheme://user:***@host`: everything between the first colon of the user part and the last `@`.
fn masked_authority(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let Some(end) = text.rfind('@').filter(|end| *end >= start) else {
        return text.to_owned();
    };
    match text[start..end].find(':') {
        Some(colon) => format!("{}{MASK}{}", &text[..=start + colon], &text[end..]),
        None => text.to_owned(),
    }
}

fn masked_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={MASK}"),
        _ => pair.to_owned(),
    }
}

/// PostgreSQL's other form of an address, `host=… password=…`, where spaces may stand around `=` and values be quoted:
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.
fn masked_keywords(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('=') {
        let spaces = after.len() - after.trim_start().len();
        let (space, from_value) = after.split_at(spaces);
        let (value, left) = from_value.split_at(value_bytes(from_value));
        let value = if is_secret(before) { MASK } else { value };
        shown.extend([before, "=", space, value]);
        rest = left;
    }
    shown + rest
}

/// How long the value at the beginning of a text is: up to a space, or to the quote that ends it; a backslash escapes.
fn value_bytes(text: &str) -> usize {
    let is_quoted = text.starts_with('\'');
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' if is_quoted && at > 0 => return at + 1,
            _ if c.is_whitespace() && !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn is_secret(key: &str) -> bool {
    key.contains("password") || key.contains("passphrase")
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_only_whether_it_is_there() {
        let secret: Secret = serde_json::from_str("\"geheim\"").expect("a text");
        assert_eq!((secret.to_string().as_str(), secret.reveal()), ("***", "geheim"));
        assert!(!format!("{secret:?}").contains("geheim"));
        assert_eq!(Secret::default().to_string(), "");
    }

    #[test]
    fn only_the_password_is_masked() {
        for (url, shown) in [
            ("amqp://u:p@h:1/%2f", "amqp://u:***@h:1/%2f"),
            ("amqp://u:p@ss:w@h/", "amqp://u:***@h/"),
            ("amqp://u@h:5672/v", "amqp://u@h:5672/v"),
            (
                "postgres://h/db?user=a&password=b",
                "postgres://h/db?user=a&password=***",
            ),
            ("host=h password=b dbname=d", "host=h password=*** dbname=d"),
            (
                r"host=h  password = 'a \'b c' user='x y'",
                "host=h  password = *** user='x y'",
            ),
            (r"password=a\ b sslpassword=c", "password=*** sslpassword=***"),
            ("host=/run/pg user=u", "host=/run/pg user=u"),
            ("host=h password=a://b@c", "host=h password=***"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
        }
    }
}
