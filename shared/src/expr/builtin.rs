//! Calls of functions with their arguments evaluated; of a method the value it is called on comes first.

#![allow(clippy::wildcard_enum_match_arm)] // what takes some types refuses all others, new ones too

use std::cmp::Ordering;

use super::budget::{Budget, Fault, Outcome, fail};
use super::function::{FUNCTIONS, Function};
use super::pattern::Pattern;
use super::temporal::DatePart;
use super::value::{Dict, List, Value};
use super::{convert, number, text};

/// Calls `function`.
pub(super) fn call(function: Function, args: &[Value], budget: &mut Budget) -> Outcome<Value> {
    match (function, args) {
        (Function::TypeOf, [value]) => Ok(Value::Type(value.type_name())),
        (Function::Dyn, [value]) => Ok(value.clone()),
        (Function::ToString, [value]) => convert::to_text(value, budget),
        (Function::ToInt, [value]) => convert::to_int(value),
        (Function::ToUint, [value]) => convert::to_uint(value),
        (Function::ToDouble, [value]) => convert::to_double(value),
        (Function::ToBool, [value]) => convert::to_bool(value),
        (Function::ToBytes, [value]) => convert::to_bytes(value, budget),
        (Function::ToInstant, [value]) => convert::to_instant(value),
        (Function::ToSpan, [value]) => convert::to_span(value),
        (Function::Size, [value]) => size(value, budget),
        (Function::Part(part), [value, zone @ ..]) => date_part(part, value, zone),
        (Function::Least, values) => extreme(function, values, Ordering::Less, budget),
        (Function::Greatest, values) => extreme(function, values, Ordering::Greater, budget),
        (Function::Ceil | Function::Floor | Function::Round | Function::Truncate | Function::Absolute, [value]) => {
            rounded(function, value)
        }
        _ => of_text(function, args, budget),
    }
}

fn of_text(function: Function, args: &[Value], budget: &mut Budget) -> Outcome<Value> {
    match (function, args) {
        (Function::Contains, [Value::Str(text), Value::Str(part)]) => {
            budget.charge_text(text.len() + part.len())?;
            Ok(Value::Bool(text.contains(&**part)))
        }
        (Function::StartsWith, [Value::Str(text), Value::Str(part)]) => {
            budget.charge_text(part.len())?;
            Ok(Value::Bool(text.starts_with(&**part)))
        }
        (Function::EndsWith, [Value::Str(text), Value::Str(part)]) => {
            budget.charge_text(part.len())?;
            Ok(Value::Bool(text.ends_with(&**part)))
        }
        (Function::Matches, [Value::Str(text), Value::Str(pattern)]) => {
            let pattern = Pattern::computed(pattern, budget)?;
            pattern.is_match(text, budget).map(Value::Bool)
        }
        (Function::LowerAscii, [Value::Str(text)]) => {
            budget.charge_text(text.len())?;
            Ok(Value::Str(text.to_ascii_lowercase().into()))
        }
        (Function::UpperAscii, [Value::Str(text)]) => {
            budget.charge_text(text.len())?;
            Ok(Value::Str(text.to_ascii_uppercase().into()))
        }
        (Function::Trim, [Value::Str(text)]) => {
            budget.charge_text(text.len())?;
            Ok(Value::str(text.trim()))
        }
        _ => of_positions(function, args, budget),
    }
}

fn of_positions(function: Function, args: &[Value], budget: &mut Budget) -> Outcome<Value> {
    use Value::{Int, List as L, Str};
    match (function, args) {
        (Function::Split, [Str(text), Str(by)]) => text::split(text, by, -1, budget),
        (Function::Split, [Str(text), Str(by), Int(parts)]) => text::split(text, by, *parts, budget),
        (Function::Join, [L(list)]) => text::join(list, "", budget),
        (Function::Join, [L(list), Str(by)]) => text::join(list, by, budget),
        (Function::Replace, [Str(text), Str(old), Str(new)]) => text::replace(text, old, new, -1, budget),
        (Function::Replace, [Str(text), Str(old), Str(new), Int(n)]) => text::replace(text, old, new, *n, budget),
        (Function::Substring, [Str(text), Int(from)]) => text::substring(text, *from, None, budget),
        (Function::Substring, [Str(text), Int(from), Int(to)]) => text::substring(text, *from, Some(*to), budget),
        (Function::IndexOf, [Str(text), Str(part)]) => text::index_of(text, part, 0, budget),
        (Function::IndexOf, [Str(text), Str(part), Int(from)]) => text::index_of(text, part, *from, budget),
        (Function::LastIndexOf, [Str(text), Str(part)]) => text::last_index_of(text, part, None, budget),
        (Function::LastIndexOf, [Str(text), Str(part), Int(from)]) => {
            text::last_index_of(text, part, Some(*from), budget)
        }
        (Function::CharAt, [Str(text), Int(at)]) => text::char_at(text, *at, budget),
        _ => Err(mismatch(function, args)),
    }
}

/// What a function says that cannot take values of these types.
pub(super) fn mismatch(function: Function, args: &[Value]) -> Fault {
    let name = FUNCTIONS.iter().find(|f| f.function == function).map_or("", |f| f.name);
    let kinds: Vec<_> = args.iter().map(Value::kind).collect();
    Fault::Failed(format!("`{name}` does not work on ({})", kinds.join(", ")))
}

fn size(value: &Value, budget: &mut Budget) -> Outcome<Value> {
    let n = match value {
        Value::Str(text) => {
            budget.charge_text(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Dict(map) => map.len(),
        other => return fail(format!("`size` needs a string, a list or a map, not {}", other.kind())),
    };
    Ok(Value::Int(i64::try_from(n).expect("nothing in memory is that long")))
}

fn date_part(part: DatePart, value: &Value, zone: &[Value]) -> Outcome<Value> {
    let n = match (value, zone) {
        (Value::Instant(at), []) => Some(part.of_date(at.in_zone(None)?)),
        (Value::Instant(at), [Value::Str(zone)]) => Some(part.of_date(at.in_zone(Some(zone))?)),
        (Value::Span(span), []) => part.of_span(*span),
        _ => None,
    };
    let args = || -> Vec<Value> { std::iter::once(value).chain(zone).cloned().collect() };
    n.map(Value::Int).ok_or_else(|| mismatch(Function::Part(part), &args()))
}

/// The least or greatest of numbers, given one by one or as one list.
fn extreme(function: Function, args: &[Value], wanted: Ordering, budget: &mut Budget) -> Outcome<Value> {
    if let [Value::List(list)] = args {
        budget.charge(list.len())?;
        let items: Vec<Value> = list.iter().collect();
        return extreme_of(function, &items, wanted);
    }
    extreme_of(function, args, wanted)
}

fn extreme_of(function: Function, values: &[Value], wanted: Ordering) -> Outcome<Value> {
    let mut best: Option<&Value> = None;
    for value in values {
        let order = number::order(value, best.unwrap_or(value));
        match order {
            None => return Err(mismatch(function, std::slice::from_ref(value))),
            Some(order) if best.is_none() || order == Some(wanted) => best = Some(value),
            Some(_) => {}
        }
    }
    match best {
        Some(best) => Ok(best.clone()),
        None => fail("the least or greatest of nothing"),
    }
}

fn rounded(function: Function, value: &Value) -> Outcome<Value> {
    match (function, value) {
        (Function::Absolute, Value::Int(n)) => match n.checked_abs() {
            Some(n) => Ok(Value::Int(n)),
            None => fail(format!("int overflow: math.abs({n})")),
        },
        (_, Value::Int(_) | Value::Uint(_)) => Ok(value.clone()),
        (Function::Absolute, Value::Double(x)) => Ok(Value::Double(x.abs())),
        (Function::Ceil, Value::Double(x)) => Ok(Value::Double(x.ceil())),
        (Function::Floor, Value::Double(x)) => Ok(Value::Double(x.floor())),
        (Function::Round, Value::Double(x)) => Ok(Value::Double(x.round())),
        (Function::Truncate, Value::Double(x)) => Ok(Value::Double(x.trunc())),
        _ => Err(mismatch(function, std::slice::from_ref(value))),
    }
}

/// Elements of a list, or the keys of a map.
pub(super) fn elements(value: &Value, budget: &mut Budget) -> Outcome<List> {
    match value {
        Value::List(list) => Ok(list.clone()),
        Value::Dict(map) => {
            budget.charge(map.len())?;
            Ok(keys(map))
        }
        other => fail(format!("only a list or a map can be iterated, not {}", other.kind())),
    }
}

fn keys(map: &Dict) -> List {
    List::Made(std::sync::Arc::new(map.keys()))
}
