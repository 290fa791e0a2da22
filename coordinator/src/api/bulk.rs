//! One operation on all runs that a filter finds.

use axum::Json as Answer;
use axum::extract::State;
use futures_util::future::join_all;
use rejoin_engine::event::{StepOperation, Steps};
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::extract::{Body, Fields, InNamespace, Params, wrong_kind, wrong_member};
use super::fork;
use super::problem::{Code, Problem};
use crate::owner::command::{Command, CommandError};
use crate::store::{RunFilter, RunRow};

/// Runs that are looked up, and operated on, at once.
const PAGE: usize = 50;
/// Members of a filter; the first three may be lists.
const MEMBERS: [&str; 8] = ["workflow", "state", "tag", "since", "until", "parent", "waiting", "q"];
const LISTS: usize = 3;

/// What a bulk operation did.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outcome {
    /// Runs that the filter found.
    matched: u64,
    /// Those whose state allowed it.
    done: u64,
    /// Whether nothing was to be done.
    dry_run: bool,
}

/// What is done to each run.
enum Operation {
    Ask(Command),
    Fork(fork::Request),
    Delete,
}

/// `POST /v1/runs:bulk`
pub async fn carry_out(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    body: Body,
) -> Result<Answer<Outcome>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let found = read_filter(&fields.take_some("filter").unwrap_or_else(Json::object));
    let operation = operation(&api, &mut fields);
    let (dry_run, all) = (fields.take_bool("dry_run")?, fields.take_bool("all")?);
    fields.end()?;
    let (found, operation) = (found?, operation?);
    let filter = api
        .filter(&namespace, &found)
        .await
        .map_err(|problem| match problem.code() == Code::Malformed {
            true => wrong(problem.detail()).at_member("filter"),
            false => problem,
        })?;
    if filter == RunFilter::default() && !all {
        let detail = "the filter is empty; say `all: true` if every run of the namespace is meant";
        return Err(wrong_member("filter", detail));
    }
    let mut outcome = Outcome {
        dry_run,
        ..Outcome::default()
    };
    match api.on_all(&namespace, &filter, &operation, &mut outcome).await {
        Ok(()) => Ok(Answer(outcome)),
        Err(problem) => {
            let detail = format!(
                "{}; done with {} runs of {} so far",
                problem.detail(),
                outcome.done,
                outcome.matched
            );
            Err(Problem::new(problem.code(), detail))
        }
    }
}

/// The operation, with the members that go with it.
fn operation(api: &Api, fields: &mut Fields) -> Result<Operation, Problem> {
    let name = fields.take_text("operation")?;
    match name.as_deref() {
        Some("cancel") => Ok(Operation::Ask(Command::Cancel {
            reason: fields.take_text("reason")?,
            compensate: fields.take_bool("compensate")?,
        })),
        Some("pause") => Ok(Operation::Ask(Command::Pause)),
        Some("resume") => Ok(Operation::Ask(Command::Resume)),
        Some("retry") => {
            let kind = fields.take_text("error_type")?;
            let missing = "operation retry needs `error_type`: the type of the steps' last error";
            let kind = kind.ok_or_else(|| wrong_member("error_type", missing))?;
            Ok(Operation::Ask(Command::Operate {
                steps: Steps::WithError(kind),
                what: StepOperation::Retry {
                    input: fields.take("input"),
                },
            }))
        }
        Some("fork") => Ok(Operation::Fork(fork::read(api, fields)?)),
        Some("delete") => Ok(Operation::Delete),
        Some(_) | None => Err(wrong_member(
            "operation",
            "member operation must be cancel, pause, resume, retry, fork or delete",
        )),
    }
}

/// The members mean what the parameters of the list of runs mean. Those that say nothing are refused: an empty variable of a
/// script must not turn into "any".
fn read_filter(found: &Json) -> Result<Params, Problem> {
    let members = found
        .as_object()
        .ok_or_else(|| wrong_kind("filter", "an object", found))?;
    let mut pairs = Vec::new();
    for (key, value) in members {
        let wrong = |detail: String| wrong(&detail).at_member(key).at_member("filter");
        let Some(place) = MEMBERS.iter().position(|member| *member == &**key) else {
            let known = MEMBERS.join(", ");
            return Err(wrong(format!("unknown member {key:?}; known are: {known}")));
        };
        let one = std::slice::from_ref(value);
        let values = value.as_list().filter(|_| place < LISTS).unwrap_or(one);
        for value in values {
            match value.as_str() {
                Some(text) if !text.trim_matches([',', ' ']).is_empty() => {
                    pairs.push((key.to_string(), text.to_owned()))
                }
                Some(_) => return Err(wrong(format!("{key} is empty"))),
                None => return Err(wrong(format!("{key} must be text, not {}", value.kind()))),
            }
        }
        if values.is_empty() {
            return Err(wrong(format!("{key} is empty")));
        }
    }
    Ok(Params::of(pairs, MEMBERS.into()))
}

fn wrong(detail: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("member filter: {detail}"))
}

impl Api {
    /// Goes through the runs, newest first; those that begin meanwhile are not among them.
    async fn on_all(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        operation: &Operation,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        let mut before = None;
        loop {
            let rows: Vec<RunRow> = self.store.runs(namespace, filter, before, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            if self.stopping.is_cancelled() {
                return Err(Problem::new(Code::Unavailable, "the coordinator stops"));
            }
            before = Some(last.id);
            outcome.matched += rows.len() as u64;
            if outcome.dry_run {
                continue;
            }
            for done in join_all(rows.iter().map(|row| self.on_one(row, operation))).await {
                outcome.done += u64::from(done?);
            }
        }
    }

    /// Whether the run's state allowed it, as with the call for a single run.
    async fn on_one(&self, row: &RunRow, operation: &Operation) -> Result<bool, Problem> {
        let command = match operation {
            Operation::Delete => return Ok(self.store.delete_run(row.id).await?),
            Operation::Fork(request) => return allowed(self.fork(row, request.clone()).await),
            Operation::Ask(command) => command.clone(),
        };
        match self.backend.submit(row.id, command).await {
            Ok(_) => Ok(true),
            Err(
                CommandError::NotFound
                | CommandError::Missing { .. }
                | CommandError::NotAllowed { .. }
                | CommandError::Full
                | CommandError::Refused { .. },
            ) => Ok(false),
            Err(error @ (CommandError::Superseded | CommandError::Elsewhere | CommandError::Unavailable { .. })) => {
                Err(error.into())
            }
        }
    }
}

/// What one run does not allow is left out; what would stop every other one too ends the operation.
fn allowed<T>(done: Result<T, Problem>) -> Result<bool, Problem> {
    match done {
        Ok(_) => Ok(true),
        Err(problem) if matches!(problem.code(), Code::Unavailable | Code::Internal | Code::TooMany) => Err(problem),
        Err(_) => Ok(false),
    }
}
