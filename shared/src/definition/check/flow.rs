//! Flows and what all nodes have in common.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::{Around, Checker, Slot};
use crate::definition::error::{Problem, shown};
use crate::definition::keys::{COMMON, KINDS, Key, KindSpec, kind_of};
use crate::definition::model::{FlowId, FlowRole, Node, NodeId, NodeKind, Position};
use crate::definition::source::{Entry, Tree};
use crate::definition::supported;
use crate::suggest::nearest;

/// The node being read.
pub(super) struct Here<'a> {
    pub id: NodeId,
    pub name: &'a Arc<str>,
    pub around: &'a Around,
}

/// Names in use and where each was given.
pub(super) type Seen = HashMap<Arc<str>, Position>;

impl Checker<'_> {
    /// Reads a list of nodes.
    pub(super) fn flow(&mut self, tree: &Tree, role: FlowRole, around: &Around) -> FlowId {
        let id = self.open_flow(role);
        let max = self.limits.definition_levels_max;
        if around.level > max {
            let message = format!("nodes are nested deeper than {max} levels; move a part into a workflow of its own");
            self.note(Problem::at(tree, "too_deep", message));
            return id;
        }
        let Some(items) = tree.items() else {
            let message = format!("nodes are written as a list; this is {}", tree.kind_name());
            self.note(Problem::at(tree, "wrong_type", message));
            return id;
        };
        let mut seen = Seen::new();
        for item in items {
            if let Some(node) = self.node(item, id, around, &mut seen) {
                self.flows[id.0 as usize].nodes.push(node);
            }
        }
        id
    }

    fn node(&mut self, tree: &Tree, flow: FlowId, around: &Around, seen: &mut Seen) -> Option<NodeId> {
        let max = self.limits.definition_nodes_max;
        if self.slots.len() >= max {
            if !std::mem::replace(&mut self.too_many_nodes, true) {
                let message = format!("more than {max} nodes; move a part into a workflow of its own");
                self.note(Problem::at(tree, "too_many_nodes", message));
            }
            return None;
        }
        let id = NodeId(u32::try_from(self.slots.len()).expect("a document of bounded size has few nodes"));
        self.slots.push(Slot {
            name: None,
            perhaps: Vec::new(),
            flow,
            node: None,
        });
        self.read_node(tree, id, flow, around, seen);
        let slot = &mut self.slots[id.0 as usize];
        if slot.name.is_none() {
            let values = tree.entries().unwrap_or_default().iter().map(|entry| &entry.value);
            slot.perhaps = values.chain([tree]).filter_map(Tree::text).cloned().collect();
        }
        Some(id)
    }

    fn read_node(&mut self, tree: &Tree, id: NodeId, flow: FlowId, around: &Around, seen: &mut Seen) -> Option<()> {
        let (spec, kind_entry) = self.kind_of_node(tree)?;
        let name = self.node_name(&kind_entry.value, seen);
        self.slots[id.0 as usize].name.clone_from(&name);
        let tables: Vec<&'static [Key]> = spec.keys.iter().copied().chain([COMMON]).collect();
        let of = format!("`{}`", spec.name);
        let fields = self.fields(tree, &tables, &of, Some(spec.name))?;
        let when = self.expr_at(&fields, "when", &around.names);
        let max_visits = self.int_at(&fields, "max_visits").unwrap_or(self.settings.max_visits);
        let placeholder: Arc<str> = name.clone().unwrap_or_else(|| "unnamed".into());
        let here = Here {
            id,
            name: &placeholder,
            around,
        };
        let kind = self.kind(spec, &fields, &here);
        self.refuse_unsupported(tree, spec, kind_entry);
        self.slots[id.0 as usize].node = Some(Node {
            name: name?,
            flow,
            when,
            max_visits,
            kind: kind?,
            position: tree.position,
        });
        Some(())
    }

    fn kind(&mut self, spec: &KindSpec, fields: &Fields<'_>, here: &Here<'_>) -> Option<NodeKind> {
        Some(match spec.name {
            "step" => NodeKind::Step(self.step(fields, here)?),
            "parallel" => NodeKind::Parallel(self.parallel(fields, here)?),
            "foreach" => NodeKind::Foreach(self.foreach(fields, here)?),
            "graph" => NodeKind::Graph(self.graph(fields, here)?),
            "branch" => NodeKind::Branch(self.branch(fields, here)?),
            "decision" => NodeKind::Decision(self.decision(fields, here)?),
            "group" => NodeKind::Group(self.group(fields, here)?),
            "try" => NodeKind::Try(self.try_node(fields, here)?),
            "repeat" => NodeKind::Repeat(self.repeat(fields, here)?),
            "sleep" => NodeKind::Sleep(self.sleep(fields, here)?),
            "wait" => NodeKind::Wait(self.wait(fields, here)?),
            "call" => NodeKind::Call(self.call(fields, here)?),
            "emit" => NodeKind::Emit(self.emit(fields, here)?),
            "set" => NodeKind::Set(self.set(fields, here)?),
            "fail" => NodeKind::Fail(self.fail(fields, here)?),
            "finish" => NodeKind::Finish(self.finish(fields, here)?),
            other => unreachable!("`{other}` is in the table of kinds and not read"),
        })
    }

    /// The kind of a node and the entry that names it.
    fn kind_of_node<'t>(&mut self, tree: &'t Tree) -> Option<(&'static KindSpec, &'t Entry)> {
        let Some(entries) = tree.entries() else {
            let message = format!("a node is a map like `step: name`; this is {}", tree.kind_name());
            return self.refuse(tree, "wrong_type", message);
        };
        let mut kinds = entries.iter().filter_map(|e| Some((kind_of(&e.key)?, e)));
        let Some(first) = kinds.next() else {
            return self.no_kind(tree, entries);
        };
        for (spec, entry) in kinds {
            let message = format!(
                "a node has one kind; this is both `{}` and `{}`",
                first.0.name, spec.name
            );
            let problem = Problem::at(&entry.value, "two_kinds", message);
            self.note(problem.shown_at(entry.key_position));
        }
        Some(first)
    }

    fn no_kind<T>(&mut self, tree: &Tree, entries: &[Entry]) -> Option<T> {
        if self.is_full() {
            return None;
        }
        let names = || KINDS.iter().map(|k| k.name);
        let all = names().collect::<Vec<_>>().join(", ");
        let known = |key: &str| KINDS.iter().flat_map(KindSpec::all_keys).any(|k| k.name == key);
        let unknown = entries.iter().find(|e| !known(&e.key));
        let Some(entry) = unknown else {
            let message = format!("a node needs one key that names its kind: {all}");
            return self.refuse(tree, "missing_kind", message);
        };
        let message = format!("`{}` is no kind of node; the kinds are {all}", shown(&entry.key));
        let problem = Problem::at(&entry.value, "unknown_kind", message);
        self.note(problem.shown_at(entry.key_position).meant(nearest(&entry.key, names())));
        None
    }

    fn node_name(&mut self, tree: &Tree, seen: &mut Seen) -> Option<Arc<str>> {
        let name = self.name(tree)?;
        self.path_name(tree, &name)?;
        match seen.get(&name) {
            Some(first) => {
                let message = format!(
                    "a node of this flow is already named `{name}`, in line {}; names are unique in their flow",
                    first.line
                );
                self.note(Problem::at(tree, "duplicate_name", message));
            }
            None => {
                seen.insert(name.clone(), tree.position);
            }
        }
        Some(name)
    }

    fn refuse_unsupported(&mut self, tree: &Tree, spec: &KindSpec, kind_entry: &Entry) {
        if supported::lists_kind(self.not_yet, spec.name) {
            let problem = not_yet(&kind_entry.value, &format!("`{}`", spec.name));
            self.note(problem.shown_at(kind_entry.key_position));
            return;
        }
        self.refuse_unsupported_keys(tree, spec.name);
    }

    /// Notes the keys of `owner` at `tree` that this release does not run.
    pub(super) fn refuse_unsupported_keys(&mut self, tree: &Tree, owner: &str) {
        for entry in tree.entries().unwrap_or_default() {
            if supported::lists_key(self.not_yet, owner, &entry.key, &entry.value) {
                let problem = not_yet(&entry.value, &format!("`{}` of `{owner}`", entry.key));
                self.note(problem.shown_at(entry.key_position));
            }
        }
    }
}

fn not_yet(at: &Tree, what: &str) -> Problem {
    let message = format!("{what} is part of the language, but this release does not run it yet");
    Problem::at(at, "not_supported_yet", message)
}
