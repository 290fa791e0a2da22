//! [`Completions`] as they stand in the message: what they have in common stands once.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize as SerializeDerive};
use serde_json::value::RawValue;

use super::{AttemptEnd, Completion, Completions, HandlerError, WorkerId, yes};
use crate::ids::{RunId, StepKey};
use crate::time::Timestamp;

#[derive(Clone, Copy, PartialEq, SerializeDerive, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Error,
}

/// What an item that lacks one of these has.
#[derive(Default, PartialEq, SerializeDerive, Deserialize)]
struct Common {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// What the items' times are counted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

impl Common {
    /// What is the same in several items; a single one has everything to itself.
    fn of(items: &[Completion]) -> Common {
        match items {
            [first, _, ..] => Common {
                run: Some(first.run),
                attempt: Some(first.attempt),
                outcome: Some(outcome_of(&first.end)),
                at: Some(first.started_at),
            },
            [] | [_] => Common::default(),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Common::default()
    }
}

fn outcome_of(end: &AttemptEnd) -> Outcome {
    match end {
        AttemptEnd::Ok { .. } => Outcome::Ok,
        AttemptEnd::Error(_) => Outcome::Error,
    }
}

/// An item's own part. serde reads tagged fields through a buffer, from which neither raw values nor exact numbers can be had.
#[derive(Deserialize)]
struct Own {
    run: Option<RunId>,
    step: StepKey,
    attempt: Option<u32>,
    token: Option<String>,
    outcome: Option<Outcome>,
    output: Option<Box<RawValue>>,
    set: Option<Box<RawValue>>,
    #[serde(default)]
    unset: Vec<String>,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default = "yes")]
    retryable: bool,
    retry_after_ms: Option<u64>,
    details: Option<crate::json::Json>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// Both of them, in microseconds after the common time.
    ran: Option<(i64, i64)>,
    #[serde(default)]
    logs: Vec<String>,
    checkpoint: Option<Box<RawValue>>,
}

impl Own {
    fn with(self, common: &Common) -> Result<Completion, String> {
        let ran = self.ran.zip(common.at);
        let started_at = self.started_at.or_else(|| ran.and_then(|(ran, at)| at.moved(ran.0)));
        let finished_at = self.finished_at.or_else(|| ran.and_then(|(ran, at)| at.moved(ran.1)));
        let end = match self.outcome.or(common.outcome).ok_or("a completion has no outcome")? {
            Outcome::Ok => AttemptEnd::Ok {
                output: self.output,
                set: self.set,
                unset: self.unset,
            },
            Outcome::Error => AttemptEnd::Error(HandlerError {
                kind: self.kind,
                message: self.message,
                retryable: self.retryable,
                retry_after_ms: self.retry_after_ms,
                details: self.details,
            }),
        };
        Ok(Completion {
            run: self.run.or(common.run).ok_or("a completion has no run")?,
            step: self.step,
            attempt: self.attempt.or(common.attempt).ok_or("a completion has no attempt")?,
            token: self.token,
            end,
            started_at: started_at.ok_or("a completion has no time at which it began")?,
            finished_at: finished_at.ok_or("a completion has no time at which it ended")?,
            logs: self.logs,
            checkpoint: self.checkpoint,
        })
    }
}

/// Completions as they are read.
#[derive(Deserialize)]
pub(super) struct Text {
    worker: WorkerId,
    #[serde(default)]
    common: Common,
    items: Vec<Own>,
}

impl TryFrom<Text> for Completions {
    type Error = String;

    fn try_from(text: Text) -> Result<Completions, String> {
        let items = text.items.into_iter().map(|own| own.with(&text.common));
        Ok(Completions {
            items: items.collect::<Result<_, _>>()?,
            worker: text.worker,
        })
    }
}

impl Serialize for Completions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        written(&self.worker, &self.items, serializer)
    }
}

/// The JSON of [`Completions`], without giving up the items: a worker keeps them until the confirm.
///
/// # Errors
/// None that is known: completions are plain data.
pub fn to_text(worker: &WorkerId, items: &[Completion]) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128 + 192 * items.len());
    written(worker, items, &mut serde_json::Serializer::new(&mut text))?;
    Ok(text)
}

fn written<S: Serializer>(worker: &WorkerId, items: &[Completion], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(SerializeDerive)]
    struct Written<'a> {
        worker: &'a WorkerId,
        #[serde(skip_serializing_if = "Common::is_empty")]
        common: &'a Common,
        items: Vec<Beside<'a>>,
    }
    let common = &Common::of(items);
    let items = items.iter().map(|item| Beside { item, common });
    let written = Written {
        worker,
        common,
        items: items.collect(),
    };
    written.serialize(serializer)
}

/// A completion beside what it has in common with others.
struct Beside<'a> {
    item: &'a Completion,
    common: &'a Common,
}

impl Serialize for Beside<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Beside { item, common } = self;
        let outcome = outcome_of(&item.end);
        let mut text = serializer.serialize_struct("Completion", 16)?;
        if common.run != Some(item.run) {
            text.serialize_field("run", &item.run)?;
        }
        text.serialize_field("step", &item.step)?;
        if common.attempt != Some(item.attempt) {
            text.serialize_field("attempt", &item.attempt)?;
        }
        if let Some(token) = &item.token {
            text.serialize_field("token", token)?;
        }
        if common.outcome != Some(outcome) {
            text.serialize_field("outcome", &outcome)?;
        }
        match &item.end {
            AttemptEnd::Ok { output, set, unset } => {
                if let Some(output) = output {
                    text.serialize_field("output", output)?;
                }
                if let Some(set) = set {
                    text.serialize_field("set", set)?;
                }
                if !unset.is_empty() {
                    text.serialize_field("unset", unset)?;
                }
            }
            AttemptEnd::Error(error) => error_fields(&mut text, error)?,
        }
        match common.at {
            Some(at) => {
                let after = |time: Timestamp| time.0.saturating_sub(at.0);
                text.serialize_field("ran", &(after(item.started_at), after(item.finished_at)))?;
            }
            None => {
                text.serialize_field("started_at", &item.started_at)?;
                text.serialize_field("finished_at", &item.finished_at)?;
            }
        }
        if !item.logs.is_empty() {
            text.serialize_field("logs", &item.logs)?;
        }
        if let Some(checkpoint) = &item.checkpoint {
            text.serialize_field("checkpoint", checkpoint)?;
        }
        text.end()
    }
}

fn error_fields<T: SerializeStruct>(text: &mut T, error: &HandlerError) -> Result<(), T::Error> {
    text.serialize_field("type", &error.kind)?;
    text.serialize_field("message", &error.message)?;
    text.serialize_field("retryable", &error.retryable)?;
    if let Some(ms) = error.retry_after_ms {
        text.serialize_field("retry_after_ms", &ms)?;
    }
    if let Some(details) = &error.details {
        text.serialize_field("details", details)?;
    }
    Ok(())
}
