//! Contexts inside a graph: a node starts from what it needs, each contribution once.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, Graph, Merge, Snapshots};
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::merge::{conflict_error, reduce_into, write_last};
use super::results::branch_entry;
use super::strict::{Others, Strict};
use crate::state::Scope;
use crate::state::scope::Contribution;

fn graph_of<'d>(def: &'d Definition, scope: &Scope) -> &'d Graph {
    def.node(scope.node)
        .kind
        .as_graph()
        .expect("only a graph's scope has graph nodes")
}

/// The nodes that `wanted` need, directly or not, each once, those needed first, as a depth-first walk finds them.
fn needed_first(graph: &Graph, wanted: &[u32]) -> Vec<u32> {
    fn visit(graph: &Graph, node: u32, seen: &mut Vec<bool>, order: &mut Vec<u32>) {
        if std::mem::replace(&mut seen[node as usize], true) {
            return;
        }
        for need in &graph.nodes[node as usize].needs {
            visit(graph, *need, seen, order);
        }
        order.push(node);
    }
    let mut seen = vec![false; graph.nodes.len()];
    let mut order = Vec::new();
    for node in wanted {
        visit(graph, *node, &mut seen, &mut order);
    }
    order
}

/// Whether `node` needs `other`, directly or not.
fn needs(graph: &Graph, node: u32, other: u32) -> bool {
    node != other && needed_first(graph, &graph.nodes[node as usize].needs).contains(&other)
}

/// The context a node starts from.
///
/// # Errors
/// `rejoin.reduce_failed`, `rejoin.merge_conflict`.
pub(crate) fn start_context(def: &Definition, scope: &Scope, branch: u32) -> Result<Json, ErrorValue> {
    let graph = graph_of(def, scope);
    assemble(def, scope, &needed_first(graph, &graph.nodes[branch as usize].needs))
}

/// What a node would start from that needs every node that no other needs.
pub(super) fn merged(def: &Definition, scope: &Scope) -> Result<Json, ErrorValue> {
    let graph = graph_of(def, scope);
    let is_needed = |node: &u32| graph.nodes.iter().any(|other| other.needs.contains(node));
    let last: Vec<u32> = (0..scope.total).filter(|node| !is_needed(node)).collect();
    let order = needed_first(graph, &last);
    if matches!(scope.join(def).merge, Merge::Collect | Merge::Discard) {
        let mut ctx = scope.base.clone();
        let parts: Vec<_> = order
            .iter()
            .filter_map(|node| Some((node, scope.contributions.get(node)?)))
            .collect();
        reduce_into(def, scope, &parts, &mut ctx)?;
        return Ok(ctx);
    }
    assemble(def, scope, &order)
}

/// The graph's base with these nodes' contributions, in this order.
fn assemble(def: &Definition, scope: &Scope, order: &[u32]) -> Result<Json, ErrorValue> {
    let mut ctx = scope.base.clone();
    if def.snapshots == Snapshots::None {
        return Ok(ctx);
    }
    let parts: Vec<(&u32, &Contribution)> = order
        .iter()
        .filter_map(|node| Some((node, scope.contributions.get(node)?)))
        .collect();
    let join = scope.join(def);
    if join.merge == Merge::Strict {
        check_strict(def, scope, &parts)?;
    }
    parts.iter().for_each(|(_, part)| part.changes.apply(&mut ctx));
    if join.merge == Merge::LastWins {
        write_last(&last_of(&parts), &mut ctx);
    }
    reduce_into(def, scope, &parts, &mut ctx)?;
    Ok(ctx)
}

/// Per changed top-level key, its value in the node that completed last among those that changed it.
fn last_of(parts: &[(&u32, &Contribution)]) -> BTreeMap<Arc<str>, Option<Json>> {
    let mut by_time: Vec<&Contribution> = parts.iter().map(|(_, part)| *part).collect();
    by_time.sort_by_key(|part| part.order);
    let mut last = BTreeMap::new();
    for part in by_time {
        for key in part.changes.0.keys() {
            last.insert(key.clone(), part.ended.get(key).cloned());
        }
    }
    last
}

/// Compares only nodes of which neither needs the other.
fn check_strict(def: &Definition, scope: &Scope, parts: &[(&u32, &Contribution)]) -> Result<(), ErrorValue> {
    let graph = graph_of(def, scope);
    let mut strict = Strict::default();
    for (node, part) in parts {
        let independent = |other: u32| !needs(graph, **node, other) && !needs(graph, other, **node);
        strict
            .add(**node, &part.changes, Others::Some(&independent))
            .map_err(|c| conflict_error(def, scope, &c))?;
    }
    Ok(())
}

/// `results.<graph>` inside a node: what it needs.
pub(crate) fn results_for(def: &Definition, scope: &Scope, branch: u32) -> Json {
    let graph = graph_of(def, scope);
    let needed = needed_first(graph, &graph.nodes[branch as usize].needs);
    let entries = needed
        .into_iter()
        .map(|node| (graph.nodes[node as usize].name.clone(), branch_entry(scope, node)));
    Json::Object(Arc::new(entries.collect()))
}
