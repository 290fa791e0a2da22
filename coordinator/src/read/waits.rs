//! What a run waits for beside its steps: time, events, answers.

use rejoin_engine::record::Awaited;
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::OpenWait;
use rejoin_shared::definition::model::{Definition, NodeKind, WaitFor};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::locate;

/// Waits shown at most.
pub const WAITS_SHOWN_MAX: usize = 1000;

/// A sleep, or a wait for an event or an answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct WaitView {
    #[serde(rename = "type")]
    pub kind: WaitKind,
    pub path: String,
    /// When it ends, or times out.
    pub until: Option<Timestamp>,
    /// The events it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Those of them that came already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub received: Vec<String>,
    /// What an input asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The run whose end a call waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// What kind of wait it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// For a time.
    Timer,
    /// For one or several events.
    Event,
    /// For a human answer.
    Input,
    /// For the end of a run that was called.
    Child,
}

impl WaitView {
    /// What a run waits for: first what ends by itself, soonest first.
    #[must_use]
    pub fn of(state: &RunState) -> Vec<WaitView> {
        let beginning = state.begins_at().map(|at| ("/", at));
        let timers = beginning.into_iter().chain(state.open_sleeps());
        let timers = timers.map(|(path, until)| WaitView {
            kind: WaitKind::Timer,
            path: path.to_owned(),
            until: Some(until),
            events: Vec::new(),
            received: Vec::new(),
            prompt: None,
            run: None,
        });
        let calls = state.open_calls().map(|(path, run, until)| WaitView {
            kind: WaitKind::Child,
            path: path.to_owned(),
            until,
            events: Vec::new(),
            received: Vec::new(),
            prompt: None,
            run: Some(run),
        });
        timers
            .chain(state.open_waits().map(shown))
            .chain(calls)
            .take(WAITS_SHOWN_MAX)
            .collect()
    }

    /// One sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let path = &self.path;
        let missing = self.events.iter().filter(|event| !self.received.contains(event));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        match (self.kind, self.until) {
            (WaitKind::Timer, Some(until)) if path == "/" => format!("the run begins at {until}"),
            (WaitKind::Timer, Some(until)) => format!("{path} sleeps until {until}"),
            (WaitKind::Timer, None) => format!("{path} sleeps"),
            (WaitKind::Event, _) => format!("{path} waits for {}", missing.join(", ")),
            (WaitKind::Input, _) => format!("{path} waits for an answer"),
            (WaitKind::Child, _) => match self.run {
                Some(run) => format!("{path} waits for run {run}"),
                None => format!("{path} waits for a run"),
            },
        }
    }
}

fn shown(wait: OpenWait) -> WaitView {
    let events = wait.awaited.events().to_vec();
    let (kind, prompt) = match wait.awaited {
        Awaited::Input { prompt } => (WaitKind::Input, prompt),
        Awaited::Event(_) | Awaited::Any(_) | Awaited::All(_) => (WaitKind::Event, None),
    };
    WaitView {
        kind,
        path: wait.path,
        until: wait.until,
        events,
        received: wait.received,
        prompt,
        run: None,
    }
}

/// What an input asks: `{type, prompt, choices, schema}`, absent parts null. `null` for what is no input.
#[must_use]
pub fn question(def: &Definition, wait: &OpenWait) -> Json {
    let Awaited::Input { prompt } = &wait.awaited else {
        return Json::Null;
    };
    let node = locate::node(def, &wait.path).map(|id| &def.node(id).kind);
    let Some(NodeKind::Wait(node)) = node else {
        return Json::Null;
    };
    let WaitFor::Input {
        kind, choices, schema, ..
    } = &node.what
    else {
        return Json::Null;
    };
    let prompt = prompt.as_ref().map(|prompt| Json::Str(prompt.as_str().into()));
    Json::from_entries([
        ("type", Json::Str(kind.clone())),
        ("prompt", prompt.unwrap_or_default()),
        ("choices", choices.clone().unwrap_or_default()),
        ("schema", schema.clone().unwrap_or_default()),
    ])
}
