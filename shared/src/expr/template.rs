//! Templates (SPEC 2): values in which every string that starts with `= ` is an expression.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::budget::Budget;
use super::{Env, EvalError, Expr, ExprProblem, Names, ResultsUse, Template};
use crate::json::{Json, Map};
use crate::limits::Limits;

/// What a text starts with that is an expression.
const MARK: &str = "= ";

/// Problems reported of one template: each copies the keys that lead to it, which an author may have made long.
const PROBLEMS_MAX: usize = 100;

/// A problem of an expression and the keys and indices that lead to it.
type PlacedProblem = (Vec<String>, ExprProblem);

impl Template {
    /// Compiles a value: strings that start with `= ` are expressions, lists and objects are walked.
    ///
    /// # Errors
    /// The first hundred problems of all expressions, each with the keys and indices that lead to it.
    pub fn compile(value: &Json, names: &Names, limits: &Limits) -> Result<Template, Vec<PlacedProblem>> {
        let mut compiling = Compiling {
            names,
            limits,
            path: Vec::new(),
            problems: Vec::new(),
        };
        let template = compiling.template(value);
        if compiling.problems.is_empty() {
            Ok(template)
        } else {
            Err(compiling.problems)
        }
    }

    /// The value, with every expression in it evaluated; all of them share one cost budget.
    ///
    /// # Errors
    /// Of the first expression that fails.
    pub fn eval(&self, env: &Env, limits: &Limits) -> Result<Json, EvalError> {
        self.eval_within(env, &mut Budget::new(limits.expression_cost_max))
    }

    fn eval_within(&self, env: &Env, budget: &mut Budget) -> Result<Json, EvalError> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expr(expr) => expr.eval_within(env, budget),
            Template::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|t| t.eval_within(env, budget)).collect();
                items.map(Json::list)
            }
            Template::Object(entries) => {
                let values = entries
                    .iter()
                    .map(|(k, t)| Ok((k.clone(), t.eval_within(env, budget)?)));
                let map: Result<Map, EvalError> = values.collect();
                map.map(|map| Json::Object(Arc::new(map)))
            }
        }
    }

    /// The value, if nothing in it is computed.
    #[must_use]
    pub fn literal(&self) -> Option<&Json> {
        match self {
            Template::Literal(value) => Some(value),
            Template::Expr(_) | Template::List(_) | Template::Object(_) => None,
        }
    }

    /// Which members of `results` its expressions read.
    #[must_use]
    pub fn results_named(&self) -> ResultsUse {
        let mut out = ResultsUse::none();
        self.each_expr(&mut |expr| out.add(expr.results_named()));
        out
    }

    /// The names of the environment that its expressions use.
    #[must_use]
    pub fn names_used(&self) -> BTreeSet<Arc<str>> {
        let mut out = BTreeSet::new();
        self.each_expr(&mut |expr| out.extend(expr.names_used().iter().cloned()));
        out
    }

    fn each_expr(&self, visit: &mut impl FnMut(&Expr)) {
        match self {
            Template::Literal(_) => {}
            Template::Expr(expr) => visit(expr),
            Template::List(items) => items.iter().for_each(|t| t.each_expr(visit)),
            Template::Object(entries) => entries.iter().for_each(|(_, t)| t.each_expr(visit)),
        }
    }
}

struct Compiling<'a> {
    names: &'a Names,
    limits: &'a Limits,
    path: Vec<String>,
    problems: Vec<PlacedProblem>,
}

impl Compiling<'_> {
    fn template(&mut self, value: &Json) -> Template {
        match value {
            Json::Str(text) => match text.strip_prefix(MARK) {
                Some(source) => self.expr(value, source),
                None => Template::Literal(value.clone()),
            },
            Json::List(items) => {
                let parts: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(i, v)| self.inside(i.to_string(), v))
                    .collect();
                let is_literal = parts.iter().all(|t| t.literal().is_some());
                if is_literal {
                    Template::Literal(value.clone())
                } else {
                    Template::List(parts)
                }
            }
            Json::Object(map) => {
                let parts: Vec<_> = map
                    .iter()
                    .map(|(k, v)| (k.clone(), self.inside(k.to_string(), v)))
                    .collect();
                let is_literal = parts.iter().all(|(_, t)| t.literal().is_some());
                if is_literal {
                    Template::Literal(value.clone())
                } else {
                    Template::Object(parts)
                }
            }
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => Template::Literal(value.clone()),
        }
    }

    fn inside(&mut self, key: String, value: &Json) -> Template {
        self.path.push(key);
        let template = self.template(value);
        self.path.pop();
        template
    }

    fn expr(&mut self, value: &Json, source: &str) -> Template {
        if self.problems.len() >= PROBLEMS_MAX {
            return Template::Literal(value.clone());
        }
        match Expr::compile(source, self.names, self.limits) {
            Ok(expr) => Template::Expr(expr),
            Err(problems) => {
                let path = &self.path;
                self.problems.extend(problems.into_iter().map(|p| (path.clone(), p)));
                Template::Literal(value.clone())
            }
        }
    }
}
