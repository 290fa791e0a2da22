//! What comes to runs from outside: events, answers, operators. The same rules tell the reference interpreter.

use std::collections::BTreeMap;

use rejoin_coordinator::owner::command::Command;
use rejoin_engine::event::{Event, StepOperation, Steps};
use rejoin_engine::record::Awaited;
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenStatus, OpenWait};
use rejoin_shared::definition::model::{Definition, NodeKind, WaitFor};
use rejoin_shared::expr::Env;
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::ErrorValue;

use crate::generate::World;
use crate::reference::{At, EARLY, Operation, Outside, sender};

/// Events that are sent before anything waits for them, of each name.
const EARLY_MAX: usize = 2;

/// What was sent so far.
#[derive(Clone, Debug, Default)]
pub struct Mailbag {
    /// Events by the place that counts them, and name.
    events: BTreeMap<(String, String), usize>,
    /// How often an operator did something about a step.
    operated: BTreeMap<String, u32>,
}

/// Something for a run.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Due {
    Event {
        event: String,
        payload: Json,
        /// Without one it goes to every run that waits.
        id: Option<String>,
        counted: Option<(String, String)>,
    },
    Answer {
        path: String,
        value: Json,
    },
    Operate {
        path: String,
        place: String,
        what: StepOperation,
    },
}

impl Due {
    /// What a client asks of the run's owner.
    #[must_use]
    pub fn command(&self) -> Command {
        match self.clone() {
            Due::Event { event, payload, id, .. } => Command::Signal {
                from: Namespace::default_name(),
                event,
                payload,
                is_addressed: id.is_some(),
                id,
                sender: None,
            },
            Due::Answer { path, value } => Command::Answer { path, value },
            Due::Operate { path, what, .. } => Command::Operate {
                steps: Steps::At(vec![path]),
                what,
            },
        }
    }

    /// The engine's event.
    ///
    /// # Panics
    /// Never: none of these is a start.
    #[must_use]
    pub fn event(&self) -> Event {
        self.command().event().expect("no start")
    }
}

impl Mailbag {
    /// All that may come to a run now.
    #[must_use]
    pub fn due(&self, state: &RunState, label: &str, world: &World) -> Vec<Due> {
        let waits = state.open_waits().flat_map(|wait| self.for_wait(&wait, label, world));
        let parked = state.open_steps().filter(|step| step.status == OpenStatus::Parked);
        let operations = parked.map(|step| self.operation(step.path, label, world));
        waits.chain(operations).collect()
    }

    fn for_wait(&self, wait: &OpenWait, label: &str, world: &World) -> Vec<Due> {
        let at = At {
            run: label,
            path: &wait.path,
        };
        let wanted: Vec<&String> = match &wait.awaited {
            Awaited::Input { prompt } => {
                let answer = world.answer(at, prompt.as_deref().unwrap_or_default());
                let path = wait.path.clone();
                return answer.map(|value| Due::Answer { path, value }).into_iter().collect();
            }
            Awaited::Event(event) => vec![event],
            Awaited::Any(events) => vec![&events[world.first(at, events)]],
            Awaited::All(events) => events.iter().filter(|event| !wait.received.contains(event)).collect(),
        };
        wanted
            .into_iter()
            .filter_map(|event| self.next(at, event, world))
            .collect()
    }

    fn next(&self, at: At<'_>, event: &str, world: &World) -> Option<Due> {
        let sender = sender(at, event);
        if event == "gate" {
            let payload = world.payload(sender, event, 0)?;
            return Some(Due::Event {
                event: event.to_owned(),
                payload,
                id: None,
                counted: None,
            });
        }
        let counted = (format!("{}{}", sender.run, sender.path), event.to_owned());
        let n = self.events.get(&counted).copied().unwrap_or_default();
        Some(Due::Event {
            event: event.to_owned(),
            payload: world.payload(sender, event, n)?,
            id: Some(format!("{}:{event}:{n}", counted.0)),
            counted: Some(counted),
        })
    }

    fn operation(&self, path: String, label: &str, world: &World) -> Due {
        let place = format!("{label}{path}");
        let n = self.operated.get(&place).copied().unwrap_or_default() + 1;
        let what = match world.operate(
            At {
                run: label,
                path: &path,
            },
            n,
        ) {
            Operation::Retry(input) => StepOperation::Retry { input },
            Operation::Skip(value) => StepOperation::Skip { value },
            Operation::Fail(kind) => StepOperation::Fail {
                error: ErrorValue {
                    kind,
                    message: "given up".to_owned(),
                    ..ErrorValue::default()
                },
            },
        };
        Due::Operate { path, place, what }
    }

    /// An event that a run may get before it waits for it.
    #[must_use]
    pub fn early(&self, def: &Definition, label: &str, world: &World) -> Vec<Due> {
        let names = def.nodes.iter().filter_map(|node| match &node.kind.as_wait()?.what {
            WaitFor::Event(name) => name.eval(&Env::default(), &Limits::default()).ok(),
            WaitFor::Input { .. } | WaitFor::Any(_) | WaitFor::All(_) => None,
        });
        let names = names.filter_map(|name| name.as_str().filter(|name| name.starts_with(EARLY)).map(str::to_owned));
        let at = At { run: label, path: "" };
        let few = |due: &Due| match due {
            Due::Event {
                counted: Some(counted), ..
            } => self.events.get(counted).is_none_or(|n| *n < EARLY_MAX),
            Due::Event { .. } | Due::Answer { .. } | Due::Operate { .. } => false,
        };
        names
            .filter_map(|name| self.next(at, &name, world))
            .filter(few)
            .collect()
    }

    /// An event of this name has come that is counted there.
    pub fn count_event(&mut self, place: &str, event: &str) {
        *self.events.entry((place.to_owned(), event.to_owned())).or_default() += 1;
    }

    /// An operator has done something about the step there.
    pub fn count_operation(&mut self, place: &str) {
        *self.operated.entry(place.to_owned()).or_default() += 1;
    }

    /// It has come.
    pub fn came(&mut self, due: &Due) {
        match due {
            Due::Event {
                counted: Some((place, event)),
                ..
            } => self.count_event(place, event),
            Due::Operate { place, .. } => self.count_operation(place),
            Due::Event { counted: None, .. } | Due::Answer { .. } => {}
        }
    }
}

/// The node at a path: names are unique in a generated document.
#[must_use]
pub fn node_at<'d>(def: &'d Definition, path: &str) -> Option<&'d NodeKind> {
    let last = path.rsplit('/').next()?;
    let name = last.split('#').next()?;
    let node = def.nodes.iter().find(|node| &*node.name == name);
    node.map(|node| &node.kind)
}
