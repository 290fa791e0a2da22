//! What compensation needs: which visits completed, in which order, and what of it is still to be undone (SPEC 5.6).

mod children;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, HandlerCall, NodeId};
use rejoin_shared::expr::Env;
use rejoin_shared::ids::StepKey;
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_shared::time::Timestamp;

pub(crate) use children::Children;
use plan::Plan;

/// Set in the position of a compensation's key: it is the key of what it undoes, and yet one of its own.
const UNDOES: u32 = 1 << 31;

/// Whether this is the key of a compensation.
#[must_use]
pub fn is_undo(step: StepKey) -> bool {
    step.pos & UNDOES != 0
}

/// Something that completed and can be undone.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    /// A visit of a step or call.
    Visit(Box<Visit>),
    /// A scope's branches, in the order in which they ended.
    Fork {
        /// They ran one after the other: they are undone so.
        in_order: bool,
        branches: Vec<Vec<Done>>,
    },
}

/// A completed visit that has a compensation.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The compensation's key.
    pub key: StepKey,
    /// The visit's path.
    pub path: String,
    pub node: NodeId,
    /// What expressions saw there, the context as the visit left it.
    pub env: Env,
    pub ctx: Json,
    pub output: Json,
}

impl Visit {
    pub fn new(step: StepKey, path: String, node: NodeId, env: Env, ctx: Json, output: Json) -> Visit {
        let key = StepKey {
            pos: step.pos | UNDOES,
            ..step
        };
        Visit {
            key,
            path,
            node,
            env,
            ctx,
            output,
        }
    }

    /// The compensation's own path.
    pub fn undo_path(&self) -> String {
        format!("{}/compensate", self.path)
    }
}

/// The compensation that a node has.
pub(crate) fn undo_call(def: &Definition, node: NodeId) -> Option<&HandlerCall> {
    def.node(node).kind.compensate().map(|compensate| &compensate.call)
}

/// A compensation that was begun and is not done.
#[derive(Clone, Debug)]
pub(crate) struct Undoing {
    pub visit: Box<Visit>,
    /// The record with which it began.
    pub opened_seq: u64,
    pub attempt: u32,
    /// The attempt goes out no earlier.
    pub not_before: Option<Timestamp>,
    /// Failures that each retry policy allowed.
    pub allowed: Vec<u32>,
    pub last_error: Option<ErrorValue>,
    /// It failed for good.
    pub has_failed: bool,
    /// What an attempt before stored for this one.
    pub checkpoint: Option<Box<Json>>,
}

/// The compensation of a run.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    /// What the run ends as, once all is undone.
    pub status: RunStatus,
    pub error: Option<ErrorValue>,
    pub reason: Option<String>,
    /// Runs that it had called: their ends come first.
    pub children: Children,
    /// What was not begun.
    left: Plan,
    pub begun: BTreeMap<StepKey, Undoing>,
    /// How many of those failed for good.
    failed: usize,
    /// Paths of the visits that were undone, the first one first.
    pub undone: Vec<String>,
}

impl Undo {
    /// Of a run that is to end so, and has done nothing.
    pub fn new(status: RunStatus, error: Option<ErrorValue>, reason: Option<String>, children: Children) -> Undo {
        Undo {
            status,
            error,
            reason,
            children,
            left: Plan::of(Vec::new()),
            begun: BTreeMap::new(),
            failed: 0,
            undone: Vec::new(),
        }
    }

    /// The same of this.
    pub fn of(self, done: Vec<Done>) -> Undo {
        let left = Plan::of(done);
        Undo { left, ..self }
    }

    /// Takes what may begin now; nothing once one has failed, nor before all children have ended.
    pub fn next(&mut self) -> Vec<Visit> {
        match self.has_failed() || self.children.are_awaited() {
            true => Vec::new(),
            false => self.left.take_next(),
        }
    }

    /// A compensation failed for good.
    pub fn fail(&mut self, key: StepKey) {
        if let Some(undoing) = self.begun.get_mut(&key)
            && !std::mem::replace(&mut undoing.has_failed, true)
        {
            self.failed += 1;
        }
    }

    /// One that failed for good did not. Whether it had.
    pub fn forgive(&mut self, key: StepKey) -> bool {
        let failed = self.begun.get_mut(&key).map(|undoing| &mut undoing.has_failed);
        let had_failed = failed.is_some_and(std::mem::take);
        self.failed -= usize::from(had_failed);
        had_failed
    }

    /// The same of all that `are_meant`; those that had.
    pub fn forgive_all(&mut self, are_meant: impl Fn(&StepKey) -> bool) -> BTreeSet<StepKey> {
        let meant: Vec<StepKey> = self.begun.keys().filter(|key| are_meant(key)).copied().collect();
        meant.into_iter().filter(|key| self.forgive(*key)).collect()
    }

    /// A compensation is done: what lies before it may follow.
    pub fn close(&mut self, key: StepKey) {
        if let Some(undoing) = self.begun.remove(&key) {
            self.undone.push(undoing.visit.path.clone());
        }
        self.left.close(key);
    }

    pub fn has_failed(&self) -> bool {
        self.failed > 0 || self.children.left_something()
    }

    /// Whether nothing runs and nothing may begin.
    pub fn is_at_rest(&self) -> bool {
        let is_idle = self.begun.len() == self.failed && !self.children.are_awaited();
        is_idle && (self.has_failed() || self.left.is_empty())
    }

    /// Paths of what was not undone, newest first: of calls whose runs left something undone, and of visits.
    pub fn paths_left(&self) -> Vec<String> {
        let mut paths = self.children.paths_left();
        paths.extend(self.left.paths(&self.begun));
        paths
    }
}

/// Whether anything in a definition can be undone.
pub(crate) fn compensates(def: &Arc<Definition>) -> bool {
    def.nodes.iter().any(|node| node.kind.compensate().is_some())
}
