//! Which scopes must keep their branches' outputs (SPEC 4.2): everything else stays in the journal only.

use super::model::{Cases, Definition, FlowId, Foreach, Graph, Merge, NodeId, NodeKind, Parallel, ResultsNamed};

/// Sets [`Join::keep_outputs`] of every scope.
pub(super) fn mark(definition: &mut Definition) {
    // Nobody reads the output of the outermost flow: a run's output is its context, or what `finish` says.
    let mut todo = vec![(Definition::ROOT, false)];
    while let Some((flow, needed)) = todo.pop() {
        for id in definition.flow(flow).nodes.clone() {
            let keep = needed || is_read(definition, id);
            for inner in inner_flows(&definition.node(id).kind) {
                todo.push((inner, keep));
            }
            set_keep(definition, id, keep);
        }
    }
}

/// Whether a scope's outputs are asked for at the scope itself. Of other kinds of nodes they never are.
fn is_read(definition: &Definition, id: NodeId) -> bool {
    let Some(join) = definition.join(id) else { return false };
    let named = match &definition.results_named {
        ResultsNamed::All => true,
        ResultsNamed::These(names) => names.contains(&definition.node(id).name),
    };
    named || join.collect_as.is_some() || join.merge == Merge::Collect || join.into.is_some()
}

/// The flows whose output may become the node's, or a branch's of it.
fn inner_flows(kind: &NodeKind) -> Vec<FlowId> {
    match kind {
        NodeKind::Parallel(p) => p.branches.iter().map(|b| b.flow).collect(),
        NodeKind::Foreach(f) => vec![f.flow],
        NodeKind::Graph(g) => g.nodes.iter().map(|n| n.flow).collect(),
        NodeKind::Branch(b) => {
            let cases: Vec<FlowId> = match &b.cases {
                Cases::Keyed { cases, .. } => cases.iter().map(|(_, flow)| *flow).collect(),
                Cases::Conditions(cases) => cases.iter().map(|(_, flow)| *flow).collect(),
            };
            cases.into_iter().chain(b.default).collect()
        }
        NodeKind::Group(g) => vec![g.flow],
        NodeKind::Try(t) => {
            // `finally` has no output, but scopes in it are to be looked at.
            let catches = t.catches.iter().map(|c| c.flow);
            std::iter::once(t.flow).chain(catches).chain(t.finally).collect()
        }
        NodeKind::Repeat(r) => vec![r.flow],
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

fn set_keep(definition: &mut Definition, id: NodeId, keep: bool) {
    let kind = &mut definition.nodes[id.0 as usize].kind;
    if let NodeKind::Parallel(Parallel { join, .. })
    | NodeKind::Foreach(Foreach { join, .. })
    | NodeKind::Graph(Graph { join, .. }) = kind
    {
        join.keep_outputs = keep;
    }
}
