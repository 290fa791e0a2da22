//! Messages of event queues and of the coordinator's own queue, as the owner takes them.

use rejoin_engine::event::Completed;
use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Message;
use rejoin_shared::wire::{
    Check, Checkpoints, Completions, FetchContext, HandBack, PROTOCOL, Report, Survey, Surveyed, kind,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::gate::Gate;
use crate::owner::completion;

/// What an event queue carries.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// Attempts that ended.
    Completions(Vec<(RunId, Completed)>),
    /// What attempts that go on have stored.
    Checkpoints(Uuid, Vec<(AttemptKey, Json)>),
    /// May these run?
    Check(Check),
    /// Not started, and will not be.
    HandBack(HandBack),
    /// A base context is wanted.
    Fetch(FetchContext),
    /// To be passed on.
    Fence(rejoin_shared::wire::Fence),
}

/// What the coordinator's own queue carries.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Of a worker.
    Report(Box<Report>),
    /// The inbox holds something new.
    Nudge,
    /// Another coordinator asks.
    Survey(Survey),
    /// Another coordinator answers.
    Surveyed(Surveyed),
}

/// Why a message of an event queue is not taken in as it is.
#[derive(Debug)]
pub enum Unfit {
    /// Not of this protocol, or not readable: for the dead letters.
    Unreadable(String),
    /// Some of these are of attempts that were never dispatched.
    Strange(Box<Completions>),
}

impl From<String> for Unfit {
    fn from(reason: String) -> Unfit {
        Unfit::Unreadable(reason)
    }
}

/// Reads a message of an event queue, if `gate` believes it.
///
/// # Errors
/// [`Unfit`]
pub fn event(message: &Message, limits: &Limits, gate: &Gate) -> Result<EventBody, Unfit> {
    check_protocol(message)?;
    let body = match message.kind.as_str() {
        kind::COMPLETIONS => {
            let body: Completions = read(message)?;
            if !body.items.iter().all(|item| gate.believes(item)) {
                return Err(Unfit::Strange(Box::new(body)));
            }
            let worker = body.worker.name.into();
            let items = body.items.into_iter();
            Ok(EventBody::Completions(
                items
                    .map(|c| (c.run, completion::completed(c, &worker, limits)))
                    .collect(),
            ))
        }
        kind::CHECKPOINTS => {
            let mut body: Checkpoints = read(message)?;
            let came = body.items.len();
            body.items.retain(|item| gate.believes_checkpoint(item));
            if body.items.len() < came {
                tracing::debug!(worker = %body.worker.name, "checkpoints without the tokens of their attempts are passed over");
            }
            let worker = body.worker.incarnation;
            Ok(EventBody::Checkpoints(worker, completion::checkpoints(body, limits)))
        }
        kind::CHECK => read(message).map(EventBody::Check),
        kind::HAND_BACK => read(message).map(EventBody::HandBack),
        kind::FETCH_CONTEXT => read(message).map(EventBody::Fetch),
        kind::FENCE => read(message).map(EventBody::Fence),
        other => Err(format!("{other:?} is no event")),
    };
    Ok(body?)
}

/// Reads a message of the coordinator's own queue; `None` for what is not for it.
#[must_use]
pub fn notice(message: &Message) -> Option<Notice> {
    check_protocol(message).ok()?;
    match message.kind.as_str() {
        kind::REPORT => read(message).ok().map(|report| Notice::Report(Box::new(report))),
        kind::NUDGE => Some(Notice::Nudge),
        kind::SURVEY => read(message).ok().map(Notice::Survey),
        kind::SURVEYED => read(message).ok().map(Notice::Surveyed),
        _ => None,
    }
}

fn check_protocol(message: &Message) -> Result<(), String> {
    match message.protocol == PROTOCOL {
        true => Ok(()),
        false => Err(format!("protocol {} is not {PROTOCOL}", message.protocol)),
    }
}

fn read<T: serde::de::DeserializeOwned>(message: &Message) -> Result<T, String> {
    rejoin_shared::json::read_own(&message.body).map_err(|e| e.to_string())
}

/// The part of a message that is about runs which `wanted` picks; `None` if there is none.
#[must_use]
pub fn part_for(message: &Message, wanted: impl Fn(RunId) -> bool) -> Option<Vec<u8>> {
    match message.kind.as_str() {
        kind::COMPLETIONS => {
            let mut body: Completions = read(message).ok()?;
            body.items.retain(|item| wanted(item.run));
            (!body.items.is_empty()).then(|| to_bytes(&body))
        }
        kind::CHECKPOINTS => {
            let mut body: Checkpoints = read(message).ok()?;
            body.items.retain(|item| wanted(item.attempt.run));
            (!body.items.is_empty()).then(|| to_bytes(&body))
        }
        kind::CHECK => {
            let mut body: Check = read(message).ok()?;
            body.attempts.retain(|key| wanted(key.run));
            (!body.attempts.is_empty()).then(|| to_bytes(&body))
        }
        kind::HAND_BACK => {
            let mut body: HandBack = read(message).ok()?;
            body.attempts.retain(|key| wanted(key.run));
            body.claims.retain(|(key, _)| wanted(key.run));
            (!body.attempts.is_empty()).then(|| to_bytes(&body))
        }
        kind::FETCH_CONTEXT => {
            let body: FetchContext = read(message).ok()?;
            wanted(body.run).then(|| to_bytes(&body))
        }
        _ => None,
    }
}

/// A wire message as JSON.
#[must_use]
pub fn to_bytes<T: serde::Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("wire messages are plain data with text keys")
}

/// A value as a part of a wire message.
#[must_use]
pub fn raw(json: &Json) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).expect("a JSON value's text is JSON")
}
