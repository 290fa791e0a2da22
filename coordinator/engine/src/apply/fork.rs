//! A fork: what was folded so far becomes the past of a run of its own (SPEC 6).
//!
//! It shares what its source has recorded, and nothing that is under way: attempts go out anew under its own name, calls call
//! anew, and what was left of a time is left of it still. What the source did, the source undoes.

use std::time::Duration;

use rejoin_shared::definition::model::{NodeKind, Sleep as SleepNode};
use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::record::{RunForked, ThreadKey};
use crate::state::thread::{CallEnd, Frame, FrameKind, Way};
use crate::state::{Deadline, Leaf, Phase, RunState, Thread, context_of};

impl RunState {
    /// `before` is when the last record of the past was decided.
    pub(super) fn fork(&mut self, forked: &RunForked, before: Timestamp) -> Result<(), Misfit> {
        if self.undo.is_some() {
            return Err("a run that undoes what it did is not forked".to_owned());
        }
        if matches!(self.phase, Phase::Ended { .. }) && !forked.is_revived {
            return Err("a run that has ended is forked to be revived".to_owned());
        }
        (self.id, self.version) = (forked.run, forked.version);
        (self.parent, self.is_awaited) = (None, false);
        self.traceparent = forked.traceparent;
        if let Some(input) = &forked.input {
            self.change_input(input);
        }
        let agenda = &mut self.agenda;
        agenda.outbox.clear();
        agenda.wait_changes.clear();
        agenda.revoked.clear();
        agenda.newly_revoked.clear();
        agenda.timers.clear();
        agenda.due.clear();
        agenda.waiting.clear();
        self.disown(self.now.since(before));
        if !matches!(self.phase, Phase::Scheduled(_)) {
            self.phase = Phase::Active;
            let timeout = self.def.timeout;
            self.deadline = timeout.map(|timeout| Deadline::At(self.now.plus(timeout)));
        }
        match forked.is_revived {
            true => self.revive_all(),
            false => self.go_on_all(),
        }
        Ok(())
    }

    /// Takes from every thread what belongs to the source: its children, and what it has to undo.
    fn disown(&mut self, passed: Duration) {
        let until = self.sleeps_until_a_time();
        self.root.disown(passed, until.contains(&ThreadKey::ROOT));
        for (id, scope) in &mut self.scopes {
            scope.done.clear();
            scope.stopped_behind.clear();
            for (branch, thread) in &mut scope.active {
                let key = ThreadKey {
                    scope: *id,
                    branch: *branch,
                };
                thread.disown(passed, until.contains(&key));
            }
        }
    }

    /// Threads whose sleep ends at a time that the definition names: that stays what it is.
    fn sleeps_until_a_time(&self) -> Vec<ThreadKey> {
        let named = |key: &ThreadKey| {
            let sleeps = matches!(self.thread(*key).map(|thread| &thread.leaf), Some(Leaf::Sleep(_)));
            let node = self.node_of(*key).filter(|_| sleeps);
            node.is_some_and(|node| matches!(self.def.node(node).kind, NodeKind::Sleep(SleepNode::Until(_))))
        };
        self.all_threads().into_iter().filter(named).collect()
    }

    fn all_threads(&self) -> Vec<ThreadKey> {
        let branches = self.scopes.iter().flat_map(|(id, scope)| {
            let branches = scope.active.keys();
            branches.map(|branch| ThreadKey {
                scope: *id,
                branch: *branch,
            })
        });
        std::iter::once(ThreadKey::ROOT).chain(branches).collect()
    }

    /// As a resume of a failed run.
    fn revive_all(&mut self) {
        let agenda = &mut self.agenda;
        agenda.todo.clear();
        agenda.held.clear();
        agenda.ready.clear();
        agenda.parked.clear();
        (self.tally.outstanding, self.tally.backing_off, self.tally.parked) = (0, 0, 0);
        self.revive(ThreadKey::ROOT, None);
    }

    /// As it stands: only what the agenda knew of times and of other runs is put together anew.
    fn go_on_all(&mut self) {
        let held = std::mem::take(&mut self.agenda.held);
        held.into_iter().for_each(|todo| self.push_todo(todo));
        let live = self.all_threads().into_iter().filter(|key| self.is_live(*key));
        for key in live.collect::<Vec<_>>() {
            match self.thread(key).map(|thread| &thread.leaf) {
                Some(Leaf::Step(step)) if step.not_before.is_some() && !step.has_failed => self.push_ready(key),
                Some(Leaf::Backoff(backoff)) => {
                    let until = backoff.until;
                    self.agenda.timers.insert((until, key));
                }
                Some(Leaf::Sleep(_)) => self.enlist_sleep(key),
                Some(Leaf::Wait(_)) => self.enlist_wait(key),
                Some(Leaf::Call(_)) => self.call_again(key),
                Some(Leaf::Ready(_) | Leaf::Step(_) | Leaf::Scope(_) | Leaf::Done) | None => {}
            }
        }
    }

    /// What the new input makes different in the context that began as a copy of the old one is made different in every context
    /// that came of it.
    fn change_input(&mut self, input: &Json) {
        let changes = Delta::between(&context_of(&self.input), &context_of(input));
        self.input = input.clone();
        if changes.is_empty() {
            return;
        }
        let more = input.text_len();
        changes.apply(&mut self.root_base);
        self.root.change(&changes, more);
        for scope in self.scopes.values_mut() {
            changes.apply(&mut scope.base);
            scope.base_bytes_max = scope.base_bytes_max.saturating_add(more);
            if let Some(flowing) = &mut scope.flowing {
                changes.apply(flowing);
            }
            scope
                .active
                .values_mut()
                .for_each(|thread| thread.change(&changes, more));
        }
    }
}

impl Thread {
    fn disown(&mut self, passed: Duration, keeps_time: bool) {
        self.done.clear();
        self.frames.iter_mut().for_each(disown_frame);
        disown_leaf(&mut self.leaf);
        match &mut self.leaf {
            Leaf::Sleep(sleep) if !keeps_time => sleep.until = sleep.until.plus(passed),
            Leaf::Wait(wait) => wait.until = wait.until.map(|at| at.plus(passed)),
            Leaf::Backoff(backoff) => backoff.until = backoff.until.plus(passed),
            Leaf::Step(step) => {
                // Nobody has begun the fork's own attempt.
                step.claim = None;
                step.not_before = step.not_before.map(|at| at.plus(passed));
                step.first_started = step.first_started.map(|at| at.plus(passed));
            }
            Leaf::Sleep(_) | Leaf::Call(_) | Leaf::Ready(_) | Leaf::Scope(_) | Leaf::Done => {}
        }
    }

    fn change(&mut self, changes: &Delta, more: usize) {
        changes.apply(&mut self.base);
        changes.apply(&mut self.ctx);
        self.ctx_bytes_max = self.ctx_bytes_max.saturating_add(more);
        self.frames.iter_mut().for_each(|frame| change_frame(frame, changes));
    }
}

/// A child answers to the run that called it: for anybody else it is of no use.
fn disown_leaf(leaf: &mut Leaf) {
    if let Leaf::Call(call) = leaf {
        call.end = Some(CallEnd::Over);
    }
}

fn disown_frame(frame: &mut Frame) {
    if let FrameKind::Finally(leaving) = &mut frame.kind
        && let Way::Error(stopped) = &mut leaving.how
    {
        disown_leaf(&mut stopped.leaf);
        stopped.frames.iter_mut().for_each(disown_frame);
    }
}

fn change_frame(frame: &mut Frame, changes: &Delta) {
    match &mut frame.kind {
        FrameKind::Group(entry) => changes.apply(&mut entry.ctx),
        FrameKind::Finally(leaving) => {
            if let Way::Error(stopped) = &mut leaving.how {
                stopped.frames.iter_mut().for_each(|frame| change_frame(frame, changes));
            }
        }
        FrameKind::Body | FrameKind::Case | FrameKind::Round(_) | FrameKind::Try(_) | FrameKind::Catch(..) => {}
    }
}
