//! Conversions between types, and of a result to JSON.

#![allow(clippy::wildcard_enum_match_arm)] // what takes some types refuses all others, new ones too

use std::sync::Arc;

use super::budget::{Budget, Outcome, fail};
use super::number;
use super::temporal::{Instant, Span};
use super::value::{Dict, Key, List, Value};
use crate::json::{Json, Map};
use crate::limits::JSON_DEPTH_MAX;

fn impossible<T>(value: &Value, to: &str) -> Outcome<T> {
    fail(format!("cannot make {to} of {}", value.kind()))
}

fn unreadable<T>(text: &str, what: &str) -> Outcome<T> {
    let shown: String = text.chars().take(40).collect();
    fail(format!("'{shown}' is no {what}"))
}

/// `int(value)`
pub(super) fn to_int(value: &Value) -> Outcome<Value> {
    let n = match value {
        Value::Int(n) => Some(*n),
        Value::Uint(n) => i64::try_from(*n).ok(),
        Value::Double(x) => number::truncate(*x),
        Value::Instant(at) => Some(at.seconds()),
        Value::Str(text) => match text.parse::<i64>() {
            Ok(n) => Some(n),
            Err(_) => return unreadable(text, "int"),
        },
        other => return impossible(other, "an int"),
    };
    match n {
        Some(n) => Ok(Value::Int(n)),
        None => fail("beyond the range of int"),
    }
}

/// `uint(value)`
pub(super) fn to_uint(value: &Value) -> Outcome<Value> {
    let n = match value {
        Value::Uint(n) => Some(*n),
        Value::Int(n) => u64::try_from(*n).ok(),
        Value::Double(x) => number::truncate_unsigned(*x),
        Value::Str(text) => match text.parse::<u64>() {
            Ok(n) => Some(n),
            Err(_) => return unreadable(text, "uint"),
        },
        other => return impossible(other, "a uint"),
    };
    match n {
        Some(n) => Ok(Value::Uint(n)),
        None => fail("beyond the range of uint"),
    }
}

/// `double(value)`
pub(super) fn to_double(value: &Value) -> Outcome<Value> {
    if let Value::Str(text) = value {
        return match text.parse() {
            Ok(x) => Ok(Value::Double(x)),
            Err(_) => unreadable(text, "double"),
        };
    }
    match number::as_double(value) {
        Some(x) => Ok(Value::Double(x)),
        None => impossible(value, "a double"),
    }
}

/// `bool(value)`
pub(super) fn to_bool(value: &Value) -> Outcome<Value> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::Str(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            other => unreadable(other, "bool"),
        },
        other => impossible(other, "a bool"),
    }
}

/// `string(value)`
pub(super) fn to_text(value: &Value, budget: &mut Budget) -> Outcome<Value> {
    Ok(match value {
        Value::Str(_) => value.clone(),
        Value::Bool(b) => Value::str(if *b { "true" } else { "false" }),
        Value::Int(n) => Value::Str(n.to_string().into()),
        Value::Uint(n) => Value::Str(n.to_string().into()),
        Value::Double(x) => Value::Str(double_text(*x).into()),
        Value::Instant(at) => Value::Str(at.text().into()),
        Value::Span(span) => Value::Str(span.text().into()),
        Value::Bytes(bytes) => {
            budget.charge_text(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::str(text),
                Err(_) => return fail("these bytes are no UTF-8 text"),
            }
        }
        other => return impossible(other, "a string"),
    })
}

/// The shortest text that reads as the same double.
fn double_text(x: f64) -> String {
    if x.is_nan() {
        "NaN".into()
    } else if x.is_infinite() {
        if x > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else if x != 0.0 && !(1e-6..1e21).contains(&x.abs()) {
        format!("{x:e}")
    } else {
        x.to_string()
    }
}

/// `bytes(value)`
pub(super) fn to_bytes(value: &Value, budget: &mut Budget) -> Outcome<Value> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::Str(text) => {
            budget.charge_text(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        other => impossible(other, "bytes"),
    }
}

/// `timestamp(value)`
pub(super) fn to_instant(value: &Value) -> Outcome<Value> {
    match value {
        Value::Instant(_) => Ok(value.clone()),
        Value::Int(seconds) => Instant::of_seconds(*seconds).map(Value::Instant),
        Value::Str(text) => Instant::parse(text).map(Value::Instant),
        other => impossible(other, "a timestamp"),
    }
}

/// `duration(value)`
pub(super) fn to_span(value: &Value) -> Outcome<Value> {
    match value {
        Value::Span(_) => Ok(value.clone()),
        Value::Str(text) => Span::parse(text).map(Value::Span),
        other => impossible(other, "a duration"),
    }
}

/// The result of an expression as JSON. What the context holds is shared, not copied.
pub(super) fn to_json(value: &Value, budget: &mut Budget) -> Outcome<Json> {
    match value {
        // The context's own values are within all limits, and nothing was put around them.
        Value::List(List::Stored(items)) => Ok(Json::List(items.clone())),
        Value::Dict(Dict::Stored(map)) => Ok(Json::Object(map.clone())),
        other => inner_json(other, 1, budget),
    }
}

fn inner_json(value: &Value, level: usize, budget: &mut Budget) -> Outcome<Json> {
    budget.charge(1)?;
    match value {
        Value::Null => Ok(Json::Null),
        Value::Bool(b) => Ok(Json::Bool(*b)),
        Value::Int(n) => Ok(Json::Int(*n)),
        Value::Uint(n) => match i64::try_from(*n) {
            Ok(n) => Ok(Json::Int(n)),
            Err(_) => fail(format!("{n}u is beyond the integers of JSON here (2^63-1)")),
        },
        Value::Double(x) if x.is_finite() => Ok(Json::Float(*x)),
        Value::Double(x) => fail(format!("{} is no JSON number", double_text(*x))),
        Value::Str(text) => text_json(text, budget),
        Value::Instant(at) => Ok(Json::str(&at.text())),
        Value::Span(span) => Ok(Json::str(&span.text())),
        Value::List(list) => {
            check_level(level)?;
            list_json(list, level, budget)
        }
        Value::Dict(map) => {
            check_level(level)?;
            map_json(map, level, budget)
        }
        Value::Bytes(_) | Value::Type(_) => fail(format!("a result cannot be {}", value.kind())),
    }
}

fn check_level(level: usize) -> Outcome<()> {
    if level > JSON_DEPTH_MAX {
        return fail(format!("the result is nested deeper than {JSON_DEPTH_MAX} levels"));
    }
    Ok(())
}

fn text_json(text: &Arc<str>, budget: &mut Budget) -> Outcome<Json> {
    budget.charge_text(text.len())?;
    if text.contains('\0') {
        return fail("the result holds a NUL character");
    }
    Ok(Json::Str(text.clone()))
}

fn list_json(list: &List, level: usize, budget: &mut Budget) -> Outcome<Json> {
    match list {
        List::Stored(items) => {
            let json = Json::List(items.clone());
            measure(&json, level, budget)?;
            Ok(json)
        }
        List::Made(items) => {
            let items: Outcome<Vec<Json>> = items.iter().map(|v| inner_json(v, level + 1, budget)).collect();
            items.map(Json::list)
        }
    }
}

fn map_json(map: &Dict, level: usize, budget: &mut Budget) -> Outcome<Json> {
    let entries = match map {
        Dict::Stored(map) => {
            let json = Json::Object(map.clone());
            measure(&json, level, budget)?;
            return Ok(json);
        }
        Dict::Made(entries) => entries,
    };
    let mut out = Map::new();
    for (key, value) in entries.iter() {
        let Key::Str(name) = key else {
            return fail(format!("the key {} of a result's map is no string", key.text()));
        };
        text_json(name, budget)?;
        out.insert(name.clone(), inner_json(value, level + 1, budget)?);
    }
    Ok(Json::Object(Arc::new(out)))
}

/// Pays for a stored value that stands inside a made one: sharing is free here, but not for whoever writes the text.
fn measure(json: &Json, level: usize, budget: &mut Budget) -> Outcome<()> {
    budget.charge(1)?;
    match json {
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => Ok(()),
        Json::Str(text) => budget.charge_text(text.len()),
        Json::List(items) => {
            check_level(level)?;
            items.iter().try_for_each(|item| measure(item, level + 1, budget))
        }
        Json::Object(map) => {
            check_level(level)?;
            map.iter().try_for_each(|(key, value)| {
                budget.charge_text(key.len())?;
                measure(value, level + 1, budget)
            })
        }
    }
}
