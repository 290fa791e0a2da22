//! A handler's name, together with the types of what it takes and gives.

use std::fmt;
use std::marker::PhantomData;

/// Names a handler once for all who speak of it: the workflow that calls it and the worker that serves it.
///
/// ```
/// use rejoin_worker::workflow::*;
/// use rejoin_worker::{HandlerName, StepContext, StepError, Worker};
///
/// #[derive(serde::Deserialize)]
/// struct Line { sku: String, quantity: u32 }
///
/// const PICK: HandlerName<Line, u32> = HandlerName::new("pick");
///
/// async fn pick(_: StepContext, line: Line) -> Result<u32, StepError> {
///     Ok(line.quantity)
/// }
///
/// // Calls it by its name …
/// let orders = workflow("orders").steps(
///     foreach("lines", "ctx.lines").item_as("line").concurrency(8).steps(step(PICK).with(expr("line"))),
/// );
/// // … and serves it: a function of other types does not compile.
/// let worker = Worker::builder().serve(PICK, pick);
/// # let _ = (orders, worker);
/// ```
///
/// ```compile_fail
/// # use rejoin_worker::{HandlerName, StepContext, StepError, Worker};
/// const PICK: HandlerName<String, u32> = HandlerName::new("pick");
///
/// async fn pick(_: StepContext, line: String) -> Result<String, StepError> {
///     Ok(line)
/// }
/// let worker = Worker::builder().serve(PICK, pick);
/// ```
pub struct HandlerName<I, O> {
    name: &'static str,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> HandlerName<I, O> {
    /// This name for handlers that take an `I` and give an `O`.
    #[must_use]
    pub const fn new(name: &'static str) -> HandlerName<I, O> {
        let types = PhantomData;
        HandlerName { name, types }
    }

    /// The name as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.name
    }
}

// Derived, these would ask the same of `I` and `O`.
impl<I, O> Clone for HandlerName<I, O> {
    fn clone(&self) -> HandlerName<I, O> {
        *self
    }
}

impl<I, O> Copy for HandlerName<I, O> {}

impl<I, O> fmt::Debug for HandlerName<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandlerName").field(&self.name).finish()
    }
}

impl<I, O> From<HandlerName<I, O>> for String {
    fn from(name: HandlerName<I, O>) -> String {
        name.name.to_owned()
    }
}
