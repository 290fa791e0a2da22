//! Bodies of operations on runs, scopes and single steps.

use std::sync::Arc;

use rejoin_shared::json::Json;

use crate::args::{EditArgs, StepsArg};
use crate::exit::Failure;
use crate::source;

/// Names the steps.
pub fn targets(steps: StepsArg) -> Json {
    match steps.all_with_error {
        Some(kind) => Json::from_entries([("all", Json::Bool(true)), ("error_type", Json::str(&kind))]),
        None => {
            let paths = steps.paths.iter().map(|path| Json::str(path)).collect();
            Json::from_entries([("paths", Json::List(Arc::new(paths)))])
        }
    }
}

/// Names the steps, and the error that they are to fail with.
pub fn failing(steps: StepsArg, kind: Option<String>, message: Option<String>) -> Json {
    let mut error = Json::object();
    for (key, text) in [("type", kind), ("message", message)] {
        if let Some(text) = text {
            error.object_mut().insert(key.into(), Json::str(&text));
        }
    }
    let mut body = targets(steps);
    body.object_mut().insert("error".into(), error);
    body
}

/// From where, and what is to be different.
pub fn fork(at: Option<u64>, input: Option<String>, version: Option<u32>) -> Result<Json, Failure> {
    let mut body = Json::object();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            body.object_mut().insert(key.into(), value);
        }
    };
    put("at", at.map(|at| Json::Int(i64::try_from(at).unwrap_or(i64::MAX))));
    put("input", input.map(|input| source::json(&input)).transpose()?);
    put("version", version.map(|version| Json::Int(i64::from(version))));
    Ok(body)
}

/// The scope, and what is to be different about it.
pub fn edit(args: EditArgs) -> Result<Json, Failure> {
    let mut body = Json::from_entries([("path", Json::str(&args.path))]);
    let given = [
        ("concurrency", args.concurrency),
        ("need", args.need),
        ("tolerate", args.tolerate),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            body.object_mut().insert(key.into(), number_or_text(&value));
        }
    }
    if let Some(retry) = args.retry {
        body.object_mut().insert("retry".into(), source::json(&retry)?);
    }
    Ok(body)
}

fn number_or_text(text: &str) -> Json {
    text.parse::<i64>().map_or_else(|_| Json::str(text), Json::Int)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::RunArg;

    #[test]
    fn an_edit_names_only_what_is_given() {
        let args = EditArgs {
            run: RunArg { id: "x".to_owned() },
            path: "/each".to_owned(),
            concurrency: Some("8".to_owned()),
            need: Some("80%".to_owned()),
            tolerate: None,
            retry: Some(r#"{"max_attempts":3}"#.to_owned()),
        };
        let expected = r#"{"concurrency":8,"need":"80%","path":"/each","retry":{"max_attempts":3}}"#;
        assert_eq!(edit(args).expect("JSON").to_string(), expected);
        let forked = fork(Some(7), None, Some(2)).expect("JSON");
        assert_eq!(forked.to_string(), r#"{"at":7,"version":2}"#);
    }
}
