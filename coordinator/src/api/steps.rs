//! Operations on single steps: retry, skip, fail.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_engine::event::{StepOperation, Steps};
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::Api;
use super::extract::{Body, Fields, InNamespace, wrong_kind, wrong_member};
use super::find::Segments;
use super::problem::{Code, Problem};
use crate::owner::command::Command;
use crate::read::locate;
use crate::read::run::RunView;

/// Paths named in one request.
const PATHS_MAX: usize = 1_000;

/// `POST /v1/runs/{id}/steps/retry`
pub async fn retry(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let input = fields.take("input");
    api.operate(&namespace, &id, fields, StepOperation::Retry { input })
        .await
}

/// `POST /v1/runs/{id}/steps/skip`
pub async fn skip(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let value = fields.take("value").unwrap_or_default();
    let (bytes, most) = (value.text_len(), api.limits.output_bytes_max);
    if bytes > most {
        let detail = format!("the value has {bytes} bytes, more than the limit of {most}");
        return Err(Problem::new(Code::TooLarge, detail).at_member("value"));
    }
    api.operate(&namespace, &id, fields, StepOperation::Skip { value })
        .await
}

/// `POST /v1/runs/{id}/steps/fail`
pub async fn fail(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let error = error_of(fields.take_some("error"))?;
    api.operate(&namespace, &id, fields, StepOperation::Fail { error })
        .await
}

/// The error that a step is to fail with: `{type, message, details}`, all of them optional.
fn error_of(given: Option<Json>) -> Result<ErrorValue, Problem> {
    let Some(given) = given else {
        return Ok(ErrorValue::new("rejoin.failed", "given up by an operator", ""));
    };
    if given.as_object().is_none() {
        return Err(wrong_kind("error", "an object {type, message, details}", &given));
    }
    error_with(Fields::of(&given)).map_err(|problem| problem.at_member("error"))
}

fn error_with(mut fields: Fields) -> Result<ErrorValue, Problem> {
    let kind = fields.take_text("type")?.unwrap_or_else(|| "rejoin.failed".to_owned());
    if kind.is_empty() {
        return Err(wrong_member(
            "type",
            "member type is empty; leave it out for rejoin.failed",
        ));
    }
    let message = fields.take_text("message")?.unwrap_or_default();
    let details = fields.take_some("details");
    fields.end()?;
    if let Some(details) = details.as_ref().filter(|details| details.as_object().is_none()) {
        return Err(wrong_kind("details", "an object", details));
    }
    Ok(ErrorValue {
        details,
        ..ErrorValue::new(&kind, message, "")
    })
}

impl Api {
    async fn operate(
        &self,
        namespace: &Namespace,
        id: &str,
        mut fields: Fields,
        what: StepOperation,
    ) -> Result<Answer<RunView>, Problem> {
        let steps = targets(&mut fields)?;
        fields.end()?;
        let row = self.run(namespace, id).await?;
        if let Steps::At(paths) = &steps {
            let definition = self.definition(&row).await?;
            let is_there =
                |path: &str| locate::node(&definition, path).is_some() || locate::call(&definition, path).is_some();
            if let Some(path) = paths.iter().find(|path| !is_there(path)) {
                return Err(Problem::not_found("step", path));
            }
        }
        self.carry_out(row, Command::Operate { steps, what }).await
    }
}

/// `path`, `paths`, or `all: true` with `error_type`.
fn targets(fields: &mut Fields) -> Result<Steps, Problem> {
    let path = fields.take_text("path")?;
    let paths = fields.take_some("paths");
    let all = fields.take_bool("all")?;
    let kind = fields.take_text("error_type")?;
    match (path, paths, all, kind) {
        (Some(path), None, false, None) => Ok(Steps::At(vec![path])),
        (None, Some(paths), false, None) => {
            let texts = paths
                .as_list()
                .map(|list| list.iter().map(|path| path.as_str().map(str::to_owned)));
            match texts.and_then(Iterator::collect::<Option<Vec<String>>>) {
                Some(paths) if (1..=PATHS_MAX).contains(&paths.len()) => Ok(Steps::At(paths)),
                Some(_) | None => {
                    let detail = format!("member \"paths\" must be a list of 1 to {PATHS_MAX} paths");
                    Err(wrong_member("paths", detail))
                }
            }
        }
        (None, None, true, Some(kind)) => Ok(Steps::WithError(kind)),
        (None, None, true, None) => {
            let detail = "`all: true` needs `error_type`: the type of the steps' last error";
            Err(wrong_member("error_type", detail))
        }
        _ => {
            let detail = "name the steps by one of `path`, `paths`, or `all: true` with `error_type`";
            Err(Problem::new(Code::InvalidRequest, detail))
        }
    }
}
