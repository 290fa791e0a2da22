//! Bodies of requests, as JSON Schema. They are read member by member, and a test holds the members against these.

use serde_json::{Value, json};

use super::parameters::{DURATION, NAME};
use crate::api::batch::RUNS_MAX;

/// An object of these members and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The same member, or null, which is as good as its absence.
fn optional(schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some(kind) => {
            let mut out = schema.clone();
            out["type"] = json!([kind, "null"]);
            if let Some(words) = out.get_mut("enum").and_then(Value::as_array_mut) {
                words.push(Value::Null);
            }
            out
        }
        None => schema,
    }
}

fn text(about: &str) -> Value {
    optional(json!({"type": "string", "description": about}))
}

fn truth(about: &str) -> Value {
    optional(json!({"type": "boolean", "description": about}))
}

fn any(about: &str) -> Value {
    json!({"description": about})
}

fn tags() -> Value {
    let value = json!({"type": "string", "maxLength": 256});
    optional(json!({
        "type": "object", "maxProperties": 64, "additionalProperties": value,
        "propertyNames": {"minLength": 1, "maxLength": 64}, "description": "Texts by which runs are found."
    }))
}

fn version() -> Value {
    let about = "A version; without it the newest.";
    optional(json!({"type": "integer", "minimum": 1, "maximum": u32::MAX, "description": about}))
}

fn start_members() -> Value {
    let key = json!({
        "type": "string", "minLength": 1, "maxLength": 256,
        "description": "The same key starts one run; it may stand in the header Idempotency-Key instead."
    });
    json!({
        "input": any("What the run works on; it fits the workflow's `input` schema."),
        "version": version(),
        "idempotency_key": optional(key),
        "tags": tags(),
        "at": optional(json!({"type": "string", "format": "date-time", "description": "It begins no earlier."})),
        "priority": optional(json!({"type": "string", "enum": ["high", "normal", "low"]})),
    })
}

pub fn start() -> Value {
    object(start_members(), &[])
}

pub fn batch() -> Value {
    let mut members = start_members();
    members["workflow"] = json!({"type": "string", "description": "Name of the workflow."});
    let run = object(members, &["workflow"]);
    let runs = json!({"type": "array", "minItems": 1, "maxItems": RUNS_MAX, "items": run});
    object(json!({"runs": runs}), &["runs"])
}

pub fn nothing() -> Value {
    object(json!({}), &[])
}

pub fn cancel() -> Value {
    let compensate = truth("Undo what it did first, where the workflow says how.");
    object(json!({"reason": text("For people."), "compensate": compensate}), &[])
}

fn steps(properties: Value) -> Value {
    let mut properties = properties;
    let paths = json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": {"type": "string"}});
    properties["path"] = text("Path of the step.");
    properties["paths"] = optional(paths);
    properties["all"] = truth("All of them whose last error has the type `error_type`.");
    properties["error_type"] = text("With `all`.");
    let mut out = object(properties, &[]);
    out["description"] = json!("The steps are named by one of `path`, `paths`, or `all` with `error_type`.");
    out
}

pub fn retry() -> Value {
    steps(json!({"input": any("What they get in place of their `with`.")}))
}

pub fn skip() -> Value {
    steps(json!({"value": any("What they are taken to have returned.")}))
}

pub fn fail() -> Value {
    let members = json!({
        "type": text("Its type."), "message": text("For people."),
        "details": optional(json!({"type": "object"})),
    });
    steps(json!({"error": optional(object(members, &[]))}))
}

fn fork_members() -> Value {
    let at = json!({"type": "integer", "minimum": 0, "description": "The last record in common; without it the end."});
    let mut version = version();
    version["description"] = json!("Another version, which takes what is recorded.");
    json!({"at": optional(at), "input": any("Another input from there on."), "version": version})
}

pub fn fork() -> Value {
    object(fork_members(), &[])
}

pub fn edit() -> Value {
    let members = json!({
        "path": {"type": "string", "description": "Path of the scope."},
        "concurrency": any("Branches at once: a number from 1, or `unbounded`."),
        "need": any("How many must succeed: `all`, `any`, a number from 1, or a percentage."),
        "tolerate": any("How many may fail: a number, or a percentage. Not together with `need`."),
        "retry": any("Retries of the whole scope, as in a definition."),
    });
    object(members, &["path"])
}

pub fn event() -> Value {
    let name = json!({"type": "string", "minLength": 1, "maxLength": 256, "description": "Its name."});
    let id = json!({"type": "string", "maxLength": 256, "description": "The same id counts once in a run."});
    let members = json!({"event": name, "payload": any("What it carries."), "id": optional(id)});
    object(members, &["event"])
}

pub fn answer() -> Value {
    let path = text("Path of the wait, where its name waits several times.");
    object(json!({"value": any("The answer."), "path": path}), &["value"])
}

pub fn bulk() -> Value {
    let texts = json!({"anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
    ]});
    let one = json!({"type": "string", "minLength": 1});
    let filter = object(
        json!({
            "workflow": texts, "state": texts, "tag": texts, "since": one, "until": one, "parent": one,
            "waiting": one, "q": one,
        }),
        &[],
    );
    let mut filter = optional(filter);
    filter["description"] = json!("What the parameters of the list of runs mean.");
    object(
        json!({
            "filter": filter,
            "operation": {"type": "string", "enum": ["cancel", "pause", "resume", "retry", "fork", "delete"]},
            "reason": text("With cancel: for people."),
            "compensate": truth("With cancel: undo what they did, where their workflows say how."),
            "error_type": text("With retry: the type of the steps' last error."),
            "input": any("With retry: what the steps get. With fork: another input."),
            "at": optional(json!({"type": "integer", "minimum": 0, "description": "With fork: the last record in common."})),
            "version": version(),
            "dry_run": truth("Only tell how many runs the filter finds."),
            "all": truth("Every run of the namespace, where the filter is empty."),
        }),
        &["operation"],
    )
}

fn schedule_members() -> Value {
    let length = json!({"type": "string", "pattern": DURATION});
    json!({
        "name": optional(json!({"type": "string", "pattern": NAME})),
        "workflow": {"type": "string", "description": "What it starts."},
        "version": version(),
        "input": any("Of its runs."),
        "cron": text("Minute, hour, day of month, month, day of week."),
        "every": optional(length.clone()),
        "timezone": text("Of `cron`: a name of the IANA database, UTC by default."),
        "overlap": optional(json!({"type": "string", "enum": ["skip", "queue", "allow", "cancel_previous"]})),
        "catch_up": optional(length),
        "tags": tags(),
    })
}

/// Its name stands in the address.
pub fn schedule() -> Value {
    one_of_cron_and_every(object(schedule_members(), &["workflow"]))
}

pub fn new_schedule() -> Value {
    let mut members = schedule_members();
    members["name"] = json!({"type": "string", "pattern": NAME});
    one_of_cron_and_every(object(members, &["name", "workflow"]))
}

fn one_of_cron_and_every(mut schedule: Value) -> Value {
    schedule["description"] = json!("One of `cron` and `every` says when.");
    schedule
}

pub fn trigger() -> Value {
    object(json!({"input": any("Another input than the schedule's.")}), &[])
}
