//! A workflow's structure with the states of a run on it.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_engine::record::{Branches, Fact, Joined, Record, ScopeOpened};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::OpenScope;
use rejoin_shared::definition::model::{Cases, Definition, FlowId, NodeId, NodeKind};
use rejoin_shared::json::Json;
use rejoin_shared::path;
use schemars::JsonSchema;
use serde::Serialize;

use super::locate;
use super::steps::{StepState, Visit};

/// The answer of `GET /v1/runs/{id}/graph`; without a run (`/workflows/{name}/…`) all counts are empty.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct GraphView {
    pub workflow: String,
    pub version: u32,
    pub nodes: Vec<GraphNode>,
}

/// One node of the definition.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct GraphNode {
    pub name: String,
    pub kind: &'static str,
    /// With `[*]` for the items of a foreach.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The most telling of the states of its visits; `None`: never reached.
    pub state: Option<StepState>,
    /// Visits by state.
    pub counts: BTreeMap<StepState, u64>,
    /// Of a parallel, foreach or graph that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branches: Option<BranchCounts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<GraphFlow>,
}

/// Activated branches of all visits of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BranchCounts {
    /// How many there are.
    pub total: u64,
    /// Those that have ended, well or not; of a scope that is joined, all.
    pub done: u64,
}

/// A branch, case, body, … of a node.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct GraphFlow {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    pub nodes: Vec<GraphNode>,
}

/// What is known of each node, by the pattern of its path.
#[derive(Default)]
struct Marks {
    states: BTreeMap<String, BTreeMap<StepState, u64>>,
    branches: BTreeMap<String, BranchCounts>,
}

/// Whether [`graph`] looks at a record: not at those of steps, which are nearly all of a large run.
#[must_use]
pub fn is_drawn(fact: &Fact) -> bool {
    !matches!(
        fact,
        Fact::StepCompleted(_)
            | Fact::StepFailed(_)
            | Fact::StepClaimed(_)
            | Fact::ClaimReturned(_)
            | Fact::CheckpointStored(_)
            | Fact::StepOpened { .. }
            | Fact::BranchStarted { .. }
            | Fact::Late { .. }
    )
}

/// What of a run has not ended.
#[derive(Default)]
pub struct Open {
    /// Its scopes; also those that are kept for a resume.
    scopes: Vec<OpenScope>,
    /// Those of them whose branches go on.
    live: BTreeSet<u64>,
    /// Paths of the sleeps, waits and calls under way.
    waiting: BTreeSet<String>,
    /// Paths of what is tried again later.
    retrying: BTreeSet<String>,
}

impl Open {
    /// As the last record leaves it.
    #[must_use]
    pub fn of(state: &RunState) -> Open {
        let scopes: Vec<OpenScope> = state.open_scopes().collect();
        if state.status().is_terminal() {
            return Open {
                scopes,
                ..Open::default()
            };
        }
        let live = scopes.iter().filter(|scope| scope.is_live).map(|scope| scope.id);
        let sleeps = state.open_sleeps().map(|(path, _)| path.to_owned());
        let calls = state.open_calls().map(|(path, ..)| path.to_owned());
        let waits = state.open_waits().map(|wait| wait.path);
        Open {
            live: live.collect(),
            waiting: sleeps.chain(calls).chain(waits).collect(),
            retrying: state.open_backoffs().map(|(path, ..)| path).collect(),
            scopes,
        }
    }
}

/// Draws `def` with the states that `records` (those that are drawn), `steps` and what is `open` give its nodes.
#[must_use]
pub fn graph(def: &Definition, version: u32, records: &[Record], steps: &[Visit], open: &Open) -> GraphView {
    let mut marks = Marks::default();
    for step in steps {
        mark(&mut marks, &step.path, step.state);
    }
    mark_scopes_and_others(&mut marks, def, records, open);
    count_branches(&mut marks, def, records, &open.scopes);
    GraphView {
        workflow: def.workflow.to_string(),
        version,
        nodes: nodes(def, Definition::ROOT, "", &marks),
    }
}

fn mark(marks: &mut Marks, path: &str, state: StepState) {
    *marks
        .states
        .entry(locate::pattern(path))
        .or_default()
        .entry(state)
        .or_default() += 1;
}

fn count_branches(marks: &mut Marks, def: &Definition, records: &[Record], open: &[OpenScope]) {
    let mut is_open: BTreeSet<u64> = BTreeSet::new();
    for scope in open {
        is_open.insert(scope.id);
        let ended = scope.ok + scope.failed + scope.cancelled;
        count(marks, &scope.path, scope.activated.into(), ended.into());
    }
    for record in records {
        if let Fact::ScopeOpened(opened) = &record.fact
            && !is_open.contains(&record.seq)
        {
            let total = activated(def, opened);
            count(marks, &opened.path, total, total);
        }
    }
}

fn count(marks: &mut Marks, path: &str, total: u64, done: u64) {
    let counts = marks.branches.entry(locate::pattern(path)).or_default();
    counts.total += total;
    counts.done += done;
}

/// Branches that a scope began with.
fn activated(def: &Definition, opened: &ScopeOpened) -> u64 {
    let length = match &opened.branches {
        Branches::Count(n) => return u64::from(*n),
        Branches::List(items) => items.as_list().map_or(0, <[Json]>::len),
        Branches::Map(items) => items.as_object().map_or(0, |map| map.len()),
        Branches::Named { inactive } => {
            let kind = locate::node(def, &opened.path).map(|id| &def.node(id).kind);
            let declared = match kind {
                Some(NodeKind::Parallel(parallel)) => parallel.branches.len(),
                Some(NodeKind::Graph(graph)) => graph.nodes.len(),
                Some(_) | None => 0,
            };
            declared.saturating_sub(inactive.len())
        }
    };
    length as u64
}

/// What has no record of an end that counts for good.
#[derive(Default)]
struct Unended<'a> {
    /// Scopes.
    open: BTreeMap<u64, &'a str>,
    /// Scopes that failed; a resume goes on with them.
    failed: BTreeMap<u64, &'a str>,
    /// Sleeps, waits and calls.
    asleep: BTreeSet<&'a str>,
    /// Others that failed: another try or a resume may go on with them.
    broken: BTreeSet<&'a str>,
}

impl Unended<'_> {
    fn mark(self, marks: &mut Marks, now: &Open) {
        // What is not under way any more, and has no record of its end, was cancelled.
        let ended_by = |is_under_way, without_record| match is_under_way {
            true => StepState::Running,
            false => without_record,
        };
        for (id, path) in self.open {
            mark(marks, path, ended_by(now.live.contains(&id), StepState::Cancelled));
        }
        for (id, path) in self.failed {
            mark(marks, path, ended_by(now.live.contains(&id), StepState::Failed));
        }
        for path in self.asleep {
            mark(marks, path, ended_by(now.waiting.contains(path), StepState::Cancelled));
        }
        for path in self.broken {
            mark(marks, path, StepState::Failed);
        }
        for path in &now.retrying {
            mark(marks, path, StepState::Retrying);
        }
    }
}

fn mark_scopes_and_others(marks: &mut Marks, def: &Definition, records: &[Record], now: &Open) {
    let mut unended = Unended::default();
    let mut by_path: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        match &record.fact {
            Fact::ScopeOpened(opened) => {
                unended.broken.remove(&*opened.path);
                unended.open.insert(record.seq, &opened.path);
                by_path.insert(&opened.path, record.seq);
            }
            Fact::ScopeJoined(joined) => {
                unended.open.remove(&joined.scope);
                unended.failed.remove(&joined.scope);
                match joined.result {
                    Joined::Ok(_) => mark(marks, &joined.path, StepState::Completed),
                    Joined::Failed(_) => drop(unended.failed.insert(joined.scope, &joined.path)),
                }
            }
            // The same visit goes on with another try.
            Fact::NodeRetryScheduled { path, depth: None, .. } => {
                if let Some(scope) = by_path.get(path.as_str()) {
                    unended.open.remove(scope);
                    unended.failed.remove(scope);
                }
                unended.asleep.remove(path.as_str());
                unended.broken.remove(path.as_str());
            }
            Fact::NodeSkipped { path, .. } if !is_step(def, path) => mark(marks, path, StepState::Skipped),
            Fact::Chosen { path, .. }
            | Fact::ContextSet { path, .. }
            | Fact::RepeatEnded { path, .. }
            | Fact::EventEmitted { path, .. }
            | Fact::Finishing { path, .. } => {
                unended.broken.remove(path.as_str());
                mark(marks, path, StepState::Completed);
            }
            Fact::TimerSet { path, .. } | Fact::WaitOpened { path, .. } | Fact::ChildStarted { path, .. } => {
                unended.broken.remove(path.as_str());
                unended.asleep.insert(path);
            }
            Fact::ChildFinished {
                path, error: Some(_), ..
            } => {
                unended.asleep.remove(path.as_str());
                unended.broken.insert(path);
            }
            Fact::TimerFired { path, .. }
            | Fact::InputAnswered { path, .. }
            | Fact::WaitEnded { path, .. }
            | Fact::ChildFinished { path, .. } => {
                unended.asleep.remove(path.as_str());
                mark(marks, path, StepState::Completed);
            }
            Fact::WaitTimedOut { path, .. } => drop(unended.asleep.remove(path.as_str())),
            Fact::NodeFailed { error, .. } => {
                if let Some(path) = &error.path {
                    unended.broken.insert(path);
                }
            }
            Fact::NodeSkipped { .. }
            | Fact::RunStarted(_)
            | Fact::RunBegun
            | Fact::StepOpened { .. }
            | Fact::StepClaimed(_)
            | Fact::ClaimReturned(_)
            | Fact::CheckpointStored(_)
            | Fact::StepCompleted(_)
            | Fact::StepFailed(_)
            | Fact::GroupOpened { .. }
            | Fact::BranchStarted { .. }
            | Fact::FlowFailed { .. }
            | Fact::NodeRetryScheduled { .. }
            | Fact::NodeRetried { .. }
            | Fact::StepRetried { .. }
            | Fact::StepSkipped { .. }
            | Fact::StepGivenUp { .. }
            | Fact::EventReceived(_)
            | Fact::EventRefused { .. }
            | Fact::EventTaken { .. }
            | Fact::ErrorCaught { .. }
            | Fact::TryFailed { .. }
            | Fact::RoundStarted { .. }
            | Fact::Late { .. }
            | Fact::CompensationStarted { .. }
            | Fact::ChildUndone { .. }
            | Fact::RunPaused
            | Fact::RunEdited(_)
            | Fact::RunForked(_)
            | Fact::RunResumed { .. }
            | Fact::RunFinished(_) => {}
        }
    }
    unended.mark(marks, now);
}

fn is_step(def: &Definition, path: &str) -> bool {
    locate::node(def, path).is_some_and(|id| def.node(id).kind.calls().is_some())
}

fn nodes(def: &Definition, flow: FlowId, parent: &str, marks: &Marks) -> Vec<GraphNode> {
    let ids = def.flow(flow).nodes.iter();
    ids.map(|id| node(def, *id, parent, marks)).collect()
}

fn node(def: &Definition, id: NodeId, parent: &str, marks: &Marks) -> GraphNode {
    let node = def.node(id);
    let path = format!("{parent}/{}", node.name);
    let flows = flows(def, &node.kind, &path, marks);
    let counts = marks.states.get(&path).cloned().unwrap_or_default();
    let call = node.kind.calls();
    GraphNode {
        name: node.name.to_string(),
        kind: kind_name(&node.kind),
        handler: call.map(|c| c.uses.to_string()),
        queue: call.map(|c| c.queue.to_string()),
        when: node.when.as_ref().map(|e| e.source().to_owned()),
        state: telling(&counts, &flows),
        counts,
        branches: marks.branches.get(&path).copied(),
        flows,
        path,
    }
}

/// What a person looks at first: trouble, then movement, then rest.
const BY_INTEREST: [StepState; 8] = [
    StepState::Running,
    StepState::Retrying,
    StepState::Parked,
    StepState::Failed,
    StepState::Pending,
    StepState::Completed,
    StepState::Cancelled,
    StepState::Skipped,
];

fn telling(counts: &BTreeMap<StepState, u64>, flows: &[GraphFlow]) -> Option<StepState> {
    let own = |state: &StepState| counts.contains_key(state);
    let inside = |state: &StepState| flows.iter().flat_map(|f| &f.nodes).any(|n| n.state == Some(*state));
    let known = BY_INTEREST.into_iter().find(own);
    known.or_else(|| BY_INTEREST.into_iter().find(inside))
}

fn flow(def: &Definition, name: &str, id: FlowId, parent: &str, marks: &Marks) -> GraphFlow {
    GraphFlow {
        name: name.to_owned(),
        when: None,
        needs: Vec::new(),
        nodes: nodes(def, id, parent, marks),
    }
}

fn flows(def: &Definition, kind: &NodeKind, path: &str, marks: &Marks) -> Vec<GraphFlow> {
    let below = |segment: &str| format!("{path}/{segment}");
    match kind {
        NodeKind::Parallel(p) => {
            let branch = |b: &rejoin_shared::definition::model::ParallelBranch| GraphFlow {
                when: b.when.as_ref().map(|e| e.source().to_owned()),
                ..flow(def, &b.name, b.flow, &below(&b.name), marks)
            };
            p.branches.iter().map(branch).collect()
        }
        NodeKind::Graph(g) => {
            let name_of = |i: &u32| g.nodes.get(*i as usize).map(|n| n.name.to_string());
            let branch = |n: &rejoin_shared::definition::model::GraphNode| GraphFlow {
                when: n.when.as_ref().map(|e| e.source().to_owned()),
                needs: n.needs.iter().filter_map(name_of).collect(),
                ..flow(def, &n.name, n.flow, &below(&n.name), marks)
            };
            g.nodes.iter().map(branch).collect()
        }
        NodeKind::Foreach(f) => vec![flow(def, &f.item_name, f.flow, &format!("{path}[*]"), marks)],
        NodeKind::Branch(b) => cases(def, &b.cases, b.default, path, marks),
        NodeKind::Group(g) => vec![flow(def, "steps", g.flow, path, marks)],
        NodeKind::Repeat(r) => vec![flow(def, "steps", r.flow, path, marks)],
        NodeKind::Try(t) => {
            let mut all = vec![flow(def, "steps", t.flow, path, marks)];
            for (i, catch) in t.catches.iter().enumerate() {
                let name = format!("catch[{i}]");
                all.push(flow(def, &name, catch.flow, &below(&name), marks));
            }
            all.extend(t.finally.map(|id| flow(def, "finally", id, &below("finally"), marks)));
            all
        }
        NodeKind::Step(_)
        | NodeKind::Decision(_)
        | NodeKind::Sleep(_)
        | NodeKind::Wait(_)
        | NodeKind::Call(_)
        | NodeKind::Emit(_)
        | NodeKind::Set(_)
        | NodeKind::Fail(_)
        | NodeKind::Finish(_) => Vec::new(),
    }
}

fn cases(def: &Definition, cases: &Cases, default: Option<FlowId>, path: &str, marks: &Marks) -> Vec<GraphFlow> {
    let below = |segment: &str| format!("{path}/{segment}");
    let mut all: Vec<GraphFlow> = match cases {
        Cases::Keyed { cases, .. } => {
            let case = |(key, id): &(std::sync::Arc<str>, FlowId)| {
                flow(def, key, *id, &below(&path::case_segment(key)), marks)
            };
            cases.iter().map(case).collect()
        }
        Cases::Conditions(list) => {
            let case = |(i, (when, id)): (usize, &(rejoin_shared::expr::Expr, FlowId))| GraphFlow {
                when: Some(when.source().to_owned()),
                ..flow(def, &format!("[{i}]"), *id, &below(&format!("[{i}]")), marks)
            };
            list.iter().enumerate().map(case).collect()
        }
    };
    all.extend(default.map(|id| flow(def, "default", id, &below("default"), marks)));
    all
}

fn kind_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Step(_) => "step",
        NodeKind::Parallel(_) => "parallel",
        NodeKind::Foreach(_) => "foreach",
        NodeKind::Graph(_) => "graph",
        NodeKind::Branch(_) => "branch",
        NodeKind::Decision(_) => "decision",
        NodeKind::Group(_) => "group",
        NodeKind::Try(_) => "try",
        NodeKind::Repeat(_) => "repeat",
        NodeKind::Sleep(_) => "sleep",
        NodeKind::Wait(_) => "wait",
        NodeKind::Call(_) => "call",
        NodeKind::Emit(_) => "emit",
        NodeKind::Set(_) => "set",
        NodeKind::Fail(_) => "fail",
        NodeKind::Finish(_) => "finish",
    }
}
