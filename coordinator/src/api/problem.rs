//! Every error of the API (RFC 9457), and what other layers' errors become: the one place that knows HTTP statuses.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rejoin_shared::json::{JsonError, JsonProblem};
use rejoin_shared::link::LinkError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::owner::command::CommandError;
use crate::store::{Retry, StoreError};

/// Seconds a client waits before it tries again when the database or the broker is away.
pub(super) const RETRY_AFTER_S: u64 = 1;

/// The codes, each with its status, title and whether the same request may work later. Documented under `/docs/errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the table below says it
pub enum Code {
    Malformed,
    MalformedJson,
    UnknownParameter,
    Unauthorized,
    Forbidden,
    ReadOnly,
    NotFound,
    NoSuchRoute,
    Gone,
    MethodNotAllowed,
    Ambiguous,
    Conflict,
    TooLarge,
    HeadersTooLarge,
    UnsupportedMediaType,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    IdempotencyMismatch,
    TooMany,
    Unavailable,
    Internal,
}

impl Code {
    /// All of them, for the docs and the tests.
    pub const ALL: [Code; 22] = [
        Code::Malformed,
        Code::MalformedJson,
        Code::UnknownParameter,
        Code::Unauthorized,
        Code::Forbidden,
        Code::ReadOnly,
        Code::NotFound,
        Code::NoSuchRoute,
        Code::Gone,
        Code::MethodNotAllowed,
        Code::Ambiguous,
        Code::Conflict,
        Code::TooLarge,
        Code::HeadersTooLarge,
        Code::UnsupportedMediaType,
        Code::InvalidDefinition,
        Code::InvalidInput,
        Code::InvalidRequest,
        Code::IdempotencyMismatch,
        Code::TooMany,
        Code::Unavailable,
        Code::Internal,
    ];

    /// Whether the same request may work later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Code::Unavailable | Code::TooMany)
    }

    /// Code, status and title.
    #[must_use]
    pub fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Code::Malformed => ("malformed", StatusCode::BAD_REQUEST, "The request cannot be read"),
            Code::MalformedJson => ("malformed_json", StatusCode::BAD_REQUEST, "The body is no JSON"),
            Code::UnknownParameter => ("unknown_parameter", StatusCode::BAD_REQUEST, "Unknown query parameter"),
            Code::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "A token is needed"),
            Code::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "The token does not allow it"),
            Code::ReadOnly => ("read_only", StatusCode::FORBIDDEN, "The server only reads"),
            Code::NotFound => ("not_found", StatusCode::NOT_FOUND, "Not found"),
            Code::NoSuchRoute => ("no_such_route", StatusCode::NOT_FOUND, "No such address"),
            Code::Gone => ("gone", StatusCode::GONE, "No longer kept"),
            Code::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Code::Ambiguous => ("ambiguous_id", StatusCode::CONFLICT, "The id is ambiguous"),
            Code::Conflict => ("conflict", StatusCode::CONFLICT, "The state does not allow it"),
            Code::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
            Code::HeadersTooLarge => (
                "headers_too_large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Headers too large",
            ),
            Code::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported content type",
            ),
            Code::InvalidDefinition => (
                "invalid_definition",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The definition is not valid",
            ),
            Code::InvalidInput => (
                "invalid_input",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The input does not fit",
            ),
            Code::InvalidRequest => (
                "invalid_request",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The request is not valid",
            ),
            Code::IdempotencyMismatch => (
                "idempotency_mismatch",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The idempotency key belongs to another request",
            ),
            Code::TooMany => ("too_many", StatusCode::TOO_MANY_REQUESTS, "Too many"),
            Code::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Temporarily unavailable",
            ),
            Code::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// One thing wrong in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)] // INTERFACE 8
pub struct DocumentError {
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    pub code: Cow<'static, str>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<DocumentError>,
    allow: Option<HeaderValue>,
    nearest: Option<Box<Nearest>>,
}

/// Positions of a journal that can be read. Few problems have any.
#[derive(Debug)]
struct Nearest(Vec<u64>);

impl Problem {
    /// An error of `code`; `detail` says what is wrong this time and what to do.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            allow: None,
            nearest: None,
        }
    }

    /// The same with the positions around that can be read.
    #[must_use]
    pub fn with_nearest(mut self, nearest: Vec<u64>) -> Problem {
        self.nearest = Some(Box::new(Nearest(nearest)));
        self
    }

    /// The same with the places in the document.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<DocumentError>) -> Problem {
        self.errors = errors;
        self
    }

    /// The same as errors of a larger document, in which what is wrong stands at `pointer`.
    #[must_use]
    pub fn into_errors(self, pointer: &str) -> Vec<DocumentError> {
        if self.errors.is_empty() {
            return vec![DocumentError {
                pointer: pointer.to_owned(),
                line: None,
                column: None,
                code: self.code.row().0.into(),
                message: self.detail,
                suggestion: None,
            }];
        }
        let mut errors = self.errors;
        for error in &mut errors {
            error.pointer.insert_str(0, pointer);
        }
        errors
    }

    /// The same as what is wrong at a place of the body: a JSON pointer, with what it says of places itself below it.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Problem {
        let errors = Problem {
            errors: std::mem::take(&mut self.errors),
            ..Problem::new(self.code, self.detail.clone())
        };
        self.with_errors(errors.into_errors(pointer))
    }

    /// The same as what is wrong with a member of the body.
    #[must_use]
    pub fn at_member(self, key: &str) -> Problem {
        self.at(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))
    }

    /// What is wrong, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same with the `Allow` header of what the address takes.
    #[must_use]
    pub fn with_allow(mut self, allow: Option<HeaderValue>) -> Problem {
        self.allow = allow;
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// No run, workflow, … of that name.
    #[must_use]
    pub fn not_found(what: &str, name: &str) -> Problem {
        Problem::new(Code::NotFound, format!("there is no {what} {name}"))
    }
}

/// A problem as it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
#[allow(missing_docs)] // RFC 9457, INTERFACE 8
pub struct ProblemView<'a> {
    /// The address of what is to be known about it.
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[schemars(schema_with = "code_names")]
    code: &'static str,
    /// Whether the same request may work later.
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [DocumentError],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    nearest: &'a [u64],
}

fn code_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": Code::ALL.map(|code| code.row().0)})
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, status, title) = self.code.row();
        let retryable = self.code.is_retryable();
        let body = ProblemView {
            r#type: format!("/docs/errors#{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            retryable,
            errors: &self.errors,
            nearest: self.nearest.as_ref().map_or(&[], |nearest| &nearest.0),
        };
        let text = serde_json::to_vec(&body).expect("a problem is plain data");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if retryable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        if let StoreError::Refused(why) = &error {
            return Problem::new(Code::InvalidRequest, format!("the database cannot hold it: {why}"));
        }
        if let StoreError::Sealed(why) = &error {
            tracing::error!(%error, "a payload cannot be read");
            return Problem::new(Code::Internal, why.clone());
        }
        if let StoreError::Newer(_) = &error {
            // Another coordinator may be a newer one.
            return Problem::new(Code::Unavailable, error.to_string());
        }
        match error.retry() {
            Retry::Later | Retry::AfterReload => Problem::new(Code::Unavailable, error.to_string()),
            Retry::Never => {
                tracing::error!(%error, "the store does not answer as it must");
                Problem::new(
                    Code::Internal,
                    "the database does not fit this version; see the coordinator's log",
                )
            }
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Problem {
        Problem::new(Code::Unavailable, error.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Problem {
        let code = match &error {
            CommandError::NotFound | CommandError::Missing { .. } => Code::NotFound,
            CommandError::NotAllowed { .. } => Code::Conflict,
            CommandError::Full => Code::TooMany,
            CommandError::Refused { .. } => Code::InvalidRequest,
            CommandError::Superseded | CommandError::Elsewhere | CommandError::Unavailable { .. } => Code::Unavailable,
        };
        Problem::new(code, error.to_string())
    }
}

impl Problem {
    /// A body that is no JSON is 400; JSON that Rejoin cannot keep (depth, integers, NUL) is 422.
    #[must_use]
    pub fn of_json(text: &[u8], error: &JsonError) -> Problem {
        let (code, kind) = match error.problem {
            JsonProblem::TooDeep | JsonProblem::IntegerRange | JsonProblem::DoubleRange | JsonProblem::Nul => {
                (Code::InvalidRequest, "limit")
            }
            JsonProblem::Syntax(_) | JsonProblem::UnexpectedEnd | JsonProblem::TrailingText | JsonProblem::NotUtf8 => {
                (Code::MalformedJson, "syntax")
            }
        };
        let (line, column) = place(text, error.offset);
        let place = DocumentError {
            pointer: String::new(),
            line: Some(line),
            column: Some(column),
            code: kind.into(),
            message: error.to_string(),
            suggestion: None,
        };
        Problem::new(code, format!("line {line}, column {column}: {error}")).with_errors(vec![place])
    }
}

/// Line and column, both from 1, of a byte of a text.
fn place(text: &[u8], offset: usize) -> (u32, u32) {
    let before = String::from_utf8_lossy(&text[..offset.min(text.len())]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(line), number(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_in_the_table_once() {
        let names: HashSet<&str> = Code::ALL.iter().map(|code| code.row().0).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn every_code_has_its_place_in_the_docs() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
        let read = |page: &str| std::fs::read_to_string(format!("{docs}/{page}")).expect("a page of the docs");
        let (errors, http) = (read("errors.md"), read("http.md"));
        for (name, status, title) in Code::ALL.map(Code::row) {
            let heading = format!("\n### {name}\n{}", status.as_u16());
            assert!(errors.contains(&heading), "errors.md lacks {name} or its status");
            let row = format!("| [`{name}`](errors.md#{name}) | {} | {title} |", status.as_u16());
            assert!(http.contains(&row), "http.md lacks the row {row}");
        }
        assert_eq!(
            errors.matches("\n### ").count(),
            Code::ALL.len(),
            "errors.md has one more"
        );
    }

    #[test]
    fn only_what_may_work_later_asks_to_come_again() {
        for code in Code::ALL {
            let response = Problem::new(code, "x").into_response();
            let comes_again = response.headers().contains_key(header::RETRY_AFTER);
            let may = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
            assert_eq!(comes_again, may.contains(&response.status()), "{code:?}");
        }
    }
}
