//! Goes on with whatever waits for nobody: evaluates nodes, settles scopes, ends the run.

use rejoin_shared::definition::model::{Decision, NodeKind};
use rejoin_shared::limits::PATH_BYTES_MAX;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::env::eval_bool;
use crate::machine::Machine;
use crate::record::{Fact, RunFinished, ThreadKey};
use crate::state::thread::EntryProblem;
use crate::state::{Leaf, Phase, ThreadEnd, Todo};

mod call;
mod choose;
mod fork;
mod graph;
mod quota;
mod repeat;
mod set;
mod settle;
mod sleep;
mod undo;
mod unwind;
mod wait;

pub(crate) use quota::{need, tolerate, width};
pub(crate) use set::{check_context_depth, check_context_size};

impl Machine<'_> {
    /// Works the agenda off, up to the bound of one decision.
    pub fn walk(&mut self) {
        while !self.is_full() && !matches!(self.state.phase, Phase::Ended { .. }) {
            if self.is_journal_full() {
                return self.fail_of_length();
            }
            if let Some(todo) = self.state.agenda.todo.pop_front() {
                self.work(todo);
            } else if !self.begin_evaluated() {
                return;
            }
        }
    }

    /// Whether the journal of a run that goes on is as long as it may be. What undoes a run is not counted.
    fn is_journal_full(&self) -> bool {
        self.state.phase == Phase::Active && self.state.last_seq >= self.around.limits.journal_records_max
    }

    /// Nothing in the run can catch that.
    fn fail_of_length(&mut self) {
        let most = self.around.limits.journal_records_max;
        self.fail_run(ErrorValue {
            kind: "rejoin.journal_limit".to_owned(),
            message: format!("the journal has reached the limit of {most} records, and the run has not ended"),
            ..ErrorValue::default()
        });
    }

    fn work(&mut self, todo: Todo) {
        match todo {
            Todo::Walk(key) => {
                let stands = self.state.is_live(key)
                    && self
                        .state
                        .thread(key)
                        .is_some_and(|thread| matches!(thread.leaf, Leaf::Ready(_)));
                if stands && self.state.phase == Phase::Paused && self.reaches_out(key) {
                    self.state.agenda.held.push(todo);
                } else if stands {
                    self.walk_node(key);
                }
            }
            Todo::Unwind(key) => self.unwind(key),
            Todo::Settle(scope) => {
                if self.state.is_scope_live(scope) {
                    self.settle(scope);
                }
            }
            Todo::StartNodes(scope) => {
                if self.state.is_scope_live(scope) {
                    self.start_nodes(scope);
                }
            }
            Todo::Finish if self.state.phase == Phase::Paused && self.would_undo() => {
                self.state.agenda.held.push(todo);
            }
            Todo::Finish => self.finish(),
        }
    }

    /// Whether the node a thread stands at starts or tells other runs: a paused run does not.
    fn reaches_out(&self, key: ThreadKey) -> bool {
        let node = self.state.thread(key).and_then(|thread| self.state.node_at(thread));
        let kind = node.map(|node| &self.state.def.node(node).kind);
        matches!(kind, Some(NodeKind::Call(_) | NodeKind::Emit(_)))
    }

    /// Whether the run has failed, and its end begins with compensations: a paused run begins none.
    fn would_undo(&self) -> bool {
        matches!(self.state.root.end, Some(ThreadEnd::Failed(_))) && self.state.has_something_to_undo()
    }

    fn finish(&mut self) {
        if self.state.undo.is_some() {
            return self.finish_undo();
        }
        let finished = match (&self.state.root.end, &self.state.root.leaf) {
            (Some(ThreadEnd::Failed(error)), _) => {
                let error = error.clone();
                return self.fail_run(error);
            }
            (None, Leaf::Done) => RunFinished {
                status: RunStatus::Completed,
                output: self.state.early_output.clone(),
                output_is_context: self.state.early_output.is_none(),
                error: None,
                reason: None,
                undoes_children: false,
            },
            _ => return,
        };
        self.emit(Fact::RunFinished(finished));
    }

    /// Evaluates the node a thread stands at.
    fn walk_node(&mut self, key: ThreadKey) {
        let thread = self.state.thread(key).expect("checked by the caller");
        let Leaf::Ready(entered) = &thread.leaf else { return };
        let (path, problem) = (entered.path.clone(), entered.problem);
        let begun = entered.rounds.as_ref().map_or(0, |rounds| rounds.begun);
        // Its `when` was read when it was met.
        let again = entered.carried.is_some() || entered.rounds.is_some();
        if let Some(problem) = problem {
            return self.fail_node(key, entry_error(problem, &path));
        }
        let Some(node) = self.state.node_at(thread) else { return };
        let def = self.state.def.clone();
        let when = def.node(node).when.as_ref().filter(|_| !again);
        if let Some(when) = when {
            match eval_bool(when, &self.state.env(key), self.around.limits, &path) {
                Err(error) => return self.fail_node(key, error),
                Ok(false) => return self.emit(Fact::NodeSkipped { thread: key, path }),
                Ok(true) => {}
            }
        }
        match &def.node(node).kind {
            NodeKind::Step(_) | NodeKind::Decision(Decision::Handler(_)) => self.emit(Fact::StepOpened { thread: key }),
            NodeKind::Group(_) | NodeKind::Try(_) => self.emit(Fact::GroupOpened { thread: key }),
            NodeKind::Branch(branch) => self.choose_case(key, path, branch),
            NodeKind::Decision(Decision::Rules { rules, otherwise }) => {
                self.choose_target(key, path, rules, *otherwise);
            }
            NodeKind::Set(set) => self.set(key, path, set),
            NodeKind::Fail(fail) => self.raise(key, &path, fail),
            NodeKind::Finish(finish) => self.finish_early(key, &path, finish),
            NodeKind::Parallel(parallel) => self.open_parallel(key, path, parallel),
            NodeKind::Foreach(foreach) => self.open_foreach(key, path, foreach),
            NodeKind::Graph(graph) => self.open_graph(key, path, graph),
            NodeKind::Repeat(repeat) => self.repeat(key, path, repeat, begun),
            NodeKind::Sleep(sleep) => self.sleep(key, path, sleep),
            NodeKind::Wait(wait) => self.open_wait(key, path, wait),
            NodeKind::Emit(emit) => self.emit_event(key, path, emit),
            NodeKind::Call(call) => self.call(key, path, call),
        }
    }
}

fn entry_error(problem: EntryProblem, path: &str) -> ErrorValue {
    match problem {
        EntryProblem::VisitLimit => ErrorValue::new(
            "rejoin.visit_limit",
            "the node was visited more often than `max_visits` allows",
            path,
        ),
        EntryProblem::PathTooLong => {
            let message = format!("the path of a node below this one would be longer than {PATH_BYTES_MAX} bytes");
            ErrorValue::new("rejoin.internal", message, path)
        }
    }
}
