//! `try`: into a catch, through a finally, and on to where control was going (SPEC 5.8).

use std::sync::Arc;

use rejoin_shared::definition::model::{FlowId, NodeId, Try};
use rejoin_shared::json::Json;
use rejoin_shared::path;

use super::Misfit;
use super::advance::frame;
use crate::record::ThreadKey;
use crate::state::thread::{Frame, FrameKind, Guard, Leaving, Stopped, Visits, Way, scopes_of};
use crate::state::{Leaf, RunState, ThreadEnd, Todo};

impl RunState {
    /// Enters the steps of a try.
    pub(super) fn push_try(&mut self, key: ThreadKey, node: NodeId, flow: FlowId, path: &str) {
        let guard = Guard {
            node,
            path: Arc::from(path),
            is_done: false,
            finally_visits: Vec::new(),
        };
        let thread = self.thread_mut(key).expect("checked by the caller");
        thread.frames.push(frame(flow, path, FrameKind::Try(guard)));
    }

    /// The failure of this thread is handled by a catch of the try whose steps are the frame at `depth`.
    pub(super) fn catch(&mut self, key: ThreadKey, depth: usize, index: u32) -> Result<(), Misfit> {
        self.drop_unwind(key);
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        let Some(ThreadEnd::Failed(error)) = thread.end.take() else {
            return Err("what has not failed is not caught".to_owned());
        };
        let guard = thread
            .frames
            .get(depth)
            .and_then(Frame::guard)
            .ok_or("not a try")?
            .clone();
        self.cut_frames(key, depth);
        let catch = self.try_at(guard.node)?.catches.get(index as usize);
        let flow = catch.ok_or("an unknown catch")?.flow;
        let path = below(&guard.path, &format!("catch[{index}]"));
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        thread
            .frames
            .push(frame(flow, &path, FrameKind::Catch(guard, error.to_json())));
        self.enter(key);
        Ok(())
    }

    /// The failure of this thread leaves the try whose steps, or whose catch, are the frame at `depth`.
    pub(super) fn fail_through(&mut self, key: ThreadKey, depth: usize) -> Result<(), Misfit> {
        self.drop_unwind(key);
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        let Some(ThreadEnd::Failed(error)) = thread.end.take() else {
            return Err("what has not failed leaves no try with an error".to_owned());
        };
        let guard = thread
            .frames
            .get(depth)
            .and_then(Frame::guard)
            .ok_or("not a try")?
            .clone();
        let (at, done) = (thread.leaf.scope(), thread.done.len());
        if let Some(scope) = at.and_then(|id| self.scopes.get_mut(&id)) {
            scope.done_before.get_or_insert(done);
        }
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        let stopped = Stopped {
            error,
            frames: thread.frames.split_off(depth),
            leaf: std::mem::replace(&mut thread.leaf, Leaf::Done),
            goes_on: false,
        };
        if !self.push_finally(key, &guard, Way::Error(stopped)) {
            return Err("a try without finally".to_owned());
        }
        self.enter(key);
        Ok(())
    }

    /// Enters the finally of a try that control leaves. Whether it has one.
    pub(super) fn push_finally(&mut self, key: ThreadKey, guard: &Guard, how: Way) -> bool {
        let Ok(Some(flow)) = self.try_at(guard.node).map(|node| node.finally) else {
            return false;
        };
        let path = below(&guard.path, "finally");
        let thread = self.thread_mut(key).expect("checked by the caller");
        let output = thread.output.clone();
        let leaving = Box::new(Leaving { how, output });
        let mut finally = frame(flow, &path, FrameKind::Finally(leaving));
        finally.visits.clone_from(&guard.finally_visits);
        finally.forget_counts();
        thread.frames.push(finally);
        true
    }

    /// A finally has come to its end: control goes where it was going. Whether there is anything to enter.
    pub(super) fn end_finally(&mut self, key: ThreadKey, leaving: Leaving, visits: Vec<Visits>) -> bool {
        let thread = self.thread_mut(key).expect("checked by the caller");
        thread.output = leaving.output;
        match leaving.how {
            Way::End => {
                thread.frame_mut().at += 1;
                return true;
            }
            Way::Goto(target) => self
                .go_to(key, target)
                .expect("the target was found when control left the try"),
            Way::Finish(output) => self.leave_all(key, output),
            Way::Error(stopped) => self.stop_again(key, stopped, visits),
        }
        false
    }

    /// Behind a finally that ran for a failure: the thread stands again where it had stopped.
    fn stop_again(&mut self, key: ThreadKey, stopped: Stopped, visits: Vec<Visits>) {
        let thread = self.thread_mut(key).expect("checked by the caller");
        let at = thread.frames.len();
        thread.frames.extend(stopped.frames);
        thread.leaf = stopped.leaf;
        if let Some(FrameKind::Try(guard) | FrameKind::Catch(guard, _)) =
            thread.frames.get_mut(at).map(|frame| &mut frame.kind)
        {
            (guard.is_done, guard.finally_visits) = (true, visits);
        }
        if stopped.goes_on {
            return self.revive(key, None);
        }
        self.stop_thread(key, ThreadEnd::Failed(stopped.error));
    }

    /// A `finish`: out of everything, through each finally on the way.
    pub(super) fn leave_all(&mut self, key: ThreadKey, output: Json) {
        while let Some(left) = self.pop_frame(key) {
            if let Some(guard) = left.guard()
                && self.push_finally(key, guard, Way::Finish(output.clone()))
            {
                return self.enter(key);
            }
        }
        self.early_output = Some(output);
        if let Some(thread) = self.thread_mut(key) {
            thread.leaf = Leaf::Done;
        }
        self.push_todo(Todo::Finish);
    }

    /// Takes the innermost frame off, with the failed scopes that only it holds.
    pub(super) fn pop_frame(&mut self, key: ThreadKey) -> Option<Frame> {
        let left = self.thread_mut(key)?.frames.pop()?;
        // The last one first: each goes where the thread stood when it failed.
        for scope in scopes_of(std::slice::from_ref(&left)).into_iter().rev() {
            self.drop_scope(scope);
        }
        Some(left)
    }

    fn try_at(&self, node: NodeId) -> Result<&Try, Misfit> {
        self.def
            .node(node)
            .kind
            .as_try()
            .ok_or_else(|| "not at a try".to_owned())
    }
}

/// The path of a try's part. One that is too long is not used: no node fits below it either, and that is noticed there.
fn below(try_path: &str, segment: &str) -> String {
    path::child(try_path, segment, 1).unwrap_or_else(|| try_path.to_owned())
}
