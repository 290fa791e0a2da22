//! Binary operators on any values: equality, order, membership, addition.

#![allow(clippy::wildcard_enum_match_arm)] // what takes some types refuses all others, new ones too

use std::cmp::Ordering;
use std::sync::Arc;

use super::budget::{Budget, Outcome, fail};
use super::number;
use super::syntax::Binary;
use super::value::{Dict, Key, List, Value};

/// `a operator b`
pub(super) fn apply(operator: Binary, a: &Value, b: &Value, budget: &mut Budget) -> Outcome<Value> {
    match operator {
        Binary::Equal => equal(a, b, budget).map(Value::Bool),
        Binary::NotEqual => equal(a, b, budget).map(|same| Value::Bool(!same)),
        Binary::Less => compare(operator, a, b, budget, Ordering::is_lt),
        Binary::LessEqual => compare(operator, a, b, budget, Ordering::is_le),
        Binary::Greater => compare(operator, a, b, budget, Ordering::is_gt),
        Binary::GreaterEqual => compare(operator, a, b, budget, Ordering::is_ge),
        Binary::In => is_in(a, b, budget).map(Value::Bool),
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
            match number::arithmetic(operator, a, b) {
                Some(result) => result,
                None => combine(operator, a, b, budget),
            }
        }
    }
}

/// `+` and `-` of what is no number.
fn combine(operator: Binary, a: &Value, b: &Value, budget: &mut Budget) -> Outcome<Value> {
    match (operator, a, b) {
        (Binary::Add, Value::Str(a), Value::Str(b)) => {
            budget.charge_text(a.len() + b.len())?;
            Ok(Value::Str([&**a, &**b].concat().into()))
        }
        (Binary::Add, Value::Bytes(a), Value::Bytes(b)) => {
            budget.charge_text(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Binary::Add, Value::List(a), Value::List(b)) => {
            // Read and written.
            budget.charge((a.len() + b.len()).saturating_mul(2))?;
            Ok(Value::list(a.iter().chain(b.iter()).collect()))
        }
        (Binary::Add, Value::Instant(a), Value::Span(b)) | (Binary::Add, Value::Span(b), Value::Instant(a)) => {
            a.plus(*b).map(Value::Instant)
        }
        (Binary::Add, Value::Span(a), Value::Span(b)) => a.plus(*b).map(Value::Span),
        (Binary::Subtract, Value::Instant(a), Value::Instant(b)) => a.since(*b).map(Value::Span),
        (Binary::Subtract, Value::Instant(a), Value::Span(b)) => a.minus(*b).map(Value::Instant),
        (Binary::Subtract, Value::Span(a), Value::Span(b)) => a.minus(*b).map(Value::Span),
        _ => mismatch(operator, a, b),
    }
}

fn mismatch<T>(operator: Binary, a: &Value, b: &Value) -> Outcome<T> {
    let hint = match (operator, a, b) {
        (Binary::Add, Value::Str(_), _) | (Binary::Add, _, Value::Str(_)) => "; `string(…)` makes text of a value",
        (_, Value::Int(_), Value::Uint(_)) | (_, Value::Uint(_), Value::Int(_)) => {
            "; convert with `int(…)` or `uint(…)`"
        }
        _ => "",
    };
    fail(format!(
        "`{}` does not work on {} and {}{hint}",
        operator.sign(),
        a.kind(),
        b.kind()
    ))
}

fn compare(operator: Binary, a: &Value, b: &Value, budget: &mut Budget, holds: fn(Ordering) -> bool) -> Outcome<Value> {
    let order = match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            budget.charge_text(a.len().min(b.len()))?;
            Some(a.cmp(b))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            budget.charge_text(a.len().min(b.len()))?;
            Some(a.cmp(b))
        }
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Instant(a), Value::Instant(b)) => Some(a.cmp(b)),
        (Value::Span(a), Value::Span(b)) => Some(a.cmp(b)),
        _ => match number::order(a, b) {
            Some(order) => order,
            None => return mismatch(operator, a, b),
        },
    };
    Ok(Value::Bool(order.is_some_and(holds)))
}

/// Whether `a` equals `b`; values of different types are unequal, numbers compare by value.
pub(super) fn equal(a: &Value, b: &Value, budget: &mut Budget) -> Outcome<bool> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => {
            if a.len() == b.len() {
                budget.charge_text(a.len())?;
            }
            a == b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            budget.charge_text(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => return equal_lists(a, b, budget),
        (Value::Dict(a), Value::Dict(b)) => return equal_maps(a, b, budget),
        (Value::Instant(a), Value::Instant(b)) => a == b,
        (Value::Span(a), Value::Span(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        _ => number::order(a, b).flatten() == Some(Ordering::Equal),
    })
}

fn equal_lists(a: &List, b: &List, budget: &mut Budget) -> Outcome<bool> {
    // What is stored holds no NaN: the same storage is the same value.
    if let (List::Stored(a), List::Stored(b)) = (a, b)
        && Arc::ptr_eq(a, b)
    {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        budget.charge(1)?;
        if !equal(&a, &b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps(a: &Dict, b: &Dict, budget: &mut Budget) -> Outcome<bool> {
    if let (Dict::Stored(a), Dict::Stored(b)) = (a, b)
        && Arc::ptr_eq(a, b)
    {
        return Ok(true);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    budget.charge(a.len())?;
    for key in a.keys() {
        let key = Key::of(&key).expect("it was a key");
        budget.charge(1)?;
        let (Some(a), Some(b)) = (a.get(&key), b.get(&key)) else {
            return Ok(false);
        };
        if !equal(&a, &b, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_in(needle: &Value, haystack: &Value, budget: &mut Budget) -> Outcome<bool> {
    match haystack {
        Value::List(list) => {
            for item in list.iter() {
                budget.charge(1)?;
                if equal(needle, &item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Dict(map) => Ok(Key::of(needle).is_some_and(|key| map.get(&key).is_some())),
        other => fail(format!("`in` needs a list or a map on its right, not {}", other.kind())),
    }
}
