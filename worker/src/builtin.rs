//! The handlers that every worker has (SPEC 10): noop, echo, sleep, fail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rejoin_shared::json::Json;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::attempt::Attempt;
use crate::handler::{ERROR_DEFAULT, Handle, Handlers, Outcome, error, ok};

/// Whether a handler's name is ours to give: those of today, and those to come.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("rejoin.")
}

/// Puts the built-in handlers into `handlers`, where no others can have their names.
pub(crate) fn add_to(handlers: &mut Handlers) {
    let all: [(&str, Arc<dyn Handle>); 4] = [
        ("rejoin.noop", Arc::new(Noop)),
        ("rejoin.echo", Arc::new(Echo)),
        ("rejoin.sleep", Arc::new(Sleep)),
        ("rejoin.fail", Arc::new(Fail)),
    ];
    for (name, handler) in all {
        handlers.insert(name.to_owned(), handler);
    }
}

struct Noop;
struct Echo;
struct Sleep;
struct Fail;

#[async_trait]
impl Handle for Noop {
    async fn handle(&self, _: Arc<Attempt>) -> Outcome {
        ok(None)
    }

    fn reads_context(&self) -> bool {
        false
    }
}

#[async_trait]
impl Handle for Echo {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let input = RawValue::from_string(attempt.input_text().to_owned());
        ok(Some(input.expect("an order's values are valid JSON")))
    }

    fn reads_context(&self) -> bool {
        false
    }
}

#[derive(Deserialize)]
struct SleepInput {
    #[serde(default)]
    ms: f64,
}

#[async_trait]
impl Handle for Sleep {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let duration = match read::<SleepInput>(&attempt) {
            Ok(input) => Duration::try_from_secs_f64(input.ms / 1000.0).unwrap_or_default(),
            Err(e) => return AttemptEnd::Error(e),
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(duration) => ok(None),
            () = attempt.control.cancelled() => AttemptEnd::Error(error(ERROR_DEFAULT, "cancelled")),
        }
    }

    fn reads_context(&self) -> bool {
        false
    }
}

#[derive(Deserialize)]
struct FailInput {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    times: Option<u32>,
}

#[async_trait]
impl Handle for Fail {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let input = match read::<FailInput>(&attempt) {
            Ok(input) => input,
            Err(e) => return AttemptEnd::Error(e),
        };
        if input.times.is_some_and(|times| attempt.order().attempt > times) {
            return ok(None);
        }
        AttemptEnd::Error(HandlerError {
            kind: input.kind.unwrap_or_else(|| ERROR_DEFAULT.to_owned()),
            message: input.message.unwrap_or_default(),
            retryable: input.retryable.unwrap_or(true),
            ..HandlerError::default()
        })
    }

    fn reads_context(&self) -> bool {
        false
    }
}

fn read<T: DeserializeOwned>(attempt: &Attempt) -> Result<T, HandlerError> {
    let text = match attempt.input_text() {
        "null" => "{}",
        text => text,
    };
    serde_json::from_str(text).map_err(|e| {
        let unfit: Json = Json::str(&e.to_string());
        HandlerError {
            retryable: false,
            details: Some(Json::from_entries([("problem", unfit)])),
            ..error(
                ERROR_DEFAULT,
                format!("{} cannot read its input: {e}", attempt.order().handler),
            )
        }
    })
}
