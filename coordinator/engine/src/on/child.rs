//! Between a run and the runs it calls.

use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::decision::{ChildEnd, Ignored, Sent};
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};
use crate::retry::next_try;
use crate::state::{Leaf, Phase, RunState};

impl Machine<'_> {
    /// A run that this one called has ended.
    pub(super) fn child_ended(&mut self, child: RunId, end: ChildEnd) -> Result<(), Ignored> {
        match self.state.phase {
            Phase::Ended { .. } => return Err(Ignored::NothingDue),
            Phase::Compensating => return self.child_undone(child, &end),
            Phase::Scheduled(_) | Phase::Active | Phase::Paused => {}
        }
        let Some((thread, path)) = self.caller_of(child) else {
            return Err(Ignored::NothingDue);
        };
        let finished = |error, is_resumable, is_left_undone, output| Fact::ChildFinished {
            thread,
            child,
            error,
            is_resumable,
            is_left_undone,
            output,
            path: path.clone(),
            snapshot: None,
        };
        match end {
            ChildEnd::Ok(output) => match self.check_call_output(thread, &output, &path) {
                Ok(()) => self.emit(finished(None, false, false, output)),
                Err(error) => self.call_failed(thread, error),
            },
            // It had failed, and somebody wants its caller to go on: so another one is called.
            ChildEnd::Error {
                error, is_gone: true, ..
            } => {
                let error = with_run(error, child, &path);
                self.call_once_more(thread, error, path);
            }
            ChildEnd::Error {
                error,
                is_resumable,
                is_left_undone,
                ..
            } => {
                let error = with_run(error, child, &path);
                let told = Some(error.clone());
                self.emit(finished(told, is_resumable, is_left_undone, Json::Null));
                self.call_failed(thread, error);
            }
        }
        Ok(())
    }

    /// One has ended that was to end before what is older is undone.
    fn child_undone(&mut self, child: RunId, end: &ChildEnd) -> Result<(), Ignored> {
        let undo = self.state.undo.as_ref();
        let path = undo.and_then(|undo| undo.children.awaited(child));
        let path = path.ok_or(Ignored::NothingDue)?.to_owned();
        let is_left_undone = match end {
            ChildEnd::Ok(_) => false,
            ChildEnd::Error { is_left_undone, .. } => *is_left_undone,
        };
        self.emit(Fact::ChildUndone {
            child,
            is_left_undone,
            path,
        });
        Ok(())
    }

    /// The thread that waits for this run, and its path.
    fn caller_of(&self, child: RunId) -> Option<(ThreadKey, String)> {
        let waiting = self.state.agenda.waiting.iter().copied();
        waiting
            .filter(|key| self.state.is_live(*key))
            .find_map(|key| match self.state.call_leaf(key) {
                Some(call) if call.child == child => Some((key, call.path.clone())),
                Some(_) | None => None,
            })
    }

    /// A call takes too long.
    pub(crate) fn call_timed_out(&mut self, thread: ThreadKey) {
        let Some(call) = self.state.call_leaf(thread) else {
            return;
        };
        let (child, path) = (call.child, call.path.clone());
        let message = "the called run took longer than the call's `timeout`";
        let error = ErrorValue::new("rejoin.timeout", message, &path);
        self.call_failed(thread, with_run(error, child, &path));
    }

    /// Calls another run at once; that is none of the tries that the call's `retry` allows.
    fn call_once_more(&mut self, thread: ThreadKey, error: ErrorValue, path: String) {
        let policies = self.state.call_at(thread).map_or(0, |(_, node)| node.retry.len());
        self.emit(Fact::NodeRetryScheduled {
            begun: Vec::new(),
            thread,
            depth: None,
            error,
            policy: policies,
            until: self.around.now,
            path,
        });
    }

    /// The call fails, unless its `retry` allows another try.
    fn call_failed(&mut self, thread: ThreadKey, error: ErrorValue) {
        let random = self.draw();
        let again = self.state.call_at(thread).and_then(|(_, node)| {
            let call = self.state.call_leaf(thread)?;
            let retry = next_try(&node.retry, &call.allowed, &error, None, random, self.around.now)?;
            Some((retry, call.path.clone()))
        });
        match again {
            None => self.fail_node(thread, error),
            Some((retry, path)) => self.emit(Fact::NodeRetryScheduled {
                begun: Vec::new(),
                thread,
                depth: None,
                error,
                policy: retry.policy,
                until: retry.at,
                path,
            }),
        }
    }

    /// The caller waits again: a run that failed goes on, one that has ended otherwise says so once more.
    pub(super) fn go_on_for_parent(&mut self) -> Result<(), Ignored> {
        match &self.state.phase {
            Phase::Ended {
                status: RunStatus::Failed,
                ..
            } if !self.state.is_compensated() => self.resume(),
            Phase::Ended {
                status: RunStatus::CompensationFailed,
                ..
            }
            | Phase::Paused => self.resume(),
            Phase::Ended { .. } => {
                let report = self.state.report_to_parent();
                report.into_iter().for_each(|message| self.send(message));
                Err(Ignored::AlreadySo)
            }
            Phase::Scheduled(_) | Phase::Active | Phase::Compensating => Err(Ignored::AlreadySo),
        }
    }
}

/// A child's error as its call's: of the call's own place, with the run it came from.
fn with_run(error: ErrorValue, child: RunId, path: &str) -> ErrorValue {
    let mut details = error.details.clone().unwrap_or_else(Json::object);
    details
        .object_mut()
        .insert("run".into(), Json::Str(child.to_string().into()));
    ErrorValue {
        path: Some(path.to_owned()),
        attempt: None,
        details: Some(details),
        ..error
    }
}

impl RunState {
    /// What the parent is told at the end, if it waits for that.
    pub(crate) fn report_to_parent(&self) -> Option<Sent> {
        let parent = self.parent.filter(|_| self.is_awaited)?;
        let Phase::Ended { status, output, error } = &self.phase else {
            return None;
        };
        let end = match *status == RunStatus::Completed {
            true => ChildEnd::Ok(output.clone().unwrap_or_default()),
            false => ChildEnd::Error {
                error: error.clone().unwrap_or_else(|| {
                    let message = "the called run was cancelled";
                    ErrorValue::new("rejoin.cancelled", message, "")
                }),
                is_resumable: *status == RunStatus::Failed && !self.is_compensated(),
                is_left_undone: *status == RunStatus::CompensationFailed,
                is_gone: false,
            },
        };
        Some(Sent::Ended {
            parent,
            seq: self.last_seq,
            end,
        })
    }

    fn call_leaf(&self, key: ThreadKey) -> Option<&crate::state::thread::Call> {
        if let Leaf::Call(call) = &self.thread(key)?.leaf {
            Some(call)
        } else {
            None
        }
    }
}
