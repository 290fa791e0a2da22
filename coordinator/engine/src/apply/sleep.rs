//! Sleeps: a thread that waits for its time, with a timer that the fold itself keeps.

use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::thread::Sleep;
use crate::state::{Leaf, RunState};

impl RunState {
    pub(super) fn set_timer(&mut self, key: ThreadKey, until: Timestamp) -> Result<(), Misfit> {
        let path = self.entered_path(key)?;
        let thread = self.live(key)?;
        thread.leaf = Leaf::Sleep(Box::new(Sleep { path, until }));
        self.agenda.timers.insert((until, key));
        Ok(())
    }

    pub(super) fn wake(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let thread = self.live(key)?;
        let Leaf::Sleep(sleep) = std::mem::replace(&mut thread.leaf, Leaf::Done) else {
            return Err("not asleep".to_owned());
        };
        self.agenda.timers.remove(&(sleep.until, key));
        self.go_on(key);
        Ok(())
    }
}
