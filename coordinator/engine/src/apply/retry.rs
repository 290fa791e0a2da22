//! Another try of a group or a whole scope (SPEC 5.1).

use super::Misfit;
use super::step::count;
use crate::record::{Fact, ThreadKey};
use crate::state::scope::Carried;
use crate::state::thread::{Backoff, Entered, FrameKind, Visits};
use crate::state::{Leaf, RunState, Todo};

impl RunState {
    pub(super) fn schedule_retry(&mut self, fact: &Fact) -> Result<(), Misfit> {
        let Fact::NodeRetryScheduled {
            thread: key,
            depth,
            error,
            policy,
            until,
            begun,
            path,
        } = fact
        else {
            return Err("not a retry".to_owned());
        };
        self.begin_unrecorded(*key, begun);
        self.drop_unwind(*key);
        let carried = match depth {
            Some(depth) => {
                self.reset_group(*key, *depth, *policy)?;
                None
            }
            None => {
                let mut carried = match self.reset_call(*key) {
                    Some(carried) => carried,
                    None => self.reset_scope(*key)?,
                };
                count(&mut carried.allowed, *policy);
                Some(Box::new(carried))
            }
        };
        let thread = self.thread_mut(*key).ok_or("no such branch")?;
        thread.end = None;
        thread.leaf = Leaf::Backoff(Box::new(Backoff {
            path: path.clone(),
            until: *until,
            error: error.clone(),
            carried,
        }));
        self.agenda.timers.insert((*until, *key));
        Ok(())
    }

    /// Begins the branches of the scope that the thread waits at which had begun without a record.
    fn begin_unrecorded(&mut self, key: ThreadKey, begun: &[(u32, u32)]) {
        let Some(scope) = self.scope_at(key) else { return };
        for branch in begun.iter().flat_map(|(first, last)| *first..=*last) {
            self.materialize_thread(ThreadKey { scope, branch });
        }
    }

    fn reset_group(&mut self, key: ThreadKey, depth: usize, policy: usize) -> Result<(), Misfit> {
        let frame = self.cut_frames(key, depth + 1).ok_or("no such frame")?;
        frame.at = 0;
        frame.forget_counts();
        let FrameKind::Group(entry) = &mut frame.kind else {
            return Err("not a group".to_owned());
        };
        count(&mut entry.allowed, policy);
        let (ctx, results, output) = (entry.ctx.clone(), entry.results.clone(), entry.output.clone());
        let thread = self.thread_mut(key).ok_or("no such branch")?;
        thread.ctx_bytes_max = ctx.text_len();
        (thread.ctx, thread.results, thread.output) = (ctx, results, output);
        Ok(())
    }

    /// Drops the scope the thread waits at, and returns what its next try must know.
    ///
    /// Where the scope had no `retry` when a branch ended, nothing is known of its visits but that no node had more than one: each
    /// counts as visited then.
    fn reset_scope(&mut self, key: ThreadKey) -> Result<Carried, Misfit> {
        let Some(Leaf::Scope(id)) = self.thread(key).map(|thread| &thread.leaf) else {
            return Err("not at a scope".to_owned());
        };
        let id = *id;
        self.cancel_branches(id);
        let def = self.def.clone();
        let scope = self.scopes.get_mut(&id).ok_or("no such scope")?;
        let mut carried = std::mem::take(&mut scope.carried);
        for branch in (0..scope.total).filter(|branch| scope.succeeded.has(*branch)) {
            let once = || {
                let nodes = def.flow(scope.flow(&def, branch)).nodes.iter();
                nodes.map(|node| Visits::once(*node)).collect()
            };
            carried.visits.entry(branch).or_insert_with(once);
        }
        for (branch, thread) in &scope.active {
            if let Some(body) = thread.frames.first() {
                carried.visits.insert(*branch, body.visits.clone());
            }
        }
        self.drop_scope(id);
        Ok(carried)
    }

    pub(super) fn retry_node(&mut self, key: ThreadKey) -> Result<(), Misfit> {
        let thread = self.live(key)?;
        let Leaf::Backoff(backoff) = std::mem::replace(&mut thread.leaf, Leaf::Done) else {
            return Err("not between two tries".to_owned());
        };
        let backoff = *backoff;
        match backoff.carried {
            Some(carried) => {
                thread.leaf = Leaf::Ready(Entered {
                    path: backoff.path,
                    problem: None,
                    carried: Some(carried),
                    rounds: None,
                });
                self.push_todo(Todo::Walk(key));
            }
            None => self.enter(key),
        }
        self.agenda.timers.remove(&(backoff.until, key));
        Ok(())
    }
}
