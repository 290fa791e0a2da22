//! What a generic handler answers: one JSON value, or an object whose single key is `$result` or `$error`.

use std::sync::Arc;

use rejoin_shared::json::{Json, Map};
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use serde_json::value::RawValue;

use crate::attempt::Attempt;
use crate::handler::{ERROR_DEFAULT, ERROR_INVALID_OUTPUT, Outcome, error, ok, to_raw, too_large};

/// What a response may be longer than its output: an envelope, white space.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Levels of a response around its output: `$result` and `output`.
pub(super) const ENVELOPE_LEVELS: usize = 2;

/// Bytes of a response that are read at most, where an output may have `output_bytes_max`.
pub(super) fn read_max(output_bytes_max: usize) -> usize {
    output_bytes_max.saturating_add(ENVELOPE_BYTES_MAX)
}

/// Reads a whole response; what breaks the contract is an error of the attempt.
pub(super) fn read(text: &[u8], bytes_max: usize) -> Outcome {
    let text = text.trim_ascii();
    if text.len() > read_max(bytes_max) {
        return AttemptEnd::Error(too_large(bytes_max));
    }
    match Json::parse_enclosed(text, ENVELOPE_LEVELS) {
        Ok(json) => read_checked(text, &json, bytes_max),
        Err(e) => AttemptEnd::Error(invalid(format!("the handler's output is {e}"))),
    }
}

/// As [`read`], of trimmed text that was parsed already.
pub(super) fn read_checked(text: &[u8], json: &Json, bytes_max: usize) -> Outcome {
    match single_entry(json) {
        Some(("$result", result)) => read_result(result, bytes_max).unwrap_or_else(AttemptEnd::Error),
        Some(("$error", failed)) => AttemptEnd::Error(read_error(failed).unwrap_or_else(|e| e)),
        Some(_) | None if text.len() > bytes_max => AttemptEnd::Error(too_large(bytes_max)),
        Some(_) | None => ok(Some(raw_of(text, json))),
    }
}

/// Acts on a heartbeat or checkpoint; `false` if `json` is neither.
pub(super) fn take_signal(json: &Json, attempt: &Attempt) -> bool {
    match single_entry(json) {
        Some(("$heartbeat", _)) => attempt.control.beat(),
        Some(("$checkpoint", value)) => attempt.store_checkpoint(value),
        Some(_) | None => return false,
    }
    true
}

/// The only entry of an object that has one.
fn single_entry(json: &Json) -> Option<(&str, &Json)> {
    let map = json.as_object().filter(|map| map.len() == 1)?;
    map.iter().next().map(|(key, value)| (&**key, value))
}

fn raw_of(text: &[u8], json: &Json) -> Box<RawValue> {
    let text = std::str::from_utf8(text).map(str::to_owned);
    let raw = text.ok().and_then(|text| RawValue::from_string(text).ok());
    raw.unwrap_or_else(|| to_raw(json))
}

fn invalid(problem: impl Into<String>) -> HandlerError {
    error(ERROR_INVALID_OUTPUT, problem)
}

fn read_result(result: &Json, bytes_max: usize) -> Result<Outcome, HandlerError> {
    let map = result.as_object().ok_or_else(|| invalid("`$result` is no object"))?;
    refuse_unknown(map, "$result", &["output", "set", "unset"])?;
    let set = match map.get("set") {
        None | Some(Json::Null) => None,
        Some(set) => Some(read_set(set)?),
    };
    let output = map.get("output").map(to_raw);
    if output.as_ref().is_some_and(|output| output.get().len() > bytes_max) {
        return Err(too_large(bytes_max));
    }
    Ok(AttemptEnd::Ok {
        output,
        set,
        unset: map.get("unset").map_or(Ok(Vec::new()), read_unset)?,
    })
}

fn read_set(set: &Json) -> Result<Box<RawValue>, HandlerError> {
    let map = set
        .as_object()
        .ok_or_else(|| invalid("`set` of `$result` is no object"))?;
    for path in map.keys() {
        check_path(path)?;
    }
    Ok(to_raw(set))
}

fn read_unset(unset: &Json) -> Result<Vec<String>, HandlerError> {
    if unset.is_null() {
        return Ok(Vec::new());
    }
    let paths = unset
        .as_list()
        .ok_or_else(|| invalid("`unset` of `$result` is no list"))?;
    let paths = paths.iter().map(|path| {
        let path = path
            .as_str()
            .ok_or_else(|| invalid("`unset` of `$result` lists what is no text"))?;
        check_path(path).map(|()| path.to_owned())
    });
    paths.collect()
}

fn check_path(path: &str) -> Result<(), HandlerError> {
    match KeyPath::parse(path) {
        Some(_) => Ok(()),
        None => Err(invalid(format!("`{path}` is no key path"))),
    }
}

fn read_error(failed: &Json) -> Result<HandlerError, HandlerError> {
    let map = failed.as_object().ok_or_else(|| invalid("`$error` is no object"))?;
    refuse_unknown(
        map,
        "$error",
        &["type", "message", "retryable", "retry_after_ms", "details"],
    )?;
    let kind = text_or(map, "type", ERROR_DEFAULT)?;
    let retry_after_ms = match present(map, "retry_after_ms") {
        None => None,
        Some(ms) => {
            Some(millis(ms).ok_or_else(|| invalid("`retry_after_ms` of `$error` is no count of milliseconds"))?)
        }
    };
    let details = present(map, "details").cloned();
    if details.as_ref().is_some_and(|details| details.as_object().is_none()) {
        return Err(invalid("`details` of `$error` is no object"));
    }
    let retryable = match present(map, "retryable") {
        None => true,
        Some(value) => value
            .as_bool()
            .ok_or_else(|| invalid("`retryable` of `$error` is neither true nor false"))?,
    };
    Ok(HandlerError {
        kind,
        message: text_or(map, "message", "")?,
        retryable,
        retry_after_ms,
        details,
    })
}

fn present<'a>(map: &'a Map, key: &str) -> Option<&'a Json> {
    map.get(key).filter(|value| !value.is_null())
}

fn millis(value: &Json) -> Option<u64> {
    u64::try_from(value.as_int()?).ok()
}

fn text_or(map: &Map, key: &str, default: &str) -> Result<String, HandlerError> {
    match present(map, key) {
        None => Ok(default.to_owned()),
        Some(value) => match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(invalid(format!("`{key}` of `$error` is no text"))),
        },
    }
}

fn refuse_unknown(map: &Map, envelope: &str, known: &[&str]) -> Result<(), HandlerError> {
    let unknown: Option<&Arc<str>> = map.keys().find(|key| !known.contains(&&***key));
    match unknown {
        None => Ok(()),
        Some(key) => Err(invalid(format!("`{envelope}` has an unknown key `{key}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> HandlerError {
        match read(text.as_bytes(), 1000) {
            AttemptEnd::Error(e) => e,
            AttemptEnd::Ok { .. } => panic!("{text} is read as an output"),
        }
    }

    #[test]
    fn a_plain_value_is_the_output_to_the_letter() {
        for text in ["1", "1.0", r#"{"a":[1.50,9007199254740993]}"#, "null", r#""x""#] {
            let AttemptEnd::Ok { output, .. } = read(format!(" {text}\n").as_bytes(), 1000) else {
                panic!("{text}")
            };
            assert_eq!(output.expect("an output").get(), text);
        }
    }

    #[test]
    fn a_result_carries_output_and_writes() {
        let text = br#"{"$result":{"output":1.0,"set":{"a.b":2},"unset":["c"]}}"#;
        let AttemptEnd::Ok { output, set, unset } = read(text, 1000) else {
            panic!("a result")
        };
        assert_eq!(output.expect("an output").get(), "1.0");
        assert_eq!(set.expect("writes").get(), r#"{"a.b":2}"#);
        assert_eq!(unset, ["c"]);
    }

    #[test]
    fn an_error_says_whether_and_when_to_retry() {
        let e = error_of(
            r#"{"$error":{"type":"x.y","message":"m","retryable":false,"retry_after_ms":5,"details":{"k":1}}}"#,
        );
        assert_eq!(
            (e.kind.as_str(), e.retryable, e.retry_after_ms),
            ("x.y", false, Some(5))
        );
        let e = error_of(r#"{"$error":{}}"#);
        assert_eq!((e.kind.as_str(), e.retryable), (ERROR_DEFAULT, true));
    }

    #[test]
    fn an_output_of_128_levels_may_stand_in_a_result() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        let text = format!("{{\"$result\":{{\"output\":{deep}}}}}");
        assert!(matches!(read(text.as_bytes(), 1000), AttemptEnd::Ok { output: Some(o), .. } if o.get() == deep));
        assert_eq!(error_of(&format!("[[[{deep}]]]")).kind, ERROR_INVALID_OUTPUT);
    }

    #[test]
    fn what_breaks_the_contract_is_invalid_output() {
        for text in [
            "",
            "{",
            "1 2",
            "9223372036854775808",
            r#""\u0000""#,
            r#"{"$result":1}"#,
            r#"{"$result":{"outptu":1}}"#,
            r#"{"$result":{"set":{"a..b":1}}}"#,
            r#"{"$error":"x"}"#,
            r#"{"$error":{"details":1}}"#,
        ] {
            assert_eq!(error_of(text).kind, ERROR_INVALID_OUTPUT, "{text}");
        }
        assert_eq!(error_of(&format!("\"{}\"", "x".repeat(1000))).kind, "rejoin.too_large");
    }
}
