//! `reduce` (SPEC 4.2): keys that branches accumulate.

use std::cmp::Ordering;
use std::collections::HashSet;

use rejoin_shared::definition::model::Reduce;
use rejoin_shared::json::Json;

/// What one branch made of a key: its index, the value it started with, the value it ended with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub branch: u32,
    pub start: Option<&'a Json>,
    pub end: &'a Json,
}

/// Why values could not be accumulated, and whose; `None`: the base's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub branch: Option<u32>,
    pub reason: String,
}

/// Accumulates the branches' values over the base's, in the order given. `None`: nobody took part, nothing changes.
pub(crate) fn reduce(how: Reduce, base: Option<&Json>, parts: &[Part<'_>]) -> Result<Option<Json>, Unfit> {
    if parts.is_empty() {
        return Ok(None);
    }
    let value = match how {
        Reduce::Sum => sum(base, parts)?,
        Reduce::Count => count(base, parts.len())?,
        Reduce::Min => extreme(base, parts, Ordering::Less)?,
        Reduce::Max => extreme(base, parts, Ordering::Greater)?,
        Reduce::Append => append(base, parts)?,
        Reduce::Concat => concat(base, parts)?,
        Reduce::Union => union(base, parts)?,
    };
    Ok(Some(value))
}

fn unfit(branch: Option<u32>, reason: impl Into<String>) -> Unfit {
    Unfit {
        branch,
        reason: reason.into(),
    }
}

#[derive(Clone, Copy)]
enum Sum {
    Whole(i128),
    Double(f64),
}

impl Sum {
    /// An absent value is 0.
    fn of(value: Option<&Json>) -> Option<Sum> {
        match value {
            None => Some(Sum::Whole(0)),
            Some(Json::Int(n)) => Some(Sum::Whole(i128::from(*n))),
            Some(Json::Float(x)) => Some(Sum::Double(*x)),
            Some(_) => None,
        }
    }

    #[allow(clippy::cast_precision_loss)] // SPEC 2: integers convert to double
    fn as_double(self) -> f64 {
        match self {
            Sum::Whole(n) => n as f64,
            Sum::Double(x) => x,
        }
    }

    fn plus(self, other: Sum) -> Sum {
        match (self, other) {
            (Sum::Whole(a), Sum::Whole(b)) => Sum::Whole(a + b),
            (a, b) => Sum::Double(a.as_double() + b.as_double()),
        }
    }

    fn minus(self, other: Sum) -> Sum {
        match (self, other) {
            (Sum::Whole(a), Sum::Whole(b)) => Sum::Whole(a - b),
            (a, b) => Sum::Double(a.as_double() - b.as_double()),
        }
    }

    fn into_json(self) -> Option<Json> {
        match self {
            Sum::Whole(n) => i64::try_from(n).ok().map(Json::Int),
            Sum::Double(x) => x.is_finite().then_some(Json::Float(x)),
        }
    }
}

fn sum(base: Option<&Json>, parts: &[Part<'_>]) -> Result<Json, Unfit> {
    let mut total = Sum::of(base).ok_or_else(|| unfit(None, "sum needs numbers"))?;
    for part in parts {
        let (Some(start), Some(end)) = (Sum::of(part.start), Sum::of(Some(part.end))) else {
            return Err(unfit(
                Some(part.branch),
                format!("sum needs numbers, not a {}", part.end.kind()),
            ));
        };
        total = total.plus(end.minus(start));
    }
    total
        .into_json()
        .ok_or_else(|| unfit(parts.last().map(|p| p.branch), "the sum is out of range"))
}

fn count(base: Option<&Json>, n: usize) -> Result<Json, Unfit> {
    let start = match base {
        None => 0,
        Some(Json::Int(n)) => *n,
        Some(_) => return Err(unfit(None, "count needs an integer to begin with")),
    };
    let n = i64::try_from(n).map_err(|_| unfit(None, "too many branches"))?;
    start
        .checked_add(n)
        .map(Json::Int)
        .ok_or_else(|| unfit(None, "the count is out of range"))
}

#[allow(clippy::cast_precision_loss)] // SPEC 2: integers convert to double
fn compare(a: &Json, b: &Json) -> Option<Ordering> {
    match (a, b) {
        (Json::Int(a), Json::Int(b)) => Some(a.cmp(b)),
        (Json::Float(a), Json::Float(b)) => a.partial_cmp(b),
        (Json::Int(a), Json::Float(b)) => (*a as f64).partial_cmp(b),
        (Json::Float(a), Json::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Json::Str(a), Json::Str(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn extreme(base: Option<&Json>, parts: &[Part<'_>], better: Ordering) -> Result<Json, Unfit> {
    let values = parts.iter().map(|part| (Some(part.branch), part.end));
    let mut best: Option<&Json> = None;
    for (branch, value) in base.map(|value| (None, value)).into_iter().chain(values) {
        let than = best.unwrap_or(value);
        match compare(value, than) {
            Some(order) => best = Some(if order == better { value } else { than }),
            None => {
                return Err(unfit(
                    branch,
                    format!("a {} cannot be compared with a {}", value.kind(), than.kind()),
                ));
            }
        }
    }
    Ok(best.cloned().unwrap_or_default())
}

fn base_list(base: Option<&Json>, how: &str) -> Result<Vec<Json>, Unfit> {
    match base {
        None => Ok(Vec::new()),
        Some(Json::List(items)) => Ok(items.to_vec()),
        Some(other) => Err(unfit(
            None,
            format!("{how} needs a list to begin with, not a {}", other.kind()),
        )),
    }
}

/// What a branch's list has beyond the elements it started with.
fn beyond<'a>(part: &Part<'a>, list: &'a [Json]) -> Result<&'a [Json], Unfit> {
    let start = part.start.and_then(Json::as_list).unwrap_or_default();
    match list.starts_with(start) {
        true => Ok(&list[start.len()..]),
        false => Err(unfit(
            Some(part.branch),
            "the list does not begin with the elements it started with",
        )),
    }
}

fn append(base: Option<&Json>, parts: &[Part<'_>]) -> Result<Json, Unfit> {
    let mut out = base_list(base, "append")?;
    for part in parts {
        match part.end.as_list() {
            Some(items) => out.extend_from_slice(beyond(part, items)?),
            None => out.push(part.end.clone()),
        }
    }
    Ok(Json::list(out))
}

fn concat(base: Option<&Json>, parts: &[Part<'_>]) -> Result<Json, Unfit> {
    let is_text = matches!(base.unwrap_or(parts[0].end), Json::Str(_));
    if !is_text {
        let mut out = base_list(base, "concat")?;
        for part in parts {
            let items = part
                .end
                .as_list()
                .ok_or_else(|| unfit(Some(part.branch), "concat needs lists or strings, not both"))?;
            out.extend_from_slice(beyond(part, items)?);
        }
        return Ok(Json::list(out));
    }
    let mut out = base.and_then(Json::as_str).unwrap_or_default().to_owned();
    for part in parts {
        let text = part
            .end
            .as_str()
            .ok_or_else(|| unfit(Some(part.branch), "concat needs strings or lists, not both"))?;
        let start = part.start.and_then(Json::as_str).unwrap_or_default();
        let more = text
            .strip_prefix(start)
            .ok_or_else(|| unfit(Some(part.branch), "the string does not begin with what it started with"))?;
        out.push_str(more);
    }
    Ok(Json::str(&out))
}

fn union(base: Option<&Json>, parts: &[Part<'_>]) -> Result<Json, Unfit> {
    let mut out = base_list(base, "union")?;
    let mut seen: HashSet<Vec<u8>> = out.iter().map(Json::to_bytes).collect();
    for part in parts {
        let items = part.end.as_list().ok_or_else(|| {
            unfit(
                Some(part.branch),
                format!("union needs lists, not a {}", part.end.kind()),
            )
        })?;
        out.extend(items.iter().filter(|item| seen.insert(item.to_bytes())).cloned());
    }
    Ok(Json::list(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).expect("test JSON")
    }

    fn run(how: Reduce, base: Option<&str>, parts: &[(Option<&str>, &str)]) -> Result<String, Option<u32>> {
        let base = base.map(json);
        let parts: Vec<_> = parts.iter().map(|(start, end)| (start.map(json), json(end))).collect();
        let parts: Vec<_> = (0..)
            .zip(&parts)
            .map(|(branch, (start, end))| Part {
                branch,
                start: start.as_ref(),
                end,
            })
            .collect();
        reduce(how, base.as_ref(), &parts)
            .map(|value| value.expect("somebody took part").to_string())
            .map_err(|unfit| unfit.branch)
    }

    #[test]
    fn each_way_accumulates_as_the_specification_says() {
        use Reduce::{Append, Concat, Count, Max, Min, Sum, Union};
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(run(Sum, Some("10"), &[(Some("10"), "11"), (Some("10"), "8")]), ok("9"));
        assert_eq!(run(Sum, None, &[(None, "1"), (None, "2.5")]), ok("3.5"));
        assert_eq!(run(Sum, None, &[(None, "1.0"), (None, "1.0")]), ok("2.0"));
        assert_eq!(
            run(Sum, Some("9223372036854775807"), &[(Some("0"), "1"), (Some("1"), "0")]),
            ok("9223372036854775807")
        );
        assert_eq!(run(Sum, Some("9223372036854775807"), &[(Some("0"), "1")]), Err(Some(0)));
        assert_eq!(run(Sum, None, &[(None, "1"), (None, "\"x\"")]), Err(Some(1)));
        assert_eq!(run(Count, Some("2"), &[(Some("2"), "9"), (Some("2"), "null")]), ok("4"));
        assert_eq!(run(Min, Some("5"), &[(Some("5"), "7"), (Some("5"), "3.5")]), ok("3.5"));
        assert_eq!(run(Max, None, &[(None, "\"a\""), (None, "\"b\"")]), ok("\"b\""));
        assert_eq!(run(Max, Some("1"), &[(Some("1"), "true")]), Err(Some(0)));
        assert_eq!(
            run(Append, Some("[1]"), &[(Some("[1]"), "[1,2]"), (Some("[1]"), "7")]),
            ok("[1,2,7]")
        );
        assert_eq!(run(Append, Some("[1]"), &[(Some("[1]"), "[2]")]), Err(Some(0)));
        assert_eq!(
            run(
                Concat,
                Some("\"a\""),
                &[(Some("\"a\""), "\"ab\""), (Some("\"a\""), "\"ac\"")]
            ),
            ok("\"abc\"")
        );
        assert_eq!(run(Concat, None, &[(None, "[1]"), (None, "[2]")]), ok("[1,2]"));
        assert_eq!(
            run(
                Union,
                Some("[1]"),
                &[(Some("[1]"), "[1,2,1.0]"), (Some("[1]"), "[2,3]")]
            ),
            ok("[1,2,1.0,3]")
        );
    }
}
