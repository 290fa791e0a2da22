//! Retry policies.

use super::keyed::{Keyed, part};
use super::terms::{FixedDuration, Number};
use super::value::{Entries, Value};
use crate::definition::model::Backoff;

part! {
    /// A retry policy (SPEC 5.1): what it leaves out is taken from `defaults.retry`, on what calls a handler.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rejoin_shared::definition::builder::*;
    ///
    /// let patient = Retry::new().max_attempts(5).initial(Duration::from_millis(200)).max("30s");
    /// let by_type = [Retry::new().only(["http.*"]).max_attempts(9), Retry::new().max_attempts(2)];
    /// let call = flow![step("fetch").retry(patient), step("store").retry(by_type)];
    /// # let _ = call;
    /// ```
    Retry
}

impl Retry {
    /// A policy that says nothing yet.
    pub fn new() -> Retry {
        let entries = Entries::default();
        Retry { entries }
    }

    /// `max_attempts`: attempts in all, from 1, which is no retry.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with_key("max_attempts", Value::int(attempts))
    }

    /// `backoff`: how the delay grows.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with_key("backoff", Value::word(backoff))
    }

    /// `initial`: the first delay.
    pub fn initial(self, delay: impl Into<FixedDuration>) -> Self {
        self.with_key("initial", delay.into().0)
    }

    /// `max`: the longest delay.
    pub fn max(self, delay: impl Into<FixedDuration>) -> Self {
        self.with_key("max", delay.into().0)
    }

    /// `multiplier`: growth of the exponential backoff, from 1.
    pub fn multiplier(self, multiplier: impl Into<Number>) -> Self {
        self.with_key("multiplier", multiplier.into().0)
    }

    /// `jitter`: whether delays are drawn at random.
    pub fn jitter(self, jitter: bool) -> Self {
        self.with_key("jitter", Value::bool(jitter))
    }

    /// `only`: patterns of the error types it is for.
    pub fn only(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_key("only", Value::texts(patterns))
    }

    /// `except`: patterns of the error types it is not for.
    pub fn except(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_key("except", Value::texts(patterns))
    }
}

impl Default for Retry {
    fn default() -> Retry {
        Retry::new()
    }
}

/// One policy, or several of which the first that matches an error counts.
#[derive(Clone, Debug)]
pub struct Retries(pub(super) Value);

impl From<Retry> for Retries {
    fn from(policy: Retry) -> Retries {
        Retries(policy.into())
    }
}

impl From<Vec<Retry>> for Retries {
    fn from(policies: Vec<Retry>) -> Retries {
        Retries(Value::list(policies.into_iter().map(Value::from)))
    }
}

impl<const N: usize> From<[Retry; N]> for Retries {
    fn from(policies: [Retry; N]) -> Retries {
        Retries(Value::list(policies.map(Value::from)))
    }
}
