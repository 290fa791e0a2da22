//! A sequential interpreter of definitions, written from SPEC 2–5 and sharing nothing with the engine but the model.
//!
//! It executes branches one after another in declared order and knows no messages, records or restarts. Where the
//! outcome may rightly depend on timing it says so:
//! - [`Told::may_cancel`]: some scope was decided before all its branches had settled. What it cancels depends on timing,
//!   so an execution may have run fewer attempts than are listed here, never others.
//! - [`Told::doubt`]: the final context itself may differ (more branches could succeed than `need` waits for, two
//!   concurrent branches of a `last_wins` wrote one key, …). Only invariants can then be checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rejoin_shared::definition::model::{Definition, NodeId};
use rejoin_shared::expr::{Env, RunInfo};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;

mod call;
mod changes;
mod flow;
mod fork;
mod graph;
mod merge;
mod outside;
mod reduce;
mod retry;
mod settle;
mod step;
mod undo;
mod wait;

pub use outside::{At, Call, EARLY, Operation, Outside, Reply, sender};
use undo::Done;
pub use undo::Undo;

/// Why something failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Its type.
    pub kind: String,
    /// Where it arose.
    pub path: String,
    /// Of `rejoin.branches_failed`: why the branches failed.
    pub branches: Vec<Failure>,
    /// Of a time-out of `all`: what had come.
    pub received: Option<Json>,
    /// False: its handler called it final.
    pub retryable: bool,
}

/// What a handler was called with in an attempt.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Seen {
    pub ctx: Json,
    pub input: Json,
}

/// A rule of joins that is read wrongly on purpose: the comparison must see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Branches are merged in another order than they are declared in.
    MergeInAnotherOrder,
    /// A join that needs n branches is content with n - 1.
    OffByOneInTheJoin,
    /// A cancelled branch counts as one that succeeded.
    CancelledBranchCounted,
}

/// How a run ends.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Final, or `waiting`: it waits for what never comes.
    pub status: RunStatus,
    /// Of the outermost flow.
    pub context: Json,
    /// Of a completed run.
    pub output: Option<Json>,
    /// Of a failed run.
    pub error: Option<Failure>,
    /// What was undone.
    pub undo: Option<Undo>,
}

/// What happened in a run and in all that it called. Paths are behind the label of their run.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The attempts that handlers were called for, by path and attempt.
    pub executed: BTreeMap<(String, u32), Seen>,
    /// The step visits that completed, and compensations.
    pub completed: BTreeSet<String>,
    /// Events that were emitted, by the path of the visit.
    pub emitted: BTreeMap<String, (String, Json)>,
    /// The runs that were called, by label.
    pub children: BTreeMap<String, Ending>,
    /// See the head of this module.
    pub may_cancel: bool,
    /// See the head of this module.
    pub doubt: Option<String>,
    /// The interpreter gave up: the run is larger than tests should be.
    pub too_large: bool,
    twist: Option<Twist>,
}

/// What the interpreter tells about a run.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of the first run.
    pub end: Ending,
    /// Of all runs.
    pub log: Log,
}

/// Attempts after which the interpreter gives up.
pub const ATTEMPTS_MAX: usize = 600;

/// Inside of the interpreter only: a wait for what never comes.
const STUCK: &str = "(stuck)";

/// Runs `def` over `input`.
#[must_use]
pub fn interpret(def: &Definition, input: &Json, outside: &dyn Outside, run: &RunInfo) -> Told {
    interpret_twisted(def, input, outside, run, None)
}

/// As [`interpret`], with a rule read wrongly.
#[must_use]
pub fn interpret_twisted(
    def: &Definition,
    input: &Json,
    outside: &dyn Outside,
    run: &RunInfo,
    twist: Option<Twist>,
) -> Told {
    let log = Log {
        twist,
        ..Log::default()
    };
    let (end, log) = interpret_run(def, input, outside, run, "", log);
    Told { end, log }
}

fn interpret_run(
    def: &Definition,
    input: &Json,
    outside: &dyn Outside,
    run: &RunInfo,
    label: &str,
    log: Log,
) -> (Ending, Log) {
    let mut walker = Walker::new(def, input, outside, run, label, log);
    let context = match input {
        Json::Object(_) => input.clone(),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) | Json::List(_) => Json::object(),
    };
    let mut thread = Thread::new(context, Json::object());
    let end = walker.flow(Definition::ROOT, &Place::default(), &mut thread);
    let ending = walker.ending(thread.ctx, end);
    (ending, walker.log)
}

/// One point of control with what flows along it.
#[derive(Clone)]
struct Thread {
    ctx: Json,
    results: Json,
    /// That of the last node that ran and has one.
    output: Option<Json>,
    /// Visits for `max_visits`: like their numbers in paths they begin anew below a new visit of what holds the node.
    counts: BTreeMap<(String, NodeId), u32>,
}

impl Thread {
    fn new(ctx: Json, results: Json) -> Thread {
        Thread {
            ctx,
            results,
            output: None,
            counts: BTreeMap::new(),
        }
    }
}

/// Where a flow stands.
#[derive(Clone, Default)]
struct Place {
    /// The path its nodes' names are appended to.
    prefix: String,
    /// Items and indices of the loops around it, outermost first.
    items: Vec<(Arc<str>, Json)>,
    /// What the catches around it handle, by name.
    errors: Vec<(Arc<str>, Failure)>,
}

/// How a node or a flow ended.
enum Control {
    Done,
    Goto(NodeId),
    Failed(Failure),
    Finished(Json),
}

struct Walker<'a> {
    def: &'a Definition,
    outside: &'a dyn Outside,
    input: &'a Json,
    run: &'a RunInfo,
    /// Of the run: what its paths stand behind in the log.
    label: String,
    limits: Limits,
    /// Visits by path without its number.
    visits: BTreeMap<String, u32>,
    calls: call::Tries,
    /// Events that came and were not taken yet, oldest first.
    kept: Vec<(String, Json)>,
    /// How many of those events have been sent that may come early.
    sent_early: BTreeMap<String, usize>,
    /// What was done in the branch that is walked.
    done: Vec<Done<'a>>,
    log: Log,
}

impl<'a> Walker<'a> {
    fn new(
        def: &'a Definition,
        input: &'a Json,
        outside: &'a dyn Outside,
        run: &'a RunInfo,
        label: &str,
        log: Log,
    ) -> Walker<'a> {
        Walker {
            def,
            outside,
            input,
            run,
            label: label.to_owned(),
            limits: Limits::default(),
            visits: BTreeMap::new(),
            calls: BTreeMap::new(),
            kept: Vec::new(),
            sent_early: BTreeMap::new(),
            done: Vec::new(),
            log,
        }
    }

    /// The end of the run: what it did is undone if it failed.
    fn ending(&mut self, context: Json, end: Control) -> Ending {
        let completed = |output| (RunStatus::Completed, Some(output), None);
        let (mut status, output, error) = match end {
            Control::Done | Control::Goto(_) => completed(context.clone()),
            Control::Finished(output) => completed(output),
            Control::Failed(failure) if failure.kind == STUCK => (RunStatus::Waiting, None, None),
            Control::Failed(failure) => (RunStatus::Failed, None, Some(failure)),
        };
        let undo = error.as_ref().and_then(|error| self.undo(error));
        if undo.as_ref().is_some_and(|undo| undo.failed) {
            status = RunStatus::CompensationFailed;
        }
        Ending {
            status,
            context,
            output,
            error,
            undo,
        }
    }

    /// A path as it stands in the log.
    fn full(&self, path: &str) -> String {
        format!("{}{path}", self.label)
    }

    fn doubt(&mut self, why: &str, path: &str) {
        self.log.doubt.get_or_insert_with(|| format!("{why} at {path}"));
    }

    fn env(&self, place: &Place, thread: &Thread) -> Env {
        let mut env = Env {
            names: Vec::new(),
            run: Some(self.run.clone()),
        }
        .with("input", self.input.clone())
        .with("ctx", thread.ctx.clone())
        .with("results", thread.results.clone());
        env.names.extend(place.items.iter().cloned());
        env
    }
}

impl Failure {
    fn new(kind: &str, path: &str) -> Failure {
        Failure {
            kind: kind.to_owned(),
            path: path.to_owned(),
            branches: Vec::new(),
            received: None,
            retryable: true,
        }
    }

    /// An expression at `path` that failed or gave what its place cannot use.
    fn expression(path: &str) -> Failure {
        Failure::new("rejoin.expression", path)
    }
}
