//! A sequential interpreter of definitions, written from SPEC 2–4 and sharing nothing with the engine but the model.
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
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;

mod changes;
mod flow;
mod fork;
mod graph;
mod merge;
mod reduce;
mod retry;
mod settle;
mod step;

/// What a handler is called with.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // INTERFACE 10
pub struct Call<'a> {
    pub path: &'a str,
    pub attempt: u32,
    pub handler: &'a str,
    pub input: &'a Json,
    pub ctx: &'a Json,
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It returned.
    #[allow(missing_docs)]
    Ok {
        output: Json,
        set: Vec<(KeyPath, Json)>,
        unset: Vec<KeyPath>,
    },
    /// It failed.
    #[allow(missing_docs)]
    Err { kind: String, retryable: bool },
}

/// All handlers, as one pure function.
pub trait Handlers {
    /// What the handler answers to this call.
    fn call(&self, call: &Call<'_>) -> Reply;
}

impl<F: Fn(&Call<'_>) -> Reply> Handlers for F {
    fn call(&self, call: &Call<'_>) -> Reply {
        self(call)
    }
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Its type.
    pub kind: String,
    /// Where it arose.
    pub path: String,
    /// Of `rejoin.branches_failed`: why the branches failed.
    pub branches: Vec<Failure>,
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

/// What the interpreter tells about a run.
#[derive(Clone, Debug)]
pub struct Told {
    /// `completed` or `failed`.
    pub status: RunStatus,
    /// Of the outermost flow.
    pub context: Json,
    /// Of a completed run.
    pub output: Option<Json>,
    /// Of a failed run.
    pub error: Option<Failure>,
    /// The attempts that handlers were called for, by path and attempt.
    pub executed: BTreeMap<(String, u32), Seen>,
    /// The step visits that completed.
    pub completed: BTreeSet<String>,
    /// See the head of this module.
    pub may_cancel: bool,
    /// See the head of this module.
    pub doubt: Option<String>,
    /// The interpreter gave up: the run is larger than tests should be.
    pub too_large: bool,
}

/// Attempts after which the interpreter gives up.
pub const ATTEMPTS_MAX: usize = 600;

/// Runs `def` over `input`.
#[must_use]
pub fn interpret(def: &Definition, input: &Json, handlers: &dyn Handlers, run: &RunInfo) -> Told {
    let mut walker = Walker::new(def, input, handlers, run);
    let context = match input {
        Json::Object(_) => input.clone(),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Str(_) | Json::List(_) => Json::object(),
    };
    let mut thread = Thread::new(context, Json::object());
    let end = walker.flow(Definition::ROOT, &Place::default(), &mut thread);
    let (output, error) = match end {
        Control::Done | Control::Goto(_) => (Some(thread.ctx.clone()), None),
        Control::Finished(output) => (Some(output), None),
        Control::Failed(failure) => (None, Some(failure)),
    };
    walker.told(thread.ctx, output, error)
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
    handlers: &'a dyn Handlers,
    input: &'a Json,
    run: &'a RunInfo,
    limits: Limits,
    /// Visits by path without its number.
    visits: BTreeMap<String, u32>,
    executed: BTreeMap<(String, u32), Seen>,
    completed: BTreeSet<String>,
    may_cancel: bool,
    doubt: Option<String>,
    too_large: bool,
}

impl<'a> Walker<'a> {
    fn new(def: &'a Definition, input: &'a Json, handlers: &'a dyn Handlers, run: &'a RunInfo) -> Walker<'a> {
        Walker {
            def,
            handlers,
            input,
            run,
            limits: Limits::default(),
            visits: BTreeMap::new(),
            executed: BTreeMap::new(),
            completed: BTreeSet::new(),
            may_cancel: false,
            doubt: None,
            too_large: false,
        }
    }

    fn told(self, context: Json, output: Option<Json>, error: Option<Failure>) -> Told {
        Told {
            status: match error {
                None => RunStatus::Completed,
                Some(_) => RunStatus::Failed,
            },
            context,
            output,
            error,
            executed: self.executed,
            completed: self.completed,
            may_cancel: self.may_cancel,
            doubt: self.doubt,
            too_large: self.too_large,
        }
    }

    fn doubt(&mut self, why: &str, path: &str) {
        self.doubt.get_or_insert_with(|| format!("{why} at {path}"));
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
            retryable: true,
        }
    }

    /// An expression at `path` that failed or gave what its place cannot use.
    fn expression(path: &str) -> Failure {
        Failure::new("rejoin.expression", path)
    }
}
