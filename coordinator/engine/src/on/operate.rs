//! What operators do about single steps (SPEC 5.5).

use rejoin_shared::ids::StepKey;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::decision::Ignored;
use crate::event::{StepOperation, Steps};
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};
use crate::state::Phase;
use crate::state::view::{OpenStatus, OpenStep};

impl Machine<'_> {
    pub(super) fn operate(&mut self, steps: &Steps, what: StepOperation) -> Result<(), Ignored> {
        let has_failed = matches!(
            self.state.phase,
            Phase::Ended {
                status: RunStatus::Failed,
                ..
            }
        );
        let wanted = match has_failed {
            true => OpenStatus::Failed,
            false => OpenStatus::Parked,
        };
        let found: Vec<OpenStep> = self
            .state
            .open_steps()
            .filter(|step| step.status == wanted && is_among(steps, step))
            .collect();
        if let Steps::At(paths) = steps
            && let Some(path) = paths.iter().find(|path| !found.iter().any(|step| step.path == **path))
        {
            return Err(Ignored::NotAllowed(format!(
                "the step at {path} is neither parked nor has it failed the run"
            )));
        }
        if found.is_empty() {
            return Err(Ignored::NotAllowed("no step is parked with such an error".to_owned()));
        }
        match what {
            StepOperation::Retry { input } if has_failed => {
                self.resume()?;
                if input.is_some() {
                    found.iter().for_each(|step| self.retry_one(step, input.clone()));
                }
            }
            _ if has_failed => {
                let text = "the run has failed: its steps can be retried, and no longer skipped or failed";
                return Err(Ignored::NotAllowed(text.to_owned()));
            }
            StepOperation::Retry { input } => found.iter().for_each(|step| self.retry_one(step, input.clone())),
            StepOperation::Skip { value } => {
                // All or none: what is wrong with one is told before any is skipped.
                for step in &found {
                    self.check_skip(step.step, &value, &step.path)?;
                }
                for step in &found {
                    self.emit(Fact::StepSkipped {
                        step: step.step,
                        output: value.clone(),
                        path: step.path.clone(),
                        snapshot: None,
                    });
                }
            }
            StepOperation::Fail { error } => {
                for step in found {
                    let error = ErrorValue {
                        path: Some(step.path.clone()),
                        attempt: Some(step.attempt),
                        ..error.clone()
                    };
                    let (step, path) = (step.step, step.path);
                    self.emit(Fact::StepGivenUp { step, error, path });
                }
            }
        }
        Ok(())
    }

    fn retry_one(&mut self, step: &OpenStep, input: Option<rejoin_shared::json::Json>) {
        self.emit(Fact::StepRetried {
            step: step.step,
            input,
            path: step.path.clone(),
        });
    }

    fn check_skip(&self, step: StepKey, value: &rejoin_shared::json::Json, path: &str) -> Result<(), Ignored> {
        let checked = self.check_step_output(ThreadKey::of(step), value, path);
        checked.map_err(|error| Ignored::NotAllowed(error.message))
    }
}

fn is_among(steps: &Steps, step: &OpenStep) -> bool {
    match steps {
        Steps::At(paths) => paths.contains(&step.path),
        Steps::WithError(kind) => step.last_error.as_ref().is_some_and(|error| error.kind == *kind),
    }
}
