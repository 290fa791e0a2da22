//! What orchestrators and Prometheus ask.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::backend::Check;
use super::extract::Params;
use super::problem::{Code, Problem, RETRY_AFTER_S};

/// What was looked at.
#[derive(Serialize, JsonSchema)]
pub struct Readiness {
    ready: bool,
    checks: Vec<Check>,
    /// Of this program.
    version: &'static str,
}

/// `GET /livez`: the process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the process can start and advance runs.
pub async fn readyz(State(api): State<Api>, params: Params) -> Result<Response, Problem> {
    let checks = api.backend.checks().await;
    let failing: Vec<String> = checks
        .iter()
        .filter(|c| !c.ok)
        .map(|c| format!("{}: {}", c.name, c.detail))
        .collect();
    let ready = failing.is_empty();
    if params.flag("verbose")? {
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let version = env!("CARGO_PKG_VERSION");
        let readiness = Readiness { ready, checks, version };
        let mut response = (status, Answer(readiness)).into_response();
        if !ready {
            let seconds = HeaderValue::from(RETRY_AFTER_S);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        return Ok(response);
    }
    match ready {
        true => Ok("ok\n".into_response()),
        false => Err(Problem::new(Code::Unavailable, failing.join("; "))),
    }
}

/// `GET /metrics`
pub async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = prometheus::TextEncoder::new().encode_to_string(&api.metrics.gather());
    let text = text.map_err(|e| Problem::new(Code::Internal, format!("metrics: {e}")))?;
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}
