//! What a change makes of a run's row, as the stores do it: for those who have the row in memory.

use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::{RunChange, RunRow};

impl RunRow {
    /// The row after `change` was appended at `at`.
    pub fn change(&mut self, change: &RunChange, at: Timestamp) {
        if self.status == RunStatus::Scheduled && change.status != RunStatus::Scheduled {
            self.started_at = self.started_at.or(Some(at));
        }
        (self.status, self.progress, self.counts) = (change.status, change.progress, change.counts);
        self.wake_at = change.wake_at;
        if change.reopened {
            (self.context, self.output, self.error) = (None, None, None);
            (self.compensated, self.finished_at) = (false, None);
        }
        if let Some(end) = &change.ended {
            self.context.clone_from(&end.context);
            self.output.clone_from(&end.output);
            self.error.clone_from(&end.error);
            (self.compensated, self.finished_at) = (end.compensated, Some(at));
        }
        self.fill_output();
    }

    /// Reads the context of a run that completed as its output, where no other is kept.
    pub(super) fn fill_output(&mut self) {
        if self.status == RunStatus::Completed && self.output.is_none() {
            self.output.clone_from(&self.context);
        }
    }
}
