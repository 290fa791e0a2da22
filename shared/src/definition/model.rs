//! A workflow definition, checked and compiled: what the engine walks over.
//!
//! Nodes and flows lie in two arenas and name each other by index, so that a position in a run is two small numbers.
//! Everything that comes from `defaults` has been filled in; every expression has been compiled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::expr::{Expr, Template};
use crate::json::Json;
use crate::keypath::KeyPath;

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

/// What a step, or a decision by handler, calls and how often.
#[derive(Clone, Debug)]
pub struct HandlerCall {
    /// The handler's name.
    pub uses: Arc<str>,
    /// What the handler gets as `input`; `None` is the whole context.
    pub with: Option<Template>,
    /// The task queue.
    pub queue: Arc<str>,
    /// Policies in order, the first that matches an error counts; never empty.
    pub retry: Vec<RetryPolicy>,
    /// Of one attempt, from its start on the worker.
    pub timeout: Option<Duration>,
    /// Longest silence of the handler.
    pub heartbeat: Option<Duration>,
}

/// `step`
#[derive(Clone, Debug)]
pub struct Step {
    /// What it calls.
    pub call: HandlerCall,
    /// Where its output goes.
    pub into: Into,
    /// From the first start, over all attempts.
    pub total_timeout: Option<Duration>,
    /// What follows when retries are used up.
    pub on_exhausted: OnExhausted,
    /// What undoes it.
    pub compensate: Option<Compensate>,
    /// False: claimed before it runs.
    pub idempotent: bool,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Into {
    /// An object merges shallowly, null changes nothing, anything else goes under the node's name.
    Merge,
    /// To this path, whatever it is.
    At(KeyPath),
    /// Nowhere.
    Drop,
}

/// `on_exhausted`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExhausted {
    /// The step fails.
    Fail,
    /// The step is parked for an operator.
    Park,
}

/// `compensate`
#[derive(Clone, Debug)]
pub struct Compensate {
    /// Its handler call; `with: None` means the output of the step.
    pub call: HandlerCall,
}

/// One retry policy (SPEC 5.1), complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all; 1 is no retry. The policy allows one less than this of retries.
    pub max_attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// First delay.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Growth of the exponential backoff.
    pub multiplier: f64,
    /// Whether delays are drawn at random between half and all of themselves.
    pub jitter: bool,
    /// Patterns of error types it is for; `None` means the default rule of SPEC 5.1.
    pub only: Option<Vec<String>>,
    /// Patterns of error types it is not for.
    pub except: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 1,
            backoff: Backoff::Exponential,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            multiplier: 2.0,
            jitter: true,
            only: None,
            except: Vec::new(),
        }
    }
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `initial`.
    Constant,
    /// `initial` times the number of the retry.
    Linear,
    /// `initial` times `multiplier` to the number of the retry less one.
    Exponential,
}

/// How a scope settles and what it leaves (SPEC 4.1, 4.2).
#[derive(Clone, Debug)]
pub struct Join {
    /// How many branches must succeed; a template that gives `all`, `any`, a number or a percentage. `None`: the default.
    pub need: Option<Template>,
    /// How many may fail; a number or a percentage.
    pub tolerate: Option<Template>,
    /// What a failure does to the siblings.
    pub on_error: OnError,
    /// How contexts are merged.
    pub merge: Merge,
    /// Keys that branches accumulate.
    pub reduce: Vec<(KeyPath, Reduce)>,
    /// Replaces merging by hand (parallel only).
    pub into: Option<Vec<(KeyPath, Expr)>>,
    /// Where the branches' outputs (or, under `collect`, changes) are put.
    pub collect_as: Option<KeyPath>,
    /// Branches at once; `None` is unbounded for parallel and graph, a loop for foreach.
    pub concurrency: Option<Concurrency>,
    /// Retries of the whole node; empty means none.
    pub retry: Vec<RetryPolicy>,
    /// Whether the branches' results and outputs must be kept until the join and after it.
    pub keep_outputs: bool,
}

/// `concurrency`
#[derive(Clone, Debug)]
pub enum Concurrency {
    /// The word `unbounded`.
    Unbounded,
    /// A template that gives a number from 1 (or the word).
    At(Template),
}

/// `on_error`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// As soon as the join can no longer succeed, the rest is cancelled.
    FailFast,
    /// Every branch settles first.
    CompleteAll,
}

/// `merge`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // SPEC 4.2
pub enum Merge {
    DeepMerge,
    LastWins,
    Strict,
    Collect,
    Discard,
}

/// `reduce`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // SPEC 4.2
pub enum Reduce {
    Sum,
    Min,
    Max,
    Count,
    Append,
    Concat,
    Union,
}

/// `parallel`
#[derive(Clone, Debug)]
pub struct Parallel {
    /// In declared order.
    pub branches: Vec<ParallelBranch>,
    /// How it settles.
    pub join: Join,
}

/// One branch of a parallel.
#[derive(Clone, Debug)]
pub struct ParallelBranch {
    /// Its name, unique in the parallel.
    pub name: Arc<str>,
    /// Read once at the fork from the base.
    pub when: Option<Expr>,
    /// Its nodes.
    pub flow: FlowId,
}

/// `foreach`
#[derive(Clone, Debug)]
pub struct Foreach {
    /// What it runs over.
    pub items: Items,
    /// Name of the item in expressions.
    pub item_name: Arc<str>,
    /// Name of its index in expressions.
    pub index_name: Arc<str>,
    /// Its body.
    pub flow: FlowId,
    /// How it settles.
    pub join: Join,
}

/// `items`
#[derive(Clone, Debug)]
pub enum Items {
    /// An expression that gives a list, a map or an integer.
    Expr(Expr),
    /// A list written in the document.
    Literal(Arc<Vec<Json>>),
}

/// `graph`
#[derive(Clone, Debug)]
pub struct Graph {
    /// In declared order; `needs` are indices into it. Free of cycles.
    pub nodes: Vec<GraphNode>,
    /// How it settles.
    pub join: Join,
}

/// One node of a graph.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its name, unique in the graph.
    pub name: Arc<str>,
    /// Indices of the nodes it needs, in the order written.
    pub needs: Vec<u32>,
    /// Read when its needs are done.
    pub when: Option<Expr>,
    /// Its nodes.
    pub flow: FlowId,
}

/// `branch`
#[derive(Clone, Debug)]
pub struct Branch {
    /// How a case is chosen.
    pub cases: Cases,
    /// Where it goes when no case matches.
    pub default: Option<FlowId>,
}

/// The cases of a branch.
#[derive(Clone, Debug)]
pub enum Cases {
    /// `on` with keys.
    Keyed {
        /// What is compared.
        on: Expr,
        /// Key text and nodes, in declared order.
        cases: Vec<(Arc<str>, FlowId)>,
    },
    /// A list of conditions; the first that holds is taken.
    Conditions(Vec<(Expr, FlowId)>),
}

/// `decision`
#[derive(Clone, Debug)]
pub enum Decision {
    /// By expressions.
    Rules {
        /// Condition and target, the first that holds is taken.
        rules: Vec<(Expr, NodeId)>,
        /// Where it goes otherwise; `None` goes on.
        otherwise: Option<NodeId>,
    },
    /// By a handler whose output is `{"goto": name}` or `{"goto": null}`.
    Handler(HandlerCall),
}

/// `group`
#[derive(Clone, Debug)]
pub struct Group {
    /// Its nodes.
    pub flow: FlowId,
    /// Retries of the whole node; empty means none.
    pub retry: Vec<RetryPolicy>,
}

/// `try`
#[derive(Clone, Debug)]
pub struct Try {
    /// What may fail.
    pub flow: FlowId,
    /// In order; the first that matches runs.
    pub catches: Vec<Catch>,
    /// Runs when control leaves the try.
    pub finally: Option<FlowId>,
}

/// One catch of a try.
#[derive(Clone, Debug)]
pub struct Catch {
    /// Patterns over the whole type.
    pub errors: Vec<String>,
    /// Name of the error in expressions.
    pub error_name: Arc<str>,
    /// Its nodes.
    pub flow: FlowId,
}

/// `repeat`
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Its body.
    pub flow: FlowId,
    /// What asks for another round.
    pub condition: RepeatCondition,
    /// Most rounds.
    pub max: u32,
}

/// The condition of a repeat.
#[derive(Clone, Debug)]
pub enum RepeatCondition {
    /// Read before a round.
    While(Expr),
    /// Read after it.
    Until(Expr),
    /// Exactly `max` rounds.
    Always,
}

/// `sleep`
#[derive(Clone, Debug)]
pub enum Sleep {
    /// A duration.
    For(Template),
    /// An RFC 3339 time.
    Until(Template),
}

/// `wait`
#[derive(Clone, Debug)]
pub struct Wait {
    /// What it waits for.
    pub what: WaitFor,
    /// A duration.
    pub timeout: Option<Template>,
    /// What follows the time-out.
    pub on_timeout: OnTimeout,
    /// Over `payload`.
    pub matches: Option<Expr>,
    /// Where the result goes.
    pub into: Into,
}

/// What a wait waits for.
#[derive(Clone, Debug)]
pub enum WaitFor {
    /// A human answer.
    Input {
        /// `approval`, `choice`, `text` or `form`.
        kind: Arc<str>,
        /// What is asked.
        prompt: Option<Template>,
        /// Of a choice.
        choices: Option<Json>,
        /// JSON Schema of the value.
        schema: Option<Json>,
    },
    /// One event.
    Event(Template),
    /// The first of these.
    Any(Vec<Template>),
    /// All of these.
    All(Vec<Template>),
}

/// `on_timeout`
#[derive(Clone, Debug)]
pub enum OnTimeout {
    /// Fails with `rejoin.wait_timeout`.
    Fail,
    /// This is the result.
    Value(Template),
    /// Control moves there.
    Goto(NodeId),
}

/// `call`
#[derive(Clone, Debug)]
pub struct Call {
    /// Name of the child's workflow.
    pub workflow: Arc<str>,
    /// Its version; the newest at the time of the call by default.
    pub version: Option<Template>,
    /// Its input; the context by default.
    pub with: Option<Template>,
    /// Where its output goes.
    pub into: Into,
    /// Whether the parent goes on at once.
    pub detached: bool,
    /// Whether the child is left alone when its call ends before it.
    pub abandon: bool,
    /// A duration.
    pub timeout: Option<Template>,
    /// Retries; empty means none.
    pub retry: Vec<RetryPolicy>,
    /// What undoes it.
    pub compensate: Option<Compensate>,
}

/// `emit`
#[derive(Clone, Debug)]
pub struct Emit {
    /// Its name.
    pub event: Template,
    /// What it carries.
    pub payload: Option<Template>,
    /// A run id; every run that waits for it by default.
    pub to: Option<Template>,
}

/// `set`
#[derive(Clone, Debug)]
pub struct Set {
    /// Written after `unset`.
    pub values: Vec<(KeyPath, Template)>,
    /// Removed first.
    pub unset: Vec<KeyPath>,
}

/// `fail`
#[derive(Clone, Debug)]
pub enum Fail {
    /// An error put together from its parts.
    Parts {
        /// `rejoin.failed` by default.
        kind: Option<Template>,
        /// What a person reads.
        message: Option<Template>,
        /// An object.
        details: Option<Template>,
    },
    /// An error value, raised as it is.
    Value(Expr),
}

/// `finish`
#[derive(Clone, Debug)]
pub struct Finish {
    /// The run's output; the context by default.
    pub output: Option<Template>,
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
