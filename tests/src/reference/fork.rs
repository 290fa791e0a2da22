//! Parallel and foreach: their branches, one after another, and what all scopes leave when they join.

use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, FlowId, Foreach, Items, Join, Merge, NodeId, NodeKind, Snapshots};
use rejoin_shared::json::{Json, Map};
use rejoin_shared::path;

use super::merge::{Contribution, merge};
use super::retry::Budget;
use super::settle::{Count, Quota, Width};
use super::undo::{Done, Order};
use super::{Control, Failure, Place, Thread, Twist, Walker};

/// A branch before it runs.
pub(super) struct Branch {
    pub place: Place,
    pub flow: FlowId,
    pub is_active: bool,
}

/// How a branch ended.
#[derive(Clone)]
pub(super) enum Ended {
    Ok(Contribution),
    Failed(Failure),
    Cancelled,
    Skipped,
}

/// What the branches are called in results and collected outputs.
pub(super) enum Labels {
    /// A parallel's or graph's: a map of those that succeeded.
    Names(Vec<Arc<str>>),
    /// A foreach's over a list.
    Indices,
    /// A foreach's over a map: a map with null for the others.
    Keys(Vec<Arc<str>>),
}

/// A fork whose branches are to run.
pub(super) struct Fork<'a> {
    pub join: &'a Join,
    pub path: &'a str,
    pub quota: Quota,
    pub width: Width,
    pub labels: Labels,
}

impl<'a> Walker<'a> {
    /// Runs a scope, again as often as its `retry` allows. A failed one changes nothing.
    pub(super) fn scope(&mut self, id: NodeId, path: &str, place: &Place, thread: &mut Thread) -> Result<(), Failure> {
        let def: &Definition = self.def;
        let join = def.join(id).expect("only scopes come here");
        let mut budget = Budget::new(&join.retry);
        loop {
            match self.run_scope(id, join, path, place, thread) {
                Err(failure) if self.may_retry(&mut budget, &failure) => {}
                end => return end,
            }
        }
    }

    fn run_scope(
        &mut self,
        id: NodeId,
        join: &Join,
        path: &str,
        place: &Place,
        thread: &mut Thread,
    ) -> Result<(), Failure> {
        let def: &Definition = self.def;
        let env = self.env(place, thread);
        let node = def.node(id);
        let wrong = || Failure::expression(path);
        let is_foreach = matches!(node.kind, NodeKind::Foreach(_));
        let quota = Quota::read(join, &env, &self.limits).ok_or_else(wrong)?;
        let width = Width::read(join, is_foreach, &env, &self.limits).ok_or_else(wrong)?;
        let (labels, branches) = match &node.kind {
            NodeKind::Parallel(parallel) => {
                let mut branches = Vec::new();
                for branch in &parallel.branches {
                    let is_active = match &branch.when {
                        None => true,
                        Some(when) => self.condition(when, place, thread, path)?,
                    };
                    branches.push(Branch {
                        place: below(place, format!("{path}/{}", branch.name)),
                        flow: branch.flow,
                        is_active,
                    });
                }
                let names = parallel.branches.iter().map(|b| b.name.clone()).collect();
                (Labels::Names(names), branches)
            }
            NodeKind::Foreach(foreach) => self.items(foreach, path, place, thread)?,
            NodeKind::Graph(graph) => return self.graph(id, graph, quota, path, place, thread),
            NodeKind::Step(_)
            | NodeKind::Branch(_)
            | NodeKind::Decision(_)
            | NodeKind::Group(_)
            | NodeKind::Try(_)
            | NodeKind::Repeat(_)
            | NodeKind::Sleep(_)
            | NodeKind::Wait(_)
            | NodeKind::Call(_)
            | NodeKind::Emit(_)
            | NodeKind::Set(_)
            | NodeKind::Fail(_)
            | NodeKind::Finish(_) => unreachable!("only scopes have a join"),
        };
        let fork = Fork {
            join,
            path,
            quota,
            width,
            labels,
        };
        let before = std::mem::take(&mut self.done);
        let ended = self.run_branches(&fork, branches, thread);
        let order = match fork.width {
            Width::Loop => Order::Backwards,
            Width::One | Width::Many => Order::AtOnce,
        };
        self.close_fork(before, order);
        let ended = ended?;
        let merged = self.merged(&fork, thread, &ended)?;
        self.leave(id, &fork, place, thread, &ended, merged)
    }

    /// What was done in a scope's branches stays, however it ended.
    pub(super) fn close_fork(&mut self, before: Vec<Done<'a>>, order: Order) {
        let branches = std::mem::replace(&mut self.done, before);
        let branches = branches.into_iter().map(|done| match done {
            Done::Fork { branches, .. } => branches.into_iter().flatten().collect(),
            visit @ Done::Visit(_) => vec![visit],
        });
        let branches = branches.collect();
        self.done.push(Done::Fork { order, branches });
    }

    fn items(
        &self,
        foreach: &Foreach,
        path: &str,
        place: &Place,
        thread: &Thread,
    ) -> Result<(Labels, Vec<Branch>), Failure> {
        let items = match &foreach.items {
            Items::Literal(list) => Json::List(list.clone()),
            Items::Expr(expr) => expr
                .eval(&self.env(place, thread), &self.limits)
                .map_err(|_| Failure::expression(path))?,
        };
        let branch = |inner: String, item: Json, index: Json| {
            let mut place = below(place, inner);
            place.items.push((foreach.item_name.clone(), item));
            place.items.push((foreach.index_name.clone(), index));
            Branch {
                place,
                flow: foreach.flow,
                is_active: true,
            }
        };
        let numbered = |i: usize, item: Json| {
            let index = i64::try_from(i).expect("tests have few items");
            branch(format!("{path}[{i}]"), item, Json::Int(index))
        };
        match &items {
            Json::List(list) => {
                let branches = list.iter().enumerate().map(|(i, item)| numbered(i, item.clone()));
                Ok((Labels::Indices, branches.collect()))
            }
            Json::Int(n) if (0..10_000_000).contains(n) => {
                let branches = (0..*n).zip(0..).map(|(item, i)| numbered(i, Json::Int(item)));
                Ok((Labels::Indices, branches.collect()))
            }
            Json::Object(map) => {
                let keyed = |key: &Arc<str>| path::keyed_item(path, key).expect("tests have short paths");
                let branches = map.iter().map(|(k, v)| branch(keyed(k), v.clone(), Json::str(k)));
                Ok((Labels::Keys(map.keys().cloned().collect()), branches.collect()))
            }
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) => Err(Failure::expression(path)),
        }
    }

    fn run_branches(&mut self, fork: &Fork<'_>, branches: Vec<Branch>, thread: &Thread) -> Result<Vec<Ended>, Failure> {
        let mut count = Count {
            activated: branches.iter().filter(|b| b.is_active).count(),
            ..Count::default()
        };
        if fork.quota.is_out_of_reach(count.activated) {
            return Err(branches_failed(fork.path, &[]));
        }
        let mut flowing = thread.ctx.clone();
        let mut ended = Vec::new();
        for branch in branches {
            let is_decided = fork.quota.is_lost(count) || fork.quota.has_enough(count);
            let end = if !branch.is_active {
                Ended::Skipped
            } else if is_decided && fork.quota.fail_fast && fork.width != Width::Many {
                Ended::Cancelled
            } else {
                self.run_branch(&branch, &flowing, thread)
            };
            match &end {
                Ended::Ok(done) => {
                    count.ok += 1;
                    if fork.width == Width::Loop && self.def.snapshots != Snapshots::None {
                        flowing = done.end.clone();
                    }
                }
                Ended::Failed(_) => count.failed += 1,
                Ended::Cancelled | Ended::Skipped => {}
            }
            ended.push(end);
        }
        if self.log.twist == Some(Twist::OffByOneInTheJoin) {
            count.failed = count.failed.saturating_sub(1);
        }
        self.weigh(fork, count, fork.width == Width::Many);
        if fork.quota.is_lost(count) {
            return Err(branches_failed(fork.path, &ended));
        }
        Ok(ended)
    }

    pub(super) fn run_branch(&mut self, branch: &Branch, start: &Json, around: &Thread) -> Ended {
        let mut thread = Thread::new(start.clone(), around.results.clone());
        let before = std::mem::take(&mut self.done);
        let end = self.flow(branch.flow, &branch.place, &mut thread);
        let done = std::mem::replace(&mut self.done, before);
        self.done.push(Done::branch(done));
        match end {
            Control::Done => Ended::Ok(Contribution {
                start: start.clone(),
                end: thread.ctx,
                output: thread.output.unwrap_or_default(),
            }),
            Control::Failed(failure) => Ended::Failed(failure),
            Control::Goto(_) | Control::Finished(_) => unreachable!("refused inside scopes at registration"),
        }
    }

    /// Notes what of a decision may depend on timing.
    pub(super) fn weigh(&mut self, fork: &Fork<'_>, count: Count, is_concurrent: bool) {
        if !is_concurrent || !fork.quota.fail_fast {
            return;
        }
        if fork.quota.is_lost(count) {
            self.log.may_cancel = true;
        } else if fork.quota.has_enough(count) && count.ok < count.activated {
            self.log.may_cancel = true;
            if fork.join.keep_outputs {
                self.doubt("results of cancelled or failed branches", fork.path);
            }
        }
        // One less than now was enough: which ones were first depends on timing.
        let fewer = Count {
            ok: count.ok.saturating_sub(1),
            ..count
        };
        if count.ok > 0 && fork.quota.has_enough(fewer) {
            self.doubt("more branches can succeed than are needed", fork.path);
        }
    }

    /// Leaves a scope whose join succeeded, with its merged context: puts results, outputs and collected values in
    /// their places.
    pub(super) fn leave(
        &mut self,
        id: NodeId,
        fork: &Fork<'_>,
        place: &Place,
        thread: &mut Thread,
        ended: &[Ended],
        mut merged: Json,
    ) -> Result<(), Failure> {
        let def: &Definition = self.def;
        let name = &def.node(id).name;
        let outputs = fork.labels.collect(ended, |done| done.output.clone());
        let results = fork.labels.results(ended);
        if let Some(into) = &fork.join.into {
            let mut after = thread.clone();
            after.results.object_mut().insert(name.clone(), results.clone());
            let env = self.env(place, &after);
            let mut writes = Vec::new();
            for (key, expr) in into {
                let value = expr.eval(&env, &self.limits);
                writes.push((key, value.map_err(|_| Failure::expression(fork.path))?));
            }
            for (key, value) in writes {
                key.write(&mut thread.ctx, value);
            }
        } else {
            if let Some(key) = &fork.join.collect_as {
                let value = match fork.join.merge {
                    Merge::Collect => fork.labels.collect(ended, |done| done.shown(fork.join)),
                    Merge::DeepMerge | Merge::LastWins | Merge::Strict | Merge::Discard => outputs.clone(),
                };
                key.write(&mut merged, value);
            }
            thread.ctx = merged;
        }
        thread.results.object_mut().insert(name.clone(), results);
        thread.output = Some(outputs);
        Ok(())
    }

    fn merged(&mut self, fork: &Fork<'_>, thread: &Thread, ended: &[Ended]) -> Result<Json, Failure> {
        let mut done: Vec<&Contribution> = ended.iter().filter_map(Ended::contribution).collect();
        if self.log.twist == Some(Twist::MergeInAnotherOrder) && fork.width != Width::Loop {
            done.reverse();
        }
        if fork.width == Width::Loop {
            let keeps = matches!(fork.join.merge, Merge::DeepMerge | Merge::Strict | Merge::LastWins);
            let last = done.last().filter(|_| keeps && self.def.snapshots != Snapshots::None);
            return Ok(last.map_or(thread.ctx.clone(), |done| done.end.clone()));
        }
        let merged = merge(fork.join, &thread.ctx, &done, |_, _| true).map_err(|kind| Failure::new(kind, fork.path))?;
        if merged.depends_on_order && fork.width == Width::Many {
            self.doubt("two branches of a last_wins wrote one key", fork.path);
        }
        Ok(merged.context)
    }
}

/// The error of a scope whose join failed.
pub(super) fn branches_failed(path: &str, ended: &[Ended]) -> Failure {
    let branches = ended.iter().filter_map(|end| match end {
        Ended::Failed(failure) => Some(failure.clone()),
        Ended::Ok(_) | Ended::Cancelled | Ended::Skipped => None,
    });
    Failure {
        branches: branches.collect(),
        ..Failure::new("rejoin.branches_failed", path)
    }
}

/// Below a scope.
pub(super) fn below(place: &Place, prefix: String) -> Place {
    Place {
        prefix,
        ..place.clone()
    }
}

impl Ended {
    pub(super) fn contribution(&self) -> Option<&Contribution> {
        match self {
            Ended::Ok(done) => Some(done),
            Ended::Failed(_) | Ended::Cancelled | Ended::Skipped => None,
        }
    }

    /// Its entry in `results`.
    pub(super) fn entry(&self) -> Json {
        let (status, output, error) = match self {
            Ended::Ok(done) => ("ok", done.output.clone(), Json::Null),
            Ended::Failed(failure) => (
                "error",
                Json::Null,
                Json::from_entries([("type", Json::str(&failure.kind))]),
            ),
            Ended::Cancelled => ("cancelled", Json::Null, Json::Null),
            Ended::Skipped => ("skipped", Json::Null, Json::Null),
        };
        Json::from_entries([("status", Json::str(status)), ("output", output), ("error", error)])
    }
}

impl Labels {
    fn collect(&self, ended: &[Ended], value: impl Fn(&Contribution) -> Json) -> Json {
        let of = |end: &Ended| end.contribution().map(&value);
        match self {
            Labels::Names(names) => {
                let entries = names
                    .iter()
                    .zip(ended)
                    .filter_map(|(k, end)| Some((k.clone(), of(end)?)));
                Json::Object(Arc::new(entries.collect::<Map>()))
            }
            Labels::Indices => Json::list(ended.iter().map(|end| of(end).unwrap_or_default()).collect()),
            Labels::Keys(keys) => {
                let entries = keys
                    .iter()
                    .zip(ended)
                    .map(|(k, end)| (k.clone(), of(end).unwrap_or_default()));
                Json::Object(Arc::new(entries.collect::<Map>()))
            }
        }
    }

    pub(super) fn results(&self, ended: &[Ended]) -> Json {
        match self {
            Labels::Names(names) | Labels::Keys(names) => {
                let entries = names.iter().zip(ended).map(|(k, end)| (k.clone(), end.entry()));
                Json::Object(Arc::new(entries.collect::<Map>()))
            }
            Labels::Indices => Json::list(ended.iter().map(Ended::entry).collect()),
        }
    }
}
