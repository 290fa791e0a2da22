//! The string functions. Positions count characters (code points), as CEL does.

use super::budget::{Budget, Outcome, fail};
use super::value::{List, Value};

/// What a piece of a split text costs: it takes far more memory than a character.
const PIECE_COST: usize = 4;

/// `text.substring(from)`, `text.substring(from, to)`
pub(super) fn substring(text: &str, from: i64, to: Option<i64>, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len())?;
    let count = text.chars().count();
    let position = |n: i64| usize::try_from(n).ok().filter(|n| *n <= count);
    match (position(from), to.map_or(Some(count), position)) {
        (Some(from), Some(to)) if from <= to => Ok(Value::Str(
            text.chars().skip(from).take(to - from).collect::<String>().into(),
        )),
        _ => fail(format!(
            "`substring` out of range: {from} to {} of {count} characters",
            to.map_or_else(|| "the end".to_owned(), |to| to.to_string())
        )),
    }
}

/// `text.charAt(index)`; behind the last character it is empty.
pub(super) fn char_at(text: &str, index: i64, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len())?;
    let count = text.chars().count();
    match usize::try_from(index) {
        Ok(index) if index <= count => Ok(Value::Str(text.chars().skip(index).take(1).collect::<String>().into())),
        _ => fail(format!("`charAt` out of range: {index} of {count} characters")),
    }
}

/// `text.indexOf(part)`, `text.indexOf(part, from)`; −1 if it is not there.
pub(super) fn index_of(text: &str, part: &str, from: i64, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len() + part.len())?;
    let Some(start) = byte_position(text, from) else {
        return fail(format!("`indexOf` out of range: {from}"));
    };
    let found = text[start..].find(part).map(|at| start + at);
    Ok(Value::Int(char_position(text, found)))
}

/// `text.lastIndexOf(part)`, `text.lastIndexOf(part, from)`: the last one that begins at or before `from`.
pub(super) fn last_index_of(text: &str, part: &str, from: Option<i64>, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len() + part.len())?;
    let end = match from {
        None => text.len(),
        Some(from) => match byte_position(text, from) {
            Some(start) => text.len().min(start + part.len()),
            None => return fail(format!("`lastIndexOf` out of range: {from}")),
        },
    };
    // The cut may fall inside a character; no match ends there.
    let end = (end..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    let limit = from.and_then(|from| byte_position(text, from)).unwrap_or(text.len());
    let found = text[..end]
        .rmatch_indices(part)
        .map(|(at, _)| at)
        .find(|at| *at <= limit);
    Ok(Value::Int(char_position(text, found)))
}

/// The byte at which character `index` begins; the length of the text is possible too.
fn byte_position(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    let starts = text.char_indices().map(|(at, _)| at);
    starts.chain(std::iter::once(text.len())).nth(index)
}

fn char_position(text: &str, byte: Option<usize>) -> i64 {
    let count = byte.map(|at| text[..at].chars().count());
    count.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
}

/// `text.split(separator)`, `text.split(separator, parts)`; an empty separator splits characters.
pub(super) fn split(text: &str, separator: &str, parts_max: i64, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len())?;
    let parts_max = usize::try_from(parts_max).unwrap_or(usize::MAX);
    let pieces: Vec<&str> = match parts_max {
        0 => Vec::new(),
        _ if separator.is_empty() => characters(text, parts_max),
        _ => text.splitn(parts_max, separator).collect(),
    };
    budget.charge(pieces.len().saturating_mul(PIECE_COST))?;
    Ok(Value::list(pieces.into_iter().map(Value::str).collect()))
}

/// The characters of `text`, the last piece holding what is beyond `parts_max`.
fn characters(text: &str, parts_max: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let cut = if out.len() + 1 == parts_max {
            rest.len()
        } else {
            c.len_utf8()
        };
        let (piece, after) = rest.split_at(cut);
        out.push(piece);
        rest = after;
    }
    out
}

/// `list.join()`, `list.join(separator)`
pub(super) fn join(list: &List, separator: &str, budget: &mut Budget) -> Outcome<Value> {
    let mut out = String::new();
    for (i, item) in list.iter().enumerate() {
        let Value::Str(text) = item else {
            return fail(format!("`join` needs a list of strings, not of {}", item.kind()));
        };
        budget.charge_text(text.len() + separator.len())?;
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
    }
    Ok(Value::Str(out.into()))
}

/// `text.replace(old, new)`, `text.replace(old, new, times)`; below zero replaces all.
pub(super) fn replace(text: &str, old: &str, new: &str, times: i64, budget: &mut Budget) -> Outcome<Value> {
    budget.charge_text(text.len())?;
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    let count = text.matches(old).take(times).count();
    budget.charge_text(text.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(Value::Str(text.replacen(old, new, times).into()))
}
