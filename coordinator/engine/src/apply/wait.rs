//! Waits: a thread that stands until an event or an answer comes, or its time is over.

use std::collections::BTreeMap;

use rejoin_shared::definition::model::{Into, NodeKind, WaitFor};
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::time::Timestamp;

use super::{Misfit, write_output};
use crate::decision::WaitChange;
use crate::record::{Awaited, EventReceived, ThreadKey};
use crate::state::thread::{Entered, Wait};
use crate::state::{Kept, Leaf, RunState};

impl RunState {
    pub(super) fn open_wait(
        &mut self,
        key: ThreadKey,
        seq: u64,
        awaited: &Awaited,
        until: Option<Timestamp>,
    ) -> Result<(), Misfit> {
        let path = self.entered_path(key)?;
        self.live(key)?.leaf = Leaf::Wait(Box::new(Wait {
            seq,
            path,
            awaited: awaited.clone(),
            until,
            received: BTreeMap::new(),
        }));
        self.enlist_wait(key);
        Ok(())
    }

    /// Notes that a thread waits, with its timer.
    pub(super) fn enlist_wait(&mut self, key: ThreadKey) {
        let Some(Leaf::Wait(wait)) = self.thread(key).map(|thread| &thread.leaf) else {
            return;
        };
        let until = wait.until;
        self.agenda.timers.extend(until.map(|at| (at, key)));
        self.agenda.waiting.insert(key);
        let opened = self.open_wait_at(key);
        self.agenda.wait_changes.extend(opened.map(WaitChange::Opened));
    }

    pub(super) fn receive(&mut self, received: &EventReceived, seq: u64) -> Result<(), Misfit> {
        self.event_ids.extend(received.id.clone());
        if received.to.is_empty() {
            let kept = Kept {
                event: received.event.clone(),
                payload: received.payload.clone(),
            };
            self.kept.insert(seq, kept);
        }
        for key in &received.to {
            self.deliver(*key, &received.event, &received.payload)?;
        }
        Ok(())
    }

    pub(super) fn take_kept(&mut self, key: ThreadKey, from: u64) -> Result<(), Misfit> {
        let kept = self.kept.remove(&from).ok_or("no such event")?;
        self.deliver(key, &kept.event, &kept.payload)
    }

    fn deliver(&mut self, key: ThreadKey, event: &str, payload: &Json) -> Result<(), Misfit> {
        let Leaf::Wait(wait) = &mut self.live(key)?.leaf else {
            return Err("not a wait".to_owned());
        };
        wait.received.insert(event.to_owned(), payload.clone());
        Ok(())
    }

    /// The wait's time is over: the thread stands at its node again, and what follows is recorded next.
    pub(super) fn time_out_wait(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let wait = self.close_wait(key)?;
        self.live(key)?.leaf = Leaf::Ready(Entered {
            path: wait.path,
            problem: None,
            carried: None,
            rounds: None,
        });
        Ok(())
    }

    /// Ends a wait, or one that has just timed out, with its value.
    pub(super) fn end_wait(&mut self, key: ThreadKey, output: &Json) -> Result<(), Misfit> {
        if matches!(self.live(key)?.leaf, Leaf::Wait(_)) {
            self.close_wait(key)?;
        }
        let def = self.def.clone();
        let thread = self.thread(key).ok_or("no such branch")?;
        let node = def.node(self.node_at(thread).ok_or("no node")?);
        let NodeKind::Wait(wait) = &node.kind else {
            return Err("not at a wait".to_owned());
        };
        let into = into_of(wait, &node.name);
        self.write_value(key, output, &into, &node.name)?;
        self.go_on(key);
        Ok(())
    }

    /// Writes the value of a node that is no step.
    pub(super) fn write_value(&mut self, key: ThreadKey, output: &Json, into: &Into, name: &str) -> Result<(), Misfit> {
        let thread = self.live(key)?;
        let grown = write_output(&mut thread.ctx, &[], &[], output, into, name);
        if grown {
            thread.ctx_bytes_max = thread.ctx_bytes_max.saturating_add(output.text_len() + 80);
        }
        thread.output = output.clone();
        Ok(())
    }

    /// Takes a wait off all lists.
    pub(super) fn close_wait(&mut self, key: ThreadKey) -> Result<Wait, Misfit> {
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        let Leaf::Wait(wait) = std::mem::replace(&mut thread.leaf, Leaf::Done) else {
            return Err("not a wait".to_owned());
        };
        self.forget_wait(key, wait.seq, wait.until);
        Ok(*wait)
    }

    pub(super) fn forget_wait(&mut self, key: ThreadKey, seq: u64, until: Option<Timestamp>) {
        if let Some(at) = until {
            self.agenda.timers.remove(&(at, key));
        }
        self.agenda.waiting.remove(&key);
        self.agenda.wait_changes.push(WaitChange::Over(seq));
    }
}

/// Where a wait's value goes: that of several events never merges into the context.
pub(crate) fn into_of(wait: &rejoin_shared::definition::model::Wait, name: &str) -> Into {
    match (&wait.what, &wait.into) {
        (WaitFor::Any(_) | WaitFor::All(_), Into::Merge) => Into::At(KeyPath::of_key(name.into())),
        (WaitFor::Any(_) | WaitFor::All(_) | WaitFor::Event(_) | WaitFor::Input { .. }, into) => into.clone(),
    }
}
