//! What an http handler posts to, and with which headers: what can never work is refused with its place when the file is read, and
//! nothing of it that may be secret shows.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::config::Span;

/// An address that can be posted to. It shows scheme, host and port alone: whoever reads a run reads it in the errors of attempts,
/// and users, passwords and queries are the operator's. So are the paths of many webhooks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target(Url);

impl Target {
    /// All of it, for whoever posts.
    pub fn url(&self) -> &Url {
        &self.0
    }

    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// What is wrong is said without the text: it may hold a password.
    fn parse(text: &str) -> Result<Target, String> {
        let url = Url::parse(text).map_err(|e| format!("no address such as http://host:8080/path: {e}"))?;
        match (url.scheme(), url.port()) {
            ("http" | "https", Some(0)) => Err("nobody can be reached at port 0".to_owned()),
            ("http" | "https", _) => Ok(Target(url)),
            (other, _) => Err(format!("`{other}:` cannot be posted to: http:// or https://")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
        let text = String::deserialize(deserializer)?;
        Target::parse(&text).map_err(D::Error::custom)
    }
}

/// How long an answer may take: some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeout(pub Duration);

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timeout, D::Error> {
        let Span(duration) = Span::deserialize(deserializer)?;
        match duration.is_zero() {
            true => Err(D::Error::custom("a timeout of zero leaves no time for an answer")),
            false => Ok(Timeout(duration)),
        }
    }
}

/// Headers, each name and value checked at its own place.
pub(super) fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    deserializer.deserialize_map(Headers)
}

struct Headers;

impl<'de> Visitor<'de> for Headers {
    type Value = HeaderMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of headers, each with its value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderMap, A::Error> {
        let mut headers = HeaderMap::new();
        while let Some((Name(name), Value(value))) = map.next_entry()? {
            headers.append(name, value);
        }
        Ok(headers)
    }
}

struct Name(HeaderName);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = HeaderName::from_bytes(text.as_bytes()).map(Name);
        name.map_err(|_| D::Error::custom(format!("{text:?} cannot name a header")))
    }
}

struct Value(HeaderValue);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = HeaderValue::from_str(&text);
        // Not said which: it may be a password.
        let mut value =
            value.map_err(|_| D::Error::custom("a header's value is one line without control characters"))?;
        value.set_sensitive(true);
        Ok(Value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_nothing_that_may_be_secret() {
        for (text, shown) in [
            ("http://api:S3cr3t@127.0.0.1:81/x?token=Q#f", "http://127.0.0.1:81"),
            ("https://hooks.example/services/T0/S3cr3t", "https://hooks.example"),
            ("HTTP://[::1]:8080/", "http://[::1]:8080"),
        ] {
            let target = Target::parse(text).expect("an address");
            assert_eq!(
                (target.to_string().as_str(), format!("{target:?}").as_str()),
                (shown, shown)
            );
        }
        for text in [
            "ftp://u:S3cr3t@h/",
            "u:S3cr3t@h",
            "//u:S3cr3t@h",
            "http://u:S3cr3t@h:x/",
            "http://h:0/",
        ] {
            let wrong = Target::parse(text).expect_err(text);
            assert!(!wrong.contains("S3cr3t"), "{wrong}");
        }
    }
}
