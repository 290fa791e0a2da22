//! Timers and what operators ask for.

use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::decision::Ignored;
use crate::machine::Machine;
use crate::record::{Fact, RunFinished};
use crate::state::{Deadline, Leaf, Phase};

impl Machine<'_> {
    /// Begins the next try of every group or scope, and wakes every sleep, whose time has come.
    pub(super) fn timers_due(&mut self) {
        if matches!(self.state.phase, Phase::Scheduled(at) if at <= self.around.now) {
            return self.emit(Fact::RunBegun);
        }
        if self.state.phase != Phase::Active {
            return; // attempts that wait for their time are taken when they are ready
        }
        if self.is_over_time() {
            return self.time_out();
        }
        while let Some((at, key)) = self
            .state
            .agenda
            .timers
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.around.now)
        {
            self.state.agenda.timers.remove(&(at, key));
            if !self.state.is_live(key) {
                continue;
            }
            match self.state.thread(key).map(|thread| &thread.leaf) {
                Some(Leaf::Backoff(backoff)) if backoff.until == at => self.emit(Fact::NodeRetried { thread: key }),
                Some(Leaf::Sleep(sleep)) if sleep.until == at => {
                    let path = sleep.path.clone();
                    self.wake(key, path);
                }
                Some(Leaf::Wait(wait)) if wait.until == Some(at) => self.wait_timed_out(key),
                Some(Leaf::Call(call)) if call.until == Some(at) => self.call_timed_out(key),
                Some(
                    Leaf::Backoff(_)
                    | Leaf::Sleep(_)
                    | Leaf::Wait(_)
                    | Leaf::Call(_)
                    | Leaf::Ready(_)
                    | Leaf::Step(_)
                    | Leaf::Scope(_)
                    | Leaf::Done,
                )
                | None => {}
            }
        }
    }

    fn is_over_time(&self) -> bool {
        matches!(self.state.deadline, Some(Deadline::At(at)) if at <= self.around.now)
    }

    /// The run as a whole took longer than its workflow allows: nothing in it can catch that.
    fn time_out(&mut self) {
        let timeout = self.state.def.timeout.unwrap_or_default();
        let error = ErrorValue {
            kind: "rejoin.run_timeout".to_owned(),
            message: format!(
                "the run took longer than the {} s of its `timeout`",
                timeout.as_secs_f64()
            ),
            ..ErrorValue::default()
        };
        self.fail_run(error);
    }

    pub(super) fn cancel(&mut self, reason: Option<String>, compensate: bool) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Ended {
                status: RunStatus::Cancelled,
                ..
            } => return Err(Ignored::AlreadySo),
            Phase::Ended { status, .. } => return Err(not_allowed("cancelled", *status)),
            Phase::Compensating => {
                let text = "a run that is being compensated cannot be cancelled";
                return Err(Ignored::NotAllowed(text.to_owned()));
            }
            Phase::Scheduled(_) | Phase::Active | Phase::Paused => {}
        }
        if compensate {
            self.end_undone(RunStatus::Cancelled, None, reason);
            return Ok(());
        }
        self.emit(Fact::RunFinished(RunFinished {
            status: RunStatus::Cancelled,
            output: None,
            error: None,
            reason,
            output_is_context: false,
            undoes_children: false,
        }));
        Ok(())
    }

    pub(super) fn pause(&mut self) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Active => {
                self.emit(Fact::RunPaused);
                Ok(())
            }
            Phase::Paused => Err(Ignored::AlreadySo),
            Phase::Scheduled(_) | Phase::Compensating => Err(not_allowed("paused", self.state.status())),
            Phase::Ended { status, .. } => Err(not_allowed("paused", *status)),
        }
    }

    pub(super) fn resume(&mut self) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Ended { .. } if self.state.is_compensated() => {
                let text = "what the run had done was undone; start another one";
                Err(Ignored::NotAllowed(text.to_owned()))
            }
            Phase::Paused
            | Phase::Ended {
                status: RunStatus::Failed | RunStatus::CompensationFailed,
                ..
            } => {
                self.emit(Fact::RunResumed { only: Vec::new() });
                self.take_kept_again();
                Ok(())
            }
            Phase::Scheduled(_) | Phase::Active | Phase::Compensating => {
                Err(not_allowed("resumed", self.state.status()))
            }
            Phase::Ended { status, .. } => Err(not_allowed("resumed", *status)),
        }
    }

    pub(super) fn quarantine(&mut self, message: String) -> Result<(), Ignored> {
        if matches!(self.state.phase, Phase::Ended { .. }) {
            return Err(Ignored::AlreadySo);
        }
        let error = ErrorValue {
            kind: "rejoin.internal".to_owned(),
            message,
            ..ErrorValue::default()
        };
        let status = match self.state.undo.is_some() {
            true => RunStatus::CompensationFailed,
            false => RunStatus::Failed,
        };
        self.emit(Fact::RunFinished(RunFinished {
            status,
            output: None,
            error: Some(error),
            reason: None,
            output_is_context: false,
            undoes_children: false,
        }));
        Ok(())
    }
}

fn not_allowed(what: &str, status: RunStatus) -> Ignored {
    Ignored::NotAllowed(format!("a run that is {} cannot be {what}", status.as_str()))
}
