//! What a handler is to the loop: something that is given an attempt and ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rejoin_shared::json::Json;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use serde_json::value::RawValue;

use crate::attempt::Attempt;

/// Type of an error that names none.
pub const ERROR_DEFAULT: &str = "handler.error";
/// Type of the error that a panicking handler ends with.
pub const ERROR_PANIC: &str = "handler.panic";
/// The output is no JSON that Rejoin takes.
pub const ERROR_INVALID_OUTPUT: &str = "rejoin.invalid_output";
/// The output is larger than the limit.
pub const ERROR_TOO_LARGE: &str = "rejoin.too_large";

/// How an attempt ended, as the wire says it.
pub type Outcome = AttemptEnd;

/// Code that runs attempts. Dropping the future of [`Handle::handle`] ends whatever it started.
#[async_trait]
pub trait Handle: Send + Sync + 'static {
    /// Runs one attempt to its end.
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome;

    /// Whether it may ask for the context. One that does not is never kept waiting for a large one to be fetched; where a step has no
    /// `with`, the context is its input, and there all the same.
    fn reads_context(&self) -> bool {
        true
    }
}

/// The handlers of a worker by name.
pub type Handlers = BTreeMap<String, Arc<dyn Handle>>;

/// An error that may be retried, of the given type.
#[must_use]
pub fn error(kind: &str, message: impl Into<String>) -> HandlerError {
    HandlerError {
        kind: kind.to_owned(),
        message: message.into(),
        retryable: true,
        ..HandlerError::default()
    }
}

/// An attempt that ended well, without context writes.
#[must_use]
pub fn ok(output: Option<Box<RawValue>>) -> Outcome {
    AttemptEnd::Ok {
        output,
        set: None,
        unset: Vec::new(),
    }
}

/// Reads `text` as one JSON value within the limits.
///
/// # Errors
/// `rejoin.too_large` or `rejoin.invalid_output`.
pub fn check_output(text: &[u8], bytes_max: usize) -> Result<Json, HandlerError> {
    if text.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Json::parse(text).map_err(|e| error(ERROR_INVALID_OUTPUT, format!("the handler's output is {e}")))
}

/// The error of an output beyond `bytes_max`.
#[must_use]
pub fn too_large(bytes_max: usize) -> HandlerError {
    error(
        ERROR_TOO_LARGE,
        format!("the handler's output is larger than {bytes_max} bytes"),
    )
}

/// `json` as raw text.
#[must_use]
pub fn to_raw(json: &Json) -> Box<RawValue> {
    serde_json::value::to_raw_value(json).expect("a Json value has only text keys and finite numbers")
}
