//! From the tree to the checked definition: reads every key, notes every mistake, goes on as far as it makes sense.
//!
//! Functions that read a part give `None` when something was wrong with it; they have noted what. The definition is
//! put together only if nothing was noted.

use std::sync::Arc;
use std::time::Duration;

use super::SchemaJudge;
use super::error::{DefinitionErrors, ERRORS_MAX, Problem, finish};
use super::model::{Definition, Flow, FlowId, FlowRole, Node, NodeId, Position, ResultsNamed, RetryPolicy, Snapshots};
use super::outputs;
use super::source::{NodeRef, Tree};
use super::supported::Feature;
use crate::expr::Names;
use crate::limits::{Limits, VISITS_MAX_DEFAULT};

mod control;
mod ends;
mod expressions;
mod fields;
mod flow;
mod goto;
mod retry;
mod scopes;
mod steps;
mod top;
mod values;
mod waits;

/// Checks `tree` and compiles it, refusing what `not_yet` lists and the schemas that `judge` finds something wrong with.
pub(super) fn compile(
    tree: &Tree,
    limits: &Limits,
    not_yet: &[Feature],
    judge: &SchemaJudge,
) -> Result<Definition, DefinitionErrors> {
    let mut checker = Checker::new(limits, not_yet, judge);
    let head = checker.document(tree);
    checker.resolve_gotos();
    let Checker {
        problems,
        slots,
        flows,
        results,
        ..
    } = checker;
    let nodes: Option<Vec<Node>> = slots.into_iter().map(|slot| slot.node).collect();
    match (head, nodes) {
        (Some(head), Some(nodes)) if problems.is_empty() => {
            let mut definition = head.with(nodes, flows, results);
            outputs::mark(&mut definition);
            Ok(definition)
        }
        _ => Err(finish(Some(tree), problems)),
    }
}

/// What has been read and noted so far.
struct Checker<'a> {
    limits: &'a Limits,
    not_yet: &'a [Feature],
    judge: &'a SchemaJudge,
    problems: Vec<Problem>,
    slots: Vec<Slot>,
    flows: Vec<Flow>,
    gotos: Vec<Goto>,
    results: ResultsNamed,
    settings: Settings,
    too_many_nodes: bool,
    suggestions_left: usize,
}

/// Guesses at long lists of names, per document: each compares with every name.
const SUGGESTIONS_MAX: usize = 100;

/// A node that has its number; `node` is there once all of it was read.
struct Slot {
    /// Missing if it could not be read.
    name: Option<Arc<str>>,
    /// What it may be meant to be named, if it could not: nothing can be said about gotos to that.
    perhaps: Vec<Arc<str>>,
    flow: FlowId,
    node: Option<Node>,
}

/// A goto to be resolved when all nodes are known.
struct Goto {
    from: NodeId,
    place: GotoPlace,
    target: Arc<str>,
    at: NodeRef,
    position: Position,
}

/// Where in its node a goto is written.
#[derive(Clone, Copy)]
enum GotoPlace {
    Rule(usize),
    Otherwise,
    OnTimeout,
}

/// Stands where a goto is not yet resolved.
const UNRESOLVED: NodeId = NodeId(u32::MAX);

/// What the top of the document says about all nodes.
struct Settings {
    queue: Arc<str>,
    timeout: Option<Duration>,
    heartbeat: Option<Duration>,
    retry: RetryPolicy,
    max_visits: u32,
    snapshots: Snapshots,
}

/// What a flow stands in.
#[derive(Clone)]
struct Around {
    /// Names its expressions may use.
    names: Names,
    /// Whether it is inside a parallel, foreach or graph.
    in_scope: bool,
    /// Levels of flows, from 1.
    level: usize,
}

impl Around {
    fn top() -> Around {
        let names = ["input", "ctx", "results", "run"];
        Around {
            names: names.iter().fold(Names::new(), |all, name| all.with(name)),
            in_scope: false,
            level: 1,
        }
    }

    /// One level further in.
    fn inside(&self) -> Around {
        Around {
            level: self.level + 1,
            ..self.clone()
        }
    }

    /// One level further in, in a branch of a scope.
    fn in_branch(&self) -> Around {
        Around {
            in_scope: true,
            ..self.inside()
        }
    }

    fn with_name(mut self, name: &str) -> Around {
        self.names = self.names.with(name);
        self
    }
}

impl<'a> Checker<'a> {
    fn new(limits: &'a Limits, not_yet: &'a [Feature], judge: &'a SchemaJudge) -> Checker<'a> {
        Checker {
            limits,
            not_yet,
            judge,
            problems: Vec::new(),
            slots: Vec::new(),
            flows: Vec::new(),
            gotos: Vec::new(),
            results: ResultsNamed::These(std::collections::BTreeSet::new()),
            settings: Settings {
                queue: "default".into(),
                timeout: None,
                heartbeat: None,
                retry: RetryPolicy::default(),
                max_visits: VISITS_MAX_DEFAULT,
                snapshots: Snapshots::Delta,
            },
            too_many_nodes: false,
            suggestions_left: SUGGESTIONS_MAX,
        }
    }

    fn note(&mut self, problem: Problem) {
        if !self.is_full() {
            self.problems.push(problem);
        }
    }

    /// Whether so much has been noted that more would never be shown. (In a document of thousands of mistakes one
    /// that stands before them may be lost.)
    fn is_full(&self) -> bool {
        self.problems.len() >= 8 * ERRORS_MAX
    }

    /// Notes a problem about `tree` and gives `None`, for the end of a reading function.
    fn refuse<T>(&mut self, tree: &Tree, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.note(Problem::at(tree, code, message));
        None
    }

    /// The nearest of the document's own names, as long as guesses are left.
    fn suggest<'n>(&mut self, word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
        self.suggestions_left = self.suggestions_left.checked_sub(1)?;
        crate::suggest::nearest(word, names)
    }

    fn open_flow(&mut self, role: FlowRole) -> FlowId {
        let id = FlowId(u32::try_from(self.flows.len()).expect("a document of bounded size has few flows"));
        let nodes = Vec::new();
        self.flows.push(Flow { nodes, role });
        id
    }
}
