//! Makes a [`Handle`] of an async function over typed values.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use rejoin_shared::json::Json;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tracing::Instrument as _;

use super::context::Writes;
use super::layer::CURRENT_LOGS;
use super::{StepContext, StepError};
use crate::attempt::Attempt;
use crate::handler::{ERROR_DEFAULT, ERROR_INVALID_OUTPUT, Handle, Outcome, check_output, error, to_raw};

/// An async function with the types of its input and output.
pub(crate) struct Typed<F, I, O> {
    function: F,
    output_bytes_max: usize,
    types: PhantomData<fn(I) -> O>,
}

impl<F, I, O> Typed<F, I, O> {
    pub(crate) fn new(function: F, output_bytes_max: usize) -> Typed<F, I, O> {
        Typed {
            function,
            output_bytes_max,
            types: PhantomData,
        }
    }
}

#[async_trait]
impl<F, Fut, I, O> Handle for Typed<F, I, O>
where
    F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepError>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let input = match serde_json::from_str::<I>(attempt.input_text()) {
            Ok(input) => input,
            Err(e) => return AttemptEnd::Error(unfit_input(&e)),
        };
        let context = StepContext::new(attempt.clone());
        let called = in_span(&attempt, (self.function)(context.clone(), input));
        match CURRENT_LOGS.scope(attempt.logs.clone(), called).await {
            Ok(output) => {
                finish(&output, context.take_writes(), self.output_bytes_max).unwrap_or_else(AttemptEnd::Error)
            }
            Err(StepError(failed)) => AttemptEnd::Error(failed),
        }
    }
}

/// Every line that the handler logs by `tracing`, and every span that it opens, stands in a span that says whose it is. Built-in
/// handlers, which log nothing, have none.
async fn in_span<T>(attempt: &Attempt, call: impl Future<Output = T>) -> T {
    let order = attempt.order();
    let span = tracing::info_span!("attempt", run = %order.run, path = %order.path, attempt = order.attempt);
    call.instrument(span).await
}

fn unfit_input(e: &serde_json::Error) -> HandlerError {
    HandlerError {
        retryable: false,
        ..error(ERROR_DEFAULT, format!("the input does not fit the handler's type: {e}"))
    }
}

fn finish(output: &impl Serialize, writes: Writes, bytes_max: usize) -> Result<Outcome, HandlerError> {
    let text = serde_json::to_string(output).map_err(|e| {
        error(
            ERROR_INVALID_OUTPUT,
            format!("the handler's output cannot be written: {e}"),
        )
    })?;
    check_output(text.as_bytes(), bytes_max)?;
    let set = (!writes.set.is_empty()).then(|| {
        let entries = writes.set.into_iter().map(|(path, value)| (path.into(), value));
        to_raw(&Json::Object(Arc::new(entries.collect())))
    });
    Ok(AttemptEnd::Ok {
        output: Some(RawValue::from_string(text).expect("checked just above")),
        set,
        unset: writes.unset,
    })
}
