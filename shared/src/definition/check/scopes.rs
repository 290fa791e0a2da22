//! Parallel, foreach and graph: their branches and how they join (SPEC 4).

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::flow::{Here, Seen};
use super::values::WrittenPath;
use super::{Around, Checker};
use crate::definition::error::{Problem, shown};
use crate::definition::keys::{GRAPH_NODE, GUARDED};
use crate::definition::model::{
    Concurrency, FlowId, FlowRole, Foreach, Graph, GraphNode, Items, Join, Merge, OnError, Parallel, ParallelBranch,
    Reduce, Snapshots,
};
use crate::definition::source::{Entry, Tree};
use crate::expr::{Expr, Names};
use crate::keypath::KeyPath;

impl Checker<'_> {
    pub(super) fn parallel(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Parallel> {
        let entries = fields.get("branches").and_then(Tree::entries).unwrap_or_default();
        let mut branches = Vec::new();
        for (i, entry) in (0..).zip(entries) {
            branches.push(self.parallel_branch(entry, FlowRole::ParallelBranch(here.id, i), here.around));
        }
        for key in ["merge", "reduce", "collect_as"] {
            self.conflict(fields, "into", key, "`into` replaces merging by hand");
        }
        let mut join = self.join(fields, here)?;
        join.into = self.merge_by_hand(fields, &here.around.names);
        let branches = branches.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Parallel { branches, join })
    }

    fn parallel_branch(&mut self, entry: &Entry, role: FlowRole, around: &Around) -> Option<ParallelBranch> {
        let named = self.branch_name(entry);
        let (when, flow) = match entry.value.entries() {
            Some(_) => self.guarded(&entry.value, role, around)?,
            None => (None, self.flow(&entry.value, role, &around.in_branch())),
        };
        named?;
        let name = entry.key.clone();
        Some(ParallelBranch { name, when, flow })
    }

    /// A branch in its long form, `{when, steps}`.
    fn guarded(&mut self, tree: &Tree, role: FlowRole, around: &Around) -> Option<(Option<Expr>, FlowId)> {
        let fields = self.fields(tree, &[GUARDED], "a branch", None)?;
        let when = self.expr_at(&fields, "when", &around.names);
        let flow = fields
            .get("steps")
            .map(|steps| self.flow(steps, role, &around.in_branch()));
        Some((when, flow?))
    }

    fn branch_name(&mut self, entry: &Entry) -> Option<()> {
        let noted = self.problems.len();
        let good = self.path_name(&entry.value, &entry.key);
        self.problems[noted..]
            .iter_mut()
            .for_each(|p| p.position = entry.key_position);
        good
    }

    pub(super) fn foreach(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Foreach> {
        let items = fields
            .get("items")
            .and_then(|tree| self.items(tree, &here.around.names));
        let item_name = self.variable(fields, "as", "item");
        let index_name = self.variable(fields, "index_as", "index");
        if let (Some(item), true) = (&item_name, item_name == index_name) {
            let at = fields.get("index_as").or(fields.get("as")).unwrap_or(fields.tree);
            let message = format!("the item and its index are both named `{item}`; give them different names");
            self.note(Problem::at(at, "duplicate_name", message));
        }
        let flow = fields.get("steps").map(|steps| {
            let name = |name: &Option<Arc<str>>, own: &str| name.as_deref().unwrap_or(own).to_owned();
            let around = here
                .around
                .in_branch()
                .with_name(&name(&item_name, "item"))
                .with_name(&name(&index_name, "index"));
            self.flow(steps, FlowRole::Items(here.id), &around)
        });
        let join = self.join(fields, here);
        Some(Foreach {
            items: items?,
            item_name: item_name?,
            index_name: index_name?,
            flow: flow?,
            join: join?,
        })
    }

    fn items(&mut self, tree: &Tree, names: &Names) -> Option<Items> {
        let Some(items) = tree.items() else {
            return self.expr(tree, names).map(Items::Expr);
        };
        let max = self.limits.branches_max;
        if u32::try_from(items.len()).map_or(true, |n| n > max) {
            let message = format!(
                "a list of {} items, more than the {max} branches a scope may have",
                items.len()
            );
            return self.refuse(tree, "too_large", message);
        }
        let json = self.json(tree)?;
        json.as_list().map(|list| Items::Literal(Arc::new(list.to_vec())))
    }

    pub(super) fn graph(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Graph> {
        let entries = fields.get("nodes").and_then(Tree::entries).unwrap_or_default();
        let indices: HashMap<&str, u32> = entries.iter().zip(0..).map(|(e, i)| (&*e.key, i)).collect();
        let mut nodes = Vec::new();
        let mut needs = Vec::new();
        for (i, entry) in (0..).zip(entries) {
            needs.push(self.needs(entry.value.get("needs"), &indices));
            nodes.push(self.graph_node(entry, FlowRole::GraphNode(here.id, i), here.around));
        }
        self.refuse_cycles(entries, &needs);
        let join = self.join(fields, here);
        let nodes = nodes.into_iter().collect::<Option<Vec<_>>>()?;
        let with_needs = |(node, needs): (GraphNode, Vec<(u32, &Tree)>)| GraphNode {
            needs: needs.into_iter().map(|(index, _)| index).collect(),
            ..node
        };
        Some(Graph {
            nodes: nodes.into_iter().zip(needs).map(with_needs).collect(),
            join: join?,
        })
    }

    fn graph_node(&mut self, entry: &Entry, role: FlowRole, around: &Around) -> Option<GraphNode> {
        let named = self.branch_name(entry);
        let fields = self.fields(&entry.value, &[GRAPH_NODE], "a graph's node", None)?;
        let when = self.expr_at(&fields, "when", &around.names);
        let flow = fields
            .get("steps")
            .map(|steps| self.flow(steps, role, &around.in_branch()));
        named?;
        let (name, needs) = (entry.key.clone(), Vec::new());
        Some(GraphNode {
            name,
            needs,
            when,
            flow: flow?,
        })
    }

    /// The indices that `needs` names, those that can be read.
    fn needs<'t>(&mut self, tree: Option<&'t Tree>, indices: &HashMap<&str, u32>) -> Vec<(u32, &'t Tree)> {
        let mut needs: Vec<(u32, &Tree)> = Vec::new();
        let mut seen = Seen::new();
        for item in tree.and_then(Tree::items).unwrap_or_default() {
            let Some(name) = self.name(item) else { continue };
            let Some(index) = indices.get(&*name) else {
                let meant = self.suggest(&name, indices.keys().copied());
                let message = format!("this graph has no node `{name}` to be needed");
                self.note(Problem::at(item, "unknown_need", message).meant(meant));
                continue;
            };
            if seen.insert(name.clone(), item.position).is_some() {
                self.note(Problem::at(
                    item,
                    "duplicate_name",
                    format!("`{name}` is needed twice; remove one"),
                ));
                continue;
            }
            needs.push((*index, item));
        }
        needs
    }

    /// Notes each `needs` that closes a circle. Walks with a stack of its own: a chain may be as long as the document.
    fn refuse_cycles(&mut self, entries: &[Entry], needs: &[Vec<(u32, &Tree)>]) {
        let mut state = vec![Walk::New; needs.len()];
        for start in 0..needs.len() {
            let mut way: Vec<(usize, usize)> = vec![(start, 0)];
            if state[start] == Walk::New {
                state[start] = Walk::Open;
            } else {
                continue;
            }
            while let Some((node, next)) = way.last_mut() {
                let Some((needed, at)) = needs[*node].get(*next) else {
                    state[*node] = Walk::Done;
                    way.pop();
                    continue;
                };
                *next += 1;
                let needed = *needed as usize;
                match state[needed] {
                    Walk::Done => {}
                    Walk::Open => self.note_cycle(entries, &way, needed, at),
                    Walk::New => {
                        state[needed] = Walk::Open;
                        way.push((needed, 0));
                    }
                }
            }
        }
    }

    fn note_cycle(&mut self, entries: &[Entry], way: &[(usize, usize)], closes_at: usize, at: &Tree) {
        let circle = way.iter().map(|(node, _)| *node).skip_while(|node| *node != closes_at);
        let mut names: Vec<String> = circle.take(10).map(|node| shown(&entries[node].key)).collect();
        names.push(shown(&entries[closes_at].key));
        let message = format!(
            "the needs of these nodes go in a circle: {}; remove one",
            names.join(" → ")
        );
        self.note(Problem::at(at, "cycle", message));
    }

    fn join(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Join> {
        let names = &here.around.names;
        self.conflict(
            fields,
            "need",
            "tolerate",
            "say how many must succeed, or how many may fail",
        );
        let need = self.template_at(fields, "need", names);
        let tolerate = self.template_at(fields, "tolerate", names);
        let on_error = match self.word_at(fields, "on_error") {
            Some("complete_all" | "continue") => OnError::CompleteAll,
            _ => OnError::FailFast,
        };
        let merge = self.merge(fields);
        let reduce = self.reduce(fields);
        let collect_as = self.collect_as(fields, merge, here);
        self.check_join_paths(fields, &reduce, collect_as.as_ref());
        let concurrency = fields
            .get("concurrency")
            .and_then(|tree| self.concurrency(tree, fields, names));
        Some(Join {
            need,
            tolerate,
            on_error,
            merge,
            reduce: reduce.into_iter().map(|(path, how, _)| (path, how)).collect(),
            into: None,
            collect_as,
            concurrency,
            retry: self.node_retry(fields)?,
            keep_outputs: false,
        })
    }

    fn merge(&mut self, fields: &Fields<'_>) -> Merge {
        let merge = match self.word_at(fields, "merge") {
            Some("last_wins") => Merge::LastWins,
            Some("strict") => Merge::Strict,
            Some("collect") => Merge::Collect,
            Some("discard") => Merge::Discard,
            Some(_) => Merge::DeepMerge,
            None if self.settings.snapshots == Snapshots::None => Merge::Discard,
            None => Merge::DeepMerge,
        };
        if self.settings.snapshots == Snapshots::None {
            if merge != Merge::Discard {
                self.refuse_without_snapshots(fields, "merge");
            }
            self.refuse_without_snapshots(fields, "reduce");
        }
        merge
    }

    fn refuse_without_snapshots(&mut self, fields: &Fields<'_>, key: &str) {
        if let Some(tree) = fields.get(key) {
            let message = format!("`{key}` needs the branches' changes, which `snapshots: none` does not keep");
            self.note(Problem::at(tree, "conflicting_keys", message));
        }
    }

    fn reduce<'t>(&mut self, fields: &Fields<'t>) -> Vec<(KeyPath, Reduce, &'t Entry)> {
        let entries = fields.get("reduce").and_then(Tree::entries).unwrap_or_default();
        entries.iter().filter_map(|entry| self.reduce_entry(entry)).collect()
    }

    fn reduce_entry<'t>(&mut self, entry: &'t Entry) -> Option<(KeyPath, Reduce, &'t Entry)> {
        let path = self.path_of_entry(entry);
        if entry.value.text().is_none() {
            let message = format!("a way to reduce is a word; this is {}", entry.value.kind_name());
            return self.refuse(&entry.value, "wrong_type", message);
        }
        let how = match self.word(&entry.value, crate::definition::keys::REDUCES)? {
            "sum" => Reduce::Sum,
            "min" => Reduce::Min,
            "max" => Reduce::Max,
            "count" => Reduce::Count,
            "append" => Reduce::Append,
            "concat" => Reduce::Concat,
            _ => Reduce::Union,
        };
        Some((path?, how, entry))
    }

    /// The key path that a map's key is.
    pub(super) fn path_of_entry(&mut self, entry: &Entry) -> Option<KeyPath> {
        let noted = self.problems.len();
        let path = self.key_path(&entry.value, &entry.key);
        self.problems[noted..]
            .iter_mut()
            .for_each(|p| p.position = entry.key_position);
        path
    }

    /// `collect_as`; under `merge: collect` the node's name by default.
    fn collect_as(&mut self, fields: &Fields<'_>, merge: Merge, here: &Here<'_>) -> Option<KeyPath> {
        if merge == Merge::Collect && !fields.has("collect_as") {
            return Some(KeyPath::of_key(here.name.clone()));
        }
        self.key_path_at(fields, "collect_as")
    }

    fn check_join_paths(
        &mut self,
        fields: &Fields<'_>,
        reduce: &[(KeyPath, Reduce, &Entry)],
        collect_as: Option<&KeyPath>,
    ) {
        let written = |(path, _, at): &(KeyPath, Reduce, &Entry)| WrittenPath::key(path.clone(), at);
        let mut paths: Vec<WrittenPath> = reduce.iter().map(written).collect();
        if let Some(path) = collect_as {
            let at = fields.get("collect_as").or(fields.get("merge")).unwrap_or(fields.tree);
            paths.push(WrittenPath::value(path.clone(), at));
        }
        self.check_overlaps(&paths);
    }

    fn concurrency(&mut self, tree: &Tree, fields: &Fields<'_>, names: &Names) -> Option<Concurrency> {
        if tree.text().is_some_and(|text| &**text == "unbounded") {
            return Some(Concurrency::Unbounded);
        }
        self.template_at(fields, "concurrency", names).map(Concurrency::At)
    }

    /// `into` of a parallel: key path → expression.
    fn merge_by_hand(&mut self, fields: &Fields<'_>, names: &Names) -> Option<Vec<(KeyPath, Expr)>> {
        let entries = fields.get("into")?.entries()?;
        let mut paths = Vec::new();
        let mut read = Vec::new();
        for entry in entries {
            let path = self.path_of_entry(entry);
            let expr = self.expr(&entry.value, names);
            paths.extend(path.clone().map(|p| WrittenPath::key(p, entry)));
            read.extend(path.zip(expr));
        }
        self.check_overlaps(&paths);
        Some(read)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    New,
    Open,
    Done,
}
