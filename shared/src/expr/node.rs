//! A compiled expression: names resolved, functions looked up, patterns built.

use std::sync::Arc;

use super::function::Function;
use super::pattern::Pattern;
use super::syntax::Binary;
use super::value::{Key, Value};
use crate::keypath::KeyPath;

/// A part of a compiled expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    /// A name of the environment.
    Name(Arc<str>),
    /// The variable of the n-th enclosing iteration, counted from the outside.
    Variable(usize),
    /// Steps into a value, from left to right.
    Path(Box<Path>),
    /// Operators from left to right.
    Chain(Box<Node>, Box<[(Binary, Node)]>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Conditional(Box<[Node; 3]>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    Call(Function, Box<[Node]>),
    /// `has(path)`
    Has(Box<Path>),
    /// `get(value, key path, default)`
    Get(Box<Get>),
    /// `matches` with a pattern that is known
    Matches(Box<Node>, Pattern),
}

/// A value and the way into it.
#[derive(Debug)]
pub(super) struct Path {
    /// How the root is written, for messages; empty if it is no plain name.
    pub(super) label: Arc<str>,
    pub(super) root: Node,
    pub(super) steps: Box<[Step]>,
}

/// One step of a path.
#[derive(Debug)]
pub(super) enum Step {
    /// `.field`
    Field(Key),
    /// `[index]`
    Index(Node),
    /// `.function(…)`: what stands before is the first argument.
    Call(Function, Box<[Node]>),
    /// `.matches('…')` with a pattern that is known
    Matches(Pattern),
    /// `.map(…)` and the like
    Iterate(Box<Iteration>),
}

/// A macro over a list's elements or a map's keys.
#[derive(Debug)]
pub(super) struct Iteration {
    pub(super) kind: IterationKind,
    /// A condition; or of `map` what each element becomes.
    pub(super) body: Node,
    /// Of `map` with three arguments: which elements.
    pub(super) condition: Option<Node>,
}

/// Which macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IterationKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// A call of `get`.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) from: Node,
    pub(super) path: GetPath,
    pub(super) default: Node,
}

/// The key path of a `get`.
#[derive(Debug)]
pub(super) enum GetPath {
    Known(KeyPath),
    Computed(Node),
}
