//! Parameters of queries and headers.

use rejoin_shared::run::RunStatus;
use serde_json::{Value, json};

use crate::api::describe::Parameter;
use crate::api::extract::{PAGE_DEFAULT, PAGE_MAX};
use crate::read::steps::StepState;

/// How durations are written.
pub const DURATION: &str = "^(([0-9]+(\\.[0-9]+)?(ms|us|w|d|h|m|s))+|P[0-9T].*)$";
/// How names are written (SPEC 2).
pub const NAME: &str = "^[a-zA-Z][a-zA-Z0-9_-]{0,63}$";

fn one(name: &'static str, about: &'static str, schema: Value) -> Parameter {
    Parameter {
        name,
        about,
        schema,
        is_list: false,
    }
}

/// The same parameter, which may be repeated or hold several values with commas.
pub fn list(parameter: Parameter) -> Parameter {
    Parameter {
        is_list: true,
        ..parameter
    }
}

pub fn text(name: &'static str, about: &'static str) -> Parameter {
    one(name, about, json!({"type": "string"}))
}

pub fn number(name: &'static str, from: u64, about: &'static str) -> Parameter {
    one(
        name,
        about,
        json!({"type": "integer", "minimum": from, "maximum": u32::MAX}),
    )
}

pub fn sequence(name: &'static str, about: &'static str) -> Parameter {
    one(
        name,
        about,
        json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
    )
}

pub fn flag(name: &'static str, about: &'static str) -> Parameter {
    one(
        name,
        about,
        json!({"enum": ["true", "false", "1", "0", ""], "default": "false"}),
    )
}

pub fn time(name: &'static str, about: &'static str) -> Parameter {
    one(name, about, json!({"type": "string", "format": "date-time"}))
}

pub fn duration(name: &'static str, about: &'static str) -> Parameter {
    let example = "30s";
    one(
        name,
        about,
        json!({"type": "string", "pattern": DURATION, "examples": [example]}),
    )
}

pub fn words(name: &'static str, words: &[&str], about: &'static str) -> Parameter {
    one(name, about, json!({"enum": words}))
}

/// `after` and `limit`, which every list takes.
pub fn page() -> [Parameter; 2] {
    [text("after", "The `next` of the page before."), limit()]
}

pub fn limit() -> Parameter {
    let schema = json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT});
    one("limit", "Items of a page, at most 1,000.", schema)
}

pub fn run_states() -> Parameter {
    let names = RunStatus::ALL.map(RunStatus::as_str);
    list(words("state", &names, "Only runs in one of these states."))
}

pub fn step_states() -> Parameter {
    let names = StepState::ALL.map(StepState::as_str);
    list(words("state", &names, "Only steps in one of these states."))
}

/// `key:value`
pub fn tags() -> Parameter {
    let schema = json!({"type": "string", "pattern": r"^([^:,\\]|\\.)+:([^,\\]|\\.)*$", "examples": ["team:payments"]});
    list(one(
        "tag",
        r"Only runs that have all of these tags. `\,` is a comma inside one, `\:` a colon inside its key.",
        schema,
    ))
}
