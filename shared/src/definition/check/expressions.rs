//! Expressions and templates: compiled where they stand, with the names known there.

use super::Checker;
use super::fields::Fields;
use crate::definition::error::{Problem, shown};
use crate::definition::keys::Shape;
use crate::definition::model::ResultsNamed;
use crate::definition::source::{Tree, TreeKind};
use crate::expr::{Expr, ExprProblem, Names, ResultsUse, Template};

/// What a template begins with.
const COMPUTED: &str = "= ";

impl Checker<'_> {
    pub(super) fn expr_at(&mut self, fields: &Fields<'_>, key: &str, names: &Names) -> Option<Expr> {
        fields.get(key).and_then(|tree| self.expr(tree, names))
    }

    /// What always is an expression: text, or a plain `true` or `false` as a condition.
    pub(super) fn expr(&mut self, tree: &Tree, names: &Names) -> Option<Expr> {
        let source: &str = match &tree.kind {
            TreeKind::Str(text) => text,
            TreeKind::Bool(true) => "true",
            TreeKind::Bool(false) => "false",
            _ => {
                let message = format!("an expression is text; this is {}", tree.kind_name());
                return self.refuse(tree, "wrong_type", message);
            }
        };
        if let Some(plain) = source.strip_prefix(COMPUTED) {
            let message = "this is always an expression: write it without `= ` in front";
            self.note(Problem::at(tree, "expression.syntax", message).meant(Some(shown(plain))));
            return None;
        }
        match Expr::compile(source, names, self.limits) {
            Ok(expr) => {
                self.note_results(&expr);
                Some(expr)
            }
            Err(problems) => {
                problems.iter().for_each(|p| self.expr_problem(tree, p));
                None
            }
        }
    }

    fn expr_problem(&mut self, tree: &Tree, problem: &ExprProblem) {
        let message = match problem.offset {
            0 => problem.message.clone(),
            offset => format!("{} (at character {} of the expression)", problem.message, offset + 1),
        };
        self.note(Problem::at(tree, expression_code(problem.code), message));
    }

    /// The template at `key`; a literal there must fit the key's shape.
    pub(super) fn template_at(&mut self, fields: &Fields<'_>, key: &str, names: &Names) -> Option<Template> {
        let (tree, shape) = fields.shaped(key)?;
        self.shaped_template(tree, shape, names)
    }

    /// The template `tree`; a literal must fit `shape`.
    pub(super) fn shaped_template(&mut self, tree: &Tree, shape: Shape, names: &Names) -> Option<Template> {
        if !is_computed(tree) {
            match shape {
                Shape::Count(least, words, percent) => self.check_count(tree, least, words, percent)?,
                Shape::DurationTemplate => self.duration(tree).map(|_| ())?,
                Shape::TimeTemplate => self.check_time(tree)?,
                _ => {}
            }
        }
        self.template(tree, names)
    }

    /// Any value in which strings that start with `= ` are expressions.
    pub(super) fn template(&mut self, tree: &Tree, names: &Names) -> Option<Template> {
        let json = self.json(tree)?;
        match Template::compile(&json, names, self.limits) {
            Ok(template) => {
                self.note_template(&template);
                Some(template)
            }
            Err(problems) => {
                for (path, problem) in &problems {
                    self.expr_problem(locate(tree, path), problem);
                }
                None
            }
        }
    }

    fn note_template(&mut self, template: &Template) {
        match template {
            Template::Literal(_) => {}
            Template::Expr(expr) => self.note_results(expr),
            Template::List(items) => items.iter().for_each(|t| self.note_template(t)),
            Template::Object(entries) => entries.iter().for_each(|(_, t)| self.note_template(t)),
        }
    }

    fn note_results(&mut self, expr: &Expr) {
        match (expr.results_named(), &mut self.results) {
            (_, ResultsNamed::All) => {}
            (ResultsUse::All, results) => *results = ResultsNamed::All,
            (ResultsUse::Names(names), ResultsNamed::These(all)) => all.extend(names.iter().cloned()),
        }
    }
}

/// Whether a template's value is an expression.
pub(super) fn is_computed(tree: &Tree) -> bool {
    tree.text().is_some_and(|text| text.starts_with(COMPUTED))
}

/// The value at `path` inside `tree`, as far as it goes.
fn locate<'t>(tree: &'t Tree, path: &[String]) -> &'t Tree {
    let mut at = tree;
    for key in path {
        let inner = match &at.kind {
            TreeKind::List(items) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
            TreeKind::Map(_) => at.get(key),
            TreeKind::Null | TreeKind::Bool(_) | TreeKind::Int(_) | TreeKind::Float(_) | TreeKind::Str(_) => None,
        };
        let Some(inner) = inner else { return at };
        at = inner;
    }
    at
}

/// The code of a document's error for one of an expression.
fn expression_code(code: &str) -> &'static str {
    match code {
        "syntax" => "expression.syntax",
        "unknown_name" => "expression.unknown_name",
        "unknown_function" => "expression.unknown_function",
        "too_large" => "expression.too_large",
        "too_deep" => "expression.too_deep",
        "too_many_iterations" => "expression.too_many_iterations",
        "not_supported" => "expression.not_supported",
        "wrong_arguments" => "expression.wrong_arguments",
        _ => "expression.invalid",
    }
}
