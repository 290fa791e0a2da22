//! Dead letters: what the broker has given up, and steps that killed their workers.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::link::Published;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::Api;
use super::extract::{InNamespace, Params, bad_parameter};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, Problem};
use crate::broker::dead_letters::Letter;
use crate::owner::command::{Command, CommandError};

/// What follows an id to send its letter again.
const REPLAY: &str = ":replay";
/// Larger bodies are not shown.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Reason of a letter that the owner of a run wrote.
const POISON: &str = "rejoin.poison";

/// A dead letter.
#[derive(Serialize, JsonSchema)]
#[allow(missing_docs)] // docs/http.md
#[schemars(rename = "DeadLetter")]
pub struct LetterView {
    pub id: Uuid,
    pub reason: String,
    pub kind: String,
    pub queue: Option<String>,
    pub run: Option<RunId>,
    pub path: Option<String>,
    pub handler: Option<String>,
    pub input: Json,
    pub at: Option<Timestamp>,
    pub bytes: usize,
    pub body: Json,
}

/// `GET /v1/dead-letters`
pub async fn list(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<LetterView>>, Problem> {
    let (after, limit) = (
        params.read::<Uuid>("after", "the `next` of the page before")?,
        params.limit()?,
    );
    let letters = api.backend.dead_letters().list(&namespace).await?;
    let begin = match after {
        None => 0,
        Some(after) => letters.iter().position(|letter| letter.id == after).map_or_else(
            || {
                Err(bad_parameter(
                    "after",
                    &after.to_string(),
                    "a letter that is still there; begin anew",
                ))
            },
            |place| Ok(place + 1),
        )?,
    };
    let rest = letters.into_iter().skip(begin).take(limit + 1).collect();
    let page = Page::cut(rest, limit, |letter: &Letter| letter.id.to_string());
    Ok(Answer(page.map(|letter| shown(&letter))))
}

/// `DELETE /v1/dead-letters/{id}`
pub async fn remove(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
) -> Result<StatusCode, Problem> {
    let removed = api.backend.dead_letters().remove(&namespace, read_id(&id)?).await?;
    removed.map_or_else(|| Err(unknown(&id)), |_| Ok(StatusCode::NO_CONTENT))
}

/// `POST /v1/dead-letters/{id}:replay`
pub async fn replay(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(segment): Segments<String>,
) -> Result<Answer<LetterView>, Problem> {
    let Some(id) = segment.strip_suffix(REPLAY) else {
        let detail = format!("there is nothing at /v1/dead-letters/{segment}; a letter is sent again at …{REPLAY}");
        return Err(Problem::new(Code::NoSuchRoute, detail));
    };
    let letters = api.backend.dead_letters();
    let letter = letters
        .find(&namespace, read_id(id)?)
        .await?
        .ok_or_else(|| unknown(id))?;
    let view = shown(&letter);
    match (&letter.death, view.run) {
        (Some(death), _) => match letters.send_again(&letter, &death.queue).await? {
            Published::Accepted => {}
            Published::Unroutable => return Err(conflict(format!("there is no queue {} any more", death.queue))),
            Published::Refused => return Err(Problem::new(Code::Unavailable, "the broker refused the message")),
        },
        (None, Some(run)) if view.reason == POISON => api.retry_poisoned(run).await?,
        (None, _) => {
            return Err(conflict(
                "it does not say where it came from; it can only be dropped".to_owned(),
            ));
        }
    }
    // Cut off here, it is sent once more the next time: what it says is counted once.
    letters.remove(&namespace, letter.id).await?;
    Ok(Answer(view))
}

impl Api {
    /// A step whose workers vanished is tried again by resuming its run, which failed of it.
    async fn retry_poisoned(&self, run: RunId) -> Result<(), Problem> {
        match self.backend.submit(run, Command::Resume).await {
            Ok(_) => Ok(()),
            Err(CommandError::NotFound | CommandError::Missing { .. }) => {
                Err(conflict(format!("run {run} is not there any more")))
            }
            Err(
                error @ (CommandError::NotAllowed { .. }
                | CommandError::Full
                | CommandError::Refused { .. }
                | CommandError::Superseded
                | CommandError::Elsewhere
                | CommandError::Unavailable { .. }),
            ) => Err(error.into()),
        }
    }
}

fn conflict(detail: String) -> Problem {
    Problem::new(Code::Conflict, format!("the letter cannot be sent again: {detail}"))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found("dead letter", id)
}

fn read_id(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn shown(letter: &Letter) -> LetterView {
    let message = &letter.message;
    let body = Json::parse(&message.body).unwrap_or_default();
    let text = |of: &Json, key: &str| of.get(key).and_then(Json::as_str).map(str::to_owned);
    // Only a letter that was written as one tells these of itself.
    let own = if letter.death.is_none() {
        body.clone()
    } else {
        Json::Null
    };
    let run = own.get("attempt").and_then(|attempt| text(attempt, "run"));
    LetterView {
        id: letter.id,
        reason: match &letter.death {
            Some(death) => death.reason.clone(),
            None => text(&own, "reason").unwrap_or_else(|| "unknown".to_owned()),
        },
        kind: message.kind.clone(),
        queue: letter.death.as_ref().map(|death| death.queue.clone()),
        run: run.and_then(|run| run.parse().ok()),
        path: text(&own, "path"),
        handler: text(&own, "handler"),
        input: own.get("input").cloned().unwrap_or_default(),
        at: made_at(message.id),
        bytes: message.body.len(),
        body: if message.body.len() > BODY_BYTES_MAX {
            Json::Null
        } else {
            body
        },
    }
}

/// Ids of messages tell when these were made.
fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp(micros + i64::from(nanos / 1_000)))
}
