//! Failures and cancellations: threads stop where they are, and stay for a resume.

use rejoin_shared::run::ErrorValue;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::thread::{Frame, scopes_of};
use crate::state::{Leaf, RunState, ThreadEnd, Todo};

impl RunState {
    pub(super) fn fail_node(&mut self, key: ThreadKey, error: &ErrorValue) -> Result<(), Misfit> {
        match self.live(key)?.leaf {
            Leaf::Wait(_) => self.time_out_wait(key)?,
            Leaf::Call(_) => self.orphan(key, false),
            Leaf::Ready(_) | Leaf::Step(_) | Leaf::Scope(_) | Leaf::Backoff(_) | Leaf::Sleep(_) | Leaf::Done => {
                self.ready(key)?;
            }
        }
        self.stop_thread(key, ThreadEnd::Failed(error.clone()));
        Ok(())
    }

    /// The thread's flow has failed for good: nothing in it handled the error.
    pub(super) fn fail_flow(&mut self, key: ThreadKey, error: &ErrorValue) -> Result<(), Misfit> {
        let end = ThreadEnd::Failed(error.clone());
        if let Some(thread) = self.thread_mut(key) {
            // It may say less than the thread stopped with: that there is no room for it.
            thread.end = Some(end.clone());
            self.drop_unwind(key);
            self.report_end(key, &end);
            return Ok(());
        }
        let scope = self.scopes.get_mut(&key.scope).ok_or("no such scope")?;
        scope.never_started.insert(key.branch, end.clone());
        scope.running += 1;
        self.report_end(key, &end);
        Ok(())
    }

    /// The thread's failure is handled by the record at hand: a restart that folds it must not unwind it once more.
    pub(super) fn drop_unwind(&mut self, key: ThreadKey) {
        let todo = &mut self.agenda.todo;
        if let Some(at) = todo.iter().rposition(|todo| *todo == Todo::Unwind(key)) {
            todo.remove(at);
        }
    }

    /// Stops a thread at its node. What may handle the error within it decides next; else its scope hears of it at once.
    pub(crate) fn stop_thread(&mut self, key: ThreadKey, end: ThreadEnd) {
        let def = self.def.clone();
        let thread = self.thread_mut(key).expect("only threads that are there stop");
        thread.end = Some(end.clone());
        match thread.may_handle(&def) {
            true => self.push_todo(Todo::Unwind(key)),
            false => self.report_end(key, &end),
        }
    }

    /// Tells the scope (or the run) that one of its threads has stopped for good.
    fn report_end(&mut self, key: ThreadKey, end: &ThreadEnd) {
        if key == ThreadKey::ROOT {
            self.push_todo(Todo::Finish);
            return;
        }
        let Some(scope) = self.scopes.get_mut(&key.scope) else {
            return;
        };
        scope.running -= 1;
        match end {
            ThreadEnd::Failed(error) => {
                scope.failed += 1;
                scope.error_bytes += error.bytes();
                if self.keeps_done {
                    scope.stopped_behind.insert(key.branch, scope.done.len());
                }
            }
            ThreadEnd::Cancelled => scope.cancelled += 1,
        }
        self.after_branch(key);
    }

    /// Cancels what still runs in a scope. Its threads stay.
    pub(super) fn cancel_branches(&mut self, id: u64) {
        let running = |scope: &crate::state::Scope| -> Vec<u32> {
            scope
                .active
                .iter()
                .filter(|(_, t)| t.end.is_none())
                .map(|(branch, _)| *branch)
                .collect()
        };
        let branches = self.scopes.get(&id).map(running).unwrap_or_default();
        for branch in branches {
            let key = ThreadKey { scope: id, branch };
            self.revoke_below(key, false);
            self.thread_mut(key).expect("listed just above").end = Some(ThreadEnd::Cancelled);
        }
        if let Some(scope) = self.scopes.get_mut(&id) {
            scope.running = 0;
        }
        self.agenda.open.remove(&id);
    }

    /// Takes back the attempts that are outstanding in this thread and below it, and cancels the runs that it waits for.
    pub(crate) fn revoke_below(&mut self, key: ThreadKey, compensate: bool) {
        let Some(thread) = self.thread(key) else { return };
        if thread.end.is_some() {
            return;
        }
        match &thread.leaf {
            Leaf::Step(step) if step.is_parked => {
                self.tally.parked -= 1;
                self.agenda.parked.remove(&key);
            }
            Leaf::Step(step) => {
                let entry = (super::step::key_of(key, step.pos), step.attempt);
                let not_before = step.not_before;
                self.settle_tally(key);
                if let Some(at) = not_before {
                    self.agenda.due.remove(&(at, entry.0, entry.1));
                }
                self.agenda.revoked.insert(entry);
                self.agenda.newly_revoked.push(entry);
            }
            Leaf::Scope(id) => {
                let id = *id;
                let failed = self.scopes.get(&id).is_none_or(|scope| scope.failed_with.is_some());
                let branches: Vec<u32> = match failed {
                    true => Vec::new(),
                    false => self.scopes[&id].active.keys().copied().collect(),
                };
                branches
                    .into_iter()
                    .for_each(|branch| self.revoke_below(ThreadKey { scope: id, branch }, compensate));
            }
            Leaf::Wait(wait) => {
                let (seq, until) = (wait.seq, wait.until);
                self.forget_wait(key, seq, until);
            }
            Leaf::Call(_) => self.orphan(key, compensate),
            Leaf::Sleep(sleep) => {
                let (seq, until) = (sleep.seq, sleep.until);
                self.agenda.timers.remove(&(until, key));
                self.agenda.wait_changes.push(crate::decision::WaitChange::Over(seq));
            }
            Leaf::Backoff(backoff) => {
                let until = backoff.until;
                self.agenda.timers.remove(&(until, key));
            }
            Leaf::Ready(_) | Leaf::Done => {}
        }
    }

    /// Forgets a scope and everything below it.
    pub(crate) fn drop_scope(&mut self, id: u64) {
        self.agenda.open.remove(&id);
        self.hand_on_done(id);
        let Some(scope) = self.scopes.remove(&id) else { return };
        for thread in scope.active.values() {
            thread.scopes().into_iter().for_each(|inner| self.drop_scope(inner));
        }
    }

    /// Drops the frames of a thread below `depth`, with the scopes that only they hold.
    pub(super) fn cut_frames(&mut self, key: ThreadKey, depth: usize) -> Option<&mut Frame> {
        let thread = self.thread_mut(key)?;
        let cut = thread.frames.split_off(depth);
        let scopes = scopes_of(&cut).into_iter().chain(thread.leaf.scope());
        for scope in scopes.collect::<Vec<_>>().into_iter().rev() {
            self.drop_scope(scope);
        }
        self.thread_mut(key)?.frames.last_mut()
    }
}
