//! Expressions (SPEC 2): CEL, compiled when a workflow is registered, evaluated over [`Json`] with a cost budget.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::json::Json;
use crate::time::Timestamp;

/// A compiled expression. Cloning shares it.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
}

/// A value whose strings that start with `= ` are expressions (SPEC 2, "Templates").
#[derive(Clone, Debug)]
pub enum Template {
    /// Stands for itself.
    Literal(Json),
    /// Computed.
    Expr(Expr),
    /// A list with something computed in it.
    List(Vec<Template>),
    /// An object with something computed in it.
    Object(Vec<(Arc<str>, Template)>),
}

/// The names an expression may use where it stands.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeSet<Arc<str>>);

/// Something wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprProblem {
    /// Byte offset into the expression's text.
    pub offset: usize,
    /// `syntax`, `unknown_name`, `unknown_function`, `too_large`, …: the code's last part.
    pub code: &'static str,
    /// For a person: what is wrong, what to do.
    pub message: String,
}

/// What an expression sees when it is evaluated. Values are shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Plain names: `input`, `ctx`, `results`, `item`, `index`, `error`, `payload`, `output`, `attempt`, or their `as` names.
    pub names: Vec<(Arc<str>, Json)>,
    /// What `run` holds.
    pub run: Option<RunInfo>,
}

/// `run` in expressions.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // SPEC 2
pub struct RunInfo {
    pub id: Arc<str>,
    pub workflow: Arc<str>,
    pub version: u32,
    pub started_at: Timestamp,
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// `rejoin.expression`
    Failed(String),
    /// `rejoin.expression_cost`
    Cost,
}

impl Names {
    /// No names.
    #[must_use]
    pub fn new() -> Names {
        Names::default()
    }
    /// These names and one more.
    #[must_use]
    pub fn with(&self, name: &str) -> Names {
        let mut names = self.clone();
        names.0.insert(name.into());
        names
    }
    /// Whether `name` is among them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
    /// All of them, for "did you mean".
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|n| &**n)
    }
}

impl Env {
    /// The value of a plain name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.names.iter().rev().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }
    /// Adds a name; it hides an earlier one.
    #[must_use]
    pub fn with(mut self, name: &str, value: Json) -> Env {
        self.names.push((name.into(), value));
        self
    }
}

impl Expr {
    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source)
    }
}
