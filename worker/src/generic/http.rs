//! Handlers behind an address: a POST of the request, the status says how it went.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rejoin_shared::json::Json;
use rejoin_shared::tls::{self, TlsError};
use rejoin_shared::trace;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use super::config::HttpConfig;
use super::{request, response};
use crate::attempt::Attempt;
use crate::handler::{ERROR_DEFAULT, Handle, Outcome, error, ok, too_large};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a refusal's body that are shown.
const SHOWN_BYTES_MAX: usize = 4096;

/// Posts each attempt's request to an address.
pub(super) struct Http {
    config: HttpConfig,
    client: Client,
    output_bytes_max: usize,
}

impl Http {
    /// # Errors
    /// What is wrong with the files that an `https://` address needs.
    pub fn new(config: HttpConfig, folder: &Path, output_bytes_max: usize) -> Result<Http, TlsError> {
        let tls = match config.url.starts_with("https://") {
            true => config.tls(folder).config()?,
            false => tls::of_nobody(),
        };
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(timeout) = config.timeout {
            client = client.timeout(timeout.0);
        }
        Ok(Http {
            client: client.build().expect("a client whose TLS is set needs nothing else"),
            config,
            output_bytes_max,
        })
    }

    async fn post(&self, attempt: &Attempt) -> Result<Outcome, HandlerError> {
        let body = request::text_of(attempt);
        if !attempt.may_begin() {
            return Ok(attempt.give_up().await);
        }
        let mut request = self.client.post(&self.config.url);
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let answer = request
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", &*attempt.order().idempotency_key())
            .header(trace::HEADER, attempt.traceparent().to_string())
            .body(body)
            .send()
            .await
            .map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(status, answer).await);
        }
        let bytes_max = response::read_max(self.output_bytes_max);
        let body = read_body(answer, bytes_max).await.map_err(|e| self.unreachable(&e))?;
        if body.len() > bytes_max {
            return Err(too_large(self.output_bytes_max));
        }
        match status {
            StatusCode::NO_CONTENT => Ok(ok(None)),
            _ => Ok(response::read(&body, self.output_bytes_max)),
        }
    }

    fn unreachable(&self, e: &reqwest::Error) -> HandlerError {
        let kind = if e.is_timeout() {
            "http.timeout"
        } else {
            "http.unreachable"
        };
        let mut message = format!("POST {}: {e}", self.config.url);
        let mut cause = std::error::Error::source(e);
        while let Some(deeper) = cause {
            message = format!("{message}: {deeper}");
            cause = deeper.source();
        }
        error(kind, message)
    }

    async fn refused(&self, status: StatusCode, answer: Response) -> HandlerError {
        let retryable = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
        let retry_after_ms = retryable.then(|| retry_after_ms(answer.headers())).flatten();
        let mut body = read_body(answer, SHOWN_BYTES_MAX).await.unwrap_or_default();
        body.truncate(SHOWN_BYTES_MAX);
        let shown = String::from_utf8_lossy(&body).replace('\0', "\u{fffd}");
        HandlerError {
            retryable,
            retry_after_ms,
            details: Some(Json::from_entries([
                ("status", Json::Int(status.as_u16().into())),
                ("body", Json::str(&shown)),
            ])),
            ..error(
                &format!("http.status_{}", status.as_u16()),
                format!("POST {}: {status}", self.config.url),
            )
        }
    }
}

/// `Retry-After` in seconds; its other form, a date, is left to the step's own backoff.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    seconds.checked_mul(1000)
}

/// Reads a body until it ends or is longer than `bytes_max`.
async fn read_body(mut answer: Response, bytes_max: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > bytes_max {
            break;
        }
    }
    Ok(body)
}

#[async_trait]
impl Handle for Http {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let posted = tokio::select! {
            posted = self.post(&attempt) => posted,
            () = attempt.control.cancelled() => Err(error(ERROR_DEFAULT, "cancelled")),
        };
        posted.unwrap_or_else(AttemptEnd::Error)
    }
}
