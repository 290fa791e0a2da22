//! Ways through a flow: branch, group, try, repeat.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::flow::Here;
use super::{Around, Checker};
use crate::definition::error::{Problem, shown};
use crate::definition::keys::{CATCH, CONDITION_CASE};
use crate::definition::model::{Branch, Cases, Catch, FlowId, FlowRole, Group, NodeId, Repeat, RepeatCondition, Try};
use crate::definition::source::{Entry, Tree};
use crate::expr::Expr;
use crate::json::Json;
use crate::limits::ROUNDS_MAX_DEFAULT;

impl Checker<'_> {
    fn flow_at(&mut self, fields: &Fields<'_>, key: &str, role: FlowRole, around: &Around) -> Option<FlowId> {
        fields.get(key).map(|tree| self.flow(tree, role, around))
    }

    pub(super) fn branch(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Branch> {
        let around = here.around.inside();
        let on = self.expr_at(fields, "on", &here.around.names);
        let cases = fields.get("cases").and_then(|tree| match tree.entries() {
            Some(entries) => self.keyed_cases(fields, entries, on, here.id, &around),
            None => self.condition_cases(fields, tree.items()?, here.id, &around),
        });
        let default = self.flow_at(fields, "default", FlowRole::CaseDefault(here.id), &around);
        Some(Branch { cases: cases?, default })
    }

    fn keyed_cases(
        &mut self,
        fields: &Fields<'_>,
        entries: &[Entry],
        on: Option<Expr>,
        node: NodeId,
        around: &Around,
    ) -> Option<Cases> {
        if !fields.has("on") {
            let message = "`branch` with a map of cases needs `on`, the expression compared with their keys";
            self.note(Problem::at(fields.tree, "missing_key", message));
        }
        self.check_case_keys(entries);
        let mut cases = Vec::new();
        for (i, entry) in (0..).zip(entries) {
            cases.push((
                entry.key.clone(),
                self.flow(&entry.value, FlowRole::Case(node, i), around),
            ));
        }
        Some(Cases::Keyed { on: on?, cases })
    }

    /// Notes keys that read as the same number as an earlier one, and `default`.
    fn check_case_keys(&mut self, entries: &[Entry]) {
        let mut numbers: HashMap<Number, &Entry> = HashMap::new();
        for entry in entries {
            if &*entry.key == "default" {
                let message = "`default` is no case key; write it beside `cases`, as a key of the node";
                let problem = Problem::at(&entry.value, "reserved_name", message);
                self.note(problem.shown_at(entry.key_position));
            }
            let Some(number) = Number::read(&entry.key) else {
                continue;
            };
            if let Some(first) = numbers.insert(number, entry) {
                let (a, b) = (shown(&first.key), shown(&entry.key));
                let message = format!("the case keys `{a}` and `{b}` read as the same number; keep one");
                let problem = Problem::at(&entry.value, "duplicate_case", message);
                self.note(problem.shown_at(entry.key_position));
            }
        }
    }

    fn condition_cases(&mut self, fields: &Fields<'_>, items: &[Tree], node: NodeId, around: &Around) -> Option<Cases> {
        self.conflict(
            fields,
            "on",
            "cases",
            "a list of cases has conditions; only a map of cases is compared with `on`",
        );
        let mut cases = Vec::new();
        for (i, item) in (0..).zip(items) {
            cases.push(self.condition_case(item, FlowRole::Case(node, i), around));
        }
        cases.into_iter().collect::<Option<Vec<_>>>().map(Cases::Conditions)
    }

    fn condition_case(&mut self, tree: &Tree, role: FlowRole, around: &Around) -> Option<(Expr, FlowId)> {
        let fields = self.fields(tree, &[CONDITION_CASE], "a case", None)?;
        let when = self.expr_at(&fields, "when", &around.names);
        let flow = self.flow_at(&fields, "steps", role, around);
        Some((when?, flow?))
    }

    pub(super) fn group(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Group> {
        let flow = self.flow_at(fields, "steps", FlowRole::Group(here.id), &here.around.inside());
        let retry = self.node_retry(fields);
        Some(Group {
            flow: flow?,
            retry: retry?,
        })
    }

    pub(super) fn try_node(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Try> {
        let around = here.around.inside();
        let flow = self.flow_at(fields, "steps", FlowRole::Try(here.id), &around);
        if !fields.has("catch") && !fields.has("finally") {
            let message = "`try` needs `catch` or `finally`; without both it is a `group`";
            self.note(Problem::at(fields.tree, "missing_key", message));
        }
        let mut catches = Vec::new();
        let items = fields.get("catch").and_then(Tree::items).unwrap_or_default();
        for (i, item) in (0..).zip(items) {
            catches.push(self.catch(item, FlowRole::Catch(here.id, i), &around));
        }
        let finally = self.flow_at(fields, "finally", FlowRole::Finally(here.id), &around);
        Some(Try {
            flow: flow?,
            catches: catches.into_iter().collect::<Option<_>>()?,
            finally,
        })
    }

    fn catch(&mut self, tree: &Tree, role: FlowRole, around: &Around) -> Option<Catch> {
        let fields = self.fields(tree, &[CATCH], "a catch", None)?;
        let errors = self.patterns_at(&fields, "errors");
        let error_name: Option<Arc<str>> = self.variable(&fields, "as", "error");
        let known = error_name.as_deref().unwrap_or("error");
        let flow = self.flow_at(&fields, "steps", role, &around.clone().with_name(known));
        Some(Catch {
            errors: if fields.has("errors") {
                errors?
            } else {
                vec!["*".to_owned()]
            },
            error_name: error_name?,
            flow: flow?,
        })
    }

    pub(super) fn repeat(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Repeat> {
        self.conflict(fields, "while", "until", "one condition is enough");
        let names = &here.around.names;
        let before = self.expr_at(fields, "while", names);
        let after = self.expr_at(fields, "until", names);
        let max = self.int_at(fields, "max").unwrap_or(ROUNDS_MAX_DEFAULT);
        let flow = self.flow_at(fields, "steps", FlowRole::Repeat(here.id), &here.around.inside());
        let condition = match (before, after) {
            (Some(expr), _) => RepeatCondition::While(expr),
            (None, Some(expr)) => RepeatCondition::Until(expr),
            (None, None) => RepeatCondition::Always,
        };
        Some(Repeat {
            flow: flow?,
            condition,
            max,
        })
    }
}

/// A case key that reads as a number, comparable with others.
#[derive(PartialEq, Eq, Hash)]
enum Number {
    Whole(i64),
    Fractional(u64),
}

impl Number {
    /// The number that JSON text `key` is; whole doubles and integers are the same number.
    fn read(key: &str) -> Option<Number> {
        let value = Json::parse(key.as_bytes()).ok()?;
        if let Json::Float(x) = value {
            return Some(Number::of_double(x));
        }
        value.as_int().map(Number::Whole)
    }

    fn of_double(x: f64) -> Number {
        let whole = if x.fract() == 0.0 {
            format!("{x:.0}").parse().ok()
        } else {
            None
        };
        match whole {
            Some(n) => Number::Whole(n),
            None => Number::Fractional(x.to_bits()),
        }
    }
}
