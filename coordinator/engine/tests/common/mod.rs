//! Drives the engine alone: completes whatever is ready with a pure handler until nothing is left.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::decision::{Decision, Effect, Surroundings};
use rejoin_engine::event::{Completed, End, Event, Failure, Start};
use rejoin_engine::record::{Parts, Record};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::Ready;
use rejoin_shared::definition::{self, Format, model::Definition};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, Outcome, Priority};
use rejoin_shared::time::Timestamp;

/// What a handler answers.
pub enum Answer {
    Ok(Json),
    Write(Vec<(&'static str, Json)>, Vec<&'static str>),
    Fail(&'static str),
}

/// Answers an attempt: its path, its number, its context.
pub type Handler<'h> = &'h dyn Fn(&str, u32, &Json) -> Answer;

pub struct Run {
    pub def: Arc<Definition>,
    pub state: RunState,
    pub journal: Vec<Record>,
    pub effects: Vec<Effect>,
    pub limits: Limits,
    pub now: Timestamp,
}

pub fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("test JSON")
}

pub fn parse(yaml: &str) -> Arc<Definition> {
    match definition::parse(yaml.as_bytes(), Format::Yaml, &Limits::default()) {
        Ok(def) => Arc::new(def),
        Err(errors) => panic!("{errors:?}"),
    }
}

impl Run {
    pub fn start(yaml: &str, input: &str) -> Run {
        let def = parse(&format!("workflow: test\n{yaml}"));
        let limits = Limits::default();
        let now = Timestamp(1_000_000_000_000_000);
        let start = Start {
            run: RunId::from_uuid_in(Default::default(), Partition(3)),
            namespace: Namespace::default_name(),
            version: 1,
            input: json(input),
            tags: BTreeMap::new(),
            priority: Priority::Normal,
            parent: None,
            is_awaited: false,
            at: None,
            traceparent: None,
        };
        let (state, apply) = rejoin_engine::start(&def, start, Surroundings { now, limits: &limits });
        Run {
            def,
            state,
            journal: apply.records,
            effects: apply.effects,
            limits,
            now,
        }
    }

    pub fn send(&mut self, event: Event) -> Decision {
        let decision = rejoin_engine::decide(
            &mut self.state,
            event,
            Surroundings {
                now: self.now,
                limits: &self.limits,
            },
        );
        if let Decision::Apply(apply) = &decision {
            self.journal.extend(apply.records.clone());
            self.effects.extend(apply.effects.clone());
        }
        decision
    }

    pub fn ready(&mut self) -> Vec<Ready> {
        self.state.take_ready(self.now, 100_000)
    }

    pub fn complete(&mut self, ready: &Ready, handler: Handler<'_>) -> Decision {
        let around = Surroundings {
            now: self.now,
            limits: &self.limits,
        };
        let request = match self.state.request(ready.step, ready.attempt, around) {
            Ok(request) => request,
            Err(error) => {
                return self.send(Event::Unbuildable {
                    step: ready.step,
                    attempt: ready.attempt,
                    error,
                });
            }
        };
        let mut ctx = request.base.clone();
        request.changes.apply(&mut ctx);
        let path = |text: &str| rejoin_shared::keypath::KeyPath::parse(text).expect("key path");
        let end = match handler(&request.path, ready.attempt, &ctx) {
            Answer::Ok(output) => End::Ok {
                output,
                set: Vec::new(),
                unset: Vec::new(),
            },
            Answer::Write(set, unset) => End::Ok {
                output: Json::Null,
                set: set.into_iter().map(|(key, value)| (path(key), value)).collect(),
                unset: unset.into_iter().map(path).collect(),
            },
            Answer::Fail(kind) => End::Error(Failure {
                error: ErrorValue {
                    kind: kind.to_owned(),
                    ..ErrorValue::default()
                },
                outcome: Outcome::Error,
                retryable: true,
                retry_after: None,
                checkpoint: None,
            }),
        };
        self.send(Event::Completed(Box::new(Completed {
            step: ready.step,
            attempt: ready.attempt,
            end,
            worker: Some("w".into()),
            started_at: self.now,
            finished_at: self.now,
            logs: Vec::new(),
            random: 42,
        })))
    }

    /// Completes everything, moving the clock to whatever is due, until nothing happens any more.
    pub fn finish(mut self, handler: Handler<'_>) -> Run {
        loop {
            let ready = self.ready();
            for attempt in &ready {
                self.complete(attempt, handler);
            }
            if self.state.wants_begin() {
                self.send(Event::Begin { room: 100 });
            } else if ready.is_empty() {
                match self.state.next_due() {
                    Some(at) => {
                        self.now = self.now.max(at);
                        self.send(Event::TimerDue);
                    }
                    None => return self,
                }
            }
        }
    }

    /// The state folded anew from the journal's stored form.
    pub fn refold(&self) -> RunState {
        let records: Vec<Record> = self
            .journal
            .iter()
            .map(|record| Record::from_parts(&Parts { ..record.to_parts() }).expect("own record"))
            .collect();
        let mut state = RunState::begin(&self.def, &records[0]).expect("a start");
        for record in &records[1..] {
            state.apply(record).expect("own journal");
        }
        state
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.journal.iter().map(|record| record.fact.kind()).collect()
    }
}
