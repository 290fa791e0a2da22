//! `sleep`

use rejoin_shared::definition::duration;
use rejoin_shared::definition::model::Sleep;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;
use rejoin_shared::time::Timestamp;

use crate::env::{EXPRESSION, eval_template};
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};

impl Machine<'_> {
    /// Sets the timer; a time that is past means now.
    pub(super) fn sleep(&mut self, thread: ThreadKey, path: String, sleep: &Sleep) {
        let until = match self.wakes_at(thread, &path, sleep) {
            Ok(until) => until,
            Err(error) => return self.fail_node(thread, error),
        };
        self.emit(Fact::TimerSet {
            thread,
            until,
            path: path.clone(),
        });
        if until <= self.around.now {
            self.wake(thread, path);
        }
    }

    pub(crate) fn wake(&mut self, thread: ThreadKey, path: String) {
        self.emit(Fact::TimerFired {
            thread,
            path,
            snapshot: None,
        });
    }

    fn wakes_at(&self, thread: ThreadKey, path: &str, sleep: &Sleep) -> Result<Timestamp, ErrorValue> {
        let (key, wanted, template) = match sleep {
            Sleep::For(template) => ("for", "a duration like \"90s\"", template),
            Sleep::Until(template) => ("until", "a time like \"2026-01-31T08:00:00Z\"", template),
        };
        let value = eval_template(template, &self.state.env(thread), self.around.limits, path)?;
        let text = value.as_str();
        let at = match sleep {
            Sleep::For(_) => text.and_then(duration::parse_computed).map(|d| self.around.now.plus(d)),
            Sleep::Until(_) => text.and_then(Timestamp::parse),
        };
        at.ok_or_else(|| unfit(key, wanted, &value, path))
    }
}

fn unfit(key: &str, wanted: &str, got: &Json, path: &str) -> ErrorValue {
    ErrorValue::new(EXPRESSION, format!("`{key}` must give {wanted}, but gave {got}"), path)
}
