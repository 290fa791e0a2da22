//! An attempt ended.

use rejoin_shared::definition::model::{Into, OnExhausted};
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::run::{ErrorValue, Outcome};
use rejoin_shared::time::Timestamp;

use crate::apply::{into_of, write_output};
use crate::decision::Ignored;
use crate::event::{Completed, End, Failure};
use crate::machine::Machine;
use crate::record::{Choice, Fact, StepCompleted, StepFailed, ThreadKey};
use crate::retry::next_try;
use crate::state::Phase;
use crate::state::undo::{is_undo, undo_call};
use crate::walk::{check_context_depth, check_context_size};

impl Machine<'_> {
    pub(super) fn completed(&mut self, done: Completed) -> Result<(), Ignored> {
        self.check_wanted(&done)?;
        let done = self.in_time(done);
        match self.accept(&done) {
            Ok(fact) => self.emit(fact),
            Err(failure) => self.fail_attempt(done, failure),
        }
        Ok(())
    }

    /// When an attempt began and ended is told by its worker's clock, which may be off: moved by as much as is certain, so that it
    /// ended no later than now, and began no earlier than the run. `total_timeout` counts from there.
    fn in_time(&self, done: Completed) -> Completed {
        let (now, earliest) = (self.around.now, self.state.started_at);
        let ahead = done.finished_at.since(now);
        let behind = earliest.since(done.started_at);
        let moved = |at: Timestamp| match ahead.is_zero() {
            true => at.plus(behind),
            false => Timestamp(at.0.saturating_sub(i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX))).max(earliest),
        };
        Completed {
            started_at: moved(done.started_at),
            finished_at: moved(done.finished_at),
            ..done
        }
    }

    /// The request of an attempt could not be built.
    pub(super) fn unbuildable(&mut self, step: StepKey, attempt: u32, failure: Failure) -> Result<(), Ignored> {
        if !self.state.is_outstanding(step, attempt) {
            return Err(Ignored::Duplicate);
        }
        let now = self.around.now;
        let random = self.draw();
        let done = Completed {
            step,
            attempt,
            end: End::Error(failure.clone()),
            worker: None,
            started_at: now,
            finished_at: now,
            logs: Vec::new(),
            random,
        };
        self.fail_attempt(done, failure);
        Ok(())
    }

    /// Whether the completion is of an attempt that is outstanding. A late one is recorded as such.
    fn check_wanted(&mut self, done: &Completed) -> Result<(), Ignored> {
        if matches!(self.state.phase, Phase::Ended { .. }) {
            return Err(Ignored::Late);
        }
        self.state.materialize(done.step);
        if self.state.is_outstanding(done.step, done.attempt) {
            return Ok(());
        }
        if !self.state.agenda.revoked.contains(&(done.step, done.attempt)) {
            return Err(Ignored::Duplicate);
        }
        let outcome = match &done.end {
            End::Ok { .. } => Outcome::Ok,
            End::Error(failure) => failure.outcome,
        };
        let (step, attempt, worker) = (done.step, done.attempt, done.worker.clone());
        self.emit(Fact::Late {
            step,
            attempt,
            worker,
            outcome: Some(outcome),
        });
        Err(Ignored::Late)
    }

    /// The record of a success, or why what the handler returned is a failure.
    fn accept(&self, done: &Completed) -> Result<Fact, Failure> {
        let (output, set, unset) = match &done.end {
            End::Error(failure) => return Err(failure.clone()),
            End::Ok { output, set, unset } => (output, set, unset),
        };
        if let Some(undoing) = self.state.undoing(done.step, done.attempt) {
            // What a compensation returns is recorded and changes no context.
            return Ok(completed_fact(done, undoing.visit.undo_path(), output.clone()));
        }
        let key = ThreadKey::of(done.step);
        let thread = self.state.thread(key).expect("an outstanding step has a thread");
        let path = thread.step().map(|step| step.path.clone()).unwrap_or_default();
        let node = self
            .state
            .node_at(thread)
            .expect("an outstanding step stands at a node");
        let node = self.state.def.node(node);
        check_paths(set, unset, &path)?;
        let choice = match node.kind.as_step() {
            None => Some(self.choice(node.flow, output, &path)?),
            Some(step) => {
                self.check_size(key, set, unset, output, &step.into, &node.name, &path)?;
                None
            }
        };
        Ok(Fact::StepCompleted(StepCompleted {
            step: done.step,
            attempt: done.attempt,
            path,
            output: output.clone(),
            set: set.clone(),
            unset: unset.clone(),
            choice,
            started_at: done.started_at,
            finished_at: done.finished_at,
            worker: done.worker.clone(),
            logs: done.logs.clone(),
            snapshot: None,
        }))
    }

    /// Where a decision by handler goes.
    fn choice(
        &self,
        flow: rejoin_shared::definition::model::FlowId,
        output: &Json,
        path: &str,
    ) -> Result<Choice, Failure> {
        let object = output.as_object().filter(|map| map.len() == 1);
        match object.and_then(|map| map.get("goto")) {
            Some(Json::Null) => Ok(Choice::Continue),
            Some(Json::Str(name)) if self.state.def.goto_target(flow, name).is_some() => {
                Ok(Choice::Goto(name.to_string()))
            }
            Some(Json::Str(name)) => Err(invalid(format!("the decision's target `{name}` is not in reach"), path)),
            _ => Err(invalid(
                "a decision must return {\"goto\": name} or {\"goto\": null}".to_owned(),
                path,
            )),
        }
    }

    /// Whether the value of a wait fits into the context.
    pub(crate) fn check_wait_output(&self, key: ThreadKey, output: &Json, path: &str) -> Result<(), ErrorValue> {
        let Some((name, wait)) = self.state.wait_at(key) else {
            return Ok(());
        };
        let into = into_of(wait, name);
        self.check_size(key, &[], &[], output, &into, name, path)
            .map_err(|failure| failure.error)
    }

    /// Whether what an operator gives for a step fits into the context.
    pub(crate) fn check_step_output(&self, key: ThreadKey, output: &Json, path: &str) -> Result<(), ErrorValue> {
        let node = self.state.node_of(key).map(|node| self.state.def.node(node));
        let Some((node, step)) = node.and_then(|node| Some((node, node.kind.as_step()?))) else {
            return Ok(());
        };
        self.check_size(key, &[], &[], output, &step.into, &node.name, path)
            .map_err(|failure| failure.error)
    }

    /// Whether the output of a called run fits into the context.
    pub(crate) fn check_call_output(&self, key: ThreadKey, output: &Json, path: &str) -> Result<(), ErrorValue> {
        let Some((name, call)) = self.state.call_at(key) else {
            return Ok(());
        };
        self.check_size(key, &[], &[], output, &call.into, name, path)
            .map_err(|failure| failure.error)
    }

    /// Whether the context, and what the scope keeps, stay within the limit with this output.
    #[allow(clippy::too_many_arguments)] // the parts of one write
    fn check_size(
        &self,
        key: ThreadKey,
        set: &[(KeyPath, Json)],
        unset: &[KeyPath],
        output: &Json,
        into: &Into,
        name: &str,
        path: &str,
    ) -> Result<(), Failure> {
        check_context_depth(depth_written(set, output, into), path).map_err(final_failure)?;
        let thread = self.state.thread(key).expect("an outstanding step has a thread");
        let most = self.around.limits.context_bytes_max;
        let output_bytes = output.text_len();
        let written: usize = set.iter().map(|(p, v)| v.text_len() + p.to_string().len() + 16).sum();
        if thread.ctx_bytes_max.saturating_add(output_bytes + written + 80) > most {
            let mut ctx = thread.ctx.clone();
            write_output(&mut ctx, set, unset, output, into, name);
            check_context_size(&ctx, most, path).map_err(final_failure)?;
        }
        let Some(scope) = self.state.scopes.get(&key.scope) else {
            return Ok(());
        };
        if !scope.join(&self.state.def).keep_outputs {
            return Ok(());
        }
        let kept = scope.result_bytes(&self.state.def) + output_bytes;
        if kept > most {
            let message = format!("the collected outputs would have {kept} bytes, more than the limit of {most}");
            return Err(final_failure(ErrorValue::new("rejoin.context_limit", message, path)));
        }
        Ok(())
    }

    /// Records a failed attempt: another follows, or the step has failed.
    pub(super) fn fail_attempt(&mut self, done: Completed, failure: Failure) {
        if is_undo(done.step) {
            return self.fail_undo(done, failure);
        }
        let key = ThreadKey::of(done.step);
        let thread = self.state.thread(key).expect("an outstanding step has a thread");
        let step = thread.step().expect("an outstanding step is one");
        let error = ErrorValue {
            path: Some(step.path.clone()),
            attempt: Some(done.attempt),
            ..failure.error
        };
        let path = step.path.clone();
        let node = self
            .state
            .node_at(thread)
            .expect("an outstanding step stands at a node");
        let def = self.state.def.clone();
        let policies = def
            .node(node)
            .kind
            .calls()
            .map(|call| call.retry.as_slice())
            .unwrap_or_default();
        let now = self.around.now;
        let step_node = def.node(node).kind.as_step();
        let deadline = step_node
            .and_then(|step| step.total_timeout)
            .map(|total| step.first_started.unwrap_or(done.started_at).plus(total));
        let mut error = error;
        if error.kind == "rejoin.timeout" && deadline.is_some_and(|deadline| done.finished_at >= deadline) {
            error = too_long(error);
        }
        let mut retry = match failure.retryable {
            true => next_try(policies, &step.allowed, &error, failure.retry_after, done.random, now),
            false => None,
        };
        if deadline.is_some_and(|deadline| retry.is_some_and(|retry| retry.at >= deadline)) {
            (error, retry) = (too_long(error), None);
        }
        let parks = step_node.is_some_and(|step| step.on_exhausted == OnExhausted::Park);
        let by_worker = done.worker.is_some();
        self.emit(Fact::StepFailed(StepFailed {
            step: done.step,
            attempt: done.attempt,
            path,
            error,
            outcome: Some(failure.outcome),
            retry,
            is_parked: parks && retry.is_none(),
            checkpoint: failure.checkpoint,
            started_at: by_worker.then_some(done.started_at),
            finished_at: by_worker.then_some(done.finished_at),
            worker: done.worker,
            logs: done.logs,
        }));
    }
}

impl Machine<'_> {
    /// Records a failed attempt of a compensation: another follows, or the compensation stops.
    fn fail_undo(&mut self, done: Completed, failure: Failure) {
        let Some(undoing) = self.state.undoing(done.step, done.attempt) else {
            return;
        };
        let path = undoing.visit.undo_path();
        let error = ErrorValue {
            path: Some(path.clone()),
            attempt: Some(done.attempt),
            ..failure.error
        };
        let policies = undo_call(&self.state.def, undoing.visit.node).map(|call| call.retry.as_slice());
        let (now, random) = (self.around.now, done.random);
        let retry = failure.retryable.then(|| {
            let policies = policies.unwrap_or_default();
            next_try(policies, &undoing.allowed, &error, failure.retry_after, random, now)
        });
        let by_worker = done.worker.is_some();
        self.emit(Fact::StepFailed(StepFailed {
            step: done.step,
            attempt: done.attempt,
            path,
            error,
            outcome: Some(failure.outcome),
            retry: retry.flatten(),
            is_parked: false,
            checkpoint: failure.checkpoint,
            started_at: by_worker.then_some(done.started_at),
            finished_at: by_worker.then_some(done.finished_at),
            worker: done.worker,
            logs: done.logs,
        }));
    }
}

/// The error of a step for which `total_timeout` leaves no further attempt.
fn too_long(error: ErrorValue) -> ErrorValue {
    ErrorValue {
        kind: "rejoin.total_timeout".to_owned(),
        message: format!(
            "`total_timeout` leaves no time for another attempt; the last error was {}: {}",
            error.kind, error.message
        ),
        ..error
    }
}

fn completed_fact(done: &Completed, path: String, output: Json) -> Fact {
    Fact::StepCompleted(StepCompleted {
        step: done.step,
        attempt: done.attempt,
        path,
        output,
        set: Vec::new(),
        unset: Vec::new(),
        choice: None,
        started_at: done.started_at,
        finished_at: done.finished_at,
        worker: done.worker.clone(),
        logs: done.logs.clone(),
        snapshot: None,
    })
}

/// Levels below the context's root that a completion reaches.
fn depth_written(set: &[(KeyPath, Json)], output: &Json, into: &Into) -> usize {
    let below = match into {
        Into::At(keys) => keys.keys().len() + output.depth(),
        Into::Drop => 0,
        Into::Merge => 1 + output.depth(),
    };
    let set = set.iter().map(|(keys, value)| keys.keys().len() + value.depth());
    set.fold(below, usize::max)
}

fn invalid(message: String, path: &str) -> Failure {
    final_failure(ErrorValue::new("rejoin.invalid_output", message, path))
}

fn final_failure(error: ErrorValue) -> Failure {
    Failure {
        error,
        outcome: Outcome::Error,
        retryable: true,
        retry_after: None,
        checkpoint: None,
    }
}

/// Two paths of one completion where one begins with the other are an error.
fn check_paths(set: &[(KeyPath, Json)], unset: &[KeyPath], path: &str) -> Result<(), Failure> {
    let mut all: Vec<&KeyPath> = set.iter().map(|(key, _)| key).chain(unset).collect();
    all.sort();
    match all.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
        None => Ok(()),
        Some(pair) => Err(invalid(
            format!("`{}` and `{}` overlap in what the handler writes", pair[0], pair[1]),
            path,
        )),
    }
}
