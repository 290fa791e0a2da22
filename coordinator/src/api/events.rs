//! Events from outside: to one run, or to every run that waits for one.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use rejoin_shared::json::Json;
use rejoin_shared::limits::EVENT_NAME_BYTES_MAX;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::extract::{Body, Fields, InNamespace, wrong_member};
use super::find::Segments;
use super::problem::{Code, Problem};
use crate::owner::command::Command;
use crate::store::Broadcast;

/// An event that was taken in.
#[derive(Serialize, JsonSchema)]
pub struct Accepted {
    /// How many runs it went to.
    runs: u64,
}

struct Event {
    name: String,
    payload: Json,
    id: Option<String>,
}

/// `POST /v1/runs/{id}/events`
pub async fn send(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<(StatusCode, Answer<Accepted>), Problem> {
    let event = api.event(&body)?;
    let row = api.run(&namespace, &id).await?;
    let command = Command::Signal {
        from: namespace,
        event: event.name,
        payload: event.payload,
        id: event.id,
        is_addressed: true,
        sender: None,
    };
    api.backend.submit(row.id, command).await?;
    Ok((StatusCode::ACCEPTED, Answer(Accepted { runs: 1 })))
}

/// `POST /v1/events`
pub async fn broadcast(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    body: Body,
) -> Result<(StatusCode, Answer<Accepted>), Problem> {
    let event = api.event(&body)?;
    let command = Command::Signal {
        from: namespace.clone(),
        event: event.name.clone(),
        payload: event.payload,
        id: event.id.clone(),
        is_addressed: false,
        sender: None,
    };
    let message = Broadcast {
        namespace,
        event: event.name,
        kind: command.kind().to_owned(),
        body: serde_json::to_vec(&command).expect("a command is plain data").into(),
        dedupe_key: event.id.map(|id| format!("event:{id}")),
    };
    let runs = api.backend.broadcast(message).await?;
    Ok((StatusCode::ACCEPTED, Answer(Accepted { runs })))
}

impl Api {
    fn event(&self, body: &Body) -> Result<Event, Problem> {
        let mut fields = Fields::of(&body.object()?);
        let name = fields.take_text("event")?;
        let payload = fields.take("payload").unwrap_or_default();
        let id = fields.take_text("id")?;
        fields.end()?;
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let detail = "member \"event\" is missing: the name of the event";
            return Err(wrong_member("event", detail));
        };
        for (what, text) in [("event", Some(&name)), ("id", id.as_ref())] {
            if text.is_some_and(|text| text.len() > EVENT_NAME_BYTES_MAX) {
                let detail = format!("member {what:?} is longer than {EVENT_NAME_BYTES_MAX} bytes");
                return Err(wrong_member(what, detail));
            }
        }
        let (bytes, most) = (payload.text_len(), self.limits.payload_bytes_max);
        if bytes > most {
            let detail = format!("the payload has {bytes} bytes, more than the limit of {most}");
            return Err(Problem::new(Code::TooLarge, detail).at_member("payload"));
        }
        Ok(Event { name, payload, id })
    }
}
