//! What calls handlers: steps, decisions, compensations.

use std::sync::Arc;

use super::fields::Fields;
use super::flow::Here;
use super::{Around, Checker, GotoPlace, UNRESOLVED};
use crate::definition::keys::{COMPENSATE, RULE};
use crate::definition::model::{Compensate, Decision, HandlerCall, NodeId, OnExhausted, Step};
use crate::definition::source::Tree;
use crate::expr::{Expr, Names};

impl Checker<'_> {
    /// What is called; `name` is the handler when nothing else is said, `names` what `with` may use.
    fn handler_call(&mut self, fields: &Fields<'_>, name: Option<&Arc<str>>, names: &Names) -> Option<HandlerCall> {
        let uses = match name {
            Some(name) if !fields.has("uses") => Some(name.clone()),
            _ => self.handler_name_at(fields, "uses"),
        };
        let with = self.template_at(fields, "with", names);
        let queue = self
            .name_at(fields, "queue")
            .unwrap_or_else(|| self.settings.queue.clone());
        let retry = self.handler_retry(fields);
        let timeout = self.positive_duration_at(fields, "timeout").or(self.settings.timeout);
        let heartbeat = self
            .positive_duration_at(fields, "heartbeat")
            .or(self.settings.heartbeat);
        Some(HandlerCall {
            uses: uses?,
            with,
            queue,
            retry: retry?,
            timeout,
            heartbeat,
        })
    }

    pub(super) fn step(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Step> {
        let names = here.around.names.with("attempt");
        let call = self.handler_call(fields, Some(here.name), &names);
        let into = self.output_path(fields);
        let total_timeout = self.positive_duration_at(fields, "total_timeout");
        let on_exhausted = match self.word_at(fields, "on_exhausted") {
            Some("park") => OnExhausted::Park,
            _ => OnExhausted::Fail,
        };
        let compensate = self.compensate(fields, here.around);
        let idempotent = self.bool_at(fields, "idempotent").unwrap_or(true);
        Some(Step {
            call: call?,
            into: into?,
            total_timeout,
            on_exhausted,
            compensate,
            idempotent,
        })
    }

    pub(super) fn compensate(&mut self, fields: &Fields<'_>, around: &Around) -> Option<Compensate> {
        let tree = fields.get("compensate")?;
        let inner = self.fields(tree, &[COMPENSATE], "`compensate`", None)?;
        let names = around.names.with("output").with("error");
        let call = self.handler_call(&inner, None, &names)?;
        Some(Compensate { call })
    }

    pub(super) fn decision(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Decision> {
        self.one_of(fields, &["rules", "uses"], "`decision`", true);
        self.conflict(fields, "otherwise", "uses", "a handler says itself where to go");
        if fields.has("uses") {
            let names = here.around.names.with("attempt");
            return self.handler_call(fields, None, &names).map(Decision::Handler);
        }
        for key in ["with", "queue", "retry", "timeout", "heartbeat"] {
            self.conflict(fields, "rules", key, "rules call no handler");
        }
        let rules = self.rules(fields.get("rules")?, here);
        let otherwise = fields.get("otherwise").and_then(|tree| self.otherwise(tree, here));
        Some(Decision::Rules {
            rules: rules?,
            otherwise,
        })
    }

    fn rules(&mut self, tree: &Tree, here: &Here<'_>) -> Option<Vec<(Expr, NodeId)>> {
        let items = tree.items()?;
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(i, item)| self.rule(item, i, here))
            .collect();
        read.into_iter().collect()
    }

    fn rule(&mut self, tree: &Tree, index: usize, here: &Here<'_>) -> Option<(Expr, NodeId)> {
        let fields = self.fields(tree, &[RULE], "a rule", None)?;
        let when = self.expr_at(&fields, "when", &here.around.names);
        if let Some(target) = fields.get("goto") {
            self.goto(target, GotoPlace::Rule(index), here);
        }
        Some((when?, UNRESOLVED))
    }

    fn otherwise(&mut self, tree: &Tree, here: &Here<'_>) -> Option<NodeId> {
        if tree.text().is_some_and(|text| &**text == "continue") {
            return None;
        }
        self.goto(tree, GotoPlace::Otherwise, here);
        Some(UNRESOLVED)
    }
}
