//! Ways to make a document smaller by one thing. Not all give a valid document: the parser says which do.

use crate::generate::Doc;

/// One way.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The list or map that it is about: the number of an entry or item on each level.
    at: Vec<usize>,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    /// Without these entries or items.
    Drop(Vec<usize>),
    /// With the nodes of a flow inside of an item in the place of that item.
    Hoist(usize, Vec<Doc>),
    /// With another entry or item in place of this one.
    Put(usize, Doc),
}

/// Keys that no document goes without and still means something that can be compared: a wait for what never comes ends by its
/// time-out, a loop with another `concurrency` is a fan-out.
const STAYS: [&str; 5] = ["timeout", "max", "prompt", "input", "concurrency"];

/// Keys that say together how a scope settles. What is cancelled in time depends on timing, and what a retry then sees.
const SETTLING: [&str; 3] = ["on_error", "need", "tolerate"];

/// The keys that name kinds of nodes.
const KINDS: [&str; 16] = [
    "step", "parallel", "foreach", "graph", "branch", "decision", "group", "try", "repeat", "sleep", "wait", "call",
    "emit", "set", "fail", "finish",
];

/// All ways, those that take most first on each level.
#[must_use]
pub fn edits(doc: &Doc) -> Vec<Edit> {
    let mut all = Vec::new();
    gather(doc, &mut Vec::new(), &mut all);
    all
}

/// The document, smaller.
#[must_use]
pub fn edited(doc: &Doc, edit: &Edit) -> Doc {
    let mut doc = doc.clone();
    let mut inside = &mut doc;
    for at in &edit.at {
        inside = match inside {
            Doc::Map(entries) => &mut entries[*at].1,
            Doc::List(items) => &mut items[*at],
            Doc::Text(_) | Doc::Raw(_) => unreachable!("a path leads through lists and maps"),
        };
    }
    match (inside, edit.how.clone()) {
        (Doc::Map(entries), How::Drop(which)) => {
            let mut at = 0..;
            entries.retain(|_| at.next().is_none_or(|at| !which.contains(&at)));
        }
        (Doc::List(items), How::Drop(which)) => {
            let mut at = 0..;
            items.retain(|_| at.next().is_none_or(|at| !which.contains(&at)));
        }
        (Doc::List(items), How::Hoist(at, nodes)) => drop(items.splice(at..=at, nodes)),
        (Doc::List(items), How::Put(at, value)) => items[at] = value,
        (Doc::Map(entries), How::Put(at, value)) => entries[at].1 = value,
        (Doc::Map(_) | Doc::Text(_) | Doc::Raw(_), _) => {}
    }
    doc
}

fn gather(doc: &Doc, at: &mut Vec<usize>, all: &mut Vec<Edit>) {
    let mut add = |how| all.push(Edit { at: at.clone(), how });
    match doc {
        Doc::Map(entries) => {
            for (i, (key, value)) in entries.iter().enumerate() {
                let may_go = !SETTLING.contains(&&**key) && (!STAYS.contains(&&**key) || may_widen(doc, key));
                if may_go {
                    add(How::Drop(vec![i]));
                    smaller(key, value).into_iter().for_each(|less| add(How::Put(i, less)));
                }
            }
            let settling = entries
                .iter()
                .enumerate()
                .filter(|(_, (key, _))| SETTLING.contains(&&**key));
            let settling: Vec<usize> = settling.map(|(i, _)| i).collect();
            if !settling.is_empty() && !doc.has("retry") {
                add(How::Drop(settling));
            }
        }
        Doc::List(items) => {
            for (i, item) in items.iter().enumerate() {
                add(How::Drop(vec![i]));
                let mut flows = Vec::new();
                flows_in(item, &mut flows);
                flows.into_iter().for_each(|flow| add(How::Hoist(i, flow)));
                smaller("", item).into_iter().for_each(|less| add(How::Put(i, less)));
            }
        }
        Doc::Text(_) | Doc::Raw(_) => {}
    }
    let parts = doc.entries().iter().map(|(_, value)| value).chain(doc.items());
    for (i, part) in parts.enumerate() {
        at.push(i);
        gather(part, at, all);
        at.pop();
    }
}

/// Of a parallel or a graph: a foreach would change its kind.
fn may_widen(node: &Doc, key: &str) -> bool {
    key == "concurrency" && !node.has("foreach")
}

/// Values in place of one that take less time or room.
fn smaller(key: &str, value: &Doc) -> Vec<Doc> {
    match value {
        Doc::Raw(_) => match value.as_number() {
            Some(n) if n > 1 => vec![Doc::number(1)],
            _ => Vec::new(),
        },
        Doc::Text(text) if key == "items" => {
            let counts = ["1", "2"];
            let shorter = counts.iter().take_while(|n| **n != text.as_str());
            shorter.map(|n| Doc::text(n)).collect()
        }
        Doc::Text(_) | Doc::List(_) | Doc::Map(_) => Vec::new(),
    }
}

/// The flows that stand in a node, the outermost of each.
fn flows_in(node: &Doc, flows: &mut Vec<Vec<Doc>>) {
    match node {
        Doc::List(items) if !items.is_empty() && items.iter().all(is_node) => flows.push(items.clone()),
        Doc::List(items) => items.iter().for_each(|item| flows_in(item, flows)),
        Doc::Map(entries) => entries.iter().for_each(|(_, value)| flows_in(value, flows)),
        Doc::Text(_) | Doc::Raw(_) => {}
    }
}

fn is_node(doc: &Doc) -> bool {
    doc.entries().first().is_some_and(|(key, _)| KINDS.contains(&&**key))
}
