//! What services get of runs, by the way that clients go.

use async_trait::async_trait;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::Priority;

use super::Api;
use super::problem::{Code, Problem};
use super::start::Request;
use crate::owner::command::{Command, CommandError};
use crate::services::runs::{Launch, Runs, RunsError, Seen};
use crate::store::{RunRow, StoreError};

/// What a service's key is bound to: the key alone names its run, whatever the request says by then.
const KEY_ALONE: &str = "service";

impl From<Launch> for Request {
    fn from(launch: Launch) -> Request {
        Request {
            input: launch.input,
            version: launch.version,
            key: launch.key,
            tags: launch.tags,
            priority: Priority::Normal,
            at: None,
            traceparent: None,
            hash: KEY_ALONE.to_owned(),
        }
    }
}

/// What asked too early may work later; the rest is wrong with what is asked.
fn trouble(problem: Problem) -> RunsError {
    let text = problem.detail().to_owned();
    match problem.code() {
        Code::Unavailable | Code::TooMany | Code::Internal => RunsError::Passing(text),
        Code::Malformed
        | Code::MalformedJson
        | Code::UnknownParameter
        | Code::Unauthorized
        | Code::Forbidden
        | Code::ReadOnly
        | Code::NotFound
        | Code::NoSuchRoute
        | Code::Gone
        | Code::MethodNotAllowed
        | Code::Ambiguous
        | Code::Conflict
        | Code::TooLarge
        | Code::HeadersTooLarge
        | Code::UnsupportedMediaType
        | Code::InvalidDefinition
        | Code::InvalidInput
        | Code::InvalidRequest
        | Code::IdempotencyMismatch => RunsError::Refused(text),
    }
}

fn away(error: StoreError) -> RunsError {
    RunsError::Passing(error.to_string())
}

/// `type: message` of a run's error.
fn error_of(row: &RunRow) -> Option<String> {
    let error = Json::parse_own(row.error.as_ref()?).ok()?;
    let part = |key| error.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    Some(format!("{}: {}", part("type"), part("message")))
}

#[async_trait]
impl Runs for Api {
    async fn start(&self, launch: &Launch) -> Result<RunId, RunsError> {
        let request = Request::from(launch.clone());
        let started = self.launch(&launch.namespace, &launch.workflow, request).await;
        started.map(|(run, _)| run).map_err(trouble)
    }

    async fn cancel(&self, run: RunId, reason: &str) -> Result<(), RunsError> {
        let command = Command::Cancel {
            reason: Some(reason.to_owned()),
            compensate: false,
        };
        match self.backend.submit(run, command).await {
            // It ended by itself, or is gone.
            Ok(_) | Err(CommandError::NotAllowed { .. } | CommandError::NotFound | CommandError::Missing { .. }) => {
                Ok(())
            }
            Err(
                error @ (CommandError::Full
                | CommandError::Refused { .. }
                | CommandError::Superseded
                | CommandError::Elsewhere
                | CommandError::Unavailable { .. }),
            ) => Err(RunsError::Passing(error.to_string())),
        }
    }

    async fn see(&self, run: RunId) -> Result<Option<Seen>, RunsError> {
        let row = self.store.run(run).await.map_err(away)?;
        Ok(row.map(|row| Seen {
            status: row.status,
            created_at: row.created_at,
            error: error_of(&row),
        }))
    }
}
