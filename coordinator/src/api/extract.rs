//! How requests are read: namespaces, queries, bodies. Whatever is wrong becomes a [`Problem`].

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use rejoin_shared::config::Span;
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::{self, TraceParent};

use super::problem::{Code, Problem};

/// Header that names the namespace.
pub const NAMESPACE_HEADER: &str = "rejoin-namespace";
/// Items of a list's page by default.
pub const PAGE_DEFAULT: usize = 50;
/// Items of a list's page at most.
pub const PAGE_MAX: usize = 1000;

/// The namespace of a request.
#[derive(Clone)]
pub struct InNamespace(pub Namespace);

/// As the route's check found it.
impl<S: Sync> FromRequestParts<S> for InNamespace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<InNamespace, Infallible> {
        let checked = parts.extensions.get::<InNamespace>();
        Ok(checked.expect("every route checks who asks").clone())
    }
}

/// The namespace that a header names.
///
/// # Errors
/// 400 for one that is no name.
pub fn asked_namespace(headers: &HeaderMap) -> Result<Option<Namespace>, Problem> {
    let Some(value) = headers.get(NAMESPACE_HEADER) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(name) if Namespace::is_valid(name) => Ok(Some(Namespace(name.into()))),
        _ => Err(Problem::new(
            Code::Malformed,
            "header Rejoin-Namespace: a letter, then letters, digits, _ and -, at most 64 characters",
        )),
    }
}

/// Names of the parameters that a route takes.
pub type Known = Arc<[&'static str]>;

/// The query of a request, pair by pair; all of them are known.
#[derive(Clone)]
pub struct Params {
    pairs: Vec<(String, String)>,
    known: Known,
}

/// As the route's check left it.
impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Infallible> {
        let checked = parts.extensions.get::<Params>();
        Ok(checked.expect("every route checks its query").clone())
    }
}

impl Params {
    /// The query of an address.
    ///
    /// # Errors
    /// A query that cannot be read, and parameters that are not among `known`.
    pub fn of_query(uri: &Uri, known: Known) -> Result<Params, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let query = query.map_err(|e: QueryRejection| Problem::new(Code::Malformed, e.body_text()))?;
        let has_nul = |(key, value): &(String, String)| key.contains('\0') || value.contains('\0');
        if query.0.iter().any(has_nul) {
            return Err(Problem::new(Code::Malformed, "a NUL character in the query"));
        }
        if let Some((key, _)) = query.0.iter().find(|(key, _)| !known.contains(&&**key)) {
            let detail = match known.is_empty() {
                true => format!("unknown parameter {key}; this address takes none"),
                false => format!("unknown parameter {key}; known are: {}", known.join(", ")),
            };
            return Err(Problem::new(Code::UnknownParameter, detail));
        }
        Ok(Params::of(query.0, known))
    }

    /// These pairs, whose keys are among `known`.
    #[must_use]
    pub fn of(pairs: Vec<(String, String)>, known: Known) -> Params {
        Params { pairs, known }
    }

    /// What is read must have been described, or nobody could send it.
    fn expect_known(&self, key: &str) {
        debug_assert!(self.known.contains(&key), "{key} is read, but not described");
    }

    /// The last value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.expect_known(key);
        self.pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| &**v)
    }

    /// All values of `key`: repeated, or with commas; `\,` is a comma inside of one.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = String> + 'a {
        self.expect_known(key);
        let pairs = self.pairs.iter().filter(move |(k, _)| k == key);
        pairs
            .flat_map(|(_, v)| split_unescaped(v, ','))
            .filter(|part| !part.is_empty())
    }

    /// The value of `key`, read.
    ///
    /// # Errors
    /// A problem that names the parameter and `expected`.
    pub fn read<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| text.parse().map_err(|_| bad_parameter(key, text, expected));
        self.get(key).map(read).transpose()
    }

    /// A flag: `?key`, `?key=true`, `?key=false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, key: &str) -> Result<bool, Problem> {
        match self.get(key) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(bad_parameter(key, other, "true or false")),
        }
    }

    /// A page's size.
    ///
    /// # Errors
    /// No number from 1 to [`PAGE_MAX`]. More is not cut to that: whoever asks for all would take a page for all there is.
    pub fn limit(&self) -> Result<usize, Problem> {
        let expected = format!("a number from 1 to {PAGE_MAX}; `after` gets the next page");
        match self.read::<usize>("limit", &expected)? {
            None => Ok(PAGE_DEFAULT),
            Some(n) if (1..=PAGE_MAX).contains(&n) => Ok(n),
            Some(n) => Err(bad_parameter("limit", &n.to_string(), &expected)),
        }
    }

    /// A point in time (RFC 3339).
    ///
    /// # Errors
    /// Anything else.
    pub fn time(&self, key: &str) -> Result<Option<Timestamp>, Problem> {
        let read = |text: &str| {
            Timestamp::parse(text).ok_or_else(|| bad_parameter(key, text, "an RFC 3339 time, as 2026-01-31T12:00:00Z"))
        };
        self.get(key).map(read).transpose()
    }

    /// A duration.
    ///
    /// # Errors
    /// Anything else.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, Problem> {
        Ok(self.read::<Span>(key, "a duration, as 30s")?.map(|span| span.0))
    }
}

/// A parameter whose value cannot be read.
#[must_use]
pub fn bad_parameter(key: &str, value: &str, expected: &str) -> Problem {
    Problem::new(
        Code::Malformed,
        format!("parameter {key} = {value:?}: expected {expected}"),
    )
}

/// The body of a request, with its headers.
pub struct Body {
    /// All headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body, Problem> {
        let headers = request.headers().clone();
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        Ok(Body { headers, bytes })
    }
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the body is larger than this server takes"),
        _ => Problem::new(Code::Malformed, rejection.body_text()),
    }
}

impl Body {
    /// The body's media type without parameters, in lower case.
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let value = self.headers.get(axum::http::header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// The span that the request was sent in. As the standard asks, one that cannot be read counts as none, and so do several.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        let mut named = self.headers.get_all(trace::HEADER).iter();
        let (one, others) = (named.next()?, named.next());
        one.to_str().ok()?.parse().ok().filter(|_| others.is_none())
    }

    /// The body as a JSON object; an empty body is an empty object.
    ///
    /// # Errors
    /// A type that is no JSON, text that is none, or another kind of value.
    pub fn object(&self) -> Result<Json, Problem> {
        self.object_around(1)
    }

    /// The same, where the documents that count for the limit of depth stand so many levels below.
    ///
    /// # Errors
    /// As [`Body::object`].
    pub fn object_around(&self, levels: usize) -> Result<Json, Problem> {
        if self.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Json::object());
        }
        if let Some(media) = self.media_type()
            && media != "application/json"
            && !media.ends_with("+json")
            && media != "application/x-www-form-urlencoded"
        {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                format!("content type {media}; send application/json"),
            ));
        }
        let json = Json::parse_enclosed(&self.bytes, levels).map_err(|error| Problem::of_json(&self.bytes, &error))?;
        match json {
            Json::Object(_) => Ok(json),
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) | Json::List(_) => {
                let kind = json.kind();
                Err(Problem::new(
                    Code::Malformed,
                    format!("the body must be a JSON object, not {kind}"),
                ))
            }
        }
    }
}

/// The members of a JSON object, taken one by one, so that what is left over is known to be unknown.
pub struct Fields {
    rest: rejoin_shared::json::Map,
    known: Vec<&'static str>,
}

impl Fields {
    /// The members of `object`; of anything else none.
    #[must_use]
    pub fn of(object: &Json) -> Fields {
        Fields {
            rest: object.as_object().cloned().unwrap_or_default(),
            known: Vec::new(),
        }
    }

    /// Takes a member as it is.
    pub fn take(&mut self, key: &'static str) -> Option<Json> {
        self.known.push(key);
        self.rest.remove(key)
    }

    /// Takes a member that is not null.
    pub fn take_some(&mut self, key: &'static str) -> Option<Json> {
        self.take(key).filter(|value| !value.is_null())
    }

    /// Takes a text.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn take_text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        let read = |value: Json| match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(wrong_kind(key, "text", &value)),
        };
        self.take_some(key).map(read).transpose()
    }

    /// Takes a truth value; absent is false.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn take_bool(&mut self, key: &'static str) -> Result<bool, Problem> {
        match self.take_some(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong_kind(key, "true or false", &value)),
        }
    }

    /// Refuses what is left.
    ///
    /// # Errors
    /// A problem that names the first unknown member.
    pub fn end(self) -> Result<(), Problem> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(key) => {
                let detail = match self.known.is_empty() {
                    true => format!("unknown member {key:?}; there are none here"),
                    false => format!("unknown member {key:?}; known are: {}", self.known.join(", ")),
                };
                Err(Problem::new(Code::InvalidRequest, detail).at_member(key))
            }
        }
    }
}

/// A member of the wrong kind.
#[must_use]
pub fn wrong_kind(key: &str, expected: &str, value: &Json) -> Problem {
    wrong_member(key, format!("member {key} must be {expected}, not {}", value.kind()))
}

/// A member that is not as it must be.
#[must_use]
pub fn wrong_member(key: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail).at_member(key)
}

/// The parts of a text between these characters. One behind a backslash belongs to its part, and that backslash does not.
pub(super) fn split_unescaped(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let part = parts.last_mut().expect("never empty");
        match c {
            '\\' if rest.next_if_eq(&at).is_some() => part.push(at),
            c if c == at => parts.push(String::new()),
            c => part.push(c),
        }
    }
    parts
}
