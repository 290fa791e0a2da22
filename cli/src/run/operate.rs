//! Bodies of operations on single steps.

use std::sync::Arc;

use rejoin_shared::json::Json;

use crate::args::StepsArg;

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
