//! Begins and ends of branches.

use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, FlowId, Merge, NodeKind, Snapshots};
use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;

use super::Misfit;
use crate::join::contribution::contribution_of;
use crate::join::graph;
use crate::record::{Quota, ThreadKey};
use crate::state::scope::ScopeKind;
use crate::state::thread::{Entered, EntryProblem};
use crate::state::{EndedBranch, Leaf, RunState, Scope, Thread, ThreadEnd, Todo};

impl RunState {
    /// Whether a branch of this scope may begin now, as far as the scope's own rules go.
    pub(crate) fn has_room(&self, id: u64) -> bool {
        self.scopes.get(&id).is_some_and(|scope| {
            scope.kind != ScopeKind::Graph
                && scope.begun < scope.total
                && scope.concurrency.is_none_or(|most| scope.running < most)
        }) && self.is_scope_live(id)
    }

    /// Whether exactly this branch may begin now.
    pub(crate) fn may_begin(&self, key: ThreadKey) -> bool {
        self.scopes.get(&key.scope).is_some_and(|scope| match scope.kind {
            ScopeKind::Graph => false,
            ScopeKind::Loop => scope.running == 0 && (scope.begun..key.branch).all(|earlier| scope.is_begun(earlier)),
            ScopeKind::Parallel | ScopeKind::FanOut => scope.concurrency.is_none_or(|most| scope.running < most),
        })
    }

    /// Whether whoever owned the run before may have begun this branch. How many ran at once then is not asked: an edit may have
    /// lowered it since.
    pub(crate) fn may_have_begun(&self, key: ThreadKey) -> bool {
        self.scopes.get(&key.scope).is_some_and(|scope| match scope.kind {
            ScopeKind::Parallel | ScopeKind::FanOut => true,
            ScopeKind::Loop | ScopeKind::Graph => self.may_begin(key),
        })
    }

    /// Whether the branch begins with a step of which nothing has to be read: it then begins without a record.
    pub(crate) fn starts_plain(&self, key: ThreadKey) -> bool {
        self.scopes.get(&key.scope).is_some_and(|scope| {
            flow_starts_plain(&self.def, scope.flow(&self.def, key.branch))
                && scope.has_branch_path(&self.def, key.branch)
        })
    }

    /// Whether the branch would leave no trace in the journal: its begin is recorded then.
    pub(crate) fn is_recordless(&self, key: ThreadKey) -> bool {
        self.scopes
            .get(&key.scope)
            .is_some_and(|scope| flow_is_recordless(&self.def, scope.flow(&self.def, key.branch)))
    }

    /// Begins a branch: a thread at the first node of its flow.
    pub(crate) fn begin_branch(&mut self, key: ThreadKey) {
        let def = self.def.clone();
        let name = self.results_name(&key);
        let scope = self.scopes.get_mut(&key.scope).expect("checked by the caller");
        let path = scope.branch_path(&def, key.branch);
        let ctx = match scope.kind {
            ScopeKind::Parallel | ScopeKind::FanOut => scope.base.clone(),
            ScopeKind::Loop => scope.flowing.clone().expect("a loop has a flowing context"),
            ScopeKind::Graph => graph::start_context(&def, scope, key.branch).unwrap_or_else(|_| scope.base.clone()),
        };
        let mut results = scope.base_results.clone();
        if let (ScopeKind::Graph, Some(name)) = (scope.kind, name) {
            results
                .object_mut()
                .insert(name, graph::results_for(&def, scope, key.branch));
        }
        let prefix: Arc<str> = path.as_deref().unwrap_or(&scope.path).into();
        let mut thread = Thread::new(scope.flow(&def, key.branch), prefix, ctx, results);
        thread.ctx_bytes_max = match scope.kind {
            ScopeKind::Parallel | ScopeKind::FanOut => scope.base_bytes_max,
            ScopeKind::Loop | ScopeKind::Graph => thread.ctx.text_len(),
        };
        if let Some(visits) = scope.carried.visits.get(&key.branch) {
            thread.frame_mut().visits.clone_from(visits);
            thread.frame_mut().forget_counts();
        }
        if path.is_none() {
            let problem = Some(EntryProblem::PathTooLong);
            thread.leaf = Leaf::Ready(Entered {
                path: scope.path.to_string(),
                problem,
                carried: None,
                rounds: None,
            });
        }
        scope.active.insert(key.branch, Box::new(thread));
        scope.running += 1;
        if scope.advance_mark() == scope.total {
            self.agenda.open.remove(&key.scope);
        }
        match path.is_some() {
            true => self.enter(key),
            false => self.push_todo(Todo::Walk(key)),
        }
    }

    /// The name under which `results` keeps the scope of this branch, if it is kept at all.
    fn results_name(&self, key: &ThreadKey) -> Option<Arc<str>> {
        let node = self.scopes.get(&key.scope)?.node;
        crate::join::results::kept_name(&self.def, node)
    }

    /// A branch's flow has come to its end.
    pub(crate) fn end_branch(&mut self, key: ThreadKey) {
        let def = self.def.clone();
        let order = self.last_seq + 1;
        let scope = self.scopes.get_mut(&key.scope).expect("a branch that ends has a scope");
        let thread = *scope.active.remove(&key.branch).expect("a branch that ends is active");
        scope.running -= 1;
        scope.ok += 1;
        scope.succeeded.insert(key.branch);
        if !thread.done.is_empty() {
            scope.done.push(thread.done.clone());
        }
        let changes = Delta::between(&thread.base, &thread.ctx);
        keep_changes(&def, scope, key.branch, &thread, &changes, order);
        if scope.join(&def).keep_outputs {
            scope.kept_bytes += thread.output.text_len();
            scope.outputs.insert(key.branch, thread.output.clone());
        }
        self.agenda.just_ended = Some(EndedBranch {
            output: thread.output,
            context: thread.ctx,
            changes,
        });
        self.after_branch(key);
    }

    /// A branch has ended or was skipped: its scope may be settled, other branches may begin.
    pub(crate) fn after_branch(&mut self, key: ThreadKey) {
        let Some(scope) = self.scopes.get(&key.scope) else {
            return;
        };
        if scope.kind == ScopeKind::Graph {
            self.cancel_dependents(key.scope);
            self.push_todo(Todo::StartNodes(key.scope));
        }
        self.push_todo(Todo::Settle(key.scope));
    }

    /// Nodes of a graph that need one that failed or was cancelled can no longer start.
    pub(super) fn cancel_dependents(&mut self, id: u64) {
        let def = self.def.clone();
        // A failure that something in its branch may yet handle is not the branch's own.
        let todo = &self.agenda.todo;
        let is_handled = |branch: u32| todo.contains(&Todo::Unwind(ThreadKey { scope: id, branch }));
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        let NodeKind::Graph(graph) = &def.node(scope.node).kind else {
            return;
        };
        loop {
            let lost = (0..scope.total).find(|branch| {
                !scope.is_begun(*branch)
                    && graph.nodes[*branch as usize]
                        .needs
                        .iter()
                        .any(|need| is_lost(scope, *need) && !is_handled(*need))
            });
            let Some(branch) = lost else { return };
            scope.never_started.insert(branch, ThreadEnd::Cancelled);
            scope.cancelled += 1;
        }
    }

    pub(super) fn start_node(&mut self, id: u64, branch: u32, active: bool) -> Result<(), Misfit> {
        if !self.is_scope_live(id) {
            return Err(format!("scope {id} is not live"));
        }
        let key = ThreadKey { scope: id, branch };
        if active {
            self.begin_branch(key);
            return Ok(());
        }
        let scope = self.scopes.get_mut(&id).expect("a live scope is there");
        scope.skipped.insert(branch);
        scope.skipped_count += 1;
        self.after_branch(key);
        Ok(())
    }
}

/// Keeps what the join will need of a branch that ended well.
fn keep_changes(def: &Definition, scope: &mut Scope, branch: u32, thread: &Thread, changes: &Delta, order: u64) {
    let join = scope.join(def);
    if scope.kind == ScopeKind::Loop && def.snapshots != Snapshots::None {
        scope.flowing = Some(flowing_after(scope, branch, thread, changes));
    }
    if def.snapshots == Snapshots::None || changes.is_empty() || join.into.is_some() {
        return;
    }
    let merge = join.merge;
    if merge == Merge::LastWins && scope.kind != ScopeKind::Graph {
        let kept = contribution_of(&join.reduce, &thread.base, &thread.ctx, changes, order);
        for key in kept.changes.0.keys() {
            scope.last.insert(key.clone(), thread.ctx.get(key).cloned());
        }
        if kept.reduced.iter().any(Option::is_some) {
            scope.contributions.insert(branch, kept);
        }
        return;
    }
    let needed = match (scope.kind, merge) {
        (ScopeKind::Graph, _) => true,
        // Where a later item may succeed before an earlier one does, the loop's context is put together anew.
        (ScopeKind::Loop, merge) => merge == Merge::Collect || scope.quota != Quota::All,
        (ScopeKind::Parallel | ScopeKind::FanOut, Merge::Discard) => !join.reduce.is_empty(),
        (ScopeKind::Parallel | ScopeKind::FanOut, _) => true,
    };
    if needed {
        let kept = contribution_of(&join.reduce, &thread.base, &thread.ctx, changes, order);
        scope.contributions.insert(branch, kept);
    }
}

/// A loop's context behind an item: the item's own, unless others succeeded since it began, or later ones before it (it failed,
/// and was resumed).
fn flowing_after(scope: &Scope, branch: u32, thread: &Thread, changes: &Delta) -> Json {
    let is_next = scope.contributions.range(branch..).next().is_none();
    let flowing = scope.flowing.as_ref();
    let went_on = flowing.is_some_and(|flowing| !Delta::between(&thread.base, flowing).is_empty());
    if is_next && (!went_on || scope.contributions.is_empty()) {
        return thread.ctx.clone();
    }
    let mut ctx = scope.base.clone();
    let earlier = scope.contributions.range(..branch).map(|(_, part)| &part.changes);
    let later = scope.contributions.range(branch..).map(|(_, part)| &part.changes);
    earlier
        .chain([changes])
        .chain(later)
        .for_each(|changes| changes.apply(&mut ctx));
    ctx
}

/// Whether a node of a graph has failed or was cancelled.
fn is_lost(scope: &Scope, branch: u32) -> bool {
    scope.never_started.contains_key(&branch) || scope.active.get(&branch).is_some_and(|thread| thread.end.is_some())
}

/// Nodes of a graph whose needs are done and that have not started, in declared order.
pub(crate) fn graph_ready(def: &Definition, scope: &Scope) -> Vec<u32> {
    let NodeKind::Graph(graph) = &def.node(scope.node).kind else {
        return Vec::new();
    };
    let done = |need: &u32| scope.succeeded.has(*need) || scope.skipped.has(*need);
    (0..scope.total)
        .filter(|branch| !scope.is_begun(*branch) && graph.nodes[*branch as usize].needs.iter().all(done))
        .collect()
}

/// Whether a flow comes to its end without anything that is recorded: it holds nothing but empty groups.
fn flow_is_recordless(def: &Definition, flow: FlowId) -> bool {
    def.flow(flow).nodes.iter().map(|id| def.node(*id)).all(|node| {
        node.when.is_none()
            && match (node.kind.as_group(), node.kind.as_try()) {
                (Some(group), _) => flow_is_recordless(def, group.flow),
                (None, Some(guarded)) => {
                    let finally = guarded.finally.is_none_or(|flow| flow_is_recordless(def, flow));
                    finally && flow_is_recordless(def, guarded.flow)
                }
                (None, None) => false,
            }
    })
}

fn flow_starts_plain(def: &Definition, flow: FlowId) -> bool {
    let Some(first) = def.flow(flow).nodes.first() else {
        return false;
    };
    let node = def.node(*first);
    node.when.is_none()
        && node.max_visits > 0
        && match (node.kind.as_group(), node.kind.as_try()) {
            (Some(group), _) => flow_starts_plain(def, group.flow),
            (None, Some(guarded)) => flow_starts_plain(def, guarded.flow),
            (None, None) => node.kind.calls().is_some(),
        }
}

impl RunState {
    /// A scope's result as its node's output: what `collect_as` would put there.
    pub(crate) fn collected(&self, id: u64) -> Json {
        self.scopes
            .get(&id)
            .map_or(Json::Null, |scope| crate::join::results::collected(&self.def, scope))
    }
}
