//! A run as the API shows it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::{Counts, ErrorValue, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::waits::WaitView;
use crate::store::{ForkedFrom, RunRow};

/// INTERFACE 8, `GET /v1/runs/{id}`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs)]
#[schemars(rename = "Run")]
pub struct RunView {
    pub id: RunId,
    pub namespace: Namespace,
    pub workflow: String,
    pub version: u32,
    pub state: RunStatus,
    pub priority: Priority,
    pub input: Box<RawValue>,
    pub context: Box<RawValue>,
    pub output: Box<RawValue>,
    #[schemars(with = "Option<ErrorValue>")]
    pub error: Box<RawValue>,
    pub compensated: bool,
    pub progress: Progress,
    pub counts: Counts,
    pub tags: BTreeMap<String, String>,
    /// Timers, events, inputs, children and parked steps it waits for.
    pub waits: Vec<WaitView>,
    pub children: Vec<RunId>,
    pub parent: Option<RunId>,
    /// The run whose past it shares, and the last record that they have in common.
    pub forked_from: Option<ForkedFrom>,
    pub partition: Partition,
    pub owner: Option<String>,
    pub idempotency_key: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl RunView {
    /// Shows a row.
    #[must_use]
    pub fn of(row: RunRow) -> RunView {
        RunView {
            partition: row.id.partition(),
            id: row.id,
            namespace: row.namespace,
            workflow: row.workflow,
            version: row.version,
            state: row.status,
            priority: row.priority,
            input: raw(Some(&row.input)),
            context: raw(row.context.as_ref()),
            output: raw(row.output.as_ref()),
            error: raw(row.error.as_ref()),
            compensated: row.compensated,
            progress: row.progress,
            counts: row.counts,
            tags: row.tags,
            waits: Vec::new(),
            children: Vec::new(),
            parent: row.parent,
            forked_from: row.forked_from,
            owner: None,
            idempotency_key: row.idempotency_key,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }

    /// Puts a context in that is newer than the row's.
    pub fn set_context(&mut self, context: &Json) {
        self.context = raw(Some(&Bytes::from(context.to_bytes())));
    }
}

/// Stored JSON text as it is, without building its tree.
fn raw(text: Option<&Bytes>) -> Box<RawValue> {
    let text = text.and_then(|bytes| serde_json::from_slice(bytes).ok());
    text.unwrap_or_else(|| RawValue::NULL.to_owned())
}
