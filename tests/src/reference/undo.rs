//! Compensation (SPEC 5.6): what completed is undone, newest first, parallel siblings in parallel.

use rejoin_shared::definition::model::Compensate;
use rejoin_shared::expr::Env;
use rejoin_shared::json::Json;

use super::step::{Asked, Sight};
use super::{Failure, Walker};

/// What was done, in the order in which it was.
pub(super) enum Done<'a> {
    Visit(Box<Undoable<'a>>),
    Fork { order: Order, branches: Vec<Vec<Done<'a>>> },
}

impl<'a> Done<'a> {
    /// What was done in one branch of a scope.
    pub fn branch(done: Vec<Done<'a>>) -> Done<'a> {
        Done::Fork {
            order: Order::Backwards,
            branches: vec![done],
        }
    }
}

/// How a scope's branches are undone.
pub(super) enum Order {
    /// The last one first.
    Backwards,
    /// At once.
    AtOnce,
    /// The nodes of a graph, each with those that it needs, directly or not: not before it.
    Needs(Vec<Vec<usize>>),
}

/// A completed visit that can be undone.
pub(super) struct Undoable<'a> {
    path: String,
    compensate: &'a Compensate,
    /// What expressions saw there, the context as the visit left it.
    env: Env,
    output: Json,
}

impl<'a> Undoable<'a> {
    pub fn new(path: &str, compensate: &'a Compensate, env: Env, output: &Json) -> Undoable<'a> {
        Undoable {
            path: path.to_owned(),
            compensate,
            env,
            output: output.clone(),
        }
    }
}

/// How a run was undone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Undo {
    /// Visits that have a compensation, newest first (of parallel siblings the last one first).
    pub all: Vec<String>,
    /// Visits of which the first is undone before the second one's compensation begins.
    pub order: Vec<(String, String)>,
    /// One failed for good; those that were not undone are timing's choice where siblings were undone in parallel.
    pub failed: bool,
    /// The ones that were not undone depend on timing.
    pub is_loose: bool,
    /// Visits that were undone.
    pub done: Vec<String>,
}

impl<'a> Walker<'a> {
    /// Undoes what was done, for this reason; `None` if there is nothing.
    pub(super) fn undo(&mut self, error: &Failure) -> Option<Undo> {
        let done = std::mem::take(&mut self.done);
        let mut undo = Undo::default();
        undo.all = self.undo_sequence(&done, error, &mut undo);
        (!undo.all.is_empty()).then_some(undo)
    }

    /// Undoes a sequence backwards, and returns all paths in it, newest first.
    fn undo_sequence(&mut self, done: &[Done<'a>], error: &Failure, undo: &mut Undo) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for one in done.iter().rev() {
            let older = match one {
                Done::Visit(visit) => {
                    if !undo.failed {
                        self.undo_visit(visit, error, undo);
                    }
                    vec![visit.path.clone()]
                }
                Done::Fork { order, branches } => self.undo_fork(order, branches, error, undo),
            };
            put_in_order(&paths, &older, undo);
            paths.extend(older);
        }
        paths
    }

    fn undo_fork(
        &mut self,
        order: &Order,
        branches: &[Vec<Done<'a>>],
        error: &Failure,
        undo: &mut Undo,
    ) -> Vec<String> {
        let had_failed = undo.failed;
        let mut all: Vec<Vec<String>> = vec![Vec::new(); branches.len()];
        for (at, branch) in branches.iter().enumerate().rev() {
            all[at] = self.undo_sequence(branch, error, undo);
        }
        let many = all.iter().filter(|paths| !paths.is_empty()).count() > 1;
        match order {
            Order::AtOnce => undo.is_loose |= many && undo.failed && !had_failed,
            Order::Backwards => {
                for later in 0..all.len() {
                    (0..later).for_each(|earlier| put_in_order(&all[later], &all[earlier], undo));
                }
            }
            Order::Needs(needs) => {
                undo.is_loose |= many && undo.failed && !had_failed;
                for (at, needed) in needs.iter().enumerate() {
                    needed.iter().for_each(|n| put_in_order(&all[at], &all[*n], undo));
                }
            }
        }
        all.into_iter().rev().flatten().collect()
    }

    fn undo_visit(&mut self, visit: &Undoable<'a>, error: &Failure, undo: &mut Undo) {
        let path = format!("{}/compensate", visit.path);
        let env = visit.env.clone();
        let sight = Sight {
            ctx: env.get("ctx").cloned().unwrap_or_default(),
            env: env
                .with("output", visit.output.clone())
                .with("error", Json::from_entries([("type", Json::str(&error.kind))])),
            input: visit.output.clone(),
        };
        let asked = Asked {
            call: &visit.compensate.call,
            path: &path,
            total: None,
            is_undo: true,
        };
        match self.attempts(&asked, &sight, &mut 0, |_| Ok(())) {
            Ok(_) => undo.done.push(visit.path.clone()),
            Err(_) => undo.failed = true,
        }
    }
}

fn put_in_order(newer: &[String], older: &[String], undo: &mut Undo) {
    let pairs = newer
        .iter()
        .flat_map(|n| older.iter().map(move |o| (n.clone(), o.clone())));
    undo.order.extend(pairs);
}
