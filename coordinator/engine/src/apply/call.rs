//! Calls of other runs.

use rejoin_shared::json::Json;

use super::Misfit;
use crate::decision::Sent;
use crate::record::{Fact, ThreadKey};
use crate::state::scope::Carried;
use crate::state::thread::{Call, CallEnd, Entered};
use crate::state::{Leaf, RunState, Todo};

impl RunState {
    pub(super) fn start_child(&mut self, fact: &Fact) -> Result<(), Misfit> {
        let Fact::ChildStarted {
            thread: key,
            child,
            timeout,
            path,
            ..
        } = fact
        else {
            return Err("not a call".to_owned());
        };
        let thread = self.ready(*key)?;
        let Leaf::Ready(entered) = &mut thread.leaf else {
            return Err("not at a node".to_owned());
        };
        let carried = entered.carried.take().map(|carried| *carried).unwrap_or_default();
        if self.call_at(*key).ok_or("not at a call")?.1.detached {
            let output = Json::from_entries([("run", Json::Str(child.to_string().into()))]);
            return self.leave_call(*key, &output);
        }
        let call = Call {
            path: path.clone(),
            child: *child,
            timeout: *timeout,
            until: timeout.map(|timeout| self.now.plus(timeout)),
            allowed: carried.allowed,
            end: None,
        };
        self.live(*key)?.leaf = Leaf::Call(Box::new(call));
        self.enlist_call(*key);
        Ok(())
    }

    fn enlist_call(&mut self, key: ThreadKey) {
        let Some(Leaf::Call(call)) = self.thread(key).map(|thread| &thread.leaf) else {
            return;
        };
        let until = call.until;
        self.agenda.timers.extend(until.map(|at| (at, key)));
        self.agenda.waiting.insert(key);
    }

    pub(super) fn finish_call(&mut self, key: ThreadKey, output: &Json) -> Result<(), Misfit> {
        let Leaf::Call(call) = &self.live(key)?.leaf else {
            return Err("not a call".to_owned());
        };
        let path = call.path.clone();
        self.forget_call(key, CallEnd::Over)?;
        self.write_call(key, output)?;
        self.note_done(key, None, &path, output);
        self.go_on(key);
        Ok(())
    }

    fn write_call(&mut self, key: ThreadKey, output: &Json) -> Result<(), Misfit> {
        let def = self.def.clone();
        let node = def.node(self.node_of(key).ok_or("no node")?);
        let call = node.kind.as_call().ok_or("not at a call")?;
        self.write_value(key, output, &call.into, &node.name)
    }

    fn leave_call(&mut self, key: ThreadKey, output: &Json) -> Result<(), Misfit> {
        self.write_call(key, output)?;
        self.go_on(key);
        Ok(())
    }

    /// The child failed: another try, or the failure of the call, follows.
    pub(super) fn fail_call(&mut self, key: ThreadKey, end: CallEnd) -> Result<(), Misfit> {
        self.live(key)?;
        self.forget_call(key, end)
    }

    /// A call that ends before its child: the child is cancelled, with what it did undone if `compensate`, unless it is to be left
    /// alone.
    pub(super) fn orphan(&mut self, key: ThreadKey, compensate: bool) {
        let Some(Leaf::Call(call)) = self.thread(key).map(|thread| &thread.leaf) else {
            return;
        };
        if call.end.is_some() {
            return;
        }
        let child = call.child;
        if !self.call_at(key).is_some_and(|(_, call)| call.abandon) {
            self.agenda.outbox.push(Sent::Cancel { child, compensate });
        }
        self.forget_call(key, CallEnd::Over).ok();
    }

    /// Takes a call off all lists.
    fn forget_call(&mut self, key: ThreadKey, end: CallEnd) -> Result<(), Misfit> {
        let Some(Leaf::Call(call)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
            return Err("not a call".to_owned());
        };
        call.end = Some(end);
        let until = call.until;
        if let Some(at) = until {
            self.agenda.timers.remove(&(at, key));
        }
        self.agenda.waiting.remove(&key);
        Ok(())
    }

    /// At a resume: a child that failed goes on; any other is called anew.
    pub(super) fn revive_call(&mut self, key: ThreadKey) {
        let now = self.now;
        let Some(Leaf::Call(call)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
            return;
        };
        if call.end == Some(CallEnd::Resumable) {
            call.end = None;
            call.allowed.clear();
            call.until = call.timeout.map(|timeout| now.plus(timeout));
            let child = call.child;
            self.agenda.outbox.push(Sent::GoOn { child });
            return self.enlist_call(key);
        }
        call.allowed.clear();
        self.call_again(key);
    }

    /// The thread stands at its call once more: another run is called.
    pub(super) fn call_again(&mut self, key: ThreadKey) {
        let Some(Leaf::Call(call)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
            return;
        };
        let carried = Carried {
            allowed: std::mem::take(&mut call.allowed),
            ..Carried::default()
        };
        let entered = Entered {
            path: std::mem::take(&mut call.path),
            problem: None,
            carried: Some(Box::new(carried)),
            rounds: None,
        };
        if let Some(thread) = self.thread_mut(key) {
            thread.leaf = Leaf::Ready(entered);
        }
        self.push_todo(Todo::Walk(key));
    }

    /// What another try of a call must know.
    pub(super) fn reset_call(&mut self, key: ThreadKey) -> Option<Carried> {
        self.orphan(key, false);
        let Leaf::Call(call) = &mut self.thread_mut(key)?.leaf else {
            return None;
        };
        Some(Carried {
            allowed: std::mem::take(&mut call.allowed),
            ..Carried::default()
        })
    }
}
