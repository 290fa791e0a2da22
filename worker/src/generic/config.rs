//! The handlers file: read strictly, so that a misspelt key is an error with its place.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rejoin_shared::tls::{ClientTls, Identity, TlsError};
use reqwest::header::HeaderMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::strangers::strangers;
use super::target::{Target, Timeout, headers};
use crate::builtin::is_reserved;

/// Why a handlers file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It says something that cannot be.
    #[error("{}:{line}:{column}: {problem}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// From 1; 0 if the place is not known.
        line: u64,
        /// From 1; 0 if the place is not known.
        column: u64,
        /// What is wrong.
        problem: String,
    },
    /// Keys that mean nothing: `file:line:column: which`, a line each.
    #[error("{0}")]
    Strangers(String),
    /// The files of an `https://` handler.
    #[error("handler {handler}: {source}")]
    Tls {
        /// Its name.
        handler: String,
        /// Which file, and what is wrong with it.
        source: TlsError,
    },
}

/// A handlers file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandlersFile {
    pub queue: Option<String>,
    pub queues: Option<Spanned<Vec<String>>>,
    pub concurrency: Option<u32>,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub drain: Option<Span>,
    pub handlers: BTreeMap<HandlerName, HandlerConfig>,
}

/// A name that is not one of those that every worker serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandlerName(pub String);

impl Borrow<str> for HandlerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for HandlerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HandlerName, D::Error> {
        let name = String::deserialize(deserializer)?;
        match is_reserved(&name) {
            true => Err(D::Error::custom(format!(
                "`{name}`: names that begin with `rejoin.` are those of the built-in handlers"
            ))),
            false => Ok(HandlerName(name)),
        }
    }
}

/// One handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandlerConfig {
    pub kind: HandlerKind,
    /// Its requests hold the context.
    pub reads_context: bool,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandlerKind {
    Exec(Vec<String>, Mode),
    Http(Box<HttpConfig>),
}

/// How a program is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// A process per attempt.
    #[default]
    Plain,
    /// A process per slot, a line per attempt.
    Stream,
}

/// Where a handler posts to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpConfig {
    pub url: Target,
    pub timeout: Option<Timeout>,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// CA certificates that the certificate of an `https://` server must come from; without it those of the system count.
    pub ca: Option<PathBuf>,
    /// Shown to a server that asks for a certificate.
    pub identity: Option<HttpIdentity>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpIdentity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl HttpConfig {
    /// What TLS trusts and shows; files lie beside the handlers file unless their paths are whole.
    pub fn tls(&self, folder: &Path) -> ClientTls {
        let identity = self.identity.as_ref().map(|files| Identity {
            cert: folder.join(&files.cert),
            key: folder.join(&files.key),
        });
        ClientTls {
            ca: self.ca.as_ref().map(|file| folder.join(file)),
            identity,
        }
    }
}

/// What is wrong; where it is stands before it already.
fn without_place(e: &serde_saphyr::Error) -> String {
    let told = e.without_snippet().to_string();
    let place = e
        .location()
        .map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    match place.and_then(|place| told.strip_suffix(&place)) {
        Some(problem) => problem.to_owned(),
        None => told,
    }
}

/// A duration as text, such as `1.5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = parse_span(&text).map(Span);
        parsed.ok_or_else(|| D::Error::custom(format!("`{text}` is no duration such as 250ms, 1.5s or 1h30m")))
    }
}

/// Reads `250ms`, `1.5s`, `1h30m`, `3d`.
fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| !c.is_ascii_lowercase());
        let end = unit_end.map_or(rest.len(), |length| digits + length);
        let seconds = match &rest[digits..end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHandler {
    exec: Option<Vec<String>>,
    mode: Option<Mode>,
    http: Option<HttpConfig>,
    context: Option<bool>,
}

impl<'de> Deserialize<'de> for HandlerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HandlerConfig, D::Error> {
        let raw = RawHandler::deserialize(deserializer)?;
        Ok(HandlerConfig {
            reads_context: raw.context.unwrap_or(true),
            kind: raw.kind().map_err(D::Error::custom)?,
        })
    }
}

impl RawHandler {
    fn kind(self) -> Result<HandlerKind, &'static str> {
        match self {
            RawHandler {
                exec: Some(argv),
                mode,
                http: None,
                ..
            } if argv.first().is_some_and(|program| !program.is_empty()) => {
                Ok(HandlerKind::Exec(argv, mode.unwrap_or_default()))
            }
            RawHandler {
                exec: Some(_),
                http: None,
                ..
            } => Err("`exec` names no program"),
            RawHandler {
                exec: None,
                mode: None,
                http: Some(http),
                ..
            } => Ok(HandlerKind::Http(Box::new(http))),
            RawHandler {
                mode: Some(_),
                http: Some(_),
                ..
            } => Err("`mode` goes with `exec` only"),
            RawHandler { .. } => Err("a handler has either `exec` or `http`"),
        }
    }
}

impl HandlersFile {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<HandlersFile, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Read {
            file: file.to_owned(),
            source,
        })?;
        HandlersFile::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<HandlersFile, ConfigError> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let parsed: Result<HandlersFile, _> = serde_saphyr::from_str_with_options(text, options);
        let wrong = |place: Option<Location>, problem: String| ConfigError::Wrong {
            file: file.to_owned(),
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            problem,
        };
        let handlers = parsed.map_err(|e| match strangers(&file.display().to_string(), text) {
            lines if lines.is_empty() => wrong(e.location(), without_place(&e)),
            lines => ConfigError::Strangers(lines),
        })?;
        match (&handlers.queue, &handlers.queues) {
            (Some(_), Some(queues)) => {
                let problem = "either `queue` or `queues`, not both".to_owned();
                Err(wrong(Some(queues.defined), problem))
            }
            (Some(_) | None, None) | (None, Some(_)) => Ok(handlers),
        }
    }

    /// The queues it names.
    pub fn all_queues(&self) -> Vec<String> {
        let queues = self.queues.iter().flat_map(|queues| &queues.value);
        self.queue.iter().chain(queues).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HandlersFile, ConfigError> {
        HandlersFile::parse(Path::new("handlers.yaml"), text)
    }

    #[test]
    fn the_file_of_the_interface_is_read() {
        let file = parse(
            "queue: default          # or queues: [default, gpu]\nconcurrency: 16\nhandlers:\n  \
             validate_order: { exec: [python3, validate.py] }\n  pick: { exec: [python3, pick.py], mode: stream }\n  \
             send_confirmation: { http: { url: \"http://127.0.0.1:8099/mail\", timeout: 10s } }\n",
        )
        .expect("a good file");
        assert_eq!(file.all_queues(), ["default"]);
        assert_eq!(file.concurrency, Some(16));
        let pick = HandlerKind::Exec(vec!["python3".into(), "pick.py".into()], Mode::Stream);
        assert_eq!(
            (&file.handlers["pick"].kind, file.handlers["pick"].reads_context),
            (&pick, true)
        );
        let HandlerKind::Http(http) = &file.handlers["send_confirmation"].kind else {
            panic!("http")
        };
        assert_eq!(http.timeout, Some(Timeout(Duration::from_secs(10))));
    }

    #[test]
    fn a_handler_may_do_without_the_context() {
        let file = parse("handlers: { a: { exec: [sh], mode: stream, context: false } }").expect("a good file");
        assert!(!file.handlers["a"].reads_context);
        assert!(parse("handlers: { a: { exec: [sh], context: 0 } }").is_err());
    }

    #[test]
    fn every_unknown_key_is_named_with_its_place() {
        let text = "queue: default\nhandlers:\n  a: { exec: [sh], moed: stream }\n  b:\n    http: { ulr: x, identity: { sert: y } }\n\
            zebra: 3\n";
        let wrong = parse(text).expect_err("misspelt").to_string();
        let expected = "handlers.yaml:3:20: unknown key `moed` (did you mean `mode`?)\n\
            handlers.yaml:5:13: unknown key `ulr` (did you mean `url`?)\n\
            handlers.yaml:5:33: unknown key `sert` (did you mean `cert`?)\n\
            handlers.yaml:6:1: unknown key `zebra`, expected one of queue, queues, concurrency, name, namespace, drain, handlers";
        assert_eq!(wrong, expected);
    }

    #[test]
    fn a_handler_is_either_a_program_or_an_address() {
        for bad in [
            "handlers: { a: {} }",
            "handlers: { a: { exec: [] } }",
            "handlers: { a: { exec: [sh], http: { url: 'http://x/' } } }",
            "handlers: { a: { mode: stream, http: { url: 'http://x/' } } }",
            "handlers: { a: { http: { url: 'no address' } } }",
            "queue: a\nqueues: [b]\nhandlers: {}",
            "drain: 5\nhandlers: {}",
        ] {
            let wrong = parse(bad).expect_err(bad).to_string();
            let place = wrong.strip_prefix("handlers.yaml:").unwrap_or_default();
            assert!(!place.is_empty() && !place.starts_with('0'), "{bad}: {wrong}");
        }
        let both = parse("queue: a\nqueues: [b]\nhandlers: {}").expect_err("both");
        assert!(both.to_string().starts_with("handlers.yaml:2:9: either"), "{both}");
    }

    #[test]
    fn what_can_never_be_posted_is_refused_at_its_place_without_secrets() {
        for (http, expected) in [
            (
                "url: 'ftp://u:S3cr3t@h/'",
                "3:12: `ftp:` cannot be posted to: http:// or https://",
            ),
            ("url: 'S3cr3t'", "3:12: no address such as"),
            ("url: 'http://h:0/'", "3:12: nobody can be reached at port 0"),
            ("timeout: 0s, url: 'http://h/'", "3:16: a timeout of zero"),
            (
                "url: 'http://h/', headers: { a b: x }",
                "3:36: \"a b\" cannot name a header",
            ),
            (
                "url: 'http://h/', headers: { '': x }",
                "3:36: \"\" cannot name a header",
            ),
            (
                "url: 'http://h/', headers: { a: x, b: \"S3cr3t\\nc: d\" }",
                "3:45: a header's value is one line",
            ),
            (
                "url: 'http://h/', headers: { a: \"\\x07\" }",
                "3:39: a header's value is one line",
            ),
        ] {
            let text = format!("handlers:\n  a: {{ context: false, http: {{\n      {http} }} }}\n");
            let wrong = parse(&text).expect_err(http).to_string();
            let wanted = format!("handlers.yaml:{expected}");
            assert!(wrong.starts_with(&wanted), "{http}: {wrong}");
            assert!(!wrong.contains("S3cr3t"), "{wrong}");
        }
    }

    #[test]
    fn headers_are_read_and_show_nowhere() {
        let file =
            parse("handlers: { a: { http: { url: 'http://h/', headers: { X-Team: shop, Authorization: S3cr3t } } } }");
        let file = file.expect("a good file");
        let HandlerKind::Http(http) = &file.handlers["a"].kind else {
            panic!("http")
        };
        assert_eq!(http.headers["x-team"], "shop");
        assert!(!format!("{file:?}").contains("S3cr3t"), "{file:?}");
    }

    #[test]
    fn no_handler_takes_the_place_of_a_built_in_one() {
        let wrong = parse("handlers:\n  a: { exec: [sh] }\n  rejoin.echo: { exec: [sh] }\n").expect_err("reserved");
        let expected =
            "handlers.yaml:3:3: `rejoin.echo`: names that begin with `rejoin.` are those of the built-in handlers";
        assert_eq!(wrong.to_string(), expected);
        assert!(parse("handlers: { rejoin_mine: { exec: [sh] } }").is_ok());
    }

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(parse_span("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_span("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "5", "s", "1x", "-1s", "1..5s"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }
}
