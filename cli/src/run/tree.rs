//! A workflow's structure as a tree, fan-outs folded into counts.

use rejoin_shared::json::Json;

use crate::output::style;
use crate::output::table::member;

/// Flows of one node drawn at most; the rest is counted.
pub const FLOWS_SHOWN_MAX: usize = 30;

/// The tree of a `graph` answer.
pub fn render(graph: &Json, flows_max: usize) -> String {
    let mut out = format!("{}@{}\n", member(graph, "workflow"), member(graph, "version"));
    nodes(&mut out, graph, "", flows_max);
    out
}

/// Branches that have ended, and all there are, over all scopes that were reached.
pub fn branches(graph: &Json) -> Option<(i64, i64)> {
    let number = |key| graph.get("branches")?.get(key)?.as_int();
    let here = number("done").zip(number("total"));
    let nodes = graph.get("nodes").and_then(Json::as_list).unwrap_or_default();
    let flows = graph.get("flows").and_then(Json::as_list).unwrap_or_default();
    let inside = nodes.iter().chain(flows).filter_map(branches);
    inside
        .chain(here)
        .reduce(|(done, total), (more, most)| (done + more, total + most))
}

/// Visits in `state`, over all nodes.
pub fn count(graph: &Json, state: &str) -> i64 {
    let here = graph
        .get("counts")
        .and_then(|c| c.get(state))
        .and_then(Json::as_int)
        .unwrap_or(0);
    let nodes = graph.get("nodes").and_then(Json::as_list).unwrap_or_default();
    let flows = graph.get("flows").and_then(Json::as_list).unwrap_or_default();
    here + nodes.iter().chain(flows).map(|inner| count(inner, state)).sum::<i64>()
}

fn nodes(out: &mut String, holder: &Json, indent: &str, flows_max: usize) {
    let list = holder.get("nodes").and_then(Json::as_list).unwrap_or_default();
    for (i, node) in list.iter().enumerate() {
        let last = i + 1 == list.len();
        let (tee, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        out.push_str(&format!("{indent}{tee}{}\n", label(node)));
        flows(out, node, &format!("{indent}{below}"), flows_max);
    }
}

fn label(node: &Json) -> String {
    let kind = member(node, "kind");
    let mut text = format!("{} {}", style::sign(&member(node, "state")), member(node, "name"));
    match node.get("handler").and_then(Json::as_str) {
        Some(handler) if handler != member(node, "name") => text.push_str(&format!(" ({handler})")),
        Some(_) => {}
        None => text.push_str(&format!(" [{kind}]")),
    }
    let counts = node.get("counts").and_then(Json::as_object);
    let total: i64 = counts.into_iter().flatten().filter_map(|(_, n)| n.as_int()).sum();
    if total > 1 {
        let parts = counts
            .into_iter()
            .flatten()
            .map(|(state, n)| format!("{n} {}", style::state(state)));
        text.push_str(&format!(" — {}", parts.collect::<Vec<_>>().join(", ")));
    }
    text
}

fn flows(out: &mut String, node: &Json, indent: &str, flows_max: usize) {
    let list = node.get("flows").and_then(Json::as_list).unwrap_or_default();
    // The one flow of a foreach, group or repeat needs no line of its own.
    if let [only] = list
        && matches!(member(node, "kind").as_str(), "foreach" | "group" | "repeat")
    {
        return nodes(out, only, indent, flows_max);
    }
    for flow in list.iter().take(flows_max) {
        let needs = member(flow, "needs");
        let after = if needs.is_empty() {
            String::new()
        } else {
            format!(" after {needs}")
        };
        out.push_str(&format!("{indent}{}:{after}\n", member(flow, "name")));
        nodes(out, flow, &format!("{indent}  "), flows_max);
    }
    if list.len() > flows_max {
        out.push_str(&format!("{indent}… {} more\n", list.len() - flows_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fan_out_is_folded_into_counts() {
        let graph = Json::parse(
            br#"{"workflow":"w","version":1,"nodes":[{"name":"fan","kind":"foreach","state":"running","counts":{},
            "flows":[{"name":"item","nodes":[{"name":"do","kind":"step","handler":"do","state":"running",
            "counts":{"completed":3,"retrying":2}}]}]}]}"#,
        );
        let graph = graph.expect("json");
        let drawn = render(&graph, FLOWS_SHOWN_MAX);
        assert_eq!(drawn, "w@1\n└─ ● fan [foreach]\n   └─ ● do — 3 completed, 2 retrying\n");
        assert_eq!(count(&graph, "retrying"), 2);
    }
}
