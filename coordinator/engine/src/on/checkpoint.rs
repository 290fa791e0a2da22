//! What running attempts store, for themselves should their worker die, and for the next one (SPEC 5.3).

use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;

use crate::decision::Ignored;
use crate::machine::Machine;
use crate::record::{CheckpointStored, Fact};

impl Machine<'_> {
    pub(super) fn checkpoint(&mut self, step: StepKey, attempt: u32, value: Json) -> Result<(), Ignored> {
        self.state.materialize(step);
        let is_known = self.state.checkpoint(step, attempt) == Some(&value);
        if is_known || !self.state.is_outstanding(step, attempt) {
            return Err(Ignored::NothingDue);
        }
        self.emit(Fact::CheckpointStored(CheckpointStored {
            step,
            attempt,
            value,
            path: match self.state.undoing(step, attempt) {
                Some(undoing) => undoing.visit.undo_path(),
                None => self.path_of(step),
            },
        }));
        Ok(())
    }
}
