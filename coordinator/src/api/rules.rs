//! What is asked of every request before its handler sees it, and what is noted of those that write.
//!
//! ```text
//! request ─▶ headers ─▶ token, scope, namespace ─▶ rate ─▶ read-only ─▶ query ─▶ handler ─▶ audit, if it was to write
//! ```

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use rejoin_shared::ids::Namespace;
use rejoin_shared::redact::Redactor;

use super::access::{Access, Caller, Need};
use super::extract::{InNamespace, Known, Params};
use super::problem::{Code, Problem};
use super::rates::{Rates, Sender};
use crate::store::tokens::TokenRow;

/// What holds for all requests.
#[derive(Clone)]
pub struct Rules {
    /// Who may speak to the API.
    pub access: Access,
    /// How often; `None`: any number of times.
    pub rates: Option<Arc<Rates>>,
    /// Names and values of a request's headers, in bytes.
    pub header_bytes_max: usize,
    /// Refuses what writes.
    pub is_read_only: bool,
    /// Masks values in answers.
    pub redactor: Option<Arc<Redactor>>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            access: Access::Open,
            rates: None,
            header_bytes_max: 32 * 1024,
            is_read_only: false,
            redactor: None,
        }
    }
}

/// What one operation asks for.
#[derive(Clone)]
pub(super) struct Asked {
    pub rules: Rules,
    /// Its id.
    pub operation: &'static str,
    pub need: Need,
    /// Parameters that it knows.
    pub known: Known,
}

/// A write as the audit log tells it.
struct Write {
    operation: &'static str,
    method: Method,
    path: String,
    /// No tokens are needed, so that as a rule nobody can be named: for those who look closely.
    is_anybodys: bool,
}

/// Refuses what must not be; what is left is what the handler reads.
pub(super) async fn check(asked: Asked, mut request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let write = (!is_read).then(|| Write {
        operation: asked.operation,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        is_anybodys: !matches!(asked.rules.access, Access::Tokens(_)),
    });
    let caller = match admit(&asked, request.headers()).await {
        Ok(caller) => caller,
        Err((problem, token)) => {
            let response = problem.into_response();
            let namespace = token.as_ref().map(|token| token.namespace.clone());
            note(write, token.as_deref(), namespace.as_ref(), &response);
            return response;
        }
    };
    let (token, namespace) = (caller.token.clone(), caller.namespace.clone());
    let response = match fit(&asked, &mut request, caller, is_read) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    note(write, token.as_deref(), Some(&namespace), &response);
    response
}

type Turned = (Problem, Option<Arc<TokenRow>>);

/// Who asks, if that may be, and as often.
async fn admit(asked: &Asked, headers: &HeaderMap) -> Result<Caller, Turned> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > asked.rules.header_bytes_max {
        let detail = format!(
            "{bytes} bytes of headers are more than {}",
            asked.rules.header_bytes_max
        );
        return Err((Problem::new(Code::HeadersTooLarge, detail), None));
    }
    let admitted = asked.rules.access.admit(headers, asked.need).await;
    let sender = match &admitted {
        Ok(caller) => caller
            .token
            .as_ref()
            .map_or(Sender::Anybody, |token| Sender::Token(token.id)),
        Err(refused) => refused
            .token
            .as_ref()
            .map_or(Sender::Refused, |token| Sender::Token(token.id)),
    };
    // Probes ask for nothing, and are not to fail because others ask too much.
    let rates = asked.rules.rates.as_ref().filter(|_| asked.need != Need::Nothing);
    if rates.is_some_and(|rates| !rates.take(sender, Instant::now())) {
        let token = admitted.map_or_else(|refused| refused.token, |caller| caller.token);
        let detail = "more requests than http.requests_per_second_max allows";
        return Err((Problem::new(Code::TooMany, detail), token));
    }
    admitted.map_err(|refused| (refused.problem, refused.token))
}

/// Puts into the request what its handler reads.
fn fit(asked: &Asked, request: &mut Request, caller: Caller, is_read: bool) -> Result<(), Problem> {
    if asked.rules.is_read_only && !is_read {
        let detail = "http.read_only is set: nothing can be changed here; runs go on";
        return Err(Problem::new(Code::ReadOnly, detail));
    }
    let params = Params::of_query(request.uri(), Known::clone(&asked.known))?;
    request.extensions_mut().insert(params);
    request.extensions_mut().insert(InNamespace(caller.namespace));
    Ok(())
}

/// The audit log: every request that was to write, done or refused.
fn note(write: Option<Write>, token: Option<&TokenRow>, namespace: Option<&Namespace>, response: &Response) {
    let Some(write) = write else { return };
    let (operation, method, path) = (write.operation, &write.method, &write.path);
    if write.is_anybodys && token.is_none() {
        let status = response.status().as_u16();
        tracing::debug!(target: "rejoin::audit", operation, %method, path, status, "a write was asked for");
        return;
    }
    let id = token.map(|token| tracing::field::display(token.id));
    let (token, namespace) = (
        token.map_or("", |token| &token.name),
        namespace.map_or("", |name| &name.0),
    );
    let status = response.status().as_u16();
    tracing::info!(target: "rejoin::audit", operation, token, token_id = id, namespace, %method, path, status, "a write was asked for");
}
