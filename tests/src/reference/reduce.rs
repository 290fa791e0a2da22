//! Keys that branches accumulate (SPEC 4.2).

use std::cmp::Ordering;

use rejoin_shared::definition::model::Reduce;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::merge::Contribution;

const FAILED: &str = "rejoin.reduce_failed";

/// Puts the reduced keys into `context`.
pub(super) fn reduce(
    keys: &[(KeyPath, Reduce)],
    base: &Json,
    done: &[&Contribution],
    context: &mut Json,
) -> Result<(), &'static str> {
    for (key, how) in keys {
        let taking_part: Vec<(Option<&Json>, &Json)> = done
            .iter()
            .filter_map(|branch| Some((key.read(&branch.start), key.read(&branch.end)?)))
            .filter(|(start, end)| *start != Some(*end))
            .collect();
        if !taking_part.is_empty() {
            let value = reduced(*how, key.read(base), &taking_part).ok_or(FAILED)?;
            key.write(context, value);
        }
    }
    Ok(())
}

/// `None` if a value does not fit.
fn reduced(how: Reduce, base: Option<&Json>, parts: &[(Option<&Json>, &Json)]) -> Option<Json> {
    match how {
        Reduce::Sum => sum(base, parts),
        Reduce::Min => extreme(base, parts, Ordering::Less),
        Reduce::Max => extreme(base, parts, Ordering::Greater),
        Reduce::Count => {
            let from = base.map_or(Some(0), Json::as_int)?;
            from.checked_add(i64::try_from(parts.len()).ok()?).map(Json::Int)
        }
        Reduce::Append => append(base, parts),
        Reduce::Concat => concat(base, parts),
        Reduce::Union => union(base, parts),
    }
}

fn sum(base: Option<&Json>, parts: &[(Option<&Json>, &Json)]) -> Option<Json> {
    let zero = Json::Int(0);
    let mut exact: Option<i128> = Some(0);
    let mut double = number(base.unwrap_or(&zero))?;
    exact = exact.zip(base.unwrap_or(&zero).as_int()).map(|(_, n)| i128::from(n));
    for (start, end) in parts {
        let start = start.unwrap_or(&zero);
        double += number(end)? - number(start)?;
        exact = match (exact, start.as_int(), end.as_int()) {
            (Some(sum), Some(from), Some(to)) => Some(sum + i128::from(to) - i128::from(from)),
            _ => None,
        };
    }
    match exact {
        Some(sum) => i64::try_from(sum).ok().map(Json::Int),
        None => double.is_finite().then_some(Json::Float(double)),
    }
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Int(n) => n.to_string().parse().ok(),
        Json::Float(x) => Some(*x),
        Json::Null | Json::Bool(_) | Json::Str(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn extreme(base: Option<&Json>, parts: &[(Option<&Json>, &Json)], wanted: Ordering) -> Option<Json> {
    let mut values = base.into_iter().chain(parts.iter().map(|(_, end)| *end));
    let mut best = values.next()?;
    number(best)?;
    for value in values {
        if compare(value, best)? == wanted {
            best = value;
        }
    }
    Some(best.clone())
}

fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (a, b) {
        (Json::Int(a), Json::Int(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn append(base: Option<&Json>, parts: &[(Option<&Json>, &Json)]) -> Option<Json> {
    let mut out = match base {
        None => Vec::new(),
        Some(value) => value.as_list()?.to_vec(),
    };
    for (start, end) in parts {
        match end.as_list() {
            None => out.push((*end).clone()),
            Some(list) => {
                let start = start.and_then(Json::as_list).unwrap_or_default();
                out.extend_from_slice(list.strip_prefix(start)?);
            }
        }
    }
    Some(Json::list(out))
}

fn concat(base: Option<&Json>, parts: &[(Option<&Json>, &Json)]) -> Option<Json> {
    let is_text = base.unwrap_or(parts[0].1).as_str().is_some();
    if !is_text {
        let lists_only = parts.iter().all(|(_, end)| end.as_list().is_some());
        return if lists_only { append(base, parts) } else { None };
    }
    let mut out = base.map_or(Some(""), Json::as_str)?.to_owned();
    for (start, end) in parts {
        let start = start.map_or(Some(""), Json::as_str)?;
        out.push_str(end.as_str()?.strip_prefix(start)?);
    }
    Some(Json::str(&out))
}

fn union(base: Option<&Json>, parts: &[(Option<&Json>, &Json)]) -> Option<Json> {
    let mut out = match base {
        None => Vec::new(),
        Some(value) => value.as_list()?.to_vec(),
    };
    for (_, end) in parts {
        for element in end.as_list()? {
            if !out.contains(element) {
                out.push(element.clone());
            }
        }
    }
    Some(Json::list(out))
}
