//! Starting runs.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::Priority;
use sha2::{Digest, Sha256};

use super::Api;
use super::definitions::Known;
use super::extract::{Body, Fields, InNamespace, Params, wrong_kind};
use super::find::Segments;
use super::problem::{Code, Problem};
use super::wait::WAIT_MAX;
use crate::owner::command::{Command, StartRun};
use crate::store::Reserved;

/// Tags of one run.
const TAGS_MAX: usize = 64;
/// Bytes of a tag's key.
const TAG_KEY_BYTES_MAX: usize = 64;
/// Bytes of a tag's value.
const TAG_VALUE_BYTES_MAX: usize = 256;
/// Bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 256;

/// A request to start, read and checked as far as it can be without the definition.
pub(super) struct Request {
    pub(super) input: Json,
    pub(super) version: Option<u32>,
    pub(super) key: Option<String>,
    tags: BTreeMap<String, String>,
    priority: Priority,
    /// Of the request as sent: what its key is bound to.
    pub(super) hash: String,
}

/// A member of a request that is wrong; without a name, the request itself.
pub(super) struct Wrong {
    pub(super) member: &'static str,
    pub(super) problem: Problem,
}

impl Wrong {
    /// Blames a member.
    pub(super) fn at(member: &'static str) -> impl Fn(Problem) -> Wrong {
        move |problem| Wrong { member, problem }
    }
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
            idempotency_key: self.key,
            may_exist,
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
    params.only(&["wait"])?;
    let wait = params.duration("wait")?.map(|wait| wait.min(WAIT_MAX));
    let request = read(&api, &workflow, &body)?;
    let known = api
        .definitions
        .get(&*api.store, &namespace, &workflow, request.version)
        .await?;
    known.check_input(&request.input)?;
    let (run, is_first) = place(&api, &namespace, &request).await?;
    let is_there = !is_first && api.store.run(run).await?.is_some();
    // The first request under a key is the one that starts the run, whoever's message about it the owner read first.
    let is_new = !is_there && (begin(&api, &namespace, &known, run, request, !is_first).await? || is_first);
    let (row, ended) = match wait {
        None => (api.run(&namespace, &run.to_string()).await?, true),
        Some(wait) => api.wait_for_end(&namespace, run, wait).await?,
    };
    let status = match (ended, is_new) {
        (false, _) => StatusCode::ACCEPTED,
        (true, true) => StatusCode::CREATED,
        (true, false) => StatusCode::OK,
    };
    let mut response = (status, Answer(api.show(row).await?)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/runs/{run}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The id the run gets, or got when the same key came before (then `false`).
async fn place(api: &Api, namespace: &Namespace, request: &Request) -> Result<(RunId, bool), Problem> {
    let fresh = api.backend.new_run_id();
    let Some(key) = &request.key else {
        return Ok((fresh, true));
    };
    match api.store.reserve_key(namespace, key, &request.hash, fresh).await? {
        Reserved::Won => Ok((fresh, true)),
        Reserved::Bound { run, request_hash } if request_hash == request.hash => Ok((run, false)),
        Reserved::Bound { run, .. } => Err(Problem::new(
            Code::IdempotencyMismatch,
            format!("idempotency key {key:?} was used by another request, which started run {run}"),
        )),
    }
}

/// Whether the run was begun by this very call.
async fn begin(
    api: &Api,
    namespace: &Namespace,
    known: &Known,
    run: RunId,
    request: Request,
    may_exist: bool,
) -> Result<bool, Problem> {
    let start = request.into_start(namespace, known, may_exist);
    let reply = api.backend.submit(run, Command::Start(Box::new(start))).await?;
    Ok(reply.changed)
}

fn read(api: &Api, workflow: &str, body: &Body) -> Result<Request, Problem> {
    let in_header = match body.headers.get("idempotency-key") {
        None => None,
        Some(value) => match value.to_str() {
            Ok(key) => Some(key.to_owned()),
            Err(_) => return Err(bad_key("header is no plain text")),
        },
    };
    read_object(api, workflow, &body.object()?, in_header).map_err(|wrong| wrong.problem)
}

/// Reads the members of a request to start a run of `workflow`.
pub(super) fn read_object(
    api: &Api,
    workflow: &str,
    object: &Json,
    key_in_header: Option<String>,
) -> Result<Request, Wrong> {
    let mut fields = Fields::of(object);
    let key = fields
        .take_text("idempotency_key")
        .and_then(|in_body| idempotency_key(key_in_header, in_body))
        .map_err(Wrong::at("idempotency_key"))?;
    let input = fields.take("input").unwrap_or_default();
    let max = api.limits.input_bytes_max;
    if input.text_len() > max {
        let detail = format!("the input is larger than the {max} bytes allowed");
        return Err(Wrong::at("input")(Problem::new(Code::TooLarge, detail)));
    }
    let version = fields.take_some("version").map(|v| version(&v)).transpose();
    let tags = fields.take_some("tags").map_or(Ok(BTreeMap::new()), |v| tags(&v));
    let named = fields.take_text("priority");
    let priority = named.and_then(|name| name.map_or(Ok(Priority::Normal), |p| priority(&p)));
    let request = Request {
        version: version.map_err(Wrong::at("version"))?,
        tags: tags.map_err(Wrong::at("tags"))?,
        priority: priority.map_err(Wrong::at("priority"))?,
        hash: hash_of(workflow, object),
        key,
        input,
    };
    if fields.take_some("at").is_some() {
        let detail = "`at` (a later start) is not supported yet";
        return Err(Wrong::at("at")(Problem::new(Code::NotSupported, detail)));
    }
    fields.end().map_err(Wrong::at(""))?;
    Ok(request)
}

fn bad_key(why: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("idempotency key: {why}"))
}

fn idempotency_key(in_header: Option<String>, in_body: Option<String>) -> Result<Option<String>, Problem> {
    let key = match (in_header, in_body) {
        (Some(a), Some(b)) if a != b => return Err(bad_key("header and body name different ones")),
        (a, b) => a.or(b),
    };
    match &key {
        Some(k) if k.is_empty() || k.len() > KEY_BYTES_MAX => Err(bad_key("must have 1 to 256 bytes")),
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

fn version(value: &Json) -> Result<u32, Problem> {
    let number = value.as_int().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= 1);
    number.ok_or_else(|| wrong_kind("version", "a number from 1", value))
}

fn priority(name: &str) -> Result<Priority, Problem> {
    match name {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        other => Err(Problem::new(
            Code::InvalidRequest,
            format!("member priority must be high, normal or low, not {other:?}"),
        )),
    }
}

fn tags(value: &Json) -> Result<BTreeMap<String, String>, Problem> {
    let bad = |why: String| Problem::new(Code::InvalidRequest, format!("member tags: {why}"));
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
