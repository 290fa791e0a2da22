//! A workflow definition, checked and compiled: what the engine walks over.
//!
//! Nodes and flows lie in two arenas and name each other by index, so that a position in a run is two small numbers.
//! Everything that comes from `defaults` has been filled in; every expression has been compiled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::expr::Expr;
use crate::json::Json;

mod control;
mod ends;
mod scopes;
mod steps;
mod waits;
pub use control::{Branch, Cases, Catch, Decision, Group, Repeat, RepeatCondition, Try};
pub use ends::{Fail, Finish, Set};
pub use scopes::{
    Concurrency, Foreach, Graph, GraphNode, Items, Join, Merge, OnError, Parallel, ParallelBranch, Reduce,
};
pub use steps::{Backoff, Compensate, HandlerCall, Into, OnExhausted, RetryPolicy, Step};
pub use waits::{Call, Emit, OnTimeout, Sleep, Wait, WaitFor};

/// Index into [`Definition::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Index into [`Definition::flows`]. [`Definition::ROOT`] is the document's `steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u32);

/// One checked definition document.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Name of the workflow.
    pub workflow: Arc<str>,
    /// Free text for people.
    pub description: Option<String>,
    /// JSON Schema of the run's input.
    pub input: Option<Json>,
    /// What is stored with each branch completion.
    pub snapshots: Snapshots,
    /// Whether branch snapshots are dropped after their join.
    pub snapshots_after_join: SnapshotsAfterJoin,
    /// How long ended runs are kept, by final state; empty means the coordinator's configuration.
    pub retention: Vec<(String, Duration)>,
    /// Of the whole run.
    pub timeout: Option<Duration>,
    /// All nodes, in document order.
    pub nodes: Vec<Node>,
    /// All flows; the first is the document's `steps`.
    pub flows: Vec<Flow>,
    /// Names of the scopes that any expression reads `results` of.
    pub results_named: ResultsNamed,
}

/// Which entries of `results` expressions may read; the others need not be kept in the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultsNamed {
    /// Only these scopes, by node name.
    These(BTreeSet<Arc<str>>),
    /// `results` as a whole, or an index that is computed: all must be kept.
    All,
}

/// `snapshots` (SPEC 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// Output and complete context.
    Full,
    /// The branch's changes.
    Delta,
    /// Output only; joins discard.
    None,
}

/// `snapshots_after_join`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotsAfterJoin {
    /// They stay as long as the run.
    Keep,
    /// They go when the join is durable.
    Drop,
}

/// A list of nodes with one point of control.
#[derive(Clone, Debug)]
pub struct Flow {
    /// In document order.
    pub nodes: Vec<NodeId>,
    /// Which part of which node this flow is.
    pub role: FlowRole,
}

/// What a flow is to the node that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowRole {
    /// The document's `steps`.
    Root,
    /// A branch of a parallel, by index in declared order.
    ParallelBranch(NodeId, u32),
    /// The body of a foreach.
    Items(NodeId),
    /// A node of a graph, by index in declared order.
    GraphNode(NodeId, u32),
    /// A case of a branch, by index in declared order.
    Case(NodeId, u32),
    /// The default of a branch.
    CaseDefault(NodeId),
    /// The steps of a group.
    Group(NodeId),
    /// The steps of a try.
    Try(NodeId),
    /// A catch of a try, by index.
    Catch(NodeId, u32),
    /// The finally of a try.
    Finally(NodeId),
    /// The body of a repeat.
    Repeat(NodeId),
}

impl FlowRole {
    /// The node that holds the flow; `None` for the root.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            FlowRole::Root => None,
            FlowRole::ParallelBranch(node, _)
            | FlowRole::Items(node)
            | FlowRole::GraphNode(node, _)
            | FlowRole::Case(node, _)
            | FlowRole::CaseDefault(node)
            | FlowRole::Group(node)
            | FlowRole::Try(node)
            | FlowRole::Catch(node, _)
            | FlowRole::Finally(node)
            | FlowRole::Repeat(node) => Some(node),
        }
    }

    /// Whether this flow is a branch of a scope, which no goto leaves.
    #[must_use]
    pub fn is_branch(self) -> bool {
        matches!(
            self,
            FlowRole::Root | FlowRole::ParallelBranch(..) | FlowRole::Items(_) | FlowRole::GraphNode(..)
        )
    }
}

/// One element of a definition.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique in its flow.
    pub name: Arc<str>,
    /// The flow it stands in.
    pub flow: FlowId,
    /// Skipped unless true.
    pub when: Option<Expr>,
    /// Most visits; the definition's, if the node says nothing.
    pub max_visits: u32,
    /// What it is and does.
    pub kind: NodeKind,
    /// Where it stands in the document, for messages.
    pub position: Position,
}

/// A place in a document, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// The kinds of nodes.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // one variant a kind, documented at its struct
pub enum NodeKind {
    Step(Step),
    Parallel(Parallel),
    Foreach(Foreach),
    Graph(Graph),
    Branch(Branch),
    Decision(Decision),
    Group(Group),
    Try(Try),
    Repeat(Repeat),
    Sleep(Sleep),
    Wait(Wait),
    Call(Call),
    Emit(Emit),
    Set(Set),
    Fail(Fail),
    Finish(Finish),
}

#[allow(clippy::wildcard_enum_match_arm)] // each asks for one kind
impl NodeKind {
    /// What undoes it, where a definition says so.
    #[must_use]
    pub fn compensate(&self) -> Option<&Compensate> {
        let step = self.as_step().and_then(|step| step.compensate.as_ref());
        step.or_else(|| self.as_call().and_then(|call| call.compensate.as_ref()))
    }

    /// The try, if it is one.
    #[must_use]
    pub fn as_try(&self) -> Option<&Try> {
        if let NodeKind::Try(guarded) = self {
            Some(guarded)
        } else {
            None
        }
    }

    /// The wait, if it is one.
    #[must_use]
    pub fn as_wait(&self) -> Option<&Wait> {
        if let NodeKind::Wait(wait) = self {
            Some(wait)
        } else {
            None
        }
    }

    /// The call, if it is one.
    #[must_use]
    pub fn as_call(&self) -> Option<&Call> {
        if let NodeKind::Call(call) = self {
            Some(call)
        } else {
            None
        }
    }

    /// The group, if it is one.
    #[must_use]
    pub fn as_group(&self) -> Option<&Group> {
        if let NodeKind::Group(group) = self {
            Some(group)
        } else {
            None
        }
    }

    /// The graph, if it is one.
    #[must_use]
    pub fn as_graph(&self) -> Option<&Graph> {
        if let NodeKind::Graph(graph) = self {
            Some(graph)
        } else {
            None
        }
    }

    /// The parallel, if it is one.
    #[must_use]
    pub fn as_parallel(&self) -> Option<&Parallel> {
        if let NodeKind::Parallel(parallel) = self {
            Some(parallel)
        } else {
            None
        }
    }

    /// The branch, if it is one.
    #[must_use]
    pub fn as_branch(&self) -> Option<&Branch> {
        if let NodeKind::Branch(branch) = self {
            Some(branch)
        } else {
            None
        }
    }

    /// The foreach, if it is one.
    #[must_use]
    pub fn as_foreach(&self) -> Option<&Foreach> {
        if let NodeKind::Foreach(foreach) = self {
            Some(foreach)
        } else {
            None
        }
    }

    /// The step, if it is one.
    #[must_use]
    pub fn as_step(&self) -> Option<&Step> {
        if let NodeKind::Step(step) = self {
            Some(step)
        } else {
            None
        }
    }

    /// What it calls, if it calls a handler: a step, or a decision by handler.
    #[must_use]
    pub fn calls(&self) -> Option<&HandlerCall> {
        match self {
            NodeKind::Step(step) => Some(&step.call),
            NodeKind::Decision(Decision::Handler(call)) => Some(call),
            _ => None,
        }
    }
}

impl Definition {
    /// The document's `steps`.
    pub const ROOT: FlowId = FlowId(0);

    /// The node of this index.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The flow of this index.
    #[must_use]
    pub fn flow(&self, id: FlowId) -> &Flow {
        &self.flows[id.0 as usize]
    }

    /// The node named `name` that a goto from a node of `flow` reaches: of the same flow, or of the nearest enclosing one,
    /// without leaving a parallel, foreach or graph.
    #[must_use]
    pub fn goto_target(&self, flow: FlowId, name: &str) -> Option<NodeId> {
        let mut at = flow;
        loop {
            let this = self.flow(at);
            if let Some(found) = this.nodes.iter().find(|id| &*self.node(**id).name == name) {
                return Some(*found);
            }
            if this.role.is_branch() {
                return None;
            }
            at = self.node(this.role.node()?).flow;
        }
    }

    /// The join of a scope node; `None` for the other kinds.
    #[must_use]
    pub fn join(&self, id: NodeId) -> Option<&Join> {
        if let NodeKind::Parallel(Parallel { join, .. })
        | NodeKind::Foreach(Foreach { join, .. })
        | NodeKind::Graph(Graph { join, .. }) = &self.node(id).kind
        {
            return Some(join);
        }
        None
    }
}
