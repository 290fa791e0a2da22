//! Steps, and what undoes them.

use super::keyed::{Keyed, call_keys, heartbeat_key, named, node, output_keys, part};
use super::terms::FixedDuration;
use super::value::{Entries, Value};
use crate::definition::model::OnExhausted;

part! {
    /// `step`: calls a handler on a worker. Made by [`step`].
    Step
}
node!(Step);
call_keys!(Step);
heartbeat_key!(Step);
output_keys!(Step);

/// A step, which calls the handler of its own name unless [`Step::uses`] names another.
///
/// ```
/// use std::time::Duration;
/// use rejoin_shared::definition::builder::*;
///
/// let charge = step("charge")
///     .uses("payments.charge")
///     .with(object! { "customer" => expr("ctx.customer"), "currency" => "EUR" })
///     .into_path("receipt")
///     .timeout(Duration::from_secs(30))
///     .compensate(Compensate::by("payments.refund").with(expr("output.receipt")));
/// # let _ = charge;
/// ```
pub fn step(name: impl Into<String>) -> Step {
    let entries = named("step", name);
    Step { entries }
}

impl Step {
    /// `uses`: the handler.
    pub fn uses(self, handler: impl Into<String>) -> Self {
        self.with_key("uses", Value::text(handler))
    }

    /// `total_timeout`: over all attempts, from the first start.
    pub fn total_timeout(self, timeout: impl Into<FixedDuration>) -> Self {
        self.with_key("total_timeout", timeout.into().0)
    }

    /// `on_exhausted`: what follows when retries are used up.
    pub fn on_exhausted(self, what: OnExhausted) -> Self {
        self.with_key("on_exhausted", Value::word(what))
    }

    /// `compensate`: what undoes it.
    pub fn compensate(self, compensate: Compensate) -> Self {
        self.with_key("compensate", compensate.into())
    }

    /// `idempotent`: if false it is claimed before it runs, and begins at most once per attempt.
    pub fn idempotent(self, idempotent: bool) -> Self {
        self.with_key("idempotent", Value::bool(idempotent))
    }
}

part! {
    /// `compensate`: the handler that undoes a step or a call (SPEC 5.6). It is given the output of what it undoes unless
    /// `with` says otherwise.
    Compensate
}
call_keys!(Compensate);

impl Compensate {
    /// What this handler does.
    pub fn by(handler: impl Into<String>) -> Compensate {
        let entries = Entries(vec![("uses".to_owned(), Value::text(handler))]);
        Compensate { entries }
    }
}
