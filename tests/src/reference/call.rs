//! `call` (SPEC 5.9): another run, interpreted when it is called.

use std::collections::BTreeMap;

use rejoin_shared::definition::model::{Call, Definition, Node};
use rejoin_shared::expr::RunInfo;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

use super::retry::Budget;
use super::step::write_output;
use super::undo::{Done, Undoable};
use super::{Ending, Failure, Place, Thread, Walker, interpret_run};

/// Calls in calls at most.
const CALLS_DEEP_MAX: usize = 8;

impl<'a> Walker<'a> {
    pub(super) fn call(
        &mut self,
        node: &Node,
        call: &'a Call,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<(), Failure> {
        let mut budget = Budget::new(&call.retry);
        loop {
            match self.call_once(call, path, place, thread) {
                Ok(output) => {
                    write_output(&mut thread.ctx, &output, &call.into, node);
                    if let (Some(compensate), false) = (&call.compensate, call.detached) {
                        let visit = Undoable::new(path, compensate, self.env(place, thread), &output);
                        self.done.push(Done::Visit(Box::new(visit)));
                    }
                    thread.output = Some(output);
                    return Ok(());
                }
                Err(failure) if !budget.is_empty() && self.calls_again(&mut budget, &failure) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What is cancelled inside of a child depends on timing, and with it what its failure consists of.
    fn calls_again(&mut self, budget: &mut Budget<'_>, failure: &Failure) -> bool {
        match failure.branches.is_empty() {
            true => budget.take(failure).is_some() && !self.log.too_large,
            false => self.may_retry(budget, failure),
        }
    }

    fn call_once(&mut self, call: &Call, path: &str, place: &Place, thread: &Thread) -> Result<Json, Failure> {
        let version = match &call.version {
            None => None,
            Some(version) => {
                let value = self.value(version, path, place, thread)?;
                let number = value.as_int().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
                if number.is_none() && !value.is_null() {
                    return Err(Failure::expression(path));
                }
                number
            }
        };
        let input = match &call.with {
            None => thread.ctx.clone(),
            Some(with) => self.value(with, path, place, thread)?,
        };
        let timeout = self.timeout(call.timeout.as_ref(), path, place, thread)?;
        let label = self.child_label(path);
        let outside = self.outside;
        let Some(def) = outside.workflow(&call.workflow, version) else {
            return match call.detached {
                true => Ok(run_output(&label)),
                false => Err(Failure::new("rejoin.unknown_workflow", path)),
            };
        };
        let ending = self.child(&label, def, &input);
        let end = match (call.detached, ending.status, &ending.error) {
            (true, ..) => Ok(run_output(&label)),
            (false, RunStatus::Completed, _) => Ok(ending.output.clone().unwrap_or_default()),
            (false, RunStatus::Waiting, _) => {
                assert!(timeout.is_some(), "generated calls of what never ends have a time-out");
                Err(Failure::new("rejoin.timeout", path))
            }
            (false, _, failure) => {
                let inner = failure.clone().expect("a run that failed says why");
                Err(Failure {
                    path: path.to_owned(),
                    retryable: true,
                    ..inner
                })
            }
        };
        let is_cancelled = ending.status == RunStatus::Waiting && !call.detached && !call.abandon;
        let status = match is_cancelled {
            true => RunStatus::Cancelled,
            false => ending.status,
        };
        self.log.children.insert(label, Ending { status, ..ending });
        end
    }

    fn child_label(&mut self, path: &str) -> String {
        let tries = self.calls.entry(path.to_owned()).or_default();
        *tries += 1;
        format!("{}{path}~{tries}:", self.label)
    }

    fn child(&mut self, label: &str, def: &Definition, input: &Json) -> Ending {
        assert!(
            label.matches('~').count() < CALLS_DEEP_MAX,
            "generated workflows do not call themselves"
        );
        let run = RunInfo {
            id: label.into(),
            workflow: def.workflow.clone(),
            version: 1,
            started_at: self.run.started_at,
        };
        let log = std::mem::take(&mut self.log);
        let (ending, log) = interpret_run(def, input, self.outside, &run, label, log);
        self.log = log;
        ending
    }
}

fn run_output(label: &str) -> Json {
    Json::from_entries([("run", Json::str(label))])
}

/// Calls by path: how often each was tried.
pub(super) type Tries = BTreeMap<String, u32>;
