//! Nodes that change the context, or end the run.

use crate::expr::{Expr, Template};
use crate::keypath::KeyPath;

/// `set`
#[derive(Clone, Debug)]
pub struct Set {
    /// Written after `unset`.
    pub values: Vec<(KeyPath, Template)>,
    /// Removed first.
    pub unset: Vec<KeyPath>,
}

/// `fail`
#[derive(Clone, Debug)]
pub enum Fail {
    /// An error put together from its parts.
    Parts {
        /// `rejoin.failed` by default.
        kind: Option<Template>,
        /// What a person reads.
        message: Option<Template>,
        /// An object.
        details: Option<Template>,
    },
    /// An error value, raised as it is.
    Value(Expr),
}

/// `finish`
#[derive(Clone, Debug)]
pub struct Finish {
    /// The run's output; the context by default.
    pub output: Option<Template>,
}
