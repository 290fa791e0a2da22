//! The body of a completed step. A fan-out's journal is full of these, so they are short, and written and read without the buffer
//! that serde puts between a tagged enum and its text.
//!
//! ```text
//! {"done":[scope,branch,pos],"t":1764214000123456,"ran":[1250,1100]}
//! ```
//!
//! `ran`: when the attempt began and ended, in microseconds before `t`. Members that are rare follow.

use std::sync::Arc;

use rejoin_shared::ids::StepKey;
use rejoin_shared::json::{Json, Map};
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Choice, StepCompleted};

/// What no other record's body begins with.
const HEAD: &[u8] = b"{\"done\":[";

#[derive(Serialize)]
struct Written<'a> {
    done: (u64, u32, u32),
    t: i64,
    ran: (i64, i64),
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a [(KeyPath, Json)]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unset: Option<&'a [KeyPath]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'a Choice>,
}

#[derive(Deserialize)]
struct Read {
    done: (u64, u32, u32),
    t: i64,
    ran: (i64, i64),
    #[serde(default)]
    set: Vec<(KeyPath, Json)>,
    #[serde(default)]
    unset: Vec<KeyPath>,
    choice: Option<Choice>,
}

fn unless_empty<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

/// Whether this is such a body.
pub(super) fn is_one(body: &[u8]) -> bool {
    body.starts_with(HEAD)
}

/// The body.
pub(super) fn write(completed: &StepCompleted, decided_at: Timestamp) -> Vec<u8> {
    let before = |at: Timestamp| decided_at.0.wrapping_sub(at.0);
    let text = Written {
        done: (completed.step.scope, completed.step.branch, completed.step.pos),
        t: decided_at.0,
        ran: (before(completed.started_at), before(completed.finished_at)),
        set: unless_empty(&completed.set),
        unset: unless_empty(&completed.unset),
        choice: completed.choice.as_ref(),
    };
    let mut body = Vec::with_capacity(96);
    serde_json::to_writer(&mut body, &text).expect("plain data with text keys");
    body
}

/// When it was decided, and what the body says; the rest stands in columns.
pub(super) fn read(body: &[u8]) -> serde_json::Result<(Timestamp, StepCompleted)> {
    let text: Read = rejoin_shared::json::read_own(body)?;
    let at = |before: i64| Timestamp(text.t.wrapping_sub(before));
    let (scope, branch, pos) = text.done;
    let completed = StepCompleted {
        step: StepKey { scope, branch, pos },
        attempt: 0,
        path: String::new(),
        output: Json::Null,
        started_at: at(text.ran.0),
        finished_at: at(text.ran.1),
        set: text.set,
        unset: text.unset,
        choice: text.choice,
        worker: None,
        logs: Vec::new(),
        snapshot: None,
    };
    Ok((Timestamp(text.t), completed))
}

/// The members of a record's body as the API shows them: each by its name, times as times.
#[must_use]
pub fn spelled_out(mut body: Map) -> Map {
    body.remove("k");
    let t = body.remove("t");
    let (Some(done), Some(Json::Int(t)), Some(ran)) = (body.remove("done"), t, body.remove("ran")) else {
        return body;
    };
    if let Some([scope, branch, pos]) = done.as_list() {
        let step = [("scope", scope), ("branch", branch), ("pos", pos)];
        let step = Json::from_entries(step.map(|(name, number)| (name, number.clone())));
        body.insert(Arc::from("step"), step);
    }
    if let Some([Json::Int(began), Json::Int(ended)]) = ran.as_list() {
        for (name, before) in [("started_at", began), ("finished_at", ended)] {
            let at = Timestamp(t.wrapping_sub(*before));
            body.insert(Arc::from(name), Json::str(&at.to_string()));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed() -> StepCompleted {
        StepCompleted {
            step: StepKey {
                scope: 2,
                branch: 104_123,
                pos: 0,
            },
            attempt: 0,
            path: String::new(),
            output: Json::Null,
            set: Vec::new(),
            unset: Vec::new(),
            choice: None,
            started_at: Timestamp(1_764_214_000_122_206),
            finished_at: Timestamp(1_764_214_000_122_356),
            worker: None,
            logs: Vec::new(),
            snapshot: None,
        }
    }

    const DECIDED_AT: Timestamp = Timestamp(1_764_214_000_123_456);

    #[test]
    fn a_step_that_changed_nothing_has_a_short_body_and_is_read_back() {
        let body = write(&completed(), DECIDED_AT);
        let text = r#"{"done":[2,104123,0],"t":1764214000123456,"ran":[1250,1100]}"#;
        assert_eq!(String::from_utf8_lossy(&body), text);
        assert!(is_one(&body));
        assert_eq!(read(&body).expect("own text"), (DECIDED_AT, completed()));
    }

    #[test]
    fn what_it_wrote_removed_and_chose_is_read_back() {
        let path = |text| KeyPath::parse(text).expect("a key path");
        let all = StepCompleted {
            set: vec![(path("a.b"), Json::Int(1))],
            unset: vec![path("c")],
            choice: Some(Choice::Goto("there".to_owned())),
            started_at: Timestamp(i64::MIN),
            finished_at: Timestamp(i64::MAX),
            ..completed()
        };
        let body = write(&all, DECIDED_AT);
        assert_eq!(read(&body).expect("own text"), (DECIDED_AT, all));
    }

    #[test]
    fn the_api_shows_every_member_by_its_name() {
        let body = Json::parse_own(&write(&completed(), DECIDED_AT)).expect("JSON");
        let shown = Json::Object(Arc::new(spelled_out(body.as_object().expect("an object").clone())));
        let text = r#"{"finished_at":"2025-11-27T03:26:40.122356Z","started_at":"2025-11-27T03:26:40.122206Z","step":{"branch":104123,"pos":0,"scope":2}}"#;
        assert_eq!(shown, Json::parse_own(text.as_bytes()).expect("JSON"));
    }
}
