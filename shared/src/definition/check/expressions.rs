//! Expressions and templates: compiled where they stand, with the names known there.

use super::Checker;
use super::fields::Fields;
use crate::definition::error::{ERRORS_MAX, Problem, shown};
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
        let source: &str = match (tree.text(), tree.boolean()) {
            (Some(text), _) => text,
            (None, Some(true)) => "true",
            (None, Some(false)) => "false",
            (None, None) => {
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
                self.note_results(expr.results_named());
                Some(expr)
            }
            Err(problems) => {
                problems.iter().for_each(|p| self.expr_problem(tree, 0, p));
                None
            }
        }
    }

    /// Notes a problem of the expression that begins `skipped` bytes into the text `tree`.
    fn expr_problem(&mut self, tree: &Tree, skipped: usize, problem: &ExprProblem) {
        let code = expression_code(problem.code);
        let text = tree.text().map_or("", |text| &**text);
        let before = text.get(..skipped + problem.offset).map_or(0, |t| t.chars().count());
        let note = match tree.place_in_text(before) {
            Some(place) => Problem::at(tree, code, &problem.message).shown_at(place),
            None if problem.offset == 0 => Problem::at(tree, code, &problem.message),
            None => {
                let message = format!("{} (at character {} of the text)", problem.message, before + 1);
                Problem::at(tree, code, message)
            }
        };
        self.note(note);
    }

    /// The template at `key`; a literal there must fit the key's shape.
    pub(super) fn template_at(&mut self, fields: &Fields<'_>, key: &str, names: &Names) -> Option<Template> {
        let (tree, shape) = fields.shaped(key)?;
        self.shaped_template(tree, shape, names)
    }

    /// The template `tree`; a literal must fit `shape`.
    pub(super) fn shaped_template(&mut self, tree: &Tree, shape: Shape, names: &Names) -> Option<Template> {
        if !is_computed(tree) {
            self.check_literal(tree, shape)?;
        }
        self.template(tree, names)
    }

    fn check_literal(&mut self, tree: &Tree, shape: Shape) -> Option<()> {
        if let Shape::Count(least, words, percent) = shape {
            return self.check_count(tree, least, words, percent);
        }
        if matches!(shape, Shape::DurationTemplate) {
            return self.duration(tree).map(|_| ());
        }
        if matches!(shape, Shape::TimeTemplate) {
            return self.check_time(tree);
        }
        Some(())
    }

    /// Any value in which strings that start with `= ` are expressions.
    pub(super) fn template(&mut self, tree: &Tree, names: &Names) -> Option<Template> {
        let json = self.json(tree)?;
        match Template::compile(&json, names, self.limits) {
            Ok(template) => {
                self.note_results(&template.results_named());
                Some(template)
            }
            Err(problems) => {
                // Finding the place of one is a walk over the value.
                for (path, problem) in problems.iter().take(ERRORS_MAX) {
                    self.expr_problem(locate(tree, path), COMPUTED.len(), problem);
                }
                None
            }
        }
    }

    fn note_results(&mut self, used: &ResultsUse) {
        match (used, &mut self.results) {
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
        "unsupported" => "expression.unsupported",
        "wrong_arguments" => "expression.wrong_arguments",
        "bad_key" => "expression.bad_key",
        "duplicate_key" => "expression.duplicate_key",
        "bad_key_path" => "expression.bad_key_path",
        "bad_pattern" => "expression.bad_pattern",
        _ => "expression.invalid",
    }
}
