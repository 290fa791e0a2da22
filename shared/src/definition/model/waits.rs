//! What waits for time, events, people and other runs.

use std::sync::Arc;

use super::{Compensate, Into, NodeId, RetryPolicy};
use crate::expr::{Expr, Template};
use crate::json::Json;

/// `sleep`
#[derive(Clone, Debug)]
pub enum Sleep {
    /// A duration.
    For(Template),
    /// An RFC 3339 time.
    Until(Template),
}

/// `wait`
#[derive(Clone, Debug)]
pub struct Wait {
    /// What it waits for.
    pub what: WaitFor,
    /// A duration.
    pub timeout: Option<Template>,
    /// What follows the time-out.
    pub on_timeout: OnTimeout,
    /// Over `payload`.
    pub matches: Option<Expr>,
    /// Where the result goes.
    pub into: Into,
}

/// What a wait waits for.
#[derive(Clone, Debug)]
pub enum WaitFor {
    /// A human answer.
    Input {
        /// `approval`, `choice`, `text` or `form`.
        kind: Arc<str>,
        /// What is asked.
        prompt: Option<Template>,
        /// Of a choice.
        choices: Option<Json>,
        /// JSON Schema of the value.
        schema: Option<Json>,
    },
    /// One event.
    Event(Template),
    /// The first of these.
    Any(Vec<Template>),
    /// All of these.
    All(Vec<Template>),
}

/// `on_timeout`
#[derive(Clone, Debug)]
pub enum OnTimeout {
    /// Fails with `rejoin.wait_timeout`.
    Fail,
    /// This is the result.
    Value(Template),
    /// Control moves there.
    Goto(NodeId),
}

/// `call`
#[derive(Clone, Debug)]
pub struct Call {
    /// Name of the child's workflow.
    pub workflow: Arc<str>,
    /// Its version; the newest at the time of the call by default.
    pub version: Option<Template>,
    /// Its input; the context by default.
    pub with: Option<Template>,
    /// Where its output goes.
    pub into: Into,
    /// Whether the parent goes on at once.
    pub detached: bool,
    /// Whether the child is left alone when its call ends before it.
    pub abandon: bool,
    /// A duration.
    pub timeout: Option<Template>,
    /// Retries; empty means none.
    pub retry: Vec<RetryPolicy>,
    /// What undoes it.
    pub compensate: Option<Compensate>,
}

/// `emit`
#[derive(Clone, Debug)]
pub struct Emit {
    /// Its name.
    pub event: Template,
    /// What it carries.
    pub payload: Option<Template>,
    /// A run id; every run that waits for it by default.
    pub to: Option<Template>,
}
