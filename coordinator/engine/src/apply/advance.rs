//! Moves a thread's point of control: into nodes, over ends of flows, through groups.

use std::sync::Arc;

use rejoin_shared::definition::model::{FlowId, NodeId};
use rejoin_shared::path;

use super::Misfit;
use crate::record::ThreadKey;
use crate::state::thread::{Entered, EntryProblem, Frame, FrameKind, GroupEntry, StepState, Way};
use crate::state::{Leaf, RunState, Thread, Todo};

impl RunState {
    /// Lets the thread go on from where its innermost frame points, until it stands at something that waits or must be
    /// evaluated, or its flow has ended.
    pub(crate) fn enter(&mut self, key: ThreadKey) {
        while self.enter_one(key) {}
    }

    /// Whether to go on at once.
    fn enter_one(&mut self, key: ThreadKey) -> bool {
        let def = self.def.clone();
        let thread = self.thread_mut(key).expect("only threads that are there enter nodes");
        let Some(frame) = thread.frames.last() else {
            return false;
        };
        let Some(node) = def.flow(frame.flow).nodes.get(frame.at).copied() else {
            return self.leave_frame(key);
        };
        let frame = thread.frame_mut();
        let visits = frame.visit(node);
        let too_often = visits.counted > def.node(node).max_visits;
        let named = path::child(&frame.path, &def.node(node).name, visits.of_path);
        let problem = match (&named, too_often) {
            (None, _) => Some(EntryProblem::PathTooLong),
            (Some(_), true) => Some(EntryProblem::VisitLimit),
            (Some(_), false) => None,
        };
        let path = named.unwrap_or_else(|| frame.path.to_string());
        let is_plain = problem.is_none() && def.node(node).when.is_none();
        let kind = &def.node(node).kind;
        match (kind.as_group(), kind.as_try()) {
            (Some(group), _) if is_plain => {
                self.push_group(key, group.flow, &path);
                true
            }
            (_, Some(guarded)) if is_plain => {
                self.push_try(key, node, guarded.flow, &path);
                true
            }
            (None, None) if is_plain && kind.calls().is_some() => {
                self.begin_step(key, path);
                false
            }
            (_, _) => {
                thread.leaf = Leaf::Ready(Entered {
                    path,
                    problem,
                    carried: None,
                    rounds: None,
                });
                self.push_todo(Todo::Walk(key));
                false
            }
        }
    }

    /// At the end of a flow: goes on behind the node that holds it. Whether there is anything to go on with.
    fn leave_frame(&mut self, key: ThreadKey) -> bool {
        self.keep_visits(key);
        let thread = self.thread_mut(key).expect("checked by the caller");
        let mut left = thread.frames.pop();
        if let Some(guard) = left.as_ref().and_then(Frame::guard)
            && self.push_finally(key, guard, Way::End)
        {
            return true;
        }
        match left.take() {
            Some(body) if matches!(body.kind, FrameKind::Round(_)) => {
                self.end_round(key, body);
                return false;
            }
            Some(Frame {
                kind: FrameKind::Finally(leaving),
                visits,
                ..
            }) => return self.end_finally(key, *leaving, visits),
            Some(_) | None => {}
        }
        let thread = self.thread_mut(key).expect("checked by the caller");
        match thread.frames.last_mut() {
            Some(outer) => {
                outer.at += 1;
                true
            }
            None => {
                thread.leaf = Leaf::Done;
                match key {
                    ThreadKey::ROOT => self.push_todo(Todo::Finish),
                    branch => self.end_branch(branch),
                }
                false
            }
        }
    }

    /// Where another try of the whole scope may come, its branches' paths must go on counting. Where an operator may allow one yet,
    /// only what was visited more than once is kept: see [`Self::reset_scope`].
    fn keep_visits(&mut self, key: ThreadKey) {
        let def = self.def.clone();
        let retries = self
            .scopes
            .get(&key.scope)
            .is_some_and(|scope| !scope.retry(&def).is_empty());
        let is_kept = |thread: &&Thread| {
            let mut visits = thread.frames.first().into_iter().flat_map(|body| &body.visits);
            thread.frames.len() == 1 && (retries || visits.any(|visits| visits.of_path > 1))
        };
        let Some(thread) = self.thread(key).filter(is_kept).filter(|_| key != ThreadKey::ROOT) else {
            return;
        };
        let visits = thread.frame().visits.clone();
        let scope = self.scopes.get_mut(&key.scope).expect("found just above");
        scope.carried.visits.insert(key.branch, visits);
    }

    pub(crate) fn push_group(&mut self, key: ThreadKey, flow: FlowId, path: &str) {
        let thread = self.thread_mut(key).expect("checked by the caller");
        let entry = GroupEntry {
            ctx: thread.ctx.clone(),
            results: thread.results.clone(),
            output: thread.output.clone(),
            allowed: Vec::new(),
        };
        thread.frames.push(frame(flow, path, FrameKind::Group(Box::new(entry))));
    }

    pub(crate) fn push_case(&mut self, key: ThreadKey, flow: FlowId, path: &str) {
        let thread = self.thread_mut(key).expect("checked by the caller");
        thread.frames.push(frame(flow, path, FrameKind::Case));
    }

    /// Goes on behind the node the thread stands at.
    pub(crate) fn go_on(&mut self, key: ThreadKey) {
        let thread = self.thread_mut(key).expect("checked by the caller");
        thread.frame_mut().at += 1;
        self.enter(key);
    }

    /// Moves control to `target`, in this flow or an enclosing one.
    pub(crate) fn go_to(&mut self, key: ThreadKey, target: NodeId) -> Result<(), Misfit> {
        let flow = self.def.node(target).flow;
        let index = self.def.flow(flow).nodes.iter().position(|node| *node == target);
        while self
            .thread(key)
            .is_some_and(|thread| thread.frames.last().is_some_and(|frame| frame.flow != flow))
        {
            let left = self.pop_frame(key).ok_or("no frame")?;
            if let Some(guard) = left.guard()
                && self.push_finally(key, guard, Way::Goto(target))
            {
                self.enter(key);
                return Ok(());
            }
        }
        let thread = self.thread_mut(key).expect("checked by the caller");
        let (Some(frame), Some(index)) = (thread.frames.last_mut(), index) else {
            return Err("a goto whose target no enclosing flow holds".to_owned());
        };
        frame.at = index;
        self.enter(key);
        Ok(())
    }

    /// Stands the thread at a step's first attempt.
    pub(crate) fn begin_step(&mut self, key: ThreadKey, path: String) {
        let thread = self.thread_mut(key).expect("checked by the caller");
        let pos = thread.pos;
        thread.pos += 1;
        thread.leaf = Leaf::Step(Box::new(StepState {
            path,
            pos,
            attempt: 1,
            not_before: None,
            allowed: Vec::new(),
            last_error: None,
            has_failed: false,
            is_parked: false,
            input: None,
            first_started: None,
            checkpoint: None,
            claim: None,
        }));
        self.tally.opened += 1;
        self.tally.outstanding += 1;
        self.push_ready(key);
    }

    /// Puts the step the thread stands at on the list of what may be dispatched.
    pub(crate) fn push_ready(&mut self, key: ThreadKey) {
        let Some(step) = self.thread(key).and_then(|thread| thread.step()) else {
            return;
        };
        let entry = (super::step::key_of(key, step.pos), step.attempt);
        match step.not_before {
            Some(at) => {
                self.agenda.due.insert((at, entry.0, entry.1));
            }
            None => self.agenda.ready.push_back(entry),
        }
        self.drop_stale_ready();
    }

    /// Keeps the list of ready attempts in proportion to what is outstanding.
    fn drop_stale_ready(&mut self) {
        let live_max = usize::try_from(self.tally.outstanding)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        if self.agenda.ready.len() > live_max.saturating_add(1024) {
            let mut ready = std::mem::take(&mut self.agenda.ready);
            ready.retain(|(step, attempt)| self.is_outstanding(*step, *attempt));
            self.agenda.ready = ready;
        }
    }

    pub(super) fn open_step(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let path = self.entered_path(key)?;
        self.begin_step(key, path);
        Ok(())
    }

    pub(super) fn open_group(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let path = self.entered_path(key)?;
        let node = self.node_at(self.thread(key).expect("checked")).ok_or("no node")?;
        let def = self.def.clone();
        let kind = &def.node(node).kind;
        match (kind.as_group(), kind.as_try()) {
            (Some(group), _) => self.push_group(key, group.flow, &path),
            (None, Some(guarded)) => self.push_try(key, node, guarded.flow, &path),
            (None, None) => return Err("not at a group or try".to_owned()),
        }
        self.enter(key);
        Ok(())
    }

    pub(super) fn skip_node(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        self.ready(key)?;
        self.go_on(key);
        Ok(())
    }

    pub(super) fn entered_path(&mut self, key: ThreadKey) -> Result<String, Misfit> {
        let thread = self.ready(key)?;
        Ok(thread.entered().expect("checked by ready").path.clone())
    }
}

pub(super) fn frame(flow: FlowId, path: &str, kind: FrameKind) -> Frame {
    Frame {
        flow,
        at: 0,
        path: Arc::from(path),
        visits: Vec::new(),
        kind,
    }
}
