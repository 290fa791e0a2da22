//! Graphs: a node starts when all it needs are done (SPEC 4.2).

use std::collections::BTreeSet;

use rejoin_shared::definition::model::{Definition, Graph, NodeId, Snapshots};
use rejoin_shared::json::Json;

use super::fork::{Branch, Ended, Fork, Labels, below, branches_failed};
use super::merge::{Contribution, merge, start_context};
use super::settle::{Count, Quota, Width};
use super::undo::Order;
use super::{Failure, Place, Thread, Twist, Walker};

impl Walker<'_> {
    pub(super) fn graph(
        &mut self,
        id: NodeId,
        graph: &Graph,
        quota: Quota,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<(), Failure> {
        if quota.is_out_of_reach(graph.nodes.len()) {
            return Err(branches_failed(path, &[]));
        }
        let fork = Fork {
            join: &graph.join,
            path,
            quota,
            width: Width::Many,
            labels: Labels::Names(graph.nodes.iter().map(|n| n.name.clone()).collect()),
        };
        let before = std::mem::take(&mut self.done);
        let mut ran = Vec::new();
        let ended = self.run_nodes(id, graph, &fork, &mut ran, place, thread);
        let needed = |at: usize| (0..ran.len()).filter(|n| needs(graph, ran[at], ran[*n])).collect();
        self.close_fork(before, Order::Needs((0..ran.len()).map(needed).collect()));
        let ended = ended?;
        let mut count = count(&ended);
        if self.log.twist == Some(Twist::CancelledBranchCounted) {
            count.ok += std::mem::take(&mut count.barred);
        }
        self.weigh(&fork, count, true);
        // Skipped nodes may bring the number below what is needed while others still run: that fails the graph at once.
        self.log.may_cancel |= fork.quota.is_out_of_reach(count.activated);
        if fork.quota.is_lost(count) {
            return Err(branches_failed(path, &ended));
        }
        let order = in_order(graph, &sinks(graph));
        let (nodes, done) = contributions(&order, &ended);
        let apart = |a: usize, b: usize| !needs(graph, nodes[a], nodes[b]) && !needs(graph, nodes[b], nodes[a]);
        let merged = merge(&graph.join, &thread.ctx, &done, apart).map_err(|kind| Failure::new(kind, path))?;
        if merged.depends_on_order {
            self.doubt("two nodes of a last_wins wrote one key", path);
        }
        self.leave(id, &fork, place, thread, &ended, merged.context)
    }

    fn run_nodes(
        &mut self,
        id: NodeId,
        graph: &Graph,
        fork: &Fork<'_>,
        ran: &mut Vec<usize>,
        place: &Place,
        thread: &Thread,
    ) -> Result<Vec<Ended>, Failure> {
        let mut ended: Vec<Option<Ended>> = vec![None; graph.nodes.len()];
        // Free of cycles: each round ends one node at least.
        while ended.iter().any(Option::is_none) {
            for at in 0..graph.nodes.len() {
                let needed = &graph.nodes[at].needs;
                if ended[at].is_some() || needed.iter().any(|n| ended[index(*n)].is_none()) {
                    continue;
                }
                let is_barred = needed
                    .iter()
                    .any(|n| matches!(ended[index(*n)], Some(Ended::Failed(_) | Ended::Cancelled)));
                let end = match is_barred {
                    true => Ended::Cancelled,
                    false => self.run_node(id, graph, at, fork, &ended, place, thread)?,
                };
                if self.done.len() > ran.len() {
                    ran.push(at);
                }
                ended[at] = Some(end);
            }
        }
        Ok(ended.into_iter().flatten().collect())
    }

    #[allow(clippy::too_many_arguments)] // what a node of a graph stands in
    fn run_node(
        &mut self,
        id: NodeId,
        graph: &Graph,
        at: usize,
        fork: &Fork<'_>,
        ended: &[Option<Ended>],
        place: &Place,
        thread: &Thread,
    ) -> Result<Ended, Failure> {
        let def: &Definition = self.def;
        let node = &graph.nodes[at];
        let path = format!("{}/{}", fork.path, node.name);
        let order = in_order(graph, &node.needs.iter().map(|n| index(*n)).collect::<Vec<_>>());
        let mut around = thread.clone();
        let mut entries = Json::object();
        for needed in &order {
            let entry = ended[*needed].as_ref().expect("all needs have ended").entry();
            entries.object_mut().insert(graph.nodes[*needed].name.clone(), entry);
        }
        around.results.object_mut().insert(def.node(id).name.clone(), entries);
        if def.snapshots != Snapshots::None {
            around.ctx = self.node_start(graph, &order, ended, thread, fork.path)?;
        }
        if let Some(when) = &node.when {
            match self.condition(when, place, &around, &path) {
                Ok(true) => {}
                Ok(false) => return Ok(Ended::Skipped),
                Err(failure) => return Ok(Ended::Failed(failure)),
            }
        }
        let branch = Branch {
            place: below(place, path),
            flow: node.flow,
            is_active: true,
        };
        let start = around.ctx.clone();
        Ok(self.run_branch(&branch, &start, &around))
    }

    /// A conflict, or what cannot be reduced, met already where a node starts: whether it fails that node or the graph
    /// is left open by the specification.
    fn node_start(
        &mut self,
        graph: &Graph,
        order: &[usize],
        ended: &[Option<Ended>],
        thread: &Thread,
        path: &str,
    ) -> Result<Json, Failure> {
        let done: Vec<Ended> = ended.iter().map(|end| end.clone().unwrap_or(Ended::Skipped)).collect();
        let (nodes, done) = contributions(order, &done);
        let apart = |a: usize, b: usize| !needs(graph, nodes[a], nodes[b]) && !needs(graph, nodes[b], nodes[a]);
        if merge(&graph.join, &thread.ctx, &done, apart).map_or(true, |merged| merged.depends_on_order) {
            self.doubt("what a graph's node starts from does not go together", path);
        }
        start_context(&graph.join, &thread.ctx, &done).map_err(|kind| Failure::new(kind, path))
    }
}

fn count(ended: &[Ended]) -> Count {
    let mut count = Count::default();
    for end in ended {
        count.activated += usize::from(!matches!(end, Ended::Skipped));
        match end {
            Ended::Ok(_) => count.ok += 1,
            Ended::Failed(_) => count.failed += 1,
            Ended::Cancelled => count.barred += 1,
            Ended::Skipped => {}
        }
    }
    count
}

/// The nodes that succeeded, in this order, and what they left.
fn contributions<'e>(order: &[usize], ended: &'e [Ended]) -> (Vec<usize>, Vec<&'e Contribution>) {
    order
        .iter()
        .filter_map(|n| Some((*n, ended[*n].contribution()?)))
        .unzip()
}

fn index(n: u32) -> usize {
    usize::try_from(n).expect("an index")
}

/// Nodes that no other needs, in declared order.
fn sinks(graph: &Graph) -> Vec<usize> {
    let needed: BTreeSet<usize> = graph
        .nodes
        .iter()
        .flat_map(|n| n.needs.iter().map(|n| index(*n)))
        .collect();
    (0..graph.nodes.len()).filter(|n| !needed.contains(n)).collect()
}

/// All that `roots` need and they themselves, each once, as a depth-first walk finds them: those needed first.
fn in_order(graph: &Graph, roots: &[usize]) -> Vec<usize> {
    fn walk(graph: &Graph, at: usize, found: &mut Vec<usize>) {
        if found.contains(&at) {
            return;
        }
        for needed in &graph.nodes[at].needs {
            walk(graph, index(*needed), found);
        }
        found.push(at);
    }
    let mut found = Vec::new();
    roots.iter().for_each(|root| walk(graph, *root, &mut found));
    found
}

/// Whether node `a` needs node `b`, directly or not.
fn needs(graph: &Graph, a: usize, b: usize) -> bool {
    a != b && in_order(graph, &[a]).contains(&b)
}
