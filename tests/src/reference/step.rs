//! Steps and decisions by handler: attempts, replies, writes, operators.

use std::time::Duration;

use rejoin_shared::definition::model::{HandlerCall, Into, Node, NodeId, OnExhausted, Step};
use rejoin_shared::expr::Env;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::outside::{At, Call, Operation, Reply};
use super::retry::Budget;
use super::undo::{Done, Undoable};
use super::{ATTEMPTS_MAX, Failure, Place, Seen, Thread, Walker};

/// What a handler returned and wrote.
pub(super) struct Returned {
    output: Json,
    set: Vec<(KeyPath, Json)>,
    unset: Vec<KeyPath>,
}

/// What a handler is asked.
pub(super) struct Asked<'a> {
    pub call: &'a HandlerCall,
    pub path: &'a str,
    /// `total_timeout`
    pub total: Option<Duration>,
    /// A compensation: what it writes counts for nothing.
    pub is_undo: bool,
}

/// What a handler is shown.
pub(super) struct Sight {
    pub env: Env,
    pub ctx: Json,
    /// Its input where it has no `with`.
    pub input: Json,
}

impl<'a> Walker<'a> {
    pub(super) fn step(
        &mut self,
        node: &Node,
        step: &'a Step,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<(), Failure> {
        let Some(returned) = self.step_value(step, path, place, thread)? else {
            return Ok(());
        };
        for key in &returned.unset {
            key.remove(&mut thread.ctx);
        }
        for (key, value) in &returned.set {
            key.write(&mut thread.ctx, value.clone());
        }
        write_output(&mut thread.ctx, &returned.output, &step.into, node);
        thread.output = Some(returned.output.clone());
        if self.log.completed.contains(&self.full(path))
            && let Some(compensate) = &step.compensate
        {
            let visit = Undoable::new(path, compensate, self.env(place, thread), &returned.output);
            self.done.push(Done::Visit(Box::new(visit)));
        }
        Ok(())
    }

    /// What the step gives: its handler's, or an operator's.
    fn step_value(
        &mut self,
        step: &Step,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<Option<Returned>, Failure> {
        let mut sight = self.sight(place, thread);
        let asked = Asked {
            call: &step.call,
            path,
            total: step.total_timeout,
            is_undo: false,
        };
        let mut replaced: Option<HandlerCall> = None;
        let (mut attempt, mut parked) = (0, 0);
        loop {
            let call = replaced.as_ref().unwrap_or(asked.call);
            let asked = Asked { call, ..asked };
            let failure = match self.attempts(&asked, &sight, &mut attempt, |_| Ok(())) {
                Ok((returned, ())) => return Ok(Some(returned)),
                Err(failure) if step.on_exhausted == OnExhausted::Fail || self.log.too_large => return Err(failure),
                Err(failure) => failure,
            };
            parked += 1;
            let label = self.label.clone();
            match self.outside.operate(At { run: &label, path }, parked) {
                Operation::Retry(None) => {}
                Operation::Retry(Some(input)) => {
                    sight.input = input;
                    replaced = Some(HandlerCall {
                        with: None,
                        ..step.call.clone()
                    });
                }
                Operation::Skip(output) => {
                    return Ok(Some(Returned {
                        output,
                        set: Vec::new(),
                        unset: Vec::new(),
                    }));
                }
                Operation::Fail(kind) => {
                    return Err(Failure {
                        kind,
                        branches: Vec::new(),
                        ..failure
                    });
                }
            }
        }
    }

    fn sight(&self, place: &Place, thread: &Thread) -> Sight {
        Sight {
            env: self.env(place, thread),
            ctx: thread.ctx.clone(),
            input: thread.ctx.clone(),
        }
    }

    /// Where a decision by handler goes. What it returns changes no context and is no output.
    pub(super) fn decide_by_handler(
        &mut self,
        node: &Node,
        call: &HandlerCall,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<Option<NodeId>, Failure> {
        let def = self.def;
        let flow = node.flow;
        let target = |output: &Json| {
            let wrong = || Failure::new("rejoin.invalid_output", path);
            let map = output.as_object().filter(|map| map.len() == 1).ok_or_else(wrong)?;
            match map.get("goto").ok_or_else(wrong)? {
                Json::Null => Ok(None),
                Json::Str(name) => def.goto_target(flow, name).map(Some).ok_or_else(wrong),
                Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::List(_) | Json::Object(_) => Err(wrong()),
            }
        };
        let asked = Asked {
            call,
            path,
            total: None,
            is_undo: false,
        };
        Ok(self.attempts(&asked, &self.sight(place, thread), &mut 0, target)?.1)
    }

    /// Tries until an attempt returns what `accept` takes, or no retry is left. `attempt` is the last one that was made.
    pub(super) fn attempts<T>(
        &mut self,
        asked: &Asked<'_>,
        sight: &Sight,
        attempt: &mut u32,
        accept: impl Fn(&Json) -> Result<T, Failure>,
    ) -> Result<(Returned, T), Failure> {
        let mut budget = Budget::new(&asked.call.retry);
        loop {
            *attempt += 1;
            let tried = self.attempt(asked, *attempt, sight);
            let tried = tried.and_then(|returned| accept(&returned.output).map(|taken| (returned, taken)));
            let failure = match tried {
                Ok(done) => {
                    self.log.completed.insert(self.full(asked.path));
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            let delay = match failure.retryable && !self.log.too_large {
                true => budget.take(&failure),
                false => None,
            };
            match (delay, asked.total) {
                (None, _) => return Err(failure),
                // No attempt begins after `total_timeout`.
                (Some(delay), Some(total)) if delay > total => {
                    return Err(Failure::new("rejoin.total_timeout", asked.path));
                }
                (Some(_), _) => {}
            }
        }
    }

    fn attempt(&mut self, asked: &Asked<'_>, attempt: u32, sight: &Sight) -> Result<Returned, Failure> {
        let path = asked.path;
        if self.log.executed.len() >= ATTEMPTS_MAX {
            self.log.too_large = true;
            return Err(Failure::new("too.large", path));
        }
        let input = match &asked.call.with {
            None => sight.input.clone(),
            Some(template) => {
                let env = sight.env.clone().with("attempt", Json::Int(i64::from(attempt)));
                let value = template.eval(&env, &self.limits);
                value.map_err(|_| Failure::expression(path))?
            }
        };
        let reply = self.outside.call(&Call {
            run: &self.label,
            path,
            attempt,
            handler: &asked.call.uses,
            input: &input,
            ctx: &sight.ctx,
        });
        let ctx = sight.ctx.clone();
        self.log
            .executed
            .insert((self.full(path), attempt), Seen { ctx, input });
        match reply {
            Reply::Err { kind, retryable } => Err(Failure {
                retryable,
                ..Failure::new(&kind, path)
            }),
            Reply::Ok { output, set, unset } if !asked.is_undo && writes_overlap(&set, &unset) => {
                drop((output, set, unset));
                Err(Failure::new("rejoin.invalid_output", path))
            }
            Reply::Ok { output, set, unset } => Ok(Returned { output, set, unset }),
        }
    }
}

fn writes_overlap(set: &[(KeyPath, Json)], unset: &[KeyPath]) -> bool {
    let all: Vec<&KeyPath> = set.iter().map(|(key, _)| key).chain(unset).collect();
    let later = |i: usize| all[i + 1..].iter();
    (0..all.len()).any(|i| later(i).any(|other| all[i].overlaps(other)))
}

pub(super) fn write_output(ctx: &mut Json, output: &Json, into: &Into, node: &Node) {
    match (into, output) {
        (Into::Drop, _) | (Into::Merge, Json::Null) => {}
        (Into::At(path), value) => path.write(ctx, value.clone()),
        (Into::Merge, Json::Object(map)) => {
            for (key, value) in map.iter() {
                ctx.object_mut().insert(key.clone(), value.clone());
            }
        }
        (Into::Merge, value) => {
            ctx.object_mut().insert(node.name.clone(), value.clone());
        }
    }
}
