//! What handles a failure inside a thread: the retry of a group around it, a try, or nothing.

use rejoin_shared::definition::model::{Definition, Try};
use rejoin_shared::run::ErrorValue;

use crate::machine::Machine;
use crate::patterns::matches_list;
use crate::record::{Fact, ThreadKey};
use crate::retry::next_try;
use crate::state::ThreadEnd;
use crate::state::thread::{Frame, FrameKind, GroupEntry, Guard};

impl Machine<'_> {
    /// Looks from the innermost frame outwards for what handles the failure.
    pub(super) fn unwind(&mut self, key: ThreadKey) {
        let Some(ThreadEnd::Failed(error)) = self.state.thread(key).and_then(|thread| thread.end.clone()) else {
            return;
        };
        if key != ThreadKey::ROOT && !self.state.is_scope_live(key.scope) {
            return;
        }
        let random = self.draw();
        let thread = self.state.thread(key).expect("found just above");
        let frames = thread.frames.iter().enumerate().rev();
        let handled = frames.filter_map(|(depth, frame)| self.handled(key, depth, frame, &error, random));
        let fact = { handled }.next().unwrap_or(Fact::FlowFailed { thread: key, error });
        self.emit(fact);
    }

    /// The record that handles the failure at this frame, if it does.
    fn handled(&self, thread: ThreadKey, depth: usize, frame: &Frame, error: &ErrorValue, random: u64) -> Option<Fact> {
        match &frame.kind {
            FrameKind::Group(entry) => self.tried_again(thread, depth, frame, entry, error, random),
            FrameKind::Try(guard) => {
                let guarded = frame.guard().and_then(|guard| guarded_by(&self.state.def, guard))?;
                let caught = guarded
                    .catches
                    .iter()
                    .position(|catch| matches_list(&catch.errors, error));
                match caught {
                    Some(catch) => Some(Fact::ErrorCaught {
                        thread,
                        depth,
                        catch: u32::try_from(catch).ok()?,
                        error: error.clone(),
                        path: guard.path.to_string(),
                        snapshot: None,
                    }),
                    None => self.through_finally(thread, depth, frame),
                }
            }
            FrameKind::Catch(..) => self.through_finally(thread, depth, frame),
            FrameKind::Body | FrameKind::Case | FrameKind::Round(_) | FrameKind::Finally(_) => None,
        }
    }

    fn tried_again(
        &self,
        thread: ThreadKey,
        depth: usize,
        frame: &Frame,
        entry: &GroupEntry,
        error: &ErrorValue,
        random: u64,
    ) -> Option<Fact> {
        let def = &self.state.def;
        let holder = def.flow(frame.flow).role.node();
        let group = holder.and_then(|node| def.node(node).kind.as_group())?;
        let retry = next_try(&group.retry, &entry.allowed, error, None, random, self.around.now)?;
        Some(Fact::NodeRetryScheduled {
            begun: Vec::new(),
            thread,
            depth: Some(depth),
            error: error.clone(),
            policy: retry.policy,
            until: retry.at,
            path: frame.path.to_string(),
        })
    }

    fn through_finally(&self, thread: ThreadKey, depth: usize, frame: &Frame) -> Option<Fact> {
        let guard = frame.guard()?;
        guarded_by(&self.state.def, guard)?.finally?;
        Some(Fact::TryFailed {
            thread,
            depth,
            path: guard.path.to_string(),
        })
    }
}

fn guarded_by<'d>(def: &'d Definition, guard: &Guard) -> Option<&'d Try> {
    def.node(guard.node).kind.as_try()
}

impl crate::state::RunState {
    /// Whether the thread stands in a try with a finally.
    pub(super) fn is_guarded(&self, key: ThreadKey) -> bool {
        self.thread(key).is_some_and(|thread| {
            let mut guards = thread.frames.iter().filter_map(Frame::guard);
            guards.any(|guard| guarded_by(&self.def, guard).is_some_and(|guarded| guarded.finally.is_some()))
        })
    }
}
