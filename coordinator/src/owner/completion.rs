//! A worker's completion as the engine takes it: checked against the limits, never trusted.

use std::sync::Arc;
use std::time::Duration;

use rejoin_engine::event::{Completed, End, Failure};
use rejoin_shared::ids::AttemptKey;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, Outcome, without_nul};
use rejoin_shared::wire::{AttemptEnd, Checkpoint, Checkpoints, Completion, HandlerError};
use serde_json::value::RawValue;

/// Bytes of an error's type. Errors are copied into those of the scopes around them, a hundred at a time, so they stay
/// small: what a handler has to say at length belongs into its logs.
const ERROR_TYPE_BYTES_MAX: usize = 256;
/// Bytes of an error's message.
const ERROR_MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an error's details.
const ERROR_DETAILS_BYTES_MAX: usize = 16 * 1024;

/// The engine's event for `completion`; its random number is still to be drawn.
#[must_use]
pub fn completed(completion: Completion, worker: &Arc<str>, limits: &Limits) -> Completed {
    let mut end = end_of(completion.end, limits).unwrap_or_else(|(kind, message)| final_failure(kind, message));
    let mut logs = cut_logs(completion.logs, limits);
    if let End::Error(failure) = &mut end {
        // Its error is what counts: a checkpoint that cannot be kept does not take its place.
        match value(completion.checkpoint.as_deref(), limits) {
            Ok(checkpoint) => failure.checkpoint = checkpoint.filter(|stored| *stored != Json::Null),
            Err((kind, message)) => logs.push(format!("the checkpoint is not kept: {kind}: {message}")),
        }
    }
    Completed {
        step: completion.step,
        attempt: completion.attempt,
        end,
        worker: Some(worker.clone()),
        started_at: completion.started_at,
        finished_at: completion.finished_at,
        logs,
        random: 0,
    }
}

/// What attempts that go on have stored, as far as it can be kept: an attempt that fails says so in its logs, but this one goes on.
#[must_use]
pub fn checkpoints(told: Checkpoints, limits: &Limits) -> Vec<(AttemptKey, Json)> {
    let read = |stored: Checkpoint| match value(Some(&stored.value), limits) {
        Ok(value) => Some((stored.attempt, value?)),
        Err((kind, message)) => {
            tracing::debug!(attempt = ?stored.attempt, kind, message, "a checkpoint is not kept");
            None
        }
    };
    told.items.into_iter().filter_map(read).collect()
}

type Unfit = (&'static str, String);

fn end_of(end: AttemptEnd, limits: &Limits) -> Result<End, Unfit> {
    match end {
        AttemptEnd::Ok { output, set, unset } => {
            let set = writes(set, limits)?;
            let unset = unset.iter().map(|path| key_path(path)).collect::<Result<Vec<_>, _>>()?;
            check_overlaps(&set, &unset)?;
            Ok(End::Ok {
                output: value(output.as_deref(), limits)?.unwrap_or_default(),
                set,
                unset,
            })
        }
        AttemptEnd::Error(error) => Ok(End::Error(failure(error))),
    }
}

fn value(raw: Option<&RawValue>, limits: &Limits) -> Result<Option<Json>, Unfit> {
    let Some(raw) = raw else { return Ok(None) };
    let text = raw.get();
    if text.len() > limits.output_bytes_max {
        let message = format!("{} bytes are more than {}", text.len(), limits.output_bytes_max);
        return Err(("rejoin.too_large", message));
    }
    let parsed = Json::parse(text.as_bytes());
    parsed.map(Some).map_err(|e| ("rejoin.invalid_output", e.to_string()))
}

fn writes(set: Option<Box<RawValue>>, limits: &Limits) -> Result<Vec<(KeyPath, Json)>, Unfit> {
    let Some(set) = value(set.as_deref(), limits)? else {
        return Ok(Vec::new());
    };
    let entries = set
        .as_object()
        .ok_or_else(|| ("rejoin.invalid_output", "set is no object".to_owned()))?;
    entries
        .iter()
        .map(|(key, value)| Ok((key_path(key)?, value.clone())))
        .collect()
}

fn key_path(text: &str) -> Result<KeyPath, Unfit> {
    KeyPath::parse(text).ok_or_else(|| ("rejoin.invalid_output", format!("{text:?} is no key path")))
}

fn check_overlaps(set: &[(KeyPath, Json)], unset: &[KeyPath]) -> Result<(), Unfit> {
    let mut paths: Vec<&KeyPath> = set.iter().map(|(path, _)| path).chain(unset).collect();
    paths.sort_by(|a, b| a.keys().cmp(b.keys()));
    match paths.windows(2).any(|pair| pair[0].overlaps(pair[1])) {
        true => Err(("rejoin.invalid_output", "one key path begins with another".to_owned())),
        false => Ok(()),
    }
}

fn failure(error: HandlerError) -> Failure {
    let kind = match error.kind.is_empty() {
        true => "handler.error".to_owned(),
        false => error.kind,
    };
    Failure {
        outcome: outcome_of(&kind),
        retryable: error.retryable,
        retry_after: error.retry_after_ms.map(Duration::from_millis),
        checkpoint: None,
        error: ErrorValue {
            kind: cut(without_nul(kind), ERROR_TYPE_BYTES_MAX),
            message: cut(without_nul(error.message), ERROR_MESSAGE_BYTES_MAX),
            details: error
                .details
                .filter(|details| details.as_object().is_some())
                .map(cut_details),
            ..ErrorValue::default()
        },
    }
}

/// Text that is too long, cut at the end of a character, with a mark.
fn cut(mut text: String, bytes_max: usize) -> String {
    const MARK: &str = "… truncated";
    if text.len() > bytes_max {
        let most = bytes_max.saturating_sub(MARK.len());
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str(MARK);
    }
    text
}

fn cut_details(details: Json) -> Json {
    if let Err(why) = Json::parse(&details.to_bytes()) {
        return Json::from_entries([("dropped", Json::str(&why.to_string()))]);
    }
    match details.text_len() {
        bytes if bytes > ERROR_DETAILS_BYTES_MAX => Json::from_entries([
            ("truncated", Json::Bool(true)),
            ("bytes", Json::Int(i64::try_from(bytes).unwrap_or(i64::MAX))),
        ]),
        _ => details,
    }
}

fn outcome_of(kind: &str) -> Outcome {
    match kind {
        "rejoin.timeout" | "rejoin.heartbeat_lost" => Outcome::Timeout,
        "rejoin.cancelled" => Outcome::Cancelled,
        "rejoin.poison" | "rejoin.outcome_unknown" => Outcome::Lost,
        _ => Outcome::Error,
    }
}

/// A failure that is not retried.
#[must_use]
pub fn final_failure(kind: &str, message: String) -> End {
    End::Error(Failure {
        outcome: outcome_of(kind),
        retryable: false,
        retry_after: None,
        checkpoint: None,
        error: ErrorValue {
            kind: kind.to_owned(),
            message: without_nul(message),
            ..ErrorValue::default()
        },
    })
}

fn cut_logs(logs: Vec<String>, limits: &Limits) -> Vec<String> {
    let mut logs: Vec<String> = logs.into_iter().map(without_nul).collect();
    let mut bytes = 0;
    let fitting = logs.iter().take(limits.log_lines_max).take_while(|line| {
        bytes += line.len();
        bytes <= limits.log_bytes_max
    });
    let kept = fitting.count();
    if kept < logs.len() {
        logs.truncate(kept);
        logs.push("… truncated".to_owned());
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_too_much_is_cut_with_a_mark() {
        let failed = failure(HandlerError {
            kind: "t".repeat(5_000),
            message: "ü".repeat(500_000),
            retryable: true,
            retry_after_ms: None,
            details: Some(Json::from_entries([("k", Json::str(&"x".repeat(500_000)))])),
        });
        let text = failed.error.to_json().text_len();
        assert!(
            text <= ERROR_TYPE_BYTES_MAX + ERROR_MESSAGE_BYTES_MAX + ERROR_DETAILS_BYTES_MAX,
            "{text}"
        );
        assert!(failed.error.message.ends_with("… truncated"));
        assert_eq!(
            failed.error.details.expect("details").get("truncated"),
            Some(&Json::Bool(true))
        );
    }

    #[test]
    fn a_nul_in_what_a_worker_says_takes_nothing_else_away() {
        let failed = failure(HandlerError {
            kind: "t\0".to_owned(),
            message: "m\0m".to_owned(),
            retryable: true,
            retry_after_ms: None,
            details: Some(Json::from_entries([("k", Json::str("\0"))])),
        });
        let told = failed.error.to_json();
        assert_eq!(told.get("message"), Some(&Json::str("m\u{fffd}m")), "{told}");
        assert_eq!(told.get("type"), Some(&Json::str("t\u{fffd}")));
        let dropped = told.get("details").and_then(|details| details.get("dropped"));
        assert!(dropped.is_some(), "{told}");
        assert_eq!(cut_logs(vec!["a\0".to_owned()], &Limits::default()), ["a\u{fffd}"]);
    }

    /// A JSON text of as many bytes.
    fn text(bytes: usize) -> Box<RawValue> {
        RawValue::from_string(format!(r#""{}""#, "x".repeat(bytes - 2))).expect("JSON")
    }

    #[test]
    fn an_output_and_writes_of_a_mebibyte_are_taken_and_one_byte_more_is_too_large() {
        let limits = Limits::default();
        let end = |output, set| {
            let unset = Vec::new();
            end_of(AttemptEnd::Ok { output, set, unset }, &limits)
        };
        let most = limits.output_bytes_max;
        assert_eq!(most, 1024 * 1024);
        assert!(end(Some(text(most)), None).is_ok());
        let refused = end(Some(text(most + 1)), None).err().map(|(kind, _)| kind);
        assert_eq!(refused, Some("rejoin.too_large"));
        let around = r#"{"a":}"#.len();
        let set = |bytes: usize| RawValue::from_string(format!(r#"{{"a":{}}}"#, text(bytes - around))).expect("JSON");
        assert!(end(None, Some(set(most))).is_ok());
        let refused = end(None, Some(set(most + 1))).err().map(|(kind, _)| kind);
        assert_eq!(refused, Some("rejoin.too_large"));
    }

    #[test]
    fn logs_of_a_thousand_lines_and_64_kib_are_kept_and_what_is_more_is_cut_with_a_mark() {
        let limits = Limits::default();
        let lines = |count: usize, bytes: usize| vec!["x".repeat(bytes); count];
        assert_eq!(cut_logs(lines(1_000, 1), &limits), lines(1_000, 1));
        let cut = cut_logs(lines(1_001, 1), &limits);
        assert_eq!((cut.len(), cut[1_000].as_str()), (1_001, "… truncated"));
        assert_eq!(cut_logs(lines(64, 1_024), &limits), lines(64, 1_024));
        let cut = cut_logs([lines(64, 1_024), lines(1, 1)].concat(), &limits);
        assert_eq!((cut.len(), cut[64].as_str()), (65, "… truncated"));
    }

    #[test]
    fn an_error_of_usual_size_is_kept_to_the_letter() {
        assert_eq!(cut("m".repeat(8_192), ERROR_MESSAGE_BYTES_MAX), "m".repeat(8_192));
    }
}
