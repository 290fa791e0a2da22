//! What expressions see where they stand.

use rejoin_shared::definition::model::{FlowRole, NodeKind};
use rejoin_shared::expr::{Env, EvalError, Expr, RunInfo, Template};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::ErrorValue;

use crate::record::ThreadKey;
use crate::state::thread::FrameKind;
use crate::state::{RunState, Scope, Thread};

/// Type of the error of an expression that failed.
pub(crate) const EXPRESSION: &str = "rejoin.expression";

impl RunState {
    /// The names an expression in this thread may use.
    pub(crate) fn env(&self, key: ThreadKey) -> Env {
        let thread = self
            .thread(key)
            .expect("expressions are read in threads that are there");
        self.env_of(thread.ctx.clone(), thread.results.clone(), key)
    }

    /// The names of a thread around it, with this context and these results.
    pub(crate) fn env_of(&self, ctx: Json, results: Json, key: ThreadKey) -> Env {
        let mut env = Env {
            names: Vec::with_capacity(6),
            run: Some(self.run_info()),
        }
        .with("input", self.input.clone())
        .with("ctx", ctx)
        .with("results", results);
        self.name_errors(&mut env, &self.root);
        for (scope, branch) in self.surrounding(key) {
            if let NodeKind::Foreach(foreach) = &self.def.node(scope.node).kind
                && let Some((item, index)) = scope.item(branch)
            {
                env.names.push((foreach.item_name.clone(), item));
                env.names.push((foreach.index_name.clone(), index));
            }
            if let Some(thread) = scope.active.get(&branch) {
                self.name_errors(&mut env, thread);
            }
        }
        env
    }

    /// The errors of the catches a thread stands in.
    fn name_errors(&self, env: &mut Env, thread: &Thread) {
        for frame in &thread.frames {
            let FlowRole::Catch(node, index) = self.def.flow(frame.flow).role else {
                continue;
            };
            if let FrameKind::Catch(_, error) = &frame.kind
                && let NodeKind::Try(guarded) = &self.def.node(node).kind
                && let Some(catch) = guarded.catches.get(index as usize)
            {
                env.names.push((catch.error_name.clone(), error.clone()));
            }
        }
    }

    fn run_info(&self) -> RunInfo {
        RunInfo {
            id: self.id.to_string().into(),
            workflow: self.def.workflow.clone(),
            version: self.version,
            started_at: self.started_at,
        }
    }

    /// The scopes a thread lies in with its branch in each, outermost first.
    fn surrounding(&self, key: ThreadKey) -> Vec<(&Scope, u32)> {
        let mut found = Vec::new();
        let mut at = key;
        while let Some(scope) = self.scopes.get(&at.scope) {
            found.push((scope, at.branch));
            at = scope.parent;
        }
        found.reverse();
        found
    }

    /// The nearest foreach's item and index.
    pub(crate) fn nearest_item(&self, key: ThreadKey) -> Option<(Json, Json)> {
        self.surrounding(key)
            .into_iter()
            .rev()
            .find_map(|(scope, branch)| scope.item(branch))
    }
}

/// Evaluates, or says with which error the node at `path` fails.
pub(crate) fn eval(expr: &Expr, env: &Env, limits: &Limits, path: &str) -> Result<Json, ErrorValue> {
    expr.eval(env, limits).map_err(|error| eval_error(error, path))
}

/// Evaluates a template, or says with which error the node at `path` fails.
pub(crate) fn eval_template(template: &Template, env: &Env, limits: &Limits, path: &str) -> Result<Json, ErrorValue> {
    template.eval(env, limits).map_err(|error| eval_error(error, path))
}

/// Evaluates a condition: anything but a truth value is an error.
pub(crate) fn eval_bool(expr: &Expr, env: &Env, limits: &Limits, path: &str) -> Result<bool, ErrorValue> {
    let value = eval(expr, env, limits, path)?;
    value
        .as_bool()
        .ok_or_else(|| wrong_type(expr, "true or false", &value, path))
}

/// The error of an expression whose value has the wrong type for its place.
pub(crate) fn wrong_type(expr: &Expr, wanted: &str, got: &Json, path: &str) -> ErrorValue {
    let message = format!("`{}` must give {wanted}, but gave a {}", expr.source(), got.kind());
    ErrorValue::new(EXPRESSION, message, path)
}

fn eval_error(error: EvalError, path: &str) -> ErrorValue {
    match error {
        EvalError::Failed(message) => ErrorValue::new(EXPRESSION, message, path),
        EvalError::Cost => ErrorValue::new(
            "rejoin.expression_cost",
            "the expression visits more elements than the limit allows",
            path,
        ),
    }
}
