//! What operators do about single compensations: one that nobody serves, or that cannot succeed, would hold up all that is older.

use crate::decision::Ignored;
use crate::event::{StepOperation, Steps};
use crate::machine::Machine;
use crate::record::Fact;
use crate::state::Phase;
use crate::state::view::{OpenStatus, OpenStep, is_undo};

impl Machine<'_> {
    /// While a run is being compensated, what is at work may be skipped or failed; once something could not be undone, that may be
    /// skipped or retried, and the run goes on with it alone.
    pub(super) fn operate_on_undo(&mut self, steps: &Steps, what: &StepOperation) -> Result<(), Ignored> {
        let is_over = !matches!(self.state.phase, Phase::Compensating);
        let found = self.found_undos(steps, what, is_over)?;
        if is_over {
            let only = found.iter().map(|step| step.step).collect();
            self.emit(Fact::RunResumed { only });
        }
        for step in found {
            self.operate_on(step, what, is_over);
        }
        Ok(())
    }

    fn found_undos(&self, steps: &Steps, what: &StepOperation, is_over: bool) -> Result<Vec<OpenStep>, Ignored> {
        let refuse = |text: String| Err(Ignored::NotAllowed(text));
        let open = self.state.open_steps().filter(|step| is_undo(step.step));
        let open: Vec<OpenStep> = open.filter(|step| steps.mean(step)).collect();
        let missing = steps
            .paths()
            .iter()
            .find(|path| !open.iter().any(|step| step.path == **path));
        if let Some(path) = missing {
            return refuse(format!(
                "{path} is no compensation that is at work or has failed: of a run that is or was being undone, only those can be \
                 retried, skipped or failed"
            ));
        }
        if open.is_empty() {
            return refuse("no compensation with such an error is at work or has failed".to_owned());
        }
        if let Steps::At(_) = steps {
            open.iter().try_for_each(|step| check(step, what, is_over))?;
            return Ok(open);
        }
        // Of all with an error those are meant for which it makes sense; where there are none, it is told why.
        let (fit, unfit): (Vec<_>, Vec<_>) = open.into_iter().partition(|step| check(step, what, is_over).is_ok());
        match unfit.first().filter(|_| fit.is_empty()) {
            Some(step) => check(step, what, is_over).map(|()| fit),
            None => Ok(fit),
        }
    }
}

/// Whether this may be done about it. `is_over`: the run's compensation has ended.
fn check(step: &OpenStep, what: &StepOperation, is_over: bool) -> Result<(), Ignored> {
    let (path, has_failed) = (&step.path, step.status == OpenStatus::Failed);
    let why = match what {
        StepOperation::Retry { input: Some(_) } => "is a compensation: its input cannot be replaced",
        StepOperation::Retry { input: None } if !(is_over && has_failed) => {
            "can be retried once it has failed and the run's compensation has ended"
        }
        StepOperation::Fail { .. } if is_over || has_failed => "is not at work: skip it, or resume the run",
        StepOperation::Skip { .. } if is_over && !has_failed => "was cut off: resume the run, and skip it then",
        StepOperation::Retry { input: None } | StepOperation::Fail { .. } | StepOperation::Skip { .. } => return Ok(()),
    };
    Err(Ignored::NotAllowed(format!("{path} {why}")))
}
