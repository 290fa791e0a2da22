//! What a run looks like, as plain data that no change of the state's inner shape touches.

use rejoin_engine::state::RunState;
use rejoin_engine::state::view::OpenStatus;
use serde_json::{Map, Value, json};

/// Everything that is asked of a state: what there is not is left out.
pub fn seen(state: &RunState) -> Value {
    let (output, error) = state.result();
    let steps = state.open_steps().map(|step| {
        let names = [&*step.path, &*step.handler, &*step.queue];
        json!([
            names,
            step.attempt,
            standing(step.status),
            step.last_error,
            step.claim.is_some()
        ])
    });
    let scopes = state.open_scopes().map(|scope| {
        let counts = [
            scope.total,
            scope.activated,
            scope.ok,
            scope.failed,
            scope.cancelled,
            scope.running,
        ];
        json!([scope.path, scope.id, counts, scope.missing, scope.is_live])
    });
    let waits = state.open_waits().map(|wait| {
        json!([
            wait.path,
            wait.seq,
            wait.awaited,
            wait.received,
            wait.until.map(|at| at.0)
        ])
    });
    let calls = state
        .open_calls()
        .map(|(path, child, until)| json!([path, child, until.map(|at| at.0)]));
    let sleeps = state.open_sleeps().map(|(path, until)| json!([path, until.0]));
    let backoffs = state
        .open_backoffs()
        .map(|(path, until, error)| json!([path, until.0, error]));
    let lists: [(&str, Vec<Value>); 6] = [
        ("steps", steps.collect()),
        ("scopes", scopes.collect()),
        ("waits", waits.collect()),
        ("calls", calls.collect()),
        ("sleeps", sleeps.collect()),
        ("backoffs", backoffs.collect()),
    ];
    let mut all = Map::new();
    for (name, list) in lists {
        if !list.is_empty() {
            all.insert(name.to_owned(), list.into());
        }
    }
    let mut put = |name: &str, value: Value| {
        if value != Value::Null && value != Value::Bool(false) {
            all.insert(name.to_owned(), value);
        }
    };
    let progress = state.progress();
    let progress = [
        progress.total,
        progress.done,
        progress.failed,
        progress.running,
        progress.waiting,
    ];
    put("status", json!(state.status()));
    put("context", json!(state.context()));
    put("output", json!(output));
    put("error", json!(error));
    put("progress", json!(progress));
    put("due", json!(state.next_due().map(|at| at.0)));
    put("begins_at", json!(state.begins_at().map(|at| at.0)));
    put("compensated", json!(state.is_compensated()));
    Value::Object(all)
}

fn standing(status: OpenStatus) -> Value {
    match status {
        OpenStatus::Outstanding => json!("outstanding"),
        OpenStatus::Retrying(at) => json!({ "retrying": at.0 }),
        OpenStatus::Parked => json!("parked"),
        OpenStatus::Failed => json!("failed"),
        OpenStatus::Cancelled => json!("cancelled"),
    }
}
