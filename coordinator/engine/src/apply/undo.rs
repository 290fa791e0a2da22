//! Compensation: what completed is undone, newest first (SPEC 5.6).

use std::collections::BTreeSet;

use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::Misfit;
use super::step::count;
use crate::decision::Sent;
use crate::record::{StepFailed, ThreadKey, UndoneChild};
use crate::state::scope::ScopeKind;
use crate::state::thread::CallEnd;
use crate::state::undo::{Done, Undo, Undoing, Visit, undo_call};
use crate::state::{Leaf, Phase, RunState, Todo};

impl RunState {
    /// Notes that a visit completed which can be undone. The thread stands at it still, its context as the visit left it.
    pub(super) fn note_done(&mut self, key: ThreadKey, step: Option<StepKey>, path: &str, output: &Json) {
        let Some(node) = self
            .node_of(key)
            .filter(|node| self.keeps_done && undo_call(&self.def, *node).is_some())
        else {
            return;
        };
        let env = self.env(key);
        let Some(thread) = self.thread_mut(key) else { return };
        let step = step.unwrap_or_else(|| {
            // A call has no key of its own: it takes the next one of its thread.
            thread.pos += 1;
            super::step::key_of(key, thread.pos - 1)
        });
        let visit = Visit::new(step, path.to_owned(), node, env, thread.ctx.clone(), output.clone());
        thread.done.push(Done::Visit(Box::new(visit)));
    }

    /// Hands on what was done in a scope's branches to the thread that holds it: the scope is about to be forgotten.
    pub(super) fn hand_on_done(&mut self, id: u64) {
        if !self.keeps_done {
            return;
        }
        let fork = self.take_done(id);
        let place = self.scopes.get(&id).map(|scope| (scope.parent, scope.done_before));
        if let (Some((parent, before)), Some(fork)) = (place, fork)
            && let Some(thread) = self.thread_mut(parent)
        {
            let end = thread.done.len();
            thread.done.insert(before.unwrap_or(end).min(end), fork);
        }
    }

    fn take_done(&mut self, id: u64) -> Option<Done> {
        let scope = self.scopes.get_mut(&id)?;
        let in_order = matches!(scope.kind, ScopeKind::Loop | ScopeKind::Graph);
        let mut branches = std::mem::take(&mut scope.done);
        let stopped_behind = std::mem::take(&mut scope.stopped_behind);
        let end = branches.len();
        let place = |branch: u32| stopped_behind.get(&branch).map_or(end, |at| (*at).min(end));
        let mut open: Vec<(usize, u32)> = scope.active.keys().map(|branch| (place(*branch), *branch)).collect();
        open.sort_unstable();
        // The last one first, so that the places of those before it stay.
        for (at, branch) in open.into_iter().rev() {
            branches.insert(at, self.take_done_of(ThreadKey { scope: id, branch }));
        }
        branches.retain(|branch| !branch.is_empty());
        (!branches.is_empty()).then_some(Done::Fork { in_order, branches })
    }

    /// Everything that was done in a thread and below it.
    fn take_done_of(&mut self, key: ThreadKey) -> Vec<Done> {
        let Some(thread) = self.thread_mut(key) else {
            return Vec::new();
        };
        let (mut done, scopes) = (std::mem::take(&mut thread.done), thread.scopes());
        // The last one first: each goes where the thread stood when it failed, before what a finally did behind it.
        for id in scopes.into_iter().rev() {
            let before = self.scopes.get(&id).and_then(|scope| scope.done_before);
            if let Some(fork) = self.take_done(id) {
                let end = done.len();
                done.insert(before.unwrap_or(end).min(end), fork);
            }
        }
        done
    }

    /// Whether anything that can be undone has completed.
    pub(crate) fn has_something_to_undo(&self) -> bool {
        let in_scopes = self.scopes.values().any(|scope| {
            let open = scope.active.values().any(|thread| !thread.done.is_empty());
            open || !scope.done.is_empty()
        });
        self.keeps_done && (in_scopes || !self.root.done.is_empty())
    }

    /// The runs that were called and are not over, or left something undone: what they did is newer than what this one did before.
    pub(crate) fn undone_children(&self) -> Vec<UndoneChild> {
        let branches = self.scopes.iter().flat_map(|(id, scope)| {
            let branches = scope.active.keys().copied();
            branches.map(move |branch| ThreadKey { scope: *id, branch })
        });
        let threads = std::iter::once(ThreadKey::ROOT).chain(branches);
        threads.filter_map(|key| self.undone_child_at(key)).collect()
    }

    /// Called runs whose ends the compensation waits for: paths of their calls, and which.
    pub fn open_undone_children(&self) -> impl Iterator<Item = (&str, RunId)> + '_ {
        let undo = self.undo.iter().filter(|_| self.phase == Phase::Compensating);
        undo.flat_map(|undo| undo.children.open())
    }

    fn undone_child_at(&self, key: ThreadKey) -> Option<UndoneChild> {
        let Leaf::Call(call) = &self.thread(key)?.leaf else {
            return None;
        };
        let is_left_undone = match call.end {
            None if self.is_live(key) && !self.call_at(key)?.1.abandon => false,
            Some(CallEnd::LeftUndone) => true,
            None | Some(CallEnd::Resumable | CallEnd::Over) => return None,
        };
        Some(UndoneChild {
            child: call.child,
            path: call.path.clone(),
            is_left_undone,
        })
    }

    /// The run is to end, and what it did is to be undone first.
    pub(super) fn start_undo(&mut self, undo: Undo) {
        self.revoke_below(ThreadKey::ROOT, true);
        let done = self.take_done_of(ThreadKey::ROOT);
        self.agenda.todo.clear();
        self.phase = Phase::Compensating;
        self.undo = Some(undo.of(done));
        self.go_on_undoing();
    }

    /// A run that was called has ended: what is older may follow, unless it left something undone.
    pub(super) fn child_undone(&mut self, child: RunId, is_left_undone: bool) -> Result<(), Misfit> {
        let undo = self.undo.as_mut().ok_or("nothing is being undone")?;
        undo.children.ended(child, is_left_undone)?;
        self.go_on_undoing();
        Ok(())
    }

    /// Begins what may begin; where nothing is left to do, the run ends.
    fn go_on_undoing(&mut self) {
        let opened_seq = self.last_seq + 1;
        let Some(undo) = &mut self.undo else { return };
        for visit in undo.next().into_iter().map(Box::new) {
            self.agenda.ready.push_back((visit.key, 1));
            self.tally.opened += 1;
            self.tally.outstanding += 1;
            let undoing = Undoing {
                attempt: 1,
                not_before: None,
                allowed: Vec::new(),
                last_error: None,
                has_failed: false,
                checkpoint: None,
                opened_seq,
                visit,
            };
            undo.begun.insert(undoing.visit.key, undoing);
        }
        if undo.is_at_rest() {
            self.push_todo(Todo::Finish);
        }
    }

    /// The compensation of this key, if its attempt is outstanding.
    pub(crate) fn undoing(&self, step: StepKey, attempt: u32) -> Option<&Undoing> {
        let undoing = self.undo.as_ref()?.begun.get(&step)?;
        let is_open = undoing.attempt == attempt && !undoing.has_failed && self.phase == Phase::Compensating;
        is_open.then_some(undoing)
    }

    pub(super) fn undone(&mut self, step: StepKey, attempt: u32) -> Result<(), Misfit> {
        self.settle_undo(step, attempt)?;
        self.close_undo(step);
        Ok(())
    }

    fn close_undo(&mut self, step: StepKey) {
        self.tally.done += 1;
        if let Some(undo) = &mut self.undo {
            undo.close(step);
        }
        self.go_on_undoing();
    }

    pub(super) fn undo_failed(&mut self, failed: &StepFailed) -> Result<(), Misfit> {
        let step = failed.step;
        self.settle_undo(step, failed.attempt)?;
        let undo = self.undo.as_mut().ok_or("nothing is being undone")?;
        let undoing = undo.begun.get_mut(&step).ok_or("no such compensation")?;
        undoing.last_error = Some(failed.error.clone());
        if let Some(checkpoint) = &failed.checkpoint {
            undoing.checkpoint = Some(Box::new(checkpoint.clone()));
        }
        match failed.retry {
            Some(retry) => {
                count(&mut undoing.allowed, retry.policy);
                undoing.attempt += 1;
                undoing.not_before = Some(retry.at);
                self.agenda.due.insert((retry.at, step, undoing.attempt));
                self.tally.backing_off += 1;
            }
            None => {
                undo.fail(step);
                self.tally.failed += 1;
                self.go_on_undoing();
            }
        }
        Ok(())
    }

    fn settle_undo(&mut self, step: StepKey, attempt: u32) -> Result<(), Misfit> {
        let undoing = self
            .undoing(step, attempt)
            .ok_or("the compensation is not outstanding")?;
        match undoing.not_before.is_some() {
            true => self.tally.backing_off -= 1,
            false => self.tally.outstanding -= 1,
        }
        Ok(())
    }

    /// A backoff of a compensation is over.
    pub(crate) fn wake_undo(&mut self, step: StepKey) {
        let undoing = self.undo.as_mut().and_then(|undo| undo.begun.get_mut(&step));
        if undoing.is_some_and(|undoing| undoing.not_before.take().is_some()) {
            self.tally.backing_off -= 1;
            self.tally.outstanding += 1;
        }
    }

    /// An operator says that something is undone.
    pub(super) fn skip_undo(&mut self, step: StepKey) -> Result<(), Misfit> {
        let undo = self.undo.as_mut().ok_or("nothing is being undone")?;
        match undo.forgive(step) {
            true => self.tally.failed -= 1,
            false => self.revoke_undo(step)?,
        }
        self.close_undo(step);
        Ok(())
    }

    /// An operator says that something cannot be undone.
    pub(super) fn give_undo_up(&mut self, step: StepKey, error: &ErrorValue) -> Result<(), Misfit> {
        self.revoke_undo(step)?;
        let undo = self.undo.as_mut().ok_or("nothing is being undone")?;
        let undoing = undo.begun.get_mut(&step).ok_or("no such compensation")?;
        undoing.last_error = Some(error.clone());
        undo.fail(step);
        self.tally.failed += 1;
        self.go_on_undoing();
        Ok(())
    }

    /// Takes back its attempt, which is outstanding or waits for its time.
    fn revoke_undo(&mut self, step: StepKey) -> Result<(), Misfit> {
        let begun = self.undo.as_ref().and_then(|undo| undo.begun.get(&step));
        let (attempt, not_before) = begun
            .map(|undoing| (undoing.attempt, undoing.not_before))
            .ok_or("no such compensation")?;
        self.settle_undo(step, attempt)?;
        if let Some(at) = not_before {
            self.agenda.due.remove(&(at, step, attempt));
        }
        self.agenda.revoked.insert((step, attempt));
        self.agenda.newly_revoked.push((step, attempt));
        Ok(())
    }

    /// A resume of a compensation that ended: its failed visits, of which only those of `only` if any are named, are tried again,
    /// with fresh budgets; what was cut off in the middle goes on.
    pub(super) fn revive_undo(&mut self, only: &[StepKey]) {
        self.phase = Phase::Compensating;
        let Some(undo) = &mut self.undo else { return };
        if only.is_empty() {
            let again = undo.children.again().into_iter();
            self.agenda.outbox.extend(again.map(|child| Sent::GoOn { child }));
        }
        let only: BTreeSet<StepKey> = only.iter().copied().collect();
        let again = undo.forgive_all(|key| only.is_empty() || only.contains(key));
        for (key, undoing) in &mut undo.begun {
            if let Some(at) = undoing.not_before.take() {
                self.agenda.due.remove(&(at, *key, undoing.attempt));
            }
            if undoing.has_failed {
                continue;
            }
            if again.contains(key) {
                undoing.attempt += 1;
                self.tally.failed -= 1;
            }
            undoing.allowed.clear();
            self.agenda.ready.push_back((*key, undoing.attempt));
            self.tally.outstanding += 1;
        }
        self.go_on_undoing();
    }
}
