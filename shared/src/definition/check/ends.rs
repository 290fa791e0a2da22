//! What changes the context or ends something: set, fail, finish.

use super::Checker;
use super::expressions::is_computed;
use super::fields::Fields;
use super::flow::Here;
use super::values::WrittenPath;
use crate::definition::error::Problem;
use crate::definition::keys::{ERROR, Shape};
use crate::definition::model::{Fail, Finish, Set};
use crate::definition::source::Tree;
use crate::expr::{Names, Template};

impl Checker<'_> {
    pub(super) fn set(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Set> {
        let mut paths = Vec::new();
        let mut values = Vec::new();
        for entry in fields.get("values").and_then(Tree::entries).unwrap_or_default() {
            let path = self.path_of_entry(entry);
            let value = self.template(&entry.value, &here.around.names);
            paths.extend(path.clone().map(|p| WrittenPath::key(p, entry)));
            values.extend(path.zip(value));
        }
        let mut unset = Vec::new();
        for item in fields.get("unset").and_then(Tree::items).unwrap_or_default() {
            match item.text() {
                Some(text) => {
                    let path = self.key_path(item, text);
                    paths.extend(path.clone().map(|p| WrittenPath::value(p, item)));
                    unset.extend(path);
                }
                None => {
                    let message = format!("a key path is text; this is {}", item.kind_name());
                    self.note(Problem::at(item, "wrong_type", message));
                }
            }
        }
        self.check_overlaps(&paths);
        Some(Set { values, unset })
    }

    pub(super) fn fail(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Fail> {
        let names = &here.around.names;
        match fields.get("error") {
            None => Some(Fail::Parts {
                kind: None,
                message: None,
                details: None,
            }),
            Some(tree) => match tree.text() {
                Some(text) => self.error_value(tree, text, names),
                None => self.error_parts(tree, names),
            },
        }
    }

    fn error_value(&mut self, tree: &Tree, text: &str, names: &Names) -> Option<Fail> {
        if !is_computed(tree) {
            let message = "`error` is a map {type, message, details}, or an expression like \"= error\"";
            return self.refuse(tree, "bad_value", message);
        }
        let template = self.template(tree, names)?;
        match template {
            Template::Expr(expr) => Some(Fail::Value(expr)),
            Template::Literal(_) | Template::List(_) | Template::Object(_) => {
                unreachable!("`{text}` is compiled as an expression")
            }
        }
    }

    fn error_parts(&mut self, tree: &Tree, names: &Names) -> Option<Fail> {
        let fields = self.fields(tree, &[ERROR], "`error`", None)?;
        if let Some(tree) = fields.get("type").filter(|tree| !is_computed(tree))
            && let Some(text) = tree.text()
        {
            self.check_free_name(tree, text, "an error's type")?;
        }
        let details = fields.get("details").and_then(|tree| self.details(tree, names));
        Some(Fail::Parts {
            kind: self.template_at(&fields, "type", names),
            message: self.template_at(&fields, "message", names),
            details,
        })
    }

    fn details(&mut self, tree: &Tree, names: &Names) -> Option<Template> {
        if tree.text().is_some() && !is_computed(tree) {
            return self.refuse(
                tree,
                "wrong_type",
                "`details` is a map, or an expression after `= ` that gives one",
            );
        }
        self.shaped_template(tree, Shape::Template, names)
    }

    pub(super) fn finish(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Finish> {
        if here.around.in_scope {
            let message = "`finish` inside a parallel, foreach or graph would end the siblings too; \
                           let the branch end, and finish after the join";
            self.note(Problem::at(fields.tree, "finish_in_scope", message));
        }
        let output = self.template_at(fields, "output", &here.around.names);
        Some(Finish { output })
    }
}
