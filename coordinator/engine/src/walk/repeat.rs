//! `repeat`: whether another round follows.

use rejoin_shared::definition::model::{Repeat, RepeatCondition};
use rejoin_shared::run::ErrorValue;

use crate::env::eval_bool;
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};

impl Machine<'_> {
    /// Decides before each round, and after the last one.
    pub(super) fn repeat(&mut self, thread: ThreadKey, path: String, repeat: &Repeat, begun: u32) {
        match self.wants_round(thread, &path, repeat, begun) {
            Err(error) => self.fail_node(thread, error),
            Ok(true) => self.emit(Fact::RoundStarted { thread, path }),
            Ok(false) => self.emit(Fact::RepeatEnded {
                thread,
                path,
                snapshot: None,
            }),
        }
    }

    fn wants_round(&self, thread: ThreadKey, path: &str, repeat: &Repeat, begun: u32) -> Result<bool, ErrorValue> {
        let holds = |condition| eval_bool(condition, &self.state.env(thread), self.around.limits, path);
        let wants = match &repeat.condition {
            RepeatCondition::Always => return Ok(begun < repeat.max),
            RepeatCondition::While(condition) => holds(condition)?,
            RepeatCondition::Until(_) if begun == 0 => true,
            RepeatCondition::Until(condition) => !holds(condition)?,
        };
        if wants && begun >= repeat.max {
            let message = format!(
                "its condition asks for more than the {} rounds that `max` allows",
                repeat.max
            );
            return Err(ErrorValue::new("rejoin.repeat_limit", message, path));
        }
        Ok(wants)
    }
}
