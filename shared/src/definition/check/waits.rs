//! What waits for the world, or speaks to it: sleep, wait, call, emit.

use super::fields::Fields;
use super::flow::Here;
use super::{Checker, GotoPlace, UNRESOLVED};
use crate::definition::error::Problem;
use crate::definition::keys::{INPUT, ON_TIMEOUT, Shape};
use crate::definition::model::{Call, Emit, OnTimeout, Sleep, Wait, WaitFor};
use crate::definition::source::Tree;
use crate::expr::{Names, Template};

use super::expressions::is_computed;

impl Checker<'_> {
    pub(super) fn sleep(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Sleep> {
        self.one_of(fields, &["for", "until"], "`sleep`", true);
        let names = &here.around.names;
        let length = self.template_at(fields, "for", names).map(Sleep::For);
        let end = self.template_at(fields, "until", names).map(Sleep::Until);
        length.or(end)
    }

    pub(super) fn wait(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Wait> {
        self.one_of(fields, &["input", "event", "any", "all"], "`wait`", true);
        self.conflict(
            fields,
            "input",
            "match",
            "`match` chooses among events; an answer is checked by `schema`",
        );
        let names = &here.around.names;
        let what = self.waits_for(fields, names);
        let timeout = self.template_at(fields, "timeout", names);
        let on_timeout = match fields.get("on_timeout") {
            Some(tree) => self.on_timeout(tree, here),
            None => Some(OnTimeout::Fail),
        };
        let matches = self.expr_at(fields, "match", &names.with("payload"));
        let into = self.output_path(fields);
        Some(Wait {
            what: what?,
            timeout,
            on_timeout: on_timeout?,
            matches,
            into: into?,
        })
    }

    fn waits_for(&mut self, fields: &Fields<'_>, names: &Names) -> Option<WaitFor> {
        let input = fields.get("input").and_then(|tree| self.input(tree, names));
        let event = fields
            .get("event")
            .and_then(|tree| self.event_name(tree, names))
            .map(WaitFor::Event);
        let any = fields
            .get("any")
            .and_then(|tree| self.event_names(tree, names))
            .map(WaitFor::Any);
        let all = fields
            .get("all")
            .and_then(|tree| self.event_names(tree, names))
            .map(WaitFor::All);
        input.or(event).or(any).or(all)
    }

    fn input(&mut self, tree: &Tree, names: &Names) -> Option<WaitFor> {
        let fields = self.fields(tree, &[INPUT], "`input`", None)?;
        let kind = self.word_at(&fields, "type");
        let prompt = self.template_at(&fields, "prompt", names);
        let choices = self.json_at(&fields, "choices");
        let schema = self.schema_at(&fields, "schema");
        let is_choice = kind == Some("choice");
        if is_choice && !fields.has("choices") {
            let message = "an input of type `choice` needs `choices`, the list to choose from";
            self.note(Problem::at(tree, "missing_key", message));
        }
        if let (false, Some(_), Some(list)) = (is_choice, kind, fields.get("choices")) {
            let message = "`choices` goes with `type: choice` only";
            self.note(Problem::at(list, "conflicting_keys", message));
        }
        if choices.as_ref().and_then(|c| c.as_list()).is_some_and(<[_]>::is_empty) {
            self.note(Problem::at(
                tree,
                "bad_value",
                "`choices` is empty: nothing could be answered",
            ));
        }
        Some(WaitFor::Input {
            kind: kind?.into(),
            prompt,
            choices,
            schema,
        })
    }

    fn event_names(&mut self, tree: &Tree, names: &Names) -> Option<Vec<Template>> {
        let items = tree.items()?;
        if items.is_empty() {
            return self.refuse(tree, "bad_value", "an empty list of events; name at least one");
        }
        let mut seen = std::collections::HashSet::new();
        let mut read = Vec::new();
        for item in items {
            if item.text().is_some_and(|text| !seen.insert(text.clone())) {
                self.note(Problem::at(
                    item,
                    "duplicate_name",
                    "this event is listed twice; remove one",
                ));
            }
            read.push(self.event_name(item, names));
        }
        read.into_iter().collect()
    }

    fn event_name(&mut self, tree: &Tree, names: &Names) -> Option<Template> {
        let Some(text) = tree.text() else {
            let message = format!("an event's name is text; this is {}", tree.kind_name());
            return self.refuse(tree, "wrong_type", message);
        };
        if !is_computed(tree) {
            self.check_free_name(tree, text, "an event's name")?;
        }
        self.template(tree, names)
    }

    fn on_timeout(&mut self, tree: &Tree, here: &Here<'_>) -> Option<OnTimeout> {
        if tree.text().is_some() {
            return self.word(tree, &["fail"]).map(|_| OnTimeout::Fail);
        }
        let fields = self.fields(tree, &[ON_TIMEOUT], "`on_timeout`", None)?;
        self.one_of(&fields, &["value", "goto"], "`on_timeout`", true);
        if let Some(target) = fields.get("goto") {
            self.goto(target, GotoPlace::OnTimeout, here);
            return Some(OnTimeout::Goto(UNRESOLVED));
        }
        self.template_at(&fields, "value", &here.around.names)
            .map(OnTimeout::Value)
    }

    pub(super) fn call(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Call> {
        let names = &here.around.names;
        let workflow = self.name_at(fields, "workflow");
        let version = self.template_at(fields, "version", names);
        let with = self.template_at(fields, "with", names);
        let into = self.output_path(fields);
        let detached = self.bool_at(fields, "detached").unwrap_or(false);
        let abandon = self.word_at(fields, "on_parent_close") == Some("abandon");
        let timeout = self.template_at(fields, "timeout", names);
        let retry = self.node_retry(fields);
        let compensate = self.compensate(fields, here.around);
        Some(Call {
            workflow: workflow?,
            version,
            with,
            into: into?,
            detached,
            abandon,
            timeout,
            retry: retry?,
            compensate,
        })
    }

    pub(super) fn emit(&mut self, fields: &Fields<'_>, here: &Here<'_>) -> Option<Emit> {
        let names = &here.around.names;
        let event = fields.get("event").and_then(|tree| self.event_name(tree, names));
        let payload = self.template_at(fields, "payload", names);
        let to = fields
            .get("to")
            .and_then(|tree| self.shaped_template(tree, Shape::TextTemplate, names));
        Some(Emit {
            event: event?,
            payload,
            to,
        })
    }
}
