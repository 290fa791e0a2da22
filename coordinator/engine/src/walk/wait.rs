//! `wait` and `emit`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::definition::duration;
use rejoin_shared::definition::model::{Emit, NodeKind, OnTimeout, Wait, WaitFor};
use rejoin_shared::expr::Template;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::limits::EVENT_NAME_BYTES_MAX;
use rejoin_shared::run::ErrorValue;
use rejoin_shared::time::Timestamp;

use crate::decision::Sent;
use crate::env::{EXPRESSION, eval_template};
use crate::machine::Machine;
use crate::record::{Awaited, Choice, Fact, ThreadKey};
use crate::state::Leaf;

/// Why a wait was given up.
const WAIT_TIMEOUT: &str = "rejoin.wait_timeout";

impl Machine<'_> {
    pub(super) fn open_wait(&mut self, thread: ThreadKey, path: String, wait: &Wait) {
        match self.awaited(thread, &path, wait) {
            Err(error) => self.fail_node(thread, error),
            Ok((awaited, until)) => {
                self.emit(Fact::WaitOpened {
                    thread,
                    awaited,
                    until,
                    path,
                });
                self.take_kept(thread);
                if until.is_some_and(|at| at <= self.around.now) {
                    self.wait_timed_out(thread);
                }
            }
        }
    }

    fn awaited(&self, thread: ThreadKey, path: &str, wait: &Wait) -> Result<(Awaited, Option<Timestamp>), ErrorValue> {
        let text = |what: &str, template: &Template| self.text(thread, path, what, template);
        let event = |template: &Template| self.event_name(thread, path, template);
        let names = |templates: &[Template]| -> Result<Vec<String>, ErrorValue> {
            let mut names: Vec<String> = Vec::new();
            for template in templates {
                let name = event(template)?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Ok(names)
        };
        let awaited = match &wait.what {
            WaitFor::Input { prompt, .. } => Awaited::Input {
                prompt: prompt.as_ref().map(|prompt| text("`prompt`", prompt)).transpose()?,
            },
            WaitFor::Event(name) => Awaited::Event(event(name)?),
            WaitFor::Any(events) => Awaited::Any(names(events)?),
            WaitFor::All(events) => Awaited::All(names(events)?),
        };
        let until = match &wait.timeout {
            None => None,
            Some(timeout) => {
                let value = eval_template(timeout, &self.state.env(thread), self.around.limits, path)?;
                let length = value.as_str().and_then(duration::parse_computed);
                let length = length.ok_or_else(|| unfit("`timeout`", "a duration like \"90s\"", &value, path))?;
                Some(self.around.now.plus(length))
            }
        };
        Ok((awaited, until))
    }

    fn text(&self, thread: ThreadKey, path: &str, what: &str, template: &Template) -> Result<String, ErrorValue> {
        let value = eval_template(template, &self.state.env(thread), self.around.limits, path)?;
        match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(unfit(what, "text", &value, path)),
        }
    }

    fn event_name(&self, thread: ThreadKey, path: &str, template: &Template) -> Result<String, ErrorValue> {
        let name = self.text(thread, path, "an event's name", template)?;
        match name.len() {
            1..=EVENT_NAME_BYTES_MAX => Ok(name),
            bytes => {
                let message =
                    format!("an event's name has 1 to {EVENT_NAME_BYTES_MAX} bytes, but this one has {bytes}");
                Err(ErrorValue::new(EXPRESSION, message, path))
            }
        }
    }

    /// Gives waits that go on after a resume what came while they did not.
    pub(crate) fn take_kept_again(&mut self) {
        if self.state.kept.is_empty() {
            return;
        }
        let waiting: Vec<ThreadKey> = self.state.agenda.waiting.iter().copied().collect();
        waiting.into_iter().for_each(|thread| self.take_kept(thread));
    }

    /// Gives a wait the kept events that it takes, oldest first.
    fn take_kept(&mut self, thread: ThreadKey) {
        loop {
            let found = self
                .state
                .kept
                .iter()
                .find(|(_, kept)| self.takes(thread, &kept.event, &kept.payload));
            let Some(from) = found.map(|(seq, _)| *seq) else { return };
            self.emit(Fact::EventTaken { thread, from });
            self.settle_wait(thread);
        }
    }

    /// Whether the thread waits for this event and has not got it yet. A `match` that fails is false.
    pub(crate) fn takes(&self, key: ThreadKey, event: &str, payload: &Json) -> bool {
        let Some(thread) = self.state.thread(key).filter(|_| self.state.is_live(key)) else {
            return false;
        };
        let Leaf::Wait(wait) = &thread.leaf else { return false };
        let is_named = wait.awaited.events().iter().any(|name| name == event);
        if !is_named || wait.received.contains_key(event) {
            return false;
        }
        let Some(matches) = self.state.wait_at(key).and_then(|node| node.1.matches.as_ref()) else {
            return true;
        };
        let env = self.state.env(key).with("payload", payload.clone());
        let value = matches.eval(&env, self.around.limits);
        value.ok().and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// Ends a wait that has all it waits for.
    pub(crate) fn settle_wait(&mut self, thread: ThreadKey) {
        let Some(Leaf::Wait(wait)) = self.state.thread(thread).map(|thread| &thread.leaf) else {
            return;
        };
        let output = match &wait.awaited {
            Awaited::Input { .. } => return,
            Awaited::Event(_) => wait.received.values().next().cloned(),
            Awaited::Any(_) => wait.received.iter().next().map(|(event, payload)| {
                Json::from_entries([
                    ("event", Json::Str(event.as_str().into())),
                    ("payload", payload.clone()),
                ])
            }),
            Awaited::All(events) if wait.received.len() == events.len() => Some(object_of(&wait.received)),
            Awaited::All(_) => None,
        };
        let path = wait.path.clone();
        if let Some(output) = output {
            self.end_wait(thread, output, path);
        }
    }

    fn end_wait(&mut self, thread: ThreadKey, output: Json, path: String) {
        match self.check_wait_output(thread, &output, &path) {
            Err(error) => self.fail_node(thread, error),
            Ok(()) => self.emit(Fact::WaitEnded {
                thread,
                output,
                path,
                snapshot: None,
            }),
        }
    }

    /// The wait's time is over.
    pub(crate) fn wait_timed_out(&mut self, thread: ThreadKey) {
        let Some(Leaf::Wait(wait)) = self.state.thread(thread).map(|thread| &thread.leaf) else {
            return;
        };
        let (path, received) = (wait.path.clone(), wait.received.clone());
        let is_all = matches!(wait.awaited, Awaited::All(_));
        let def = self.state.def.clone();
        let Some(NodeKind::Wait(node)) = self.state.node_of(thread).map(|node| &def.node(node).kind) else {
            return;
        };
        self.emit(Fact::WaitTimedOut {
            thread,
            path: path.clone(),
        });
        match &node.on_timeout {
            OnTimeout::Fail => {
                let mut error = ErrorValue::new(WAIT_TIMEOUT, "nothing came in time", &path);
                if is_all {
                    error.details = Some(Json::from_entries([("received", object_of(&received))]));
                }
                self.fail_node(thread, error);
            }
            OnTimeout::Goto(target) => self.emit(Fact::Chosen {
                thread,
                choice: Choice::Goto(def.node(*target).name.to_string()),
                path,
                snapshot: None,
            }),
            OnTimeout::Value(value) => match eval_template(value, &self.state.env(thread), self.around.limits, &path) {
                Err(error) => self.fail_node(thread, error),
                Ok(output) => self.end_wait(thread, output, path),
            },
        }
    }

    /// Sends an event; the record behind it names it, so that it counts once however often it is delivered.
    pub(super) fn emit_event(&mut self, thread: ThreadKey, path: String, emit: &Emit) {
        match self.emitted(thread, &path, emit) {
            Err(error) => self.fail_node(thread, error),
            Ok((event, payload, to)) => {
                let id = format!("{}:{}", self.state.id, self.state.last_seq + 1);
                self.send(Sent::Event {
                    to,
                    event: event.clone(),
                    payload: payload.clone(),
                    id,
                });
                self.emit(Fact::EventEmitted {
                    thread,
                    event,
                    payload,
                    to,
                    path,
                    snapshot: None,
                });
            }
        }
    }

    fn emitted(&self, thread: ThreadKey, path: &str, emit: &Emit) -> Result<(String, Json, Option<RunId>), ErrorValue> {
        let event = self.event_name(thread, path, &emit.event)?;
        let payload = match &emit.payload {
            None => Json::Null,
            Some(payload) => eval_template(payload, &self.state.env(thread), self.around.limits, path)?,
        };
        let (bytes, most) = (payload.text_len(), self.around.limits.payload_bytes_max);
        if bytes > most {
            let message = format!("the payload has {bytes} bytes, more than the limit of {most}");
            return Err(ErrorValue::new("rejoin.too_large", message, path));
        }
        let to = match &emit.to {
            None => None,
            Some(to) => {
                let text = self.text(thread, path, "`to`", to)?;
                let run = text.parse::<RunId>();
                Some(run.map_err(|_| unfit("`to`", "the id of a run", &Json::Str(text.as_str().into()), path))?)
            }
        };
        Ok((event, payload, to))
    }
}

fn object_of(received: &BTreeMap<String, Json>) -> Json {
    let entries = received.iter();
    let entries = entries.map(|(event, payload)| (event.as_str().into(), payload.clone()));
    Json::Object(Arc::new(entries.collect()))
}

fn unfit(what: &str, wanted: &str, got: &Json, path: &str) -> ErrorValue {
    ErrorValue::new(EXPRESSION, format!("{what} must give {wanted}, but gave {got}"), path)
}
