//! Where control goes: branches, decisions, groups, tries and repeats.

use std::sync::Arc;

use super::{FlowId, HandlerCall, NodeId, RetryPolicy};
use crate::expr::Expr;

/// `branch`
#[derive(Clone, Debug)]
pub struct Branch {
    /// How a case is chosen.
    pub cases: Cases,
    /// Where it goes when no case matches.
    pub default: Option<FlowId>,
}

/// The cases of a branch.
#[derive(Clone, Debug)]
pub enum Cases {
    /// `on` with keys.
    Keyed {
        /// What is compared.
        on: Expr,
        /// Key text and nodes, in declared order.
        cases: Vec<(Arc<str>, FlowId)>,
    },
    /// A list of conditions; the first that holds is taken.
    Conditions(Vec<(Expr, FlowId)>),
}

/// `decision`
#[derive(Clone, Debug)]
pub enum Decision {
    /// By expressions.
    Rules {
        /// Condition and target, the first that holds is taken.
        rules: Vec<(Expr, NodeId)>,
        /// Where it goes otherwise; `None` goes on.
        otherwise: Option<NodeId>,
    },
    /// By a handler whose output is `{"goto": name}` or `{"goto": null}`.
    Handler(HandlerCall),
}

/// `group`
#[derive(Clone, Debug)]
pub struct Group {
    /// Its nodes.
    pub flow: FlowId,
    /// Retries of the whole node; empty means none.
    pub retry: Vec<RetryPolicy>,
}

/// `try`
#[derive(Clone, Debug)]
pub struct Try {
    /// What may fail.
    pub flow: FlowId,
    /// In order; the first that matches runs.
    pub catches: Vec<Catch>,
    /// Runs when control leaves the try.
    pub finally: Option<FlowId>,
}

/// One catch of a try.
#[derive(Clone, Debug)]
pub struct Catch {
    /// Patterns over the whole type.
    pub errors: Vec<String>,
    /// Name of the error in expressions.
    pub error_name: Arc<str>,
    /// Its nodes.
    pub flow: FlowId,
}

/// `repeat`
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Its body.
    pub flow: FlowId,
    /// What asks for another round.
    pub condition: RepeatCondition,
    /// Most rounds.
    pub max: u32,
}

/// The condition of a repeat.
#[derive(Clone, Debug)]
pub enum RepeatCondition {
    /// Read before a round.
    While(Expr),
    /// Read after it.
    Until(Expr),
    /// Exactly `max` rounds.
    Always,
}
