//! From a path of a run back to the node of its definition.

use rejoin_shared::definition::model::{Cases, Definition, FlowId, HandlerCall, NodeId, NodeKind};
use rejoin_shared::path;

/// One segment of a path: a name, an item in brackets, and no visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment<'a> {
    name: &'a str,
    item: Option<&'a str>,
}

/// The node that `path` visits; `None` if the definition has no such place (a compensation, another version).
#[must_use]
pub fn node(def: &Definition, path: &str) -> Option<NodeId> {
    let mut flow = Definition::ROOT;
    let mut segments = path.strip_prefix('/')?.split('/').map(segment).peekable();
    loop {
        let at = segments.next()?;
        let id = find(def, flow, at.name)?;
        if segments.peek().is_none() && at.item.is_none() {
            return Some(id);
        }
        flow = inside(def, id, at, &mut segments)?;
    }
}

/// What the step, decision or compensation at `path` calls; `None` if nothing there calls a handler.
#[must_use]
pub fn call<'a>(def: &'a Definition, path: &str) -> Option<&'a HandlerCall> {
    match path.strip_suffix("/compensate") {
        Some(undone) => {
            let compensate = def.node(node(def, undone)?).kind.compensate();
            compensate.map(|compensate| &compensate.call)
        }
        None => def.node(node(def, path)?).kind.calls(),
    }
}

/// The path with every visit left out and every item replaced by `*`: where all visits of a node are counted.
#[must_use]
pub fn pattern(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.split('/').skip(1) {
        let at = segment(part);
        out.push('/');
        out.push_str(at.name);
        match at.item {
            // A case of the list form: the segment is its index.
            Some(case) if at.name.is_empty() => out.push_str(&format!("[{case}]")),
            Some(_) => out.push_str("[*]"),
            None => {}
        }
    }
    out
}

fn segment(text: &str) -> Segment<'_> {
    let (before, item) = match text.find('[') {
        Some(open) if !text.starts_with("catch[") => {
            let inner = &text[open + 1..];
            (&text[..open], Some(&inner[..inner.find(']').unwrap_or(inner.len())]))
        }
        _ => (text, None),
    };
    let name = &before[..before.find('#').unwrap_or(before.len())];
    Segment { name, item }
}

fn find(def: &Definition, flow: FlowId, name: &str) -> Option<NodeId> {
    def.flow(flow)
        .nodes
        .iter()
        .copied()
        .find(|id| &*def.node(*id).name == name)
}

type Rest<'a, I> = std::iter::Peekable<I>;

/// The flow inside node `id` that the path goes on in, taking the segments that name it.
fn inside<'a, I: Iterator<Item = Segment<'a>>>(
    def: &Definition,
    id: NodeId,
    at: Segment<'a>,
    rest: &mut Rest<'a, I>,
) -> Option<FlowId> {
    match &def.node(id).kind {
        NodeKind::Parallel(p) => {
            let name = rest.next()?.name;
            p.branches.iter().find(|b| &*b.name == name).map(|b| b.flow)
        }
        NodeKind::Graph(g) => {
            let name = rest.next()?.name;
            g.nodes.iter().find(|n| &*n.name == name).map(|n| n.flow)
        }
        NodeKind::Foreach(f) => at.item.map(|_| f.flow),
        NodeKind::Branch(b) => case(&b.cases, b.default, rest.next()?),
        NodeKind::Group(g) => Some(g.flow),
        NodeKind::Repeat(r) => Some(r.flow),
        NodeKind::Try(t) => {
            let next = rest.peek()?.name;
            if next == "finally" {
                rest.next();
                return t.finally;
            }
            let Some(index) = next.strip_prefix("catch[").and_then(|rest| rest.strip_suffix(']')) else {
                return Some(t.flow);
            };
            let catch = t.catches.get(index.parse::<usize>().ok()?)?;
            rest.next();
            Some(catch.flow)
        }
        NodeKind::Step(_)
        | NodeKind::Decision(_)
        | NodeKind::Sleep(_)
        | NodeKind::Wait(_)
        | NodeKind::Call(_)
        | NodeKind::Emit(_)
        | NodeKind::Set(_)
        | NodeKind::Fail(_)
        | NodeKind::Finish(_) => None,
    }
}

fn case(cases: &Cases, default: Option<FlowId>, at: Segment<'_>) -> Option<FlowId> {
    if at.name == "default" {
        return default;
    }
    match cases {
        Cases::Keyed { cases, .. } => {
            let same = |key: &str| path::case_segment(key) == at.name;
            cases.iter().find(|(key, _)| same(key)).map(|(_, flow)| *flow)
        }
        Cases::Conditions(list) => list.get(at.item?.parse::<usize>().ok()?).map(|(_, flow)| *flow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_counts_all_visits_and_items_of_a_node_together() {
        assert_eq!(pattern("/a#2/b[3]/c#4"), "/a/b[*]/c");
        assert_eq!(pattern("/each[x%2Fy]#2/do"), "/each[*]/do");
        assert_eq!(pattern("/t/catch[1]/x"), "/t/catch[1]/x");
        assert_eq!(pattern("/route/[2]/x"), "/route/[2]/x");
    }
}
