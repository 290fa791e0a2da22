//! [`Pack`] as it stands in the message: what its attempts have in common stands once.
//!
//! A fan-out's packs are full of attempts that differ in their place alone. Said once a message, the rest costs the broker no
//! bytes and nobody the time to write and read it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize as SerializeDerive};
use uuid::Uuid;

use super::{BaseContext, Order, OrderPayload, Pack};
use crate::ids::{Namespace, RunId, StepKey};
use crate::time::Timestamp;

/// The only encoding of payloads so far; whoever says none means it.
const ENCODING_JSON: &str = "json";

/// What an attempt that lacks one of these has.
#[derive(Clone, Default, PartialEq, SerializeDerive, Deserialize)]
struct Common {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workflow: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handler: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heartbeat_ms: Option<u64>,
}

impl Common {
    /// What is the same in several attempts; a single one has everything to itself.
    fn of(attempts: &[Order]) -> Common {
        let [first, others @ ..] = attempts else {
            return Common::default();
        };
        if others.is_empty() {
            return Common::default();
        }
        let all = |same: fn(&Order, &Order) -> bool| others.iter().all(|other| same(first, other));
        Common {
            run: Some(first.run),
            attempt: Some(first.attempt),
            workflow: Some(first.workflow.clone()),
            handler: Some(first.handler.clone()),
            // An attempt without one could not say so beside a common one.
            timeout_ms: first.timeout_ms.filter(|_| all(|a, b| a.timeout_ms == b.timeout_ms)),
            heartbeat_ms: first
                .heartbeat_ms
                .filter(|_| all(|a, b| a.heartbeat_ms == b.heartbeat_ms)),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Common::default()
    }
}

/// An attempt's own part.
#[derive(Deserialize)]
struct Own {
    run: Option<RunId>,
    step: StepKey,
    attempt: Option<u32>,
    workflow: Option<Arc<str>>,
    path: String,
    handler: Option<Arc<str>>,
    idempotency_key: Option<String>,
    timeout_ms: Option<u64>,
    heartbeat_ms: Option<u64>,
    token: Option<String>,
    payload_encoding: Option<String>,
    payload: OrderPayload,
}

impl Own {
    fn with(self, common: &Common) -> Result<Order, String> {
        Ok(Order {
            run: self.run.or(common.run).ok_or("an attempt has no run")?,
            step: self.step,
            attempt: self.attempt.or(common.attempt).ok_or("an attempt has no number")?,
            workflow: text(self.workflow, common.workflow.as_ref()).ok_or("an attempt has no workflow")?,
            path: self.path,
            handler: text(self.handler, common.handler.as_ref()).ok_or("an attempt has no handler")?,
            idempotency_key: self.idempotency_key,
            timeout_ms: self.timeout_ms.or(common.timeout_ms),
            heartbeat_ms: self.heartbeat_ms.or(common.heartbeat_ms),
            token: self.token,
            payload_encoding: match self.payload_encoding {
                Some(encoding) if encoding != ENCODING_JSON => Cow::Owned(encoding),
                Some(_) | None => Cow::Borrowed(ENCODING_JSON),
            },
            payload: self.payload,
        })
    }
}

fn text(own: Option<Arc<str>>, common: Option<&Arc<str>>) -> Option<Arc<str>> {
    own.or_else(|| common.cloned())
}

/// A pack as it is read.
#[derive(Deserialize)]
pub(super) struct Text {
    owner: String,
    publish: u64,
    #[serde(default)]
    check: bool,
    #[serde(default)]
    suspect: bool,
    until: Option<Timestamp>,
    #[serde(default)]
    claim: bool,
    probe: Option<Uuid>,
    namespace: Namespace,
    queue: String,
    #[serde(default)]
    contexts: Vec<BaseContext>,
    #[serde(default)]
    common: Common,
    #[serde(default)]
    attempts: Vec<Own>,
}

impl TryFrom<Text> for Pack {
    type Error = String;

    fn try_from(text: Text) -> Result<Pack, String> {
        let common = text.common;
        let attempts = text.attempts.into_iter().map(|own| own.with(&common));
        Ok(Pack {
            owner: text.owner,
            publish: text.publish,
            check: text.check,
            suspect: text.suspect,
            until: text.until,
            claim: text.claim,
            probe: text.probe,
            namespace: text.namespace,
            queue: text.queue,
            contexts: text.contexts,
            attempts: attempts.collect::<Result<_, _>>()?,
        })
    }
}

/// A pack as it is written.
#[derive(SerializeDerive)]
struct Written<'a> {
    owner: &'a str,
    publish: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    check: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suspect: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    claim: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Uuid>,
    namespace: &'a Namespace,
    queue: &'a str,
    contexts: &'a [BaseContext],
    #[serde(skip_serializing_if = "Common::is_empty")]
    common: &'a Common,
    attempts: Vec<Beside<'a>>,
}

impl Serialize for Pack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let common = Common::of(&self.attempts);
        let attempts = self.attempts.iter();
        let attempts = attempts.map(|order| Beside { order, common: &common });
        let written = Written {
            owner: &self.owner,
            publish: self.publish,
            check: self.check,
            suspect: self.suspect,
            until: self.until,
            claim: self.claim,
            probe: self.probe,
            namespace: &self.namespace,
            queue: &self.queue,
            contexts: &self.contexts,
            common: &common,
            attempts: attempts.collect(),
        };
        written.serialize(serializer)
    }
}

/// An attempt beside what it has in common with others.
struct Beside<'a> {
    order: &'a Order,
    common: &'a Common,
}

impl Serialize for Beside<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Beside { order, common } = self;
        let mut text = serializer.serialize_struct("Order", 12)?;
        if common.run != Some(order.run) {
            text.serialize_field("run", &order.run)?;
        }
        text.serialize_field("step", &order.step)?;
        if common.attempt != Some(order.attempt) {
            text.serialize_field("attempt", &order.attempt)?;
        }
        if common.workflow.as_ref() != Some(&order.workflow) {
            text.serialize_field("workflow", &order.workflow)?;
        }
        text.serialize_field("path", &order.path)?;
        if common.handler.as_ref() != Some(&order.handler) {
            text.serialize_field("handler", &order.handler)?;
        }
        if let Some(key) = &order.idempotency_key {
            text.serialize_field("idempotency_key", key)?;
        }
        if let Some(ms) = order.timeout_ms.filter(|ms| common.timeout_ms != Some(*ms)) {
            text.serialize_field("timeout_ms", &ms)?;
        }
        if let Some(ms) = order.heartbeat_ms.filter(|ms| common.heartbeat_ms != Some(*ms)) {
            text.serialize_field("heartbeat_ms", &ms)?;
        }
        if let Some(token) = &order.token {
            text.serialize_field("token", token)?;
        }
        if order.payload_encoding != ENCODING_JSON {
            text.serialize_field("payload_encoding", &order.payload_encoding)?;
        }
        text.serialize_field("payload", &order.payload)?;
        text.end()
    }
}
