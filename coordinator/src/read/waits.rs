//! What a run waits for: time, events, answers, and steps that somebody has to come for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::record::Awaited;
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenStatus, OpenStep, OpenWait};
use rejoin_shared::definition::model::{Definition, NodeKind, WaitFor};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::locate;
use super::why::{Trouble, no_worker};
use crate::fleet::Held;

/// Waits shown at most.
pub const WAITS_SHOWN_MAX: usize = 1000;

/// A sleep, a wait for an event or an answer, or steps that go on only when a worker or an operator comes.
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
    /// The handler of the steps that wait for a worker or an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Their queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How many steps wait for a worker so; `path` is that of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// One sentence, of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
    /// For a worker that serves the steps' handler.
    Worker,
    /// For an operator: a step is parked.
    Parked,
}

/// Steps that are not done, as they tell what a run waits for.
#[derive(Clone, Debug, Default)]
pub struct OpenSteps {
    /// Steps that may run, by queue and handler.
    ready: BTreeMap<(Arc<str>, Arc<str>), Vec<OpenStep>>,
    parked: Vec<OpenStep>,
}

impl OpenSteps {
    /// Those of a run; none of them runs while it is paused.
    #[must_use]
    pub fn of(state: &RunState) -> OpenSteps {
        let mut open = OpenSteps::default();
        let is_paused = state.status() == RunStatus::Paused;
        for step in state.open_steps() {
            match step.status {
                OpenStatus::Parked if open.parked.len() < WAITS_SHOWN_MAX => open.parked.push(step),
                OpenStatus::Outstanding if !is_paused && step.claim.is_none() => {
                    let handler = (step.queue.clone(), step.handler.clone());
                    open.ready.entry(handler).or_default().push(step);
                }
                OpenStatus::Parked
                | OpenStatus::Outstanding
                | OpenStatus::Retrying(_)
                | OpenStatus::Failed
                | OpenStatus::Cancelled => {}
            }
        }
        open
    }

    /// Whether some of them may run.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The same without those that somebody serves: `serves` tells whether some worker of a queue serves a handler.
    #[must_use]
    pub fn without_served(mut self, serves: impl Fn(&str, &str) -> bool) -> OpenSteps {
        self.ready.retain(|(queue, handler), _| !serves(queue, handler));
        self
    }

    /// The same without those that a worker has, though perhaps it takes no others any more.
    #[must_use]
    pub fn without_held(mut self, held: &Held) -> OpenSteps {
        for steps in self.ready.values_mut() {
            steps.retain(|step| !held.contains_key(&(step.step, step.attempt)));
        }
        self
    }

    /// What they wait for. `trouble`: why nothing reaches any worker now.
    #[must_use]
    pub fn waits(self, trouble: Option<Trouble>) -> Vec<WaitView> {
        let why = |handler: &str, queue: &str| match trouble.filter(|trouble| trouble.is_deaf) {
            Some(trouble) => trouble.text.to_owned(),
            None => no_worker(handler, queue, &Namespace::default_name()),
        };
        let unserved = self.ready.into_iter().filter_map(|((queue, handler), steps)| {
            Some(WaitView {
                count: Some(steps.len()),
                reason: Some(why(&handler, &queue)),
                ..WaitView::of_step(WaitKind::Worker, &steps.first()?.path, &handler, &queue)
            })
        });
        let parked = self.parked.into_iter().map(|step| {
            let reason = match &step.last_error {
                Some(error) => format!("parked after {}: waits for an operator", error.kind),
                None => "parked: waits for an operator".to_owned(),
            };
            WaitView {
                reason: Some(reason),
                ..WaitView::of_step(WaitKind::Parked, &step.path, &step.handler, &step.queue)
            }
        });
        unserved.chain(parked).take(WAITS_SHOWN_MAX).collect()
    }
}

impl WaitView {
    fn of_kind(kind: WaitKind, path: &str) -> WaitView {
        WaitView {
            kind,
            path: path.to_owned(),
            until: None,
            events: Vec::new(),
            received: Vec::new(),
            prompt: None,
            run: None,
            handler: None,
            queue: None,
            count: None,
            reason: None,
        }
    }

    fn of_step(kind: WaitKind, path: &str, handler: &str, queue: &str) -> WaitView {
        WaitView {
            handler: Some(handler.to_owned()),
            queue: Some(queue.to_owned()),
            ..WaitView::of_kind(kind, path)
        }
    }

    /// What a run waits for: first what ends by itself, soonest first.
    #[must_use]
    pub fn of(state: &RunState) -> Vec<WaitView> {
        let beginning = state.begins_at().map(|at| ("/", at));
        let timers = beginning.into_iter().chain(state.open_sleeps());
        let timers = timers.map(|(path, until)| WaitView {
            until: Some(until),
            ..WaitView::of_kind(WaitKind::Timer, path)
        });
        let calls = state.open_calls().map(|(path, run, until)| WaitView {
            until,
            run: Some(run),
            ..WaitView::of_kind(WaitKind::Child, path)
        });
        let undone = state.open_undone_children().map(|(path, run)| WaitView {
            run: Some(run),
            ..WaitView::of_kind(WaitKind::Child, path)
        });
        timers
            .chain(state.open_waits().map(shown))
            .chain(calls)
            .chain(undone)
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
            (WaitKind::Worker | WaitKind::Parked, _) => match &self.reason {
                Some(reason) => format!("{path}: {reason}"),
                None => format!("{path} waits"),
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
        until: wait.until,
        events,
        received: wait.received,
        prompt,
        ..WaitView::of_kind(kind, &wait.path)
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
