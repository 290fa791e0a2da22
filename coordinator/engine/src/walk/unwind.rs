//! What handles a failure inside a thread: the retry of a group around it, or nothing.

use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};
use crate::retry::next_try;
use crate::state::ThreadEnd;
use crate::state::thread::FrameKind;

impl Machine<'_> {
    /// Looks from the innermost frame outwards for a group whose `retry` allows another try.
    pub(super) fn unwind(&mut self, key: ThreadKey) {
        let Some(ThreadEnd::Failed(error)) = self.state.thread(key).and_then(|thread| thread.end.clone()) else {
            return;
        };
        if key != ThreadKey::ROOT && !self.state.is_scope_live(key.scope) {
            return;
        }
        let random = self.draw();
        let def = self.state.def.clone();
        let thread = self.state.thread(key).expect("found just above");
        for (depth, frame) in thread.frames.iter().enumerate().rev() {
            let FrameKind::Group(entry) = &frame.kind else { continue };
            let holder = def
                .flow(frame.flow)
                .role
                .node()
                .and_then(|node| def.node(node).kind.as_group());
            let policies = holder.map(|group| group.retry.as_slice()).unwrap_or_default();
            if let Some(retry) = next_try(policies, &entry.allowed, &error, None, random, self.around.now) {
                let path = frame.path.to_string();
                return self.emit(Fact::NodeRetryScheduled {
                    thread: key,
                    depth: Some(depth),
                    error,
                    policy: retry.policy,
                    until: retry.at,
                    path,
                });
            }
        }
        self.emit(Fact::FlowFailed { thread: key, error });
    }
}
