//! Schedules: what is started again and again.

mod request;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::extract::{Body, Fields, InNamespace, Params, bad_parameter};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, Problem};
use super::start::Request;
use crate::services::schedules::progress::Progress;
use crate::services::schedules::spec::Spec;
use crate::services::schedules::{ChangeError, change, read, spec_of};
use crate::store::ScheduleRow;

/// Times of `…/next` by default, and at most.
const NEXT_DEFAULT: usize = 10;
const NEXT_MAX: usize = 1_000;

/// A schedule (INTERFACE 8).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
pub struct ScheduleView {
    name: String,
    /// Not there in a list, where this coordinator cannot read it: `last_error` says why.
    #[serde(flatten)]
    spec: Option<Spec>,
    paused: bool,
    next_at: Option<Timestamp>,
    last_run: Option<RunId>,
    last_error: Option<String>,
}

fn view(row: ScheduleRow, spec: Spec) -> ScheduleView {
    ScheduleView {
        spec: Some(spec),
        ..bare(row)
    }
}

fn bare(row: ScheduleRow) -> ScheduleView {
    ScheduleView {
        name: row.name,
        spec: None,
        paused: row.is_paused,
        next_at: row.next_at,
        last_run: row.last_run,
        last_error: row.last_error,
    }
}

fn not_found(name: &str) -> Problem {
    Problem::not_found("schedule", name)
}

fn problem(error: ChangeError, name: &str) -> Problem {
    match error {
        ChangeError::NotFound => not_found(name),
        ChangeError::Store(error) => error.into(),
        ChangeError::Unreadable(why) => {
            tracing::error!(schedule = name, why, "a schedule cannot be read");
            Problem::new(Code::Internal, format!("schedule {name} cannot be read: {why}"))
        }
    }
}

/// `GET /v1/schedules`
pub async fn list(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<ScheduleView>>, Problem> {
    let limit = params.limit()?;
    let rows = api.store.schedules(&namespace, params.get("after"), limit + 1).await?;
    let Page { items, next } = Page::cut(rows, limit, |row| row.name.clone());
    let items = items.into_iter().map(listed).collect();
    Ok(Answer(Page { items, next }))
}

/// One that cannot be read hides no other: it is named, and `last_error` says what is wrong with it.
fn listed(row: ScheduleRow) -> ScheduleView {
    match spec_of(&row) {
        Ok(spec) => view(row, spec),
        Err(error) => ScheduleView {
            last_error: Some(error.to_string()),
            ..bare(row)
        },
    }
}

/// Shown even where its times mean nothing here, as those of a time zone that is gone: `last_error` says so.
fn shown(row: ScheduleRow) -> Result<ScheduleView, Problem> {
    match spec_of(&row) {
        Ok(spec) => Ok(view(row, spec)),
        Err(error) => Err(problem(error, &row.name)),
    }
}

fn changed(progress: Progress) -> ScheduleView {
    view(progress.row, progress.spec)
}

/// Intervals begin at a whole second, so that their ticks are easily read.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - now.0.rem_euclid(1_000_000))
}

/// `POST /v1/schedules`
pub async fn create(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    body: Body,
) -> Result<Response, Problem> {
    let (name, spec, timing) = api.asked(&namespace, None, &body).await?;
    let now = api.store.now().await?;
    let row = ScheduleRow {
        namespace,
        name: name.clone(),
        spec: spec.to_bytes().into(),
        revision: 0,
        is_paused: false,
        anchor_at: whole_second(now),
        next_at: None,
        pending: Vec::new(),
        caught_up: 0,
        last_run: None,
        open_runs: Vec::new(),
        failures: 0,
        last_error: None,
        wake_at: None,
    };
    let mut progress = Progress { row, spec, timing };
    progress.aim(now);
    progress.sleep(None);
    match api.store.add_schedule(&progress.row).await? {
        true => Ok((StatusCode::CREATED, Answer(changed(progress))).into_response()),
        false => Err(Problem::new(
            Code::Conflict,
            format!("schedule {name} is there already; PUT /v1/schedules/{name} replaces it"),
        )),
    }
}

/// `GET /v1/schedules/{name}`
pub async fn one(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
) -> Result<Answer<ScheduleView>, Problem> {
    let row = api.store.schedule(&namespace, &name).await?;
    Ok(Answer(shown(row.ok_or_else(|| not_found(&name))?)?))
}

/// `PUT /v1/schedules/{name}`
pub async fn replace(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
    body: Body,
) -> Result<Answer<ScheduleView>, Problem> {
    let (name, spec, timing) = api.asked(&namespace, Some(name), &body).await?;
    let now = api.store.now().await?;
    let replaced = change(&*api.store, &namespace, &name, |progress| {
        progress.row.spec = spec.to_bytes().into();
        progress.row.anchor_at = whole_second(now);
        progress.row.failures = 0;
        progress.spec = spec.clone();
        progress.timing = timing.clone();
        progress.aim(now);
        progress.row.wake_at
    });
    let replaced = replaced.await.map_err(|error| problem(error, &name))?;
    Ok(Answer(changed(replaced)))
}

/// `DELETE /v1/schedules/{name}`
pub async fn delete(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Problem> {
    match api.store.remove_schedule(&namespace, &name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_found(&name)),
    }
}

/// `POST /v1/schedules/{name}:pause`, `:resume`, `:trigger`: a router cannot match a part of a segment.
pub async fn operate(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(segment): Segments<String>,
    body: Body,
) -> Result<Response, Problem> {
    let (name, operation) = segment.rsplit_once(':').unwrap_or((&segment, ""));
    match operation {
        "pause" => {
            Fields::of(&body.object()?).end()?;
            Ok(Answer(api.pause(&namespace, name).await?).into_response())
        }
        "resume" => {
            Fields::of(&body.object()?).end()?;
            Ok(Answer(api.go_on(&namespace, name).await?).into_response())
        }
        "trigger" => api.trigger(&namespace, name, &body).await,
        _ => Err(Problem::new(
            Code::NoSuchRoute,
            format!(
                "there is nothing to post at /v1/schedules/{segment}; there are {name}:pause, :resume and :trigger"
            ),
        )),
    }
}

/// `GET /v1/schedules/{name}/next`
pub async fn next(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
    params: Params,
) -> Result<Answer<Page<Timestamp>>, Problem> {
    let expected = format!("a number from 1 to {NEXT_MAX}");
    let count = params.read::<usize>("n", &expected)?.unwrap_or(NEXT_DEFAULT);
    if !(1..=NEXT_MAX).contains(&count) {
        return Err(bad_parameter("n", &count.to_string(), &expected));
    }
    let progress = api.schedule(&namespace, &name).await?;
    let (mut after, mut items) = (api.store.now().await?, Vec::new());
    while items.len() < count
        && let Some(tick) = progress.timing.next(after, progress.row.anchor_at)
    {
        items.push(tick);
        after = tick;
    }
    Ok(Answer(Page::whole(items)))
}

impl Api {
    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Progress, Problem> {
        let row = self.store.schedule(namespace, name).await?;
        let row = row.ok_or_else(|| not_found(name))?;
        read(row).map_err(|error| problem(error, name))
    }

    async fn pause(&self, namespace: &Namespace, name: &str) -> Result<ScheduleView, Problem> {
        let paused = change(&*self.store, namespace, name, |progress| {
            progress.pause();
            progress.row.wake_at
        });
        paused.await.map(changed).map_err(|error| problem(error, name))
    }

    async fn go_on(&self, namespace: &Namespace, name: &str) -> Result<ScheduleView, Problem> {
        let now = self.store.now().await?;
        let resumed = change(&*self.store, namespace, name, |progress| {
            if progress.row.is_paused {
                progress.resume(now);
            }
            progress.row.wake_at
        });
        resumed.await.map(changed).map_err(|error| problem(error, name))
    }

    async fn trigger(&self, namespace: &Namespace, name: &str, body: &Body) -> Result<Response, Problem> {
        let mut fields = Fields::of(&body.object()?);
        let input = fields.take("input").map(|given| self.input(Some(given))).transpose()?;
        fields.end()?;
        let progress = self.schedule(namespace, name).await?;
        let request = Request::from(progress.spec.launch_now(namespace, input));
        let (run, _) = self.launch(namespace, &progress.spec.workflow, request).await?;
        let noted = change(&*self.store, namespace, name, |progress| {
            progress.row.last_run = Some(run);
            progress.row.wake_at
        });
        // The run is there, which is what was asked; that the schedule does not know of it is not worth an error.
        if let Err(error) = noted.await {
            tracing::warn!(%namespace, schedule = name, %run, %error, "a triggered run is not noted");
        }
        let row = self.run(namespace, &run.to_string()).await?;
        Ok((StatusCode::CREATED, Answer(self.show(row).await?)).into_response())
    }
}
