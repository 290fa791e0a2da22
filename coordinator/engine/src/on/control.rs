//! Timers and what operators ask for.

use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::decision::Ignored;
use crate::machine::Machine;
use crate::record::{Fact, RunFinished};
use crate::state::{Leaf, Phase};

impl Machine<'_> {
    /// Begins the next try of every group or scope whose time has come.
    pub(super) fn timers_due(&mut self) {
        if self.state.phase != Phase::Active {
            return;
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
            let waits = self.state.is_live(key)
                && matches!(self.state.thread(key).map(|thread| &thread.leaf), Some(Leaf::Backoff(b)) if b.until == at);
            if waits {
                self.emit(Fact::NodeRetried { thread: key });
            }
        }
    }

    pub(super) fn cancel(&mut self, reason: Option<String>) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Ended {
                status: RunStatus::Cancelled,
                ..
            } => return Err(Ignored::AlreadySo),
            Phase::Ended { status, .. } => return Err(not_allowed("cancelled", *status)),
            Phase::Active | Phase::Paused => {}
        }
        self.emit(Fact::RunFinished(RunFinished {
            status: RunStatus::Cancelled,
            output: None,
            error: None,
            reason,
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
            Phase::Ended { status, .. } => Err(not_allowed("paused", *status)),
        }
    }

    pub(super) fn resume(&mut self) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Paused
            | Phase::Ended {
                status: RunStatus::Failed,
                ..
            } => {
                self.emit(Fact::RunResumed);
                Ok(())
            }
            Phase::Active => Err(not_allowed("resumed", self.state.status())),
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
        self.emit(Fact::RunFinished(RunFinished {
            status: RunStatus::Failed,
            output: None,
            error: Some(error),
            reason: None,
        }));
        Ok(())
    }
}

fn not_allowed(what: &str, status: RunStatus) -> Ignored {
    Ignored::NotAllowed(format!("a run that is {} cannot be {what}", status.as_str()))
}
