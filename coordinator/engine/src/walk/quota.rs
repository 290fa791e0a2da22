//! Reads `need`, `tolerate` and `concurrency` at the fork.

use rejoin_shared::definition::model::{Concurrency, Join, OnError};
use rejoin_shared::expr::{Env, Template};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::ErrorValue;

use crate::env::{EXPRESSION, eval_template};
use crate::record::{Quota, Share, Width};

/// What the join asks for.
pub(super) fn quota(join: &Join, env: &Env, limits: &Limits, path: &str) -> Result<Quota, ErrorValue> {
    if let Some(template) = &join.need {
        let value = eval_template(template, env, limits, path)?;
        return need(&value)
            .ok_or_else(|| unfit("need", "`all`, `any`, a number from 1 or a percentage", &value, path));
    }
    if let Some(template) = &join.tolerate {
        let value = eval_template(template, env, limits, path)?;
        return tolerate(&value).ok_or_else(|| unfit("tolerate", "a number or a percentage", &value, path));
    }
    Ok(match join.on_error {
        OnError::FailFast => Quota::All,
        OnError::CompleteAll => Quota::Whatever,
    })
}

/// What `need` asks for, as it was given.
pub(crate) fn need(value: &Json) -> Option<Quota> {
    match value.as_str() {
        Some("all") => Some(Quota::All),
        Some("any") => Some(Quota::Need(Share::Count(1))),
        _ => share(value, 1).map(Quota::Need),
    }
}

/// What `tolerate` asks for, as it was given.
pub(crate) fn tolerate(value: &Json) -> Option<Quota> {
    share(value, 0).map(Quota::Tolerate)
}

fn share(value: &Json, least: u32) -> Option<Share> {
    match value {
        Json::Int(n) => u32::try_from(*n).ok().filter(|n| *n >= least).map(Share::Count),
        Json::Str(text) => {
            let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(Share::Percent(percent))
        }
        Json::Null | Json::Bool(_) | Json::Float(_) | Json::List(_) | Json::Object(_) => None,
    }
}

/// Branches at once; `None` is unbounded.
pub(super) fn concurrency(
    given: Option<&Concurrency>,
    env: &Env,
    limits: &Limits,
    path: &str,
) -> Result<Option<u32>, ErrorValue> {
    let template: &Template = match given {
        None | Some(Concurrency::Unbounded) => return Ok(None),
        Some(Concurrency::At(template)) => template,
    };
    let value = eval_template(template, env, limits, path)?;
    let wanted = || unfit("concurrency", "a number from 1 or `unbounded`", &value, path);
    width(&value).map(Width::most).ok_or_else(wanted)
}

/// What `concurrency` asks for, as it was given.
pub(crate) fn width(value: &Json) -> Option<Width> {
    match (value.as_str(), value.as_int()) {
        (Some("unbounded"), _) => Some(Width::Unbounded),
        (_, Some(n)) if n >= 1 => Some(Width::AtMost(u32::try_from(n).unwrap_or(u32::MAX))),
        _ => None,
    }
}

fn unfit(key: &str, wanted: &str, got: &Json, path: &str) -> ErrorValue {
    ErrorValue::new(EXPRESSION, format!("`{key}` must give {wanted}, but gave {got}"), path)
}
