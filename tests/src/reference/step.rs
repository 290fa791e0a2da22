//! Steps and decisions by handler: attempts, replies, writes.

use rejoin_shared::definition::model::{HandlerCall, Into, Node, NodeId, Step};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::retry::Budget;
use super::{ATTEMPTS_MAX, Call, Failure, Place, Reply, Seen, Thread, Walker};

/// What a handler returned and wrote.
struct Returned {
    output: Json,
    set: Vec<(KeyPath, Json)>,
    unset: Vec<KeyPath>,
}

impl Walker<'_> {
    pub(super) fn step(
        &mut self,
        node: &Node,
        step: &Step,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<(), Failure> {
        let returned = self.attempts(&step.call, path, place, thread, |_| Ok(()))?.0;
        for key in &returned.unset {
            key.remove(&mut thread.ctx);
        }
        for (key, value) in &returned.set {
            key.write(&mut thread.ctx, value.clone());
        }
        write_output(&mut thread.ctx, &returned.output, &step.into, node);
        thread.output = Some(returned.output);
        Ok(())
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
        Ok(self.attempts(call, path, place, thread, target)?.1)
    }

    /// Tries until an attempt returns what `accept` takes, or no retry is left.
    fn attempts<T>(
        &mut self,
        call: &HandlerCall,
        path: &str,
        place: &Place,
        thread: &Thread,
        accept: impl Fn(&Json) -> Result<T, Failure>,
    ) -> Result<(Returned, T), Failure> {
        let mut budget = Budget::new(&call.retry);
        let mut attempt = 1;
        loop {
            let tried = self.attempt(call, path, attempt, place, thread);
            let tried = tried.and_then(|returned| accept(&returned.output).map(|taken| (returned, taken)));
            match tried {
                Ok(done) => {
                    self.completed.insert(path.to_owned());
                    return Ok(done);
                }
                Err(failure) if failure.retryable && budget.take(&failure) && !self.too_large => attempt += 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    fn attempt(
        &mut self,
        call: &HandlerCall,
        path: &str,
        attempt: u32,
        place: &Place,
        thread: &Thread,
    ) -> Result<Returned, Failure> {
        if self.executed.len() >= ATTEMPTS_MAX {
            self.too_large = true;
            return Err(Failure::new("too.large", path));
        }
        let input = match &call.with {
            None => thread.ctx.clone(),
            Some(template) => {
                let env = self.env(place, thread).with("attempt", Json::Int(i64::from(attempt)));
                let value = template.eval(&env, &self.limits);
                value.map_err(|_| Failure::expression(path))?
            }
        };
        let reply = self.handlers.call(&Call {
            path,
            attempt,
            handler: &call.uses,
            input: &input,
            ctx: &thread.ctx,
        });
        let ctx = thread.ctx.clone();
        self.executed.insert((path.to_owned(), attempt), Seen { ctx, input });
        match reply {
            Reply::Err { kind, retryable } => Err(Failure {
                retryable,
                ..Failure::new(&kind, path)
            }),
            Reply::Ok { output, set, unset } if writes_overlap(&set, &unset) => {
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

fn write_output(ctx: &mut Json, output: &Json, into: &Into, node: &Node) {
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
