//! What operators do about single steps (SPEC 5.5): those that are parked, and those that failed.

use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::decision::Ignored;
use crate::event::{StepOperation, Steps};
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};
use crate::state::Phase;
use crate::state::view::{OpenStatus, OpenStep};

impl Machine<'_> {
    /// All of the steps or none: what is wrong with one is told before anything is done to any. A run that has failed goes on
    /// with these; what else failed in it stays failed.
    pub(super) fn operate(&mut self, steps: &Steps, what: StepOperation) -> Result<(), Ignored> {
        if self.state.undo.is_some() {
            return self.operate_on_undo(steps, &what);
        }
        let found = self.found(steps)?;
        if let StepOperation::Skip { value } = &what {
            for step in &found {
                self.check_skip(step.step, value, &step.path)?;
            }
        }
        let had_failed = self.has_failed();
        if had_failed {
            self.resume_only(&found, &what)?;
        }
        for step in found {
            self.operate_on(step, &what, had_failed);
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        matches!(
            self.state.phase,
            Phase::Ended {
                status: RunStatus::Failed,
                ..
            }
        )
    }

    /// The steps that are meant.
    fn found(&self, steps: &Steps) -> Result<Vec<OpenStep>, Ignored> {
        let has_failed = self.has_failed();
        let may_be = |step: &OpenStep| match step.status {
            OpenStatus::Parked => !has_failed,
            OpenStatus::Failed => has_failed || self.state.reopened_from(ThreadKey::of(step.step)).is_some(),
            OpenStatus::Outstanding | OpenStatus::Retrying(_) | OpenStatus::Cancelled => false,
        };
        let open = self.state.open_steps();
        let found: Vec<OpenStep> = open.filter(|step| steps.mean(step) && may_be(step)).collect();
        let missing = steps
            .paths()
            .iter()
            .find(|path| !found.iter().any(|step| step.path == **path));
        match missing {
            Some(path) => Err(Ignored::NotAllowed(format!(
                "the step at {path} is neither parked nor has it failed in what is open still"
            ))),
            None if found.is_empty() => Err(Ignored::NotAllowed(
                "no step with such an error is parked or has failed".to_owned(),
            )),
            None => Ok(found),
        }
    }

    /// Resumes a failed run for these steps alone, if that leads to anything.
    fn resume_only(&mut self, found: &[OpenStep], what: &StepOperation) -> Result<(), Ignored> {
        let refuse = |text: &str| Err(Ignored::NotAllowed(text.to_owned()));
        let only = found.iter().map(|step| step.step).collect();
        let resumed = Fact::RunResumed { only };
        let mut trial = self.state.clone();
        let mut machine = Machine::new(&mut trial, self.around, self.random);
        machine.emit(resumed.clone());
        match what {
            StepOperation::Retry { .. } => {
                machine.walk();
                if matches!(trial.phase, Phase::Ended { .. } | Phase::Compensating) {
                    return refuse(
                        "the run would fail at once, because others have failed too: name them as well, or resume the run",
                    );
                }
            }
            StepOperation::Skip { .. } | StepOperation::Fail { .. } => {
                if !found.iter().all(|step| trial.is_live(ThreadKey::of(step.step))) {
                    return refuse("a finally runs before such a step goes on: retry it, or resume the run");
                }
            }
        }
        self.emit(resumed);
        Ok(())
    }

    /// `is_resumed`: the run was resumed for these steps, which then are tried again already.
    pub(super) fn operate_on(&mut self, found: OpenStep, what: &StepOperation, is_resumed: bool) {
        let (step, path) = (found.step, found.path);
        match what {
            StepOperation::Retry { input: None } if is_resumed => {}
            StepOperation::Retry { input } => self.emit(Fact::StepRetried {
                step,
                input: input.clone(),
                path,
            }),
            StepOperation::Skip { value } => self.emit(Fact::StepSkipped {
                step,
                output: value.clone(),
                path,
                snapshot: None,
            }),
            StepOperation::Fail { error } => {
                let error = ErrorValue {
                    path: Some(path.clone()),
                    attempt: Some(found.attempt),
                    ..error.clone()
                };
                self.emit(Fact::StepGivenUp { step, error, path });
            }
        }
    }

    fn check_skip(&self, step: StepKey, value: &Json, path: &str) -> Result<(), Ignored> {
        let node = self.state.node_of(ThreadKey::of(step));
        if node.is_none_or(|node| self.state.def.node(node).kind.as_step().is_none()) {
            let text = format!("{path} is a decision: it has no value, and can only be retried or failed");
            return Err(Ignored::NotAllowed(text));
        }
        let checked = self.check_step_output(ThreadKey::of(step), value, path);
        checked.map_err(|error| Ignored::NotAllowed(error.message))
    }
}

impl Steps {
    /// The paths that are named.
    pub(super) fn paths(&self) -> &[String] {
        match self {
            Steps::At(paths) => paths,
            Steps::WithError(_) => &[],
        }
    }

    /// Whether this step is one of them.
    pub(super) fn mean(&self, step: &OpenStep) -> bool {
        match self {
            Steps::At(paths) => paths.contains(&step.path),
            Steps::WithError(kind) => step.last_error.as_ref().is_some_and(|error| error.kind == *kind),
        }
    }
}
