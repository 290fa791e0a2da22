//! Answers without the values that are not to show (`[redaction]`).

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use rejoin_shared::json::Json;
use rejoin_shared::redact::Redactor;

use super::problem::{Code, Problem};

/// Only these tell of runs.
const ABOUT_RUNS: &str = "/v1/";

/// Masks what a JSON answer would show. Server-sent events mask themselves: they have no end to wait for.
pub(super) async fn masked(State(redactor): State<Option<Arc<Redactor>>>, request: Request, next: Next) -> Response {
    let is_about_runs = request.uri().path().starts_with(ABOUT_RUNS);
    let response = next.run(request).await;
    let Some(redactor) = redactor.filter(|_| is_about_runs && is_json(&response)) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    // It was made in memory.
    let Ok(text) = to_bytes(body, usize::MAX).await else {
        return Problem::new(Code::Internal, "the answer could not be made").into_response();
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(json(&redactor, &text)))
}

fn is_json(response: &Response) -> bool {
    let media = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media.is_some_and(|media| media.ends_with(b"json"))
}

/// A JSON text with what is not to show masked.
pub(super) fn json(redactor: &Redactor, text: &[u8]) -> String {
    match Json::parse_own(text) {
        Ok(mut document) => {
            redactor.json(&mut document);
            document.to_string()
        }
        // What is no JSON is masked as a text.
        Err(_) => redactor.text(&String::from_utf8_lossy(text)).into_owned(),
    }
}
