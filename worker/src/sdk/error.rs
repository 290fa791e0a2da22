//! How a typed handler says that it failed.

use std::fmt;
use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::wire::HandlerError;

use crate::handler::{ERROR_DEFAULT, error};

/// A failed attempt. Errors retry by default, as far as the step's policy goes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepError(pub(crate) HandlerError);

impl StepError {
    /// May be tried again.
    #[must_use]
    pub fn retryable(message: impl Into<String>) -> StepError {
        StepError(error(ERROR_DEFAULT, message))
    }

    /// No further attempt of this step.
    #[must_use]
    pub fn fatal(message: impl Into<String>) -> StepError {
        let mut failed = StepError::retryable(message);
        failed.0.retryable = false;
        failed
    }

    /// May be tried again, but not before `delay` has passed.
    #[must_use]
    pub fn retry_after(delay: Duration, message: impl Into<String>) -> StepError {
        let mut failed = StepError::retryable(message);
        failed.0.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        failed
    }

    /// The same under a type that policies and catches can name.
    #[must_use]
    pub fn with_type(mut self, kind: impl Into<String>) -> StepError {
        self.0.kind = kind.into();
        self
    }

    /// The same with an object of details.
    #[must_use]
    pub fn with_details(mut self, details: Json) -> StepError {
        self.0.details = Some(details);
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

/// Any error of a library becomes a retryable one, so that `?` works in handlers; `StepError` itself is none on purpose.
impl<E: std::error::Error> From<E> for StepError {
    fn from(source: E) -> StepError {
        StepError::retryable(source.to_string())
    }
}
