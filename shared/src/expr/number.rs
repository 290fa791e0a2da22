//! Arithmetic on numbers: integers check their range, an integer that meets a double becomes one (SPEC 2).

#![allow(clippy::wildcard_enum_match_arm)] // what takes some types refuses all others, new ones too

use std::cmp::Ordering;

use super::budget::{Outcome, fail};
use super::syntax::Binary;
use super::value::Value;

/// 2^63 and 2^64 as doubles: the first ones beyond `i64` and `u64`.
const I64_END: f64 = 9_223_372_036_854_775_808.0;
const U64_END: f64 = 18_446_744_073_709_551_616.0;

/// The integer that `x` is, if it is one.
pub(super) fn exact_int(x: f64) -> Option<i64> {
    if x.trunc() == x { truncate(x) } else { None }
}

/// `x` without its fraction, if that is within `i64`.
#[allow(clippy::cast_possible_truncation)] // the range is checked first
pub(super) fn truncate(x: f64) -> Option<i64> {
    (-I64_END..I64_END).contains(&x).then_some(x as i64)
}

/// `x` without its fraction, if that is within `u64`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked first
pub(super) fn truncate_unsigned(x: f64) -> Option<u64> {
    (x > -1.0 && x < U64_END).then_some(x as u64)
}

/// The double nearest to `n`.
#[allow(clippy::cast_precision_loss)] // SPEC 2: an integer that meets a double converts
pub(super) fn to_double(n: i64) -> f64 {
    n as f64
}

/// The double nearest to `n`.
#[allow(clippy::cast_precision_loss)]
pub(super) fn unsigned_to_double(n: u64) -> f64 {
    n as f64
}

/// A number as a double; `None` for what is no number.
pub(super) fn as_double(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(to_double(*n)),
        Value::Uint(n) => Some(unsigned_to_double(*n)),
        Value::Double(x) => Some(*x),
        Value::Null
        | Value::Bool(_)
        | Value::Str(_)
        | Value::Bytes(_)
        | Value::List(_)
        | Value::Dict(_)
        | Value::Instant(_)
        | Value::Span(_)
        | Value::Type(_) => None,
    }
}

/// The order of two numbers: `None` if one is no number, `Some(None)` if one is NaN.
#[allow(clippy::option_option)] // two questions, two answers
pub(super) fn order(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(Some(a.cmp(b))),
        (Value::Uint(a), Value::Uint(b)) => Some(Some(a.cmp(b))),
        (Value::Int(a), Value::Uint(b)) => Some(Some(i128::from(*a).cmp(&i128::from(*b)))),
        (Value::Uint(a), Value::Int(b)) => Some(Some(i128::from(*a).cmp(&i128::from(*b)))),
        _ => Some(as_double(a)?.partial_cmp(&as_double(b)?)),
    }
}

/// `a operator b` for two numbers; `None` if they are none, or of types that do not mix.
pub(super) fn arithmetic(operator: Binary, a: &Value, b: &Value) -> Option<Outcome<Value>> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(integers(operator, *a, *b)),
        (Value::Uint(a), Value::Uint(b)) => Some(unsigned(operator, *a, *b)),
        (Value::Double(_), _) | (_, Value::Double(_)) => doubles(operator, as_double(a)?, as_double(b)?).map(Ok),
        _ => None,
    }
}

fn integers(operator: Binary, a: i64, b: i64) -> Outcome<Value> {
    if b == 0 && matches!(operator, Binary::Divide | Binary::Modulo) {
        return by_zero(operator, &a.to_string());
    }
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Modulo => a.checked_rem(b),
        Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::LessEqual
        | Binary::Greater
        | Binary::GreaterEqual
        | Binary::In => None,
    };
    match result {
        Some(n) => Ok(Value::Int(n)),
        None => fail(format!("int overflow: {a} {} {b}", operator.sign())),
    }
}

fn unsigned(operator: Binary, a: u64, b: u64) -> Outcome<Value> {
    if b == 0 && matches!(operator, Binary::Divide | Binary::Modulo) {
        return by_zero(operator, &format!("{a}u"));
    }
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Modulo => a.checked_rem(b),
        Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::LessEqual
        | Binary::Greater
        | Binary::GreaterEqual
        | Binary::In => None,
    };
    match result {
        Some(n) => Ok(Value::Uint(n)),
        None => fail(format!("uint overflow: {a}u {} {b}u", operator.sign())),
    }
}

fn by_zero(operator: Binary, a: &str) -> Outcome<Value> {
    fail(format!("division by zero: {a} {} 0", operator.sign()))
}

fn doubles(operator: Binary, a: f64, b: f64) -> Option<Value> {
    Some(Value::Double(match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        // CEL has no `%` for doubles.
        Binary::Modulo
        | Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::LessEqual
        | Binary::Greater
        | Binary::GreaterEqual
        | Binary::In => return None,
    }))
}

/// `-value`
pub(super) fn negate(value: &Value) -> Outcome<Value> {
    match value {
        Value::Double(x) => Ok(Value::Double(-x)),
        Value::Int(n) => match n.checked_neg() {
            Some(n) => Ok(Value::Int(n)),
            None => fail(format!("int overflow: -({n})")),
        },
        other => fail(format!("`-` needs a number, not {}", other.kind())),
    }
}
