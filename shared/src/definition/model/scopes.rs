//! Scopes: parallel, foreach and graph, and how their branches are joined.

use std::sync::Arc;

use super::{FlowId, RetryPolicy};
use crate::expr::{Expr, Template};
use crate::json::Json;
use crate::keypath::KeyPath;

/// How a scope settles and what it leaves (SPEC 4.1, 4.2).
#[derive(Clone, Debug)]
pub struct Join {
    /// How many branches must succeed; a template that gives `all`, `any`, a number or a percentage. `None`: the default.
    pub need: Option<Template>,
    /// How many may fail; a number or a percentage.
    pub tolerate: Option<Template>,
    /// What a failure does to the siblings.
    pub on_error: OnError,
    /// How contexts are merged.
    pub merge: Merge,
    /// Keys that branches accumulate.
    pub reduce: Vec<(KeyPath, Reduce)>,
    /// Replaces merging by hand (parallel only).
    pub into: Option<Vec<(KeyPath, Expr)>>,
    /// Where the branches' outputs (or, under `collect`, changes) are put.
    pub collect_as: Option<KeyPath>,
    /// Branches at once; `None` is unbounded for parallel and graph, a loop for foreach.
    pub concurrency: Option<Concurrency>,
    /// Retries of the whole node; empty means none.
    pub retry: Vec<RetryPolicy>,
    /// Whether the branches' results and outputs must be kept until the join and after it.
    pub keep_outputs: bool,
}

/// `concurrency`
#[derive(Clone, Debug)]
pub enum Concurrency {
    /// The word `unbounded`.
    Unbounded,
    /// A template that gives a number from 1 (or the word).
    At(Template),
}

/// `on_error`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// As soon as the join can no longer succeed, the rest is cancelled.
    FailFast,
    /// Every branch settles first.
    CompleteAll,
}

/// `merge`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // SPEC 4.2
pub enum Merge {
    DeepMerge,
    LastWins,
    Strict,
    Collect,
    Discard,
}

/// `reduce`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // SPEC 4.2
pub enum Reduce {
    Sum,
    Min,
    Max,
    Count,
    Append,
    Concat,
    Union,
}

/// `parallel`
#[derive(Clone, Debug)]
pub struct Parallel {
    /// In declared order.
    pub branches: Vec<ParallelBranch>,
    /// How it settles.
    pub join: Join,
}

/// One branch of a parallel.
#[derive(Clone, Debug)]
pub struct ParallelBranch {
    /// Its name, unique in the parallel.
    pub name: Arc<str>,
    /// Read once at the fork from the base.
    pub when: Option<Expr>,
    /// Its nodes.
    pub flow: FlowId,
}

/// `foreach`
#[derive(Clone, Debug)]
pub struct Foreach {
    /// What it runs over.
    pub items: Items,
    /// Name of the item in expressions.
    pub item_name: Arc<str>,
    /// Name of its index in expressions.
    pub index_name: Arc<str>,
    /// Its body.
    pub flow: FlowId,
    /// How it settles.
    pub join: Join,
}

/// `items`
#[derive(Clone, Debug)]
pub enum Items {
    /// An expression that gives a list, a map or an integer.
    Expr(Expr),
    /// A list written in the document.
    Literal(Arc<Vec<Json>>),
}

/// `graph`
#[derive(Clone, Debug)]
pub struct Graph {
    /// In declared order; `needs` are indices into it. Free of cycles.
    pub nodes: Vec<GraphNode>,
    /// How it settles.
    pub join: Join,
}

/// One node of a graph.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its name, unique in the graph.
    pub name: Arc<str>,
    /// Indices of the nodes it needs, in the order written.
    pub needs: Vec<u32>,
    /// Read when its needs are done.
    pub when: Option<Expr>,
    /// Its nodes.
    pub flow: FlowId,
}
