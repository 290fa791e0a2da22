//! `set`, `fail` and `finish`.

use rejoin_shared::definition::model::{Fail, Finish, Set};
use rejoin_shared::delta::Delta;
use rejoin_shared::expr::Template;
use rejoin_shared::json::Json;
use rejoin_shared::limits::CONTEXT_DEPTH_MAX;
use rejoin_shared::run::{ErrorValue, RunStatus};

use crate::env::{EXPRESSION, eval, eval_template, wrong_type};
use crate::machine::Machine;
use crate::record::{Fact, RunFinished, ThreadKey};

impl Machine<'_> {
    pub(super) fn set(&mut self, thread: ThreadKey, path: String, set: &Set) {
        match self.written(thread, &path, set) {
            Ok(changes) => self.emit(Fact::ContextSet {
                thread,
                changes,
                path,
                snapshot: None,
            }),
            Err(error) => self.fail_node(thread, error),
        }
    }

    /// All values are computed from the context before; then removals, then writes.
    fn written(&self, thread: ThreadKey, path: &str, set: &Set) -> Result<Delta, ErrorValue> {
        let env = self.state.env(thread);
        let limits = self.around.limits;
        let values: Vec<Json> = set
            .values
            .iter()
            .map(|(_, template)| eval_template(template, &env, limits, path))
            .collect::<Result<_, _>>()?;
        let before = &self.state.thread(thread).expect("walked").ctx;
        let mut after = before.clone();
        set.unset.iter().for_each(|key| key.remove(&mut after));
        set.values
            .iter()
            .zip(values)
            .for_each(|((key, _), value)| key.write(&mut after, value));
        check_context_size(&after, limits.context_bytes_max, path)?;
        Ok(Delta::between(before, &after))
    }

    pub(super) fn raise(&mut self, thread: ThreadKey, path: &str, fail: &Fail) {
        let error = match fail {
            Fail::Parts { kind, message, details } => self.error_of(thread, path, kind, message, details),
            Fail::Value(expr) => eval(expr, &self.state.env(thread), self.around.limits, path).and_then(|value| {
                error_of_value(&value).ok_or_else(|| wrong_type(expr, "an error value", &value, path))
            }),
        };
        let error = error.unwrap_or_else(|failed| failed);
        self.fail_node(thread, error);
    }

    fn error_of(
        &self,
        thread: ThreadKey,
        path: &str,
        kind: &Option<Template>,
        message: &Option<Template>,
        details: &Option<Template>,
    ) -> Result<ErrorValue, ErrorValue> {
        let env = self.state.env(thread);
        let value = |template: &Option<Template>| {
            template
                .as_ref()
                .map(|template| eval_template(template, &env, self.around.limits, path))
                .transpose()
        };
        let wrong = |part: &str, wanted: &str, got: &Json| {
            ErrorValue::new(
                EXPRESSION,
                format!("`{part}` of fail must be {wanted}, not a {}", got.kind()),
                path,
            )
        };
        let text = |part: &str, given: Option<Json>| match given {
            None => Ok(None),
            Some(Json::Str(text)) => Ok(Some(text.to_string())),
            Some(other) => Err(wrong(part, "text", &other)),
        };
        let kind = text("type", value(kind)?)?.unwrap_or_else(|| "rejoin.failed".to_owned());
        let message = text("message", value(message)?)?.unwrap_or_default();
        let details = match value(details)? {
            None => None,
            Some(object @ Json::Object(_)) => Some(object),
            Some(other) => return Err(wrong("details", "an object", &other)),
        };
        Ok(ErrorValue {
            details,
            ..ErrorValue::new(&kind, message, path)
        })
    }

    pub(super) fn finish_early(&mut self, thread: ThreadKey, path: &str, finish: &Finish) {
        let output = match &finish.output {
            None => Ok(self.state.thread(thread).expect("walked").ctx.clone()),
            Some(template) => eval_template(template, &self.state.env(thread), self.around.limits, path),
        };
        match output {
            Err(error) => self.fail_node(thread, error),
            Ok(output) if self.state.is_guarded(thread) => self.emit(Fact::Finishing {
                thread,
                output,
                path: path.to_owned(),
            }),
            Ok(output) => self.emit(Fact::RunFinished(RunFinished {
                status: RunStatus::Completed,
                output: Some(output),
                error: None,
                reason: None,
                output_is_context: false,
                undoes_children: false,
            })),
        }
    }
}

/// An error value as expressions see it, raised as it is.
fn error_of_value(value: &Json) -> Option<ErrorValue> {
    value.get("type")?.as_str()?;
    rejoin_shared::json::read_own(&value.to_bytes()).ok()
}

/// Whether a context keeps within its limits.
pub(crate) fn check_context_size(ctx: &Json, bytes_max: usize, path: &str) -> Result<(), ErrorValue> {
    check_context_depth(ctx.depth(), path)?;
    let bytes = ctx.text_len();
    if bytes <= bytes_max {
        return Ok(());
    }
    let message = format!("the context would have {bytes} bytes, more than the limit of {bytes_max}");
    Err(ErrorValue::new("rejoin.context_limit", message, path))
}

/// Whether a context of this depth can be kept: what is deeper could be written once and never be read again.
pub(crate) fn check_context_depth(depth: usize, path: &str) -> Result<(), ErrorValue> {
    if depth <= CONTEXT_DEPTH_MAX {
        return Ok(());
    }
    let message =
        format!("the context would be nested {depth} levels deep, more than the limit of {CONTEXT_DEPTH_MAX}");
    Err(ErrorValue::new("rejoin.context_limit", message, path))
}
