//! Operations on runs, answered after they are durable.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use rejoin_engine::decision::Surroundings;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::PACK_ATTEMPTS_MAX;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::extract::{Body, Fields, InNamespace, Params};
use super::find::Segments;
use super::problem::{Code, Problem};
use crate::owner::command::Command;
use crate::read::run::RunView;
use crate::store::RunRow;

/// Paths listed in a plan; the counts are of all.
const PLAN_PATHS_MAX: usize = 10_000;

/// `POST /v1/runs/{id}/cancel`
pub async fn cancel(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let reason = fields.take_text("reason")?;
    let compensate = fields.take_bool("compensate")?;
    fields.end()?;
    let row = api.run(&namespace, &id).await?;
    api.carry_out(row, Command::Cancel { reason, compensate }).await
}

/// `POST /v1/runs/{id}/pause`
pub async fn pause(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    Fields::of(&body.object()?).end()?;
    let row = api.run(&namespace, &id).await?;
    api.carry_out(row, Command::Pause).await
}

/// `POST /v1/runs/{id}/resume`
pub async fn resume(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    params: Params,
    body: Body,
) -> Result<Answer<Resumed>, Problem> {
    Fields::of(&body.object()?).end()?;
    let row = api.run(&namespace, &id).await?;
    if params.flag("plan")? {
        return Ok(Answer(Resumed::Plan(api.plan(&row).await?)));
    }
    let Answer(run) = api.carry_out(row, Command::Resume).await?;
    Ok(Answer(Resumed::Run(Box::new(run))))
}

/// The answer to a resume.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Resumed {
    /// It was resumed.
    Run(Box<RunView>),
    /// It was only asked about.
    Plan(Plan),
}

/// `DELETE /v1/runs/{id}`
pub async fn delete(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Problem> {
    let row = api.run(&namespace, &id).await?;
    match api.store.delete_run(row.id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(
            Code::Conflict,
            format!(
                "run {} is {}; only ended runs can be deleted",
                row.id,
                row.status.as_str()
            ),
        )),
    }
}

/// What a resume would do.
#[derive(Serialize, JsonSchema)]
pub struct Plan {
    /// Paths of the steps that would go out again.
    dispatch: Vec<String>,
    /// How many that are.
    dispatch_count: u64,
    /// Recorded completions that stay.
    kept_count: u64,
    /// Fewest messages it takes, with full packs.
    messages: u64,
}

impl Api {
    pub(super) async fn carry_out(&self, row: RunRow, command: Command) -> Result<Answer<RunView>, Problem> {
        self.backend.submit(row.id, command).await?;
        let row = self.run(&row.namespace, &row.id.to_string()).await?;
        Ok(Answer(self.show(row).await?))
    }

    async fn plan(&self, row: &RunRow) -> Result<Plan, Problem> {
        let state = self.state_of(row, None).await?;
        let around = Surroundings {
            now: Timestamp::now(),
            limits: &self.limits,
        };
        let Some(plan) = state.resume_plan(PLAN_PATHS_MAX, around) else {
            return Err(Problem::new(
                Code::Conflict,
                format!("run {} is {}; there is nothing to resume", row.id, row.status.as_str()),
            ));
        };
        Ok(Plan {
            dispatch: plan.dispatch,
            dispatch_count: plan.attempts,
            kept_count: plan.kept,
            messages: plan.attempts.div_ceil(PACK_ATTEMPTS_MAX as u64),
        })
    }
}
