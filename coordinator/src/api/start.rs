//! Starting runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::{Counts, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;
use sha2::{Digest, Sha256};

use super::Api;
use super::definitions::Known;
use super::extract::{Body, Fields, InNamespace, Params, wrong_kind, wrong_member};
use super::find::Segments;
use super::problem::{Code, Problem};
use super::wait::{Growth, WAIT_MAX};
use crate::owner::command::{Command, CommandError, StartRun};
use crate::read::run::RunView;
use crate::store::{Reserved, RunRow};

/// Tags of one run.
const TAGS_MAX: usize = 64;
/// Bytes of a tag's key.
const TAG_KEY_BYTES_MAX: usize = 64;
/// Bytes of a tag's value.
const TAG_VALUE_BYTES_MAX: usize = 256;
/// Bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 256;

/// A request to start, read and checked as far as it can be without the definition.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) input: Json,
    pub(super) version: Option<u32>,
    pub(super) key: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) priority: Priority,
    /// It begins no earlier.
    pub(super) at: Option<Timestamp>,
    /// The span that it was sent in.
    pub(super) traceparent: Option<TraceParent>,
    /// Of the request as sent: what its key is bound to.
    pub(super) hash: String,
}

impl Request {
    /// What the run's owner is asked.
    pub(super) fn into_start(self, namespace: &Namespace, known: &Known, may_exist: bool) -> StartRun {
        StartRun {
            namespace: namespace.clone(),
            workflow: known.row.name.clone(),
            version: known.row.version,
            input: self.input,
            tags: self.tags,
            priority: self.priority,
            parent: None,
            is_awaited: false,
            at: self.at,
            traceparent: self.traceparent,
            idempotency_key: self.key,
            may_exist,
            expects_newest: false,
        }
    }
}

/// `POST /v1/workflows/{name}/runs`
pub async fn start(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(workflow): Segments<String>,
    params: Params,
    body: Body,
) -> Result<Response, Problem> {
    let wait = params.duration("wait")?.map(|wait| wait.min(WAIT_MAX));
    let request = read(&api, &workflow, &body)?;
    let Launched {
        run,
        is_new,
        version,
        growth,
    } = api
        .launch_watched(&namespace, &workflow, request.clone(), wait.is_some())
        .await?;
    let (view, ended) = match api.begun(&namespace, run, (growth, is_new), wait).await {
        // It is durable: whoever is told to come again, without a key, would start another one.
        Err(problem) if is_new && problem.code() == Code::Unavailable => {
            let presumed = api.presumed(&namespace, (&workflow, version), run, request);
            (RunView::of(presumed), wait.is_none())
        }
        begun => begun?,
    };
    let status = match (ended, is_new) {
        (false, _) => StatusCode::ACCEPTED,
        (true, true) => StatusCode::CREATED,
        (true, false) => StatusCode::OK,
    };
    let mut response = (status, Answer(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{run}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A run that was started, or found under its key.
pub(super) struct Launched {
    pub run: RunId,
    pub is_new: bool,
    /// The version that it was asked to begin with.
    pub version: u32,
    /// Of a run that this very call began, since before it did: nothing of it can have been missed.
    pub growth: Option<Growth>,
}

/// The version that a run is to begin with.
struct Chosen {
    known: Arc<Known>,
    /// It was the newest when it was last looked up here; the append finds out whether it still is.
    is_likely: bool,
}

impl Api {
    /// Starts a run, or finds the one that its key had started; returns whether it is new.
    pub(super) async fn launch(
        &self,
        namespace: &Namespace,
        workflow: &str,
        request: Request,
    ) -> Result<(RunId, bool), Problem> {
        let launched = self.launch_watched(namespace, workflow, request, false).await?;
        Ok((launched.run, launched.is_new))
    }

    /// The run that was started, and whether it is what was asked for: as it is now, or once it has ended.
    async fn begun(
        &self,
        namespace: &Namespace,
        run: RunId,
        (growth, is_new): (Option<Growth>, bool),
        wait: Option<Duration>,
    ) -> Result<(RunView, bool), Problem> {
        let (row, ended) = match wait {
            None => (self.run(namespace, &run.to_string()).await?, true),
            Some(wait) => self.wait_for_end(namespace, run, (growth, is_new), wait).await?,
        };
        // Of one that has ended the row says nearly all.
        let known = (is_new && ended).then(|| row.clone());
        match (self.show(row).await, known) {
            (Err(problem), Some(row)) if problem.code() == Code::Unavailable => Ok((RunView::of(row), ended)),
            (shown, _) => Ok((shown?, ended)),
        }
    }

    /// What is known of a run that was begun and cannot be read now.
    fn presumed(
        &self,
        namespace: &Namespace,
        (workflow, version): (&str, u32),
        run: RunId,
        request: Request,
    ) -> RunRow {
        RunRow {
            id: run,
            namespace: namespace.clone(),
            workflow: workflow.to_owned(),
            version,
            status: match request.at {
                Some(at) if at > Timestamp::now() => RunStatus::Scheduled,
                Some(_) | None => RunStatus::Running,
            },
            priority: request.priority,
            input: request.input.to_bytes().into(),
            context: None,
            output: None,
            error: None,
            compensated: false,
            tags: request.tags,
            idempotency_key: request.key,
            parent: None,
            forked_from: None,
            progress: Progress::default(),
            counts: Counts::default(),
            wake_at: request.at,
            created_at: run.created_at(),
            started_at: None,
            finished_at: None,
        }
    }

    /// The same, watching what begins if somebody is going to wait for it.
    async fn launch_watched(
        &self,
        namespace: &Namespace,
        workflow: &str,
        request: Request,
        is_watched: bool,
    ) -> Result<Launched, Problem> {
        let chosen = self.choose(namespace, workflow, &request).await?;
        let (mut run, mut is_first) = place(self, namespace, &request).await?;
        let is_there = !is_first && self.store.run(run).await?.is_some();
        if !is_first && !is_there {
            // Never begun, or deleted since the key was read: then the key says so by now.
            (run, is_first) = place(self, namespace, &request).await?;
        }
        let growth = (is_watched && !is_there).then(|| Growth::of(self, run));
        let (begins, version) = match is_there {
            true => (false, chosen.known.row.version),
            false => self.begin(namespace, chosen, run, request, !is_first).await?,
        };
        Ok(Launched {
            run,
            version,
            // The first request under a key is the one that starts the run, whoever's message about it the owner read first.
            is_new: begins || (is_first && !is_there),
            growth: growth.filter(|_| begins),
        })
    }

    /// The version that a run is to begin with, whose schema its input fits.
    async fn choose(&self, namespace: &Namespace, workflow: &str, request: &Request) -> Result<Chosen, Problem> {
        // A key is bound before the run begins: to a request of which it is certain that it can be obeyed.
        let last = match (request.version, &request.key) {
            (None, None) => self.definitions.last_newest(namespace, workflow),
            (Some(_), _) | (None, Some(_)) => None,
        };
        // What does not fit the last one may fit a newer one.
        match last.filter(|known| known.check_input(&request.input).is_ok()) {
            Some(known) => Ok(Chosen { known, is_likely: true }),
            None => self.look_up(namespace, workflow, request).await,
        }
    }

    async fn look_up(&self, namespace: &Namespace, workflow: &str, request: &Request) -> Result<Chosen, Problem> {
        let (store, version) = (&*self.store, request.version);
        let known = self.definitions.get(store, namespace, workflow, version).await?;
        known.check_input(&request.input)?;
        Ok(Chosen {
            known,
            is_likely: false,
        })
    }

    /// Whether the run was begun by this very call, and the version that was asked for.
    async fn begin(
        &self,
        namespace: &Namespace,
        chosen: Chosen,
        run: RunId,
        request: Request,
        may_exist: bool,
    ) -> Result<(bool, u32), Problem> {
        let again = chosen.is_likely.then(|| request.clone());
        let start = |chosen: &Chosen, request: Request| {
            let mut start = request.into_start(namespace, &chosen.known, may_exist);
            start.expects_newest = chosen.is_likely;
            self.backend.submit(run, Command::Start(Box::new(start)))
        };
        let (reply, version) = match (start(&chosen, request).await, again) {
            (Err(CommandError::Superseded), Some(request)) => {
                let newer = self.look_up(namespace, &chosen.known.row.name, &request).await?;
                (start(&newer, request).await, newer.known.row.version)
            }
            (reply, _) => (reply, chosen.known.row.version),
        };
        Ok((reply?.changed, version))
    }

    /// An input as it was given; none is null.
    pub(super) fn input(&self, given: Option<Json>) -> Result<Json, Problem> {
        let (input, max) = (given.unwrap_or_default(), self.limits.input_bytes_max);
        match input.text_len() > max {
            false => Ok(input),
            true => {
                let detail = format!("the input is larger than the {max} bytes allowed");
                Err(Problem::new(Code::TooLarge, detail).at_member("input"))
            }
        }
    }
}

/// The id the run gets, or got when the same key came before (then `false`).
async fn place(api: &Api, namespace: &Namespace, request: &Request) -> Result<(RunId, bool), Problem> {
    let fresh = api.backend.new_run_id();
    let Some(key) = &request.key else {
        return Ok((fresh, true));
    };
    match api.store.reserve_key(namespace, key, &request.hash, fresh).await? {
        Reserved::Won => Ok((fresh, true)),
        Reserved::Bound {
            run,
            request_hash,
            is_deleted,
        } if request_hash == request.hash => match is_deleted {
            false => Ok((run, false)),
            true => Err(Problem::new(Code::Gone, deleted_run(key, run))),
        },
        Reserved::Bound { run, .. } => Err(Problem::new(
            Code::IdempotencyMismatch,
            format!("idempotency key {key:?} was used by another request, which started run {run}"),
        )),
    }
}

/// What is said of a key whose run has gone before it.
pub(super) fn deleted_run(key: &str, run: RunId) -> String {
    format!("run {run}, which idempotency key {key:?} started, has ended and was deleted")
}

fn read(api: &Api, workflow: &str, body: &Body) -> Result<Request, Problem> {
    let in_header = match body.headers.get("idempotency-key") {
        None => None,
        Some(value) => match value.to_str() {
            Ok(key) => Some(key.to_owned()),
            Err(_) => return Err(bad_key("header is no plain text")),
        },
    };
    Ok(Request {
        traceparent: body.traceparent(),
        ..read_object(api, workflow, &body.object()?, in_header)?
    })
}

/// Reads the members of a request to start a run of `workflow`.
pub(super) fn read_object(
    api: &Api,
    workflow: &str,
    object: &Json,
    key_in_header: Option<String>,
) -> Result<Request, Problem> {
    let mut fields = Fields::of(object);
    let key = idempotency_key(key_in_header, fields.take_text("idempotency_key")?)?;
    let input = api.input(fields.take("input"))?;
    let version = fields.take_some("version").map(|v| version(&v)).transpose();
    let tags = fields.take_some("tags").map_or(Ok(BTreeMap::new()), |v| tags(&v));
    let named = fields.take_text("priority");
    let priority = named.and_then(|name| name.map_or(Ok(Priority::Normal), |p| priority(&p)));
    let at = fields.take_text("at").and_then(|at| at.map(|at| time(&at)).transpose());
    let request = Request {
        version: version?,
        tags: tags?,
        priority: priority?,
        at: at?,
        traceparent: None,
        hash: hash_of(workflow, object),
        key,
        input,
    };
    fields.end()?;
    Ok(request)
}

/// When a run is to begin.
fn time(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).ok_or_else(|| {
        let detail = format!("member at = {text:?}: expected an RFC 3339 time, as 2026-01-31T12:00:00Z");
        wrong_member("at", detail)
    })
}

fn bad_key(why: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("idempotency key: {why}"))
}

fn idempotency_key(in_header: Option<String>, in_body: Option<String>) -> Result<Option<String>, Problem> {
    let is_in_body = in_body.is_some();
    let refuse = |problem: Problem| match is_in_body {
        true => Err(problem.at_member("idempotency_key")),
        false => Err(problem),
    };
    let key = match (in_header, in_body) {
        (Some(a), Some(b)) if a != b => return refuse(bad_key("header and body name different ones")),
        (a, b) => a.or(b),
    };
    match &key {
        Some(k) if k.is_empty() || k.len() > KEY_BYTES_MAX => refuse(bad_key("must have 1 to 256 bytes")),
        _ => Ok(key),
    }
}

/// SHA-256 of the request as canonical JSON: what an idempotency key is bound to. Where the key stands does not count.
fn hash_of(workflow: &str, object: &Json) -> String {
    let mut request = object.clone();
    request.object_mut().remove("idempotency_key");
    let bound = Json::from_entries([("workflow", Json::str(workflow)), ("request", request)]);
    let digest = Sha256::digest(bound.to_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn version(value: &Json) -> Result<u32, Problem> {
    let number = value.as_int().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= 1);
    number.ok_or_else(|| wrong_kind("version", "a number from 1", value))
}

fn priority(name: &str) -> Result<Priority, Problem> {
    match name {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        other => {
            let detail = format!("member priority must be high, normal or low, not {other:?}");
            Err(wrong_member("priority", detail))
        }
    }
}

pub(super) fn tags(value: &Json) -> Result<BTreeMap<String, String>, Problem> {
    let bad = |why: String| wrong_member("tags", format!("member tags: {why}"));
    let map = value
        .as_object()
        .ok_or_else(|| wrong_kind("tags", "an object of texts", value))?;
    if map.len() > TAGS_MAX {
        return Err(bad(format!("at most {TAGS_MAX}")));
    }
    let mut tags = BTreeMap::new();
    for (key, value) in map {
        let text = value
            .as_str()
            .ok_or_else(|| bad(format!("{key:?} must be a text, not {}", value.kind())))?;
        if key.is_empty() || key.len() > TAG_KEY_BYTES_MAX || text.len() > TAG_VALUE_BYTES_MAX {
            return Err(bad(format!(
                "{key:?}: keys have 1 to {TAG_KEY_BYTES_MAX} bytes, values up to {TAG_VALUE_BYTES_MAX}"
            )));
        }
        tags.insert(key.to_string(), text.to_owned());
    }
    Ok(tags)
}
