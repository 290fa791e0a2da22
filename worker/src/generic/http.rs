//! Handlers behind an address: a POST of the request, the status says how it went.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
/// Longest wait that a `Retry-After` can ask for; a longer one would rather be a mistake than keep a run for years.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
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
        let tls = match config.url.is_https() {
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
        let answer = self
            .client
            .post(self.config.url.url().clone())
            .headers(self.config.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", &*attempt.order().idempotency_key())
            .header(trace::HEADER, attempt.traceparent().to_string())
            .body(body)
            .send()
            .await
            .map_err(|e| self.unreachable(e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.refused(status, answer).await);
        }
        let bytes_max = response::read_max(self.output_bytes_max);
        let body = read_body(answer, bytes_max).await.map_err(|e| self.unreachable(e))?;
        if body.len() > bytes_max {
            return Err(too_large(self.output_bytes_max));
        }
        match status {
            StatusCode::NO_CONTENT => Ok(ok(None)),
            _ => Ok(response::read(&body, self.output_bytes_max)),
        }
    }

    /// Whoever reads the run reads this: of the address it says what [`Target`](super::target::Target) shows.
    fn unreachable(&self, e: reqwest::Error) -> HandlerError {
        let kind = if e.is_timeout() {
            "http.timeout"
        } else {
            "http.unreachable"
        };
        let e = e.without_url();
        let mut message = format!("POST {}: {e}", self.config.url);
        let mut cause = std::error::Error::source(&e);
        while let Some(deeper) = cause {
            message = format!("{message}: {deeper}");
            cause = deeper.source();
        }
        error(kind, message)
    }

    async fn refused(&self, status: StatusCode, answer: Response) -> HandlerError {
        let retryable = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
        let retry_after_ms = retryable
            .then(|| retry_after_ms(answer.headers(), SystemTime::now()))
            .flatten();
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

/// `Retry-After`: seconds, or a date, of which the past means now (RFC 9110, section 10.2.3). `None` for what is neither.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let delay = match is_number {
        true => text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs),
        false => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    u64::try_from(delay.min(RETRY_AFTER_MAX).as_millis()).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_a_day_at_most() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let day = Some(24 * 60 * 60 * 1000);
        for (text, expected) in [
            ("0", Some(0)),
            (" 7 ", Some(7000)),
            ("86400", day),
            ("99999999999", day),
            ("99999999999999999999999999", day),
            ("Sun, 06 Nov 1994 08:49:39 GMT", Some(2000)),
            ("Sunday, 06-Nov-94 08:49:39 GMT", Some(2000)),
            ("Sun Nov  6 08:49:39 1994", Some(2000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", day),
            ("", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]);
            assert_eq!(retry_after_ms(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), now), None);
    }
}
