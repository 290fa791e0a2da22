//! Sleeps: a thread that waits for its time, with a timer that the fold itself keeps.

use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::decision::WaitChange;
use crate::record::ThreadKey;
use crate::state::thread::Sleep;
use crate::state::view::OpenSleep;
use crate::state::{Leaf, RunState};

impl RunState {
    pub(super) fn set_timer(&mut self, key: ThreadKey, seq: u64, until: Timestamp) -> Result<(), Misfit> {
        let path = self.entered_path(key)?;
        let thread = self.live(key)?;
        thread.leaf = Leaf::Sleep(Box::new(Sleep { seq, path, until }));
        self.enlist_sleep(key);
        Ok(())
    }

    /// Notes that a thread sleeps, with its timer.
    pub(super) fn enlist_sleep(&mut self, key: ThreadKey) {
        let Some(Leaf::Sleep(sleep)) = self.thread(key).map(|thread| &thread.leaf) else {
            return;
        };
        let name = self.node_of(key).map(|node| self.def.node(node).name.to_string());
        let open = OpenSleep {
            seq: sleep.seq,
            path: sleep.path.clone(),
            name: name.unwrap_or_default(),
            until: sleep.until,
        };
        self.agenda.timers.insert((open.until, key));
        self.agenda.wait_changes.push(WaitChange::Slept(open));
    }

    pub(super) fn wake(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let thread = self.live(key)?;
        let Leaf::Sleep(sleep) = std::mem::replace(&mut thread.leaf, Leaf::Done) else {
            return Err("not asleep".to_owned());
        };
        self.agenda.timers.remove(&(sleep.until, key));
        self.agenda.wait_changes.push(WaitChange::Over(sleep.seq));
        self.go_on(key);
        Ok(())
    }
}
