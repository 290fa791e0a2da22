//! Edits of open scopes.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_engine::event::ScopeEdit;
use rejoin_shared::definition::model::RetryPolicy;
use rejoin_shared::definition::read_retry;
use rejoin_shared::json::Json;

use super::Api;
use super::extract::{Body, Fields, InNamespace, wrong_member};
use super::find::Segments;
use super::problem::Problem;
use crate::owner::command::Command;
use crate::read::run::RunView;

/// `PATCH /v1/runs/{id}/scopes`
pub async fn edit(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let path = fields.take_text("path")?;
    let edit = ScopeEdit {
        concurrency: fields.take_some("concurrency"),
        need: fields.take_some("need"),
        tolerate: fields.take_some("tolerate"),
        retry: fields.take_some("retry").map(|given| retry(&api, &given)).transpose()?,
    };
    fields.end()?;
    let path = path.ok_or_else(|| wrong_member("path", "member path is missing: the path of an open scope"))?;
    let row = api.run(&namespace, &id).await?;
    api.carry_out(row, Command::Edit { path, edit }).await
}

/// As the document's key of this name.
fn retry(api: &Api, given: &Json) -> Result<Vec<RetryPolicy>, Problem> {
    read_retry(given, &api.limits).map_err(|errors| {
        let messages: Vec<String> = errors.0.into_iter().map(|error| error.message).collect();
        wrong_member("retry", format!("member retry: {}", messages.join("; ")))
    })
}
