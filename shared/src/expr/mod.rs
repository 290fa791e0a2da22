//! Expressions (SPEC 2): CEL, compiled when a workflow is registered, evaluated over [`Json`] with a cost budget.
//!
//! ```text
//! text ──scan──parse──▶ Syntax ──lower──▶ Node ──eval──▶ Value ──convert──▶ Json
//!       (limits) (cel)          (names, functions)  (budget)
//! ```
//!
//! Only `parse` knows the `cel` crate, of which only the parser is used. Nothing in here reads a clock or a source of
//! randomness, and nothing depends on the machine: the same expression over the same values always ends the same way.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::json::Json;
use crate::limits::Limits;
use crate::time::Timestamp;

mod budget;
mod builtin;
mod compile;
mod convert;
mod eval;
mod function;
mod lower;
mod node;
mod number;
mod operator;
mod parse;
mod pattern;
mod scan;
mod syntax;
mod template;
mod temporal;
mod text;
mod value;

#[cfg(test)]
mod tests;

use budget::{Budget, Fault};

/// A compiled expression. Cloning shares it.
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

struct Compiled {
    source: Arc<str>,
    lowered: lower::Lowered,
}

/// Which members of `results` an expression reads, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultsUse {
    /// These, by `results.name`, `results['name']` or `get(results, 'name…', …)`.
    Names(BTreeSet<Arc<str>>),
    /// Possibly any: it uses `results` as a whole, or a name it computes.
    All,
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

impl ResultsUse {
    /// Nothing of `results`.
    #[must_use]
    pub fn none() -> ResultsUse {
        ResultsUse::Names(BTreeSet::new())
    }

    /// Adds what another expression reads.
    pub fn add(&mut self, other: &ResultsUse) {
        match (&mut *self, other) {
            (ResultsUse::Names(names), ResultsUse::Names(more)) => names.extend(more.iter().cloned()),
            (ResultsUse::All, _) | (_, ResultsUse::All) => *self = ResultsUse::All,
        }
    }

    /// Whether the member `name` may be read.
    #[must_use]
    pub fn may_read(&self, name: &str) -> bool {
        match self {
            ResultsUse::Names(names) => names.contains(name),
            ResultsUse::All => true,
        }
    }
}

/// Characters of an expression that a message shows.
const SOURCE_CHARS_SHOWN: usize = 200;

impl Expr {
    /// Compiles `source`, which may use `names`.
    ///
    /// # Errors
    /// All problems that can be seen, in the order of their offsets; those of syntax hide the others.
    pub fn compile(source: &str, names: &Names, limits: &Limits) -> Result<Expr, Vec<ExprProblem>> {
        let lowered = compile::compile(source, names, limits)?;
        let source = source.into();
        Ok(Expr(Arc::new(Compiled { source, lowered })))
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// [`EvalError::Failed`] says what went wrong and shows the expression, [`EvalError::Cost`] that it was too much.
    pub fn eval(&self, env: &Env, limits: &Limits) -> Result<Json, EvalError> {
        self.eval_within(env, &mut Budget::new(limits.expression_cost_max))
    }

    /// Evaluates it where only `true` or `false` will do.
    ///
    /// # Errors
    /// As [`Expr::eval`]; also if the result is anything else.
    pub fn eval_bool(&self, env: &Env, limits: &Limits) -> Result<bool, EvalError> {
        let result = self.eval(env, limits)?;
        let wrong = || self.failed(&format!("the result must be a bool, not {}", result.kind()));
        result.as_bool().ok_or_else(wrong)
    }

    fn eval_within(&self, env: &Env, budget: &mut Budget) -> Result<Json, EvalError> {
        eval::evaluate(&self.0.lowered.node, env, budget).map_err(|fault| match fault {
            Fault::Cost => EvalError::Cost,
            Fault::Failed(message) => self.failed(&message),
        })
    }

    fn failed(&self, message: &str) -> EvalError {
        let source = self.source();
        let mut shown: String = source.chars().take(SOURCE_CHARS_SHOWN).collect();
        if shown.len() < source.len() {
            shown.push('…');
        }
        EvalError::Failed(format!("{message}, in `{shown}`"))
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Which members of `results` it reads.
    #[must_use]
    pub fn results_named(&self) -> &ResultsUse {
        &self.0.lowered.results
    }

    /// The names of the environment that it uses.
    #[must_use]
    pub fn names_used(&self) -> &BTreeSet<Arc<str>> {
        &self.0.lowered.names
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::Failed(message) => f.write_str(message),
            EvalError::Cost => f.write_str("the expression visits more elements than one evaluation may"),
        }
    }
}

impl std::error::Error for EvalError {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.source())
    }
}
