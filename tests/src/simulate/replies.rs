//! What handlers answer, as completions and for people; and values that hold ids of runs.

use std::collections::BTreeMap;

use rejoin_engine::event::{Completed, End, Failure};
use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, Outcome};
use rejoin_shared::time::Timestamp;

use crate::reference::Reply;

/// A value with labels in place of the ids of runs.
pub(super) fn labelled(value: &Json, labels: &BTreeMap<RunId, String>) -> Json {
    match value {
        Json::Str(text) => match text.parse::<RunId>().ok().and_then(|id| labels.get(&id)) {
            Some(label) if !label.is_empty() => Json::str(label),
            _ => value.clone(),
        },
        Json::List(items) => Json::list(items.iter().map(|item| labelled(item, labels)).collect()),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, inner)| (key.clone(), labelled(inner, labels)));
            Json::Object(std::sync::Arc::new(entries.collect()))
        }
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => value.clone(),
    }
}

/// The completion that a worker sends for a reply.
#[must_use]
pub fn completion(step: StepKey, attempt: u32, reply: Reply, at: Timestamp, random: u64) -> Completed {
    let end = match reply {
        Reply::Ok { output, set, unset } => End::Ok { output, set, unset },
        Reply::Err { kind, retryable } => End::Error(Failure {
            error: ErrorValue {
                kind,
                message: "as told".to_owned(),
                ..ErrorValue::default()
            },
            outcome: Outcome::Error,
            retryable,
            retry_after: None,
            checkpoint: None,
        }),
    };
    Completed {
        step,
        attempt,
        end,
        worker: Some("w1".into()),
        started_at: at,
        finished_at: at,
        logs: Vec::new(),
        random,
    }
}

/// A reply, for people.
pub(super) fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Err { kind, retryable } => format!("error {kind} (retryable: {retryable})"),
        Reply::Ok { output, set, unset } => {
            let set: Vec<String> = set.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let unset: Vec<String> = unset.iter().map(ToString::to_string).collect();
            format!("output {output}, set {set:?}, unset {unset:?}")
        }
    }
}
