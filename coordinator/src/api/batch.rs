//! Starting many runs at once, all or none.
//!
//! ```text
//! every start is read and checked ─▶ all keys are bound, or none ─▶ one command, one append
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::definitions::Known;
use super::extract::{Body, Fields, InNamespace, wrong_kind, wrong_member};
use super::problem::{Code, DocumentError, Problem};
use super::start::{Request, deleted_run, read_object};
use crate::owner::command::{Command, CommandError, NewRun};
use crate::store::{KeyBinding, Reserved};

/// Runs of one batch.
pub const RUNS_MAX: usize = 1_000;
/// Errors told of one run.
const ERRORS_OF_RUN_MAX: usize = 10;
/// How often what is there already is looked up anew, when somebody else starts the same runs meanwhile.
const RACES_MAX: usize = 3;

/// What was started.
#[derive(Serialize, JsonSchema)]
pub struct Started {
    items: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    id: RunId,
}

/// A start that was checked.
struct Checked {
    request: Request,
    known: Arc<Known>,
}

/// A start with the id it gets, or got when its key came before.
struct Placed {
    run: RunId,
    is_first: bool,
    checked: Checked,
}

/// `POST /v1/runs/batch`
pub async fn start(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    body: Body,
) -> Result<(StatusCode, Answer<Started>), Problem> {
    let runs = read(&body)?;
    let mut checked = api.check_starts(&namespace, &runs).await?;
    let traceparent = body.traceparent();
    checked.iter_mut().for_each(|one| one.request.traceparent = traceparent);
    let placed = api.place_starts(&namespace, checked).await?;
    let items = placed.iter().map(|one| Item { id: one.run }).collect();
    let is_first = placed.iter().any(|one| one.is_first);
    let is_new = api.begin_all(&namespace, placed).await? || is_first;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(Started { items })))
}

fn read(body: &Body) -> Result<Vec<Json>, Problem> {
    if body.headers.contains_key("idempotency-key") {
        let detail = "a batch takes no header Idempotency-Key; each of its runs names its own idempotency_key";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    // Each start stands two levels deeper than it does in a request of its own.
    let mut fields = Fields::of(&body.object_around(3)?);
    let runs = fields.take("runs").unwrap_or_default();
    fields.end()?;
    let runs = runs
        .as_list()
        .ok_or_else(|| wrong_kind("runs", "a list of starts", &runs))?;
    if runs.is_empty() || runs.len() > RUNS_MAX {
        let detail = format!("a batch has 1 to {RUNS_MAX} runs, not {}", runs.len());
        return Err(wrong_member("runs", detail));
    }
    Ok(runs.to_vec())
}

/// What is wrong with the runs of a batch.
#[derive(Default)]
struct Wrongs {
    runs: usize,
    errors: Vec<DocumentError>,
    /// Whether all of it is inputs that do not fit.
    is_only_inputs: bool,
}

impl Wrongs {
    fn add(&mut self, place: usize, wrong: Problem) {
        let is_input = wrong.code() == Code::InvalidInput;
        self.is_only_inputs = is_input && (self.is_only_inputs || self.runs == 0);
        self.runs += 1;
        let errors = wrong.into_errors(&format!("/runs/{place}"));
        self.errors.extend(errors.into_iter().take(ERRORS_OF_RUN_MAX));
    }

    fn into_result(self, total: usize) -> Result<(), Problem> {
        let Some(first) = self.errors.first() else {
            return Ok(());
        };
        let code = if self.is_only_inputs {
            Code::InvalidInput
        } else {
            Code::InvalidRequest
        };
        let (pointer, message) = (&first.pointer, &first.message);
        let detail = format!(
            "{} of {total} runs cannot be started, so none was; {pointer}: {message}",
            self.runs
        );
        Err(Problem::new(code, detail).with_errors(self.errors))
    }
}

/// Versions that a batch has asked for; the newest stays the newest while it is read.
type Versions = HashMap<(String, Option<u32>), Result<Arc<Known>, String>>;

impl Api {
    /// Checks all starts; refuses them all with everything that is wrong.
    async fn check_starts(&self, namespace: &Namespace, runs: &[Json]) -> Result<Vec<Checked>, Problem> {
        let (mut checked, mut wrongs) = (Vec::with_capacity(runs.len()), Wrongs::default());
        let (mut versions, mut keys) = (Versions::new(), HashSet::new());
        for (place, start) in runs.iter().enumerate() {
            match self.check_one(namespace, start, &mut versions, &mut keys).await? {
                Ok(one) => checked.push(one),
                Err(wrong) => wrongs.add(place, wrong),
            }
        }
        wrongs.into_result(runs.len())?;
        Ok(checked)
    }

    /// The outer error is the server's: it ends the batch; the inner one is of this start.
    async fn check_one(
        &self,
        namespace: &Namespace,
        start: &Json,
        versions: &mut Versions,
        keys: &mut HashSet<String>,
    ) -> Result<Result<Checked, Problem>, Problem> {
        let (workflow, request) = match self.read_start(start) {
            Ok(read) => read,
            Err(wrong) => return Ok(Err(wrong)),
        };
        if let Some(key) = &request.key
            && !keys.insert(key.clone())
        {
            let detail = format!("idempotency key {key:?} stands in this batch before");
            return Ok(Err(wrong_member("idempotency_key", detail)));
        }
        let version = (workflow, request.version);
        if !versions.contains_key(&version) {
            let found = match self
                .definitions
                .get(&*self.store, namespace, &version.0, version.1)
                .await
            {
                Ok(known) => Ok(known),
                Err(problem) if problem.code() == Code::NotFound => Err(problem.detail().to_owned()),
                Err(problem) => return Err(problem),
            };
            versions.insert(version.clone(), found);
        }
        let known = match &versions[&version] {
            Ok(known) => known.clone(),
            Err(detail) => {
                let missing = Problem::new(Code::NotFound, detail.clone());
                return Ok(Err(missing.at_member("workflow")));
            }
        };
        let fits = known.check_input(&request.input);
        let fits = fits.map_err(|problem| problem.at_member("input"));
        Ok(fits.map(|()| Checked { request, known }))
    }

    fn read_start(&self, start: &Json) -> Result<(String, Request), Problem> {
        if start.as_object().is_none() {
            let detail = format!("a start must be an object, not {}", start.kind());
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        let mut object = start.clone();
        let workflow = object.object_mut().remove("workflow");
        let Some(workflow) = workflow.as_ref().and_then(Json::as_str) else {
            let detail = "member \"workflow\" is missing: the name of the workflow";
            return Err(wrong_member("workflow", detail));
        };
        let request = read_object(self, workflow, &object, None)?;
        Ok((workflow.to_owned(), request))
    }

    /// Gives every start its id, and binds all keys, or none.
    async fn place_starts(&self, namespace: &Namespace, all: Vec<Checked>) -> Result<Vec<Placed>, Problem> {
        let fresh = self.backend.new_run_ids(all.len());
        let wanted = all.iter().zip(&fresh).filter_map(|(one, run)| {
            let key = one.request.key.clone()?;
            let request_hash = one.request.hash.clone();
            let run = *run;
            Some(KeyBinding { key, run, request_hash })
        });
        let wanted: Vec<KeyBinding> = wanted.collect();
        let reserved = match wanted.is_empty() {
            true => Vec::new(),
            false => self.store.reserve_keys(namespace, &wanted).await?,
        };
        let mut bound: HashMap<&str, &Reserved> = HashMap::new();
        bound.extend(wanted.iter().map(|one| &*one.key).zip(&reserved));
        let (mut placed, mut taken, mut gone) = (Vec::with_capacity(all.len()), Vec::new(), Vec::new());
        for (place, (checked, fresh)) in all.into_iter().zip(fresh).enumerate() {
            let key = checked.request.key.as_deref();
            let (run, is_first) = match key.and_then(|key| bound.get(key)) {
                None | Some(Reserved::Won) => (fresh, true),
                Some(Reserved::Bound {
                    run,
                    request_hash,
                    is_deleted,
                }) => {
                    if *request_hash != checked.request.hash {
                        taken.extend(other_request(place, key.unwrap_or_default(), *run));
                    } else if *is_deleted {
                        let problem = Problem::new(Code::Gone, deleted_run(key.unwrap_or_default(), *run));
                        gone.extend(problem.into_errors(&format!("/runs/{place}/idempotency_key")));
                    }
                    (*run, false)
                }
            };
            placed.push(Placed { run, is_first, checked });
        }
        if taken.is_empty() && gone.is_empty() {
            return Ok(placed);
        }
        if taken.is_empty() {
            let detail = format!(
                "{} of the runs were started before and are deleted, so none was started",
                gone.len()
            );
            return Err(Problem::new(Code::Gone, detail).with_errors(gone));
        }
        let detail = format!(
            "idempotency keys of {} runs were used by other requests, so none was started",
            taken.len()
        );
        Err(Problem::new(Code::IdempotencyMismatch, detail).with_errors(taken))
    }

    /// Begins what is not there yet; whether there was anything to begin.
    async fn begin_all(&self, namespace: &Namespace, placed: Vec<Placed>) -> Result<bool, Problem> {
        let repeated: Vec<RunId> = placed.iter().filter(|one| !one.is_first).map(|one| one.run).collect();
        let starts = placed.into_iter().map(|one| NewRun {
            run: one.run,
            start: one
                .checked
                .request
                .into_start(namespace, &one.checked.known, !one.is_first),
        });
        let mut starts: Vec<NewRun> = starts.collect();
        for race in 1.. {
            if !repeated.is_empty() {
                let there: HashSet<RunId> = self.store.runs_there(&repeated).await?.into_iter().collect();
                starts.retain(|one| !there.contains(&one.run));
            }
            let Some(first) = starts.first() else { return Ok(false) };
            let command = Command::StartMany { runs: starts.clone() };
            match self.backend.submit(first.run, command).await {
                Ok(reply) => return Ok(reply.changed),
                // Somebody who sent the same was quicker with some of them: then the database refuses these.
                Err(CommandError::Refused { .. }) if !repeated.is_empty() && race < RACES_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

fn other_request(place: usize, key: &str, run: RunId) -> Vec<DocumentError> {
    let detail = format!("idempotency key {key:?} was used by another request, which started run {run}");
    let problem = Problem::new(Code::IdempotencyMismatch, detail);
    problem.into_errors(&format!("/runs/{place}/idempotency_key"))
}
