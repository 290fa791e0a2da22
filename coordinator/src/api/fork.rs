//! Forks: a new run with the past of another one.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rejoin_engine::decision::{Ignored, Surroundings};
use rejoin_engine::state::RunState;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;

use super::Api;
use super::definitions::Known;
use super::extract::{Body, Fields, InNamespace, wrong_member};
use super::find::Segments;
use super::problem::{Code, Problem};
use super::start::version;
use crate::owner::command::{Command, ForkRun};
use crate::read::past::{PastError, Versions, past};
use crate::store::{ForkedFrom, RunRow};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// The position; the end by default.
    at: Option<u64>,
    input: Option<Json>,
    version: Option<u32>,
    /// The span that it was sent in.
    traceparent: Option<TraceParent>,
}

/// `POST /v1/runs/{id}/fork`
pub async fn fork(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let request = Request {
        traceparent: body.traceparent(),
        ..read(&api, &mut fields)?
    };
    fields.end()?;
    let row = api.run(&namespace, &id).await?;
    let run = api.fork(&row, request).await?;
    let row = api.run(&namespace, &run.to_string()).await?;
    let mut response = (StatusCode::CREATED, Answer(api.show(row).await?)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{run}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Takes `at`, `input` and `version`.
pub(super) fn read(api: &Api, fields: &mut Fields) -> Result<Request, Problem> {
    let position = |value: Json| {
        let number = value.as_int().and_then(|n| u64::try_from(n).ok());
        let expected = || format!("member at must be a sequence number of the journal, from 1; this is {value}");
        number.filter(|n| *n > 0).ok_or_else(|| wrong_member("at", expected()))
    };
    Ok(Request {
        at: fields.take_some("at").map(position).transpose()?,
        input: fields.take("input").map(|input| api.input(Some(input))).transpose()?,
        version: fields.take_some("version").map(|v| version(&v)).transpose()?,
        traceparent: None,
    })
}

impl Api {
    /// Forks a run; the id of the fork, once it is durable.
    pub(super) async fn fork(&self, row: &RunRow, request: Request) -> Result<RunId, Problem> {
        let wanted = request.version.unwrap_or(row.version);
        let known = self
            .definitions
            .get(&*self.store, &row.namespace, &row.workflow, Some(wanted))
            .await?;
        let state = self.past(row, request.at, &known).await?;
        let run = self.backend.new_run_id();
        let fork = ForkRun {
            traceparent: request.traceparent,
            ..fork_of(row, &state, request.input, &known)?
        };
        let around = Surroundings {
            now: Timestamp::now(),
            limits: &self.limits,
        };
        // Nothing is copied for a fork that is refused.
        match rejoin_engine::fork(&state, fork.to_engine(run), around) {
            Err(Ignored::NotAllowed(why)) => return Err(Problem::new(Code::Conflict, why)),
            Ok(_) | Err(_) => drop(state),
        }
        if !self.store.copy_past(run, fork.from).await? {
            return Err(Problem::not_found("run", &row.id.to_string()));
        }
        self.backend.submit(run, Command::Fork(Box::new(fork))).await?;
        Ok(run)
    }

    /// What the run had come to at the position.
    async fn past(&self, row: &RunRow, at: Option<u64>, known: &Known) -> Result<RunState, Problem> {
        let versions = Versions {
            old: self.definition(row).await?,
            new: (known.row.version != row.version).then(|| known.definition.clone()),
        };
        let state = match past(&*self.store, row.id, at, &versions).await {
            Ok(state) => state,
            Err(PastError::Read(error)) => return Err(error.into()),
            Err(PastError::Unfit(why)) => {
                let detail = format!(
                    "version {} does not take the past of run {}: {why}",
                    known.row.version, row.id
                );
                return Err(Problem::new(Code::Conflict, detail));
            }
        };
        let last = state.as_ref().map_or(0, RunState::last_seq);
        let missing = || {
            let at = at.unwrap_or_default();
            Problem::not_found("journal position", &format!("{at}: they go from 1 to {last}"))
        };
        state.filter(|_| at.is_none_or(|at| at == last)).ok_or_else(missing)
    }
}

/// The run to be, its input checked against the version it is to run.
fn fork_of(row: &RunRow, state: &RunState, input: Option<Json>, known: &Known) -> Result<ForkRun, Problem> {
    let has_new_input = input.is_some();
    let input = input.unwrap_or_else(|| state.input().clone());
    if has_new_input || known.row.version != row.version {
        known.check_input(&input)?;
    }
    Ok(ForkRun {
        from: ForkedFrom {
            run: row.id,
            seq: state.last_seq(),
        },
        namespace: row.namespace.clone(),
        workflow: row.workflow.clone(),
        version: known.row.version,
        input,
        has_new_input,
        tags: row.tags.clone(),
        priority: row.priority,
        traceparent: None,
    })
}
