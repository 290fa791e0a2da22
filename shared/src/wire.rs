//! The wire contract (SPEC 11): what coordinator and workers say to each other, as JSON bodies of AMQP messages.
//!
//! Additive changes only: unknown fields are accepted, an unknown major version goes to the dead letters. The kind of
//! a message stands in the AMQP `type` property ([`kind`]), the version in the header [`PROTOCOL_HEADER`].
//!
//! ```text
//! owner  ── Pack ──────────▶ task queue ──▶ worker         attempts to run, or a probe
//! worker ── Completions ───▶ event queue ─▶ owner          what ended
//! worker ── Check ─────────▶ event queue ─▶ owner          may I run what was delivered or published again?
//! worker ── HandBack ──────▶ event queue ─▶ owner          attempts it has not started and will not
//! worker ── FetchContext ──▶ event queue ─▶ owner          a base context too large to travel with each branch
//! owner  ── Verdicts, ContextChunk, Cancel, ReportNow ───▶ the worker's own queue
//! worker ── Report ────────▶ reports exchange ──▶ every coordinator
//! coordinator ── Survey ───▶ reports exchange ──▶ every coordinator ── Surveyed ──▶ the asker's own queue
//! ```

mod completions;
mod pack;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use completions::to_text as completions_text;

use crate::delta::Delta;
use crate::ids::{AttemptKey, ClaimId, Namespace, RunId, StepKey};
use crate::time::Timestamp;

/// Header that holds [`PROTOCOL`].
pub const PROTOCOL_HEADER: &str = "rejoin-protocol";
/// Major version of the contract.
pub const PROTOCOL: u32 = 1;
/// A base context up to this many bytes travels with its pack; a larger one is fetched once a worker and fork.
pub const CONTEXT_INLINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one [`ContextChunk`].
pub const CONTEXT_CHUNK_BYTES: usize = 256 * 1024;
/// Most attempts in one [`Pack`].
pub const PACK_ATTEMPTS_MAX: usize = 256;

/// Values of the AMQP `type` property.
pub mod kind {
    /// [`super::Pack`]
    pub const PACK: &str = "rejoin.pack";
    /// [`super::Completions`]
    pub const COMPLETIONS: &str = "rejoin.completions";
    /// [`super::Check`]
    pub const CHECK: &str = "rejoin.check";
    /// [`super::Verdicts`]
    pub const VERDICTS: &str = "rejoin.verdicts";
    /// [`super::HandBack`]
    pub const HAND_BACK: &str = "rejoin.hand-back";
    /// [`super::FetchContext`]
    pub const FETCH_CONTEXT: &str = "rejoin.fetch-context";
    /// [`super::ContextChunk`]
    pub const CONTEXT_CHUNK: &str = "rejoin.context-chunk";
    /// [`super::Cancel`]
    pub const CANCEL: &str = "rejoin.cancel";
    /// [`super::Report`]
    pub const REPORT: &str = "rejoin.report";
    /// Asks for a report at once; empty body.
    pub const REPORT_NOW: &str = "rejoin.report-now";
    /// [`super::Fence`]
    pub const FENCE: &str = "rejoin.fence";
    /// [`super::Checkpoints`]
    pub const CHECKPOINTS: &str = "rejoin.checkpoints";
    /// Tells an owner that its inbox holds something new; empty body.
    pub const NUDGE: &str = "rejoin.nudge";
    /// [`super::Survey`]
    pub const SURVEY: &str = "rejoin.survey";
    /// [`super::Surveyed`]
    pub const SURVEYED: &str = "rejoin.surveyed";
}

/// Which worker process: a stable name and one id per start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId {
    /// Chosen by the operator, or host name and process id.
    pub name: String,
    /// Drawn at each start and after each loss of the connection; names the worker's own queue.
    pub incarnation: uuid::Uuid,
}

/// Attempts of one task queue, to be run; or a probe, which is a pack without attempts.
///
/// In the message, what its attempts have in common stands once, in a member `common` beside them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "pack::Text")]
pub struct Pack {
    /// Name of the coordinator that published it.
    pub owner: String,
    /// Counts the publishes of this owner's incarnation.
    pub publish: u64,
    /// Ask before running: these attempts may have been published before.
    pub check: bool,
    /// Its earlier deliveries may have killed workers: run singly and only after the start was confirmed by a check.
    pub suspect: bool,
    /// When the sender's lease ended, as far as it knew, by its clock. Whoever gets the pack later asks before running, for others
    /// may have run its attempts meanwhile: it may have lain on the way of a sender that has lost its partitions since. `None`: of
    /// an earlier version.
    pub until: Option<Timestamp>,
    /// It holds one attempt that may begin once only: just before it begins, ask for the claim by a check of its own, and begin
    /// only when the answer is *run*. `check` is set too.
    pub claim: bool,
    /// To be listed in the next report, at once: everything published to the queue before it has been delivered.
    pub probe: Option<uuid::Uuid>,
    /// Namespace of all its attempts.
    pub namespace: Namespace,
    /// The task queue (SPEC name, without prefix).
    pub queue: String,
    /// Base contexts that the attempts name by index.
    pub contexts: Vec<BaseContext>,
    /// What to run.
    pub attempts: Vec<Order>,
}

/// A context that several attempts start from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseContext {
    /// The JSON object itself.
    Inline(Box<RawValue>),
    /// To be fetched once by this key and kept.
    Stored {
        /// The run.
        run: RunId,
        /// Sequence number of the record it is the fork's base of; 0 is the run's beginning.
        seq: u64,
        /// Length of its JSON text.
        bytes: usize,
    },
}

/// One attempt to run.
#[derive(Clone, Debug)]
pub struct Order {
    /// The run.
    pub run: RunId,
    /// The step visit.
    pub step: StepKey,
    /// Counted from 1.
    pub attempt: u32,
    /// Name of the workflow.
    pub workflow: Arc<str>,
    /// The step's path.
    pub path: String,
    /// The handler.
    pub handler: Arc<str>,
    /// The same for every attempt of one visit; `None`: run and step visit, `<run>:<scope>:<branch>:<pos>`.
    pub idempotency_key: Option<String>,
    /// Of the attempt, from its start.
    pub timeout_ms: Option<u64>,
    /// Longest silence.
    pub heartbeat_ms: Option<u64>,
    /// Echoed in the completion.
    pub token: Option<String>,
    /// How the payload's values are encoded; `json` is all there is so far.
    pub payload_encoding: Cow<'static, str>,
    /// What the handler gets.
    pub payload: OrderPayload,
}

impl Order {
    /// The same for every attempt of one visit.
    #[must_use]
    pub fn idempotency_key(&self) -> Cow<'_, str> {
        match &self.idempotency_key {
            Some(key) => Cow::Borrowed(key),
            None => Cow::Owned(format!("{}:{}", self.run, self.step)),
        }
    }
}

/// What a handler gets, in parts that are put together on the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderPayload {
    /// Index into [`Pack::contexts`].
    pub base: usize,
    /// What the branch changed since its fork; laid on the base it gives the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Delta>,
    /// The evaluated `with`; absent: the whole context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// The nearest foreach's item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Box<RawValue>>,
    /// The nearest foreach's index or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Box<RawValue>>,
    /// What the last attempt stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Box<RawValue>>,
}

/// Attempts that ended.
///
/// In the message, what its items have in common stands once, in a member `common` beside them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "completions::Text")]
pub struct Completions {
    /// Who ran them.
    pub worker: WorkerId,
    /// Each is recorded on its own.
    pub items: Vec<Completion>,
}

/// One attempt that ended.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The run.
    pub run: RunId,
    /// The step visit.
    pub step: StepKey,
    /// The attempt that ran.
    pub attempt: u32,
    /// The order's token.
    pub token: Option<String>,
    /// How it ended.
    pub end: AttemptEnd,
    /// Worker's clock.
    pub started_at: Timestamp,
    /// Worker's clock.
    pub finished_at: Timestamp,
    /// Lines, cut to the limits with a mark.
    pub logs: Vec<String>,
    /// What the handler stored for the next attempt, if anything.
    pub checkpoint: Option<Box<RawValue>>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum AttemptEnd {
    /// The handler returned.
    Ok {
        /// Any JSON; checked by the owner, not trusted.
        output: Option<Box<RawValue>>,
        /// Key path → value.
        set: Option<Box<RawValue>>,
        /// Key paths.
        unset: Vec<String>,
    },
    /// The handler failed, or the worker ended it.
    Error(HandlerError),
}

/// An error as a handler, or the worker on its behalf, reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandlerError {
    /// `handler.error` where the handler names none.
    #[serde(rename = "type")]
    pub kind: String,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// False: no retry of this step.
    #[serde(default = "yes")]
    pub retryable: bool,
    /// Earliest next attempt, from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// An object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<crate::json::Json>,
}

fn yes() -> bool {
    true
}

/// Asks the owner what may run of attempts that were delivered or published again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Drawn for this question; the verdicts name it. Asking again with the same id is harmless.
    pub id: uuid::Uuid,
    /// Who asks; the answer goes to its own queue.
    pub worker: WorkerId,
    /// Whether the pack was marked suspect, or is redelivered and holds one attempt: the answer *run* then confirms a start.
    #[serde(default)]
    pub suspect: bool,
    /// Whether the broker had delivered the message before.
    #[serde(default)]
    pub redelivered: bool,
    /// What it would run.
    pub attempts: Vec<AttemptKey>,
}

/// Answers a [`Check`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdicts {
    /// The question's id.
    pub id: uuid::Uuid,
    /// In the question's order; a question that an owner answers in parts (runs of several owners) gets several.
    pub verdicts: Vec<(AttemptKey, Verdict)>,
    /// What some of those that may run have stored since they were dispatched, on a worker that is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<(AttemptKey, Box<RawValue>)>,
}

/// What attempts that go on have stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Who runs them.
    pub worker: WorkerId,
    /// Each is kept on its own.
    pub items: Vec<Checkpoint>,
}

/// What one attempt has stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which.
    pub attempt: AttemptKey,
    /// The order's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Any JSON.
    pub value: Box<RawValue>,
}

/// What to do with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is outstanding, and now held by the asker; of a pack marked `claim`, its claim is the asker's.
    Run,
    /// Recorded, cancelled or given up: forget it.
    Drop,
    /// Another worker holds it: forget it.
    HeldElsewhere,
}

/// Gives back attempts that were not started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandBack {
    /// Who gives back.
    pub worker: WorkerId,
    /// What.
    pub attempts: Vec<AttemptKey>,
    /// Those of them for which a claim was asked, answered or not, each with the id of its check: the claim is free again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<(AttemptKey, ClaimId)>,
}

/// Asks for a stored base context.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchContext {
    /// Who asks; the chunks go to its own queue.
    pub worker: WorkerId,
    /// The run.
    pub run: RunId,
    /// As in [`BaseContext::Stored`].
    pub seq: u64,
}

/// Put into an event queue by a coordinator; comes back to it once everything before it in that queue has been judged.
///
/// Whoever reads the queue passes it on to the event queue `home`, after all it read before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Drawn for this round of fences.
    pub id: uuid::Uuid,
    /// Incarnation of the coordinator that asks.
    pub coordinator: uuid::Uuid,
    /// The event queue it was put into.
    pub queue: u8,
    /// The event queue that its coordinator reads.
    pub home: u8,
}

/// A part of a stored base context.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextChunk {
    /// The run.
    pub run: RunId,
    /// As in [`BaseContext::Stored`].
    pub seq: u64,
    /// From 0.
    pub part: u32,
    /// How many parts there are; 0: the context is gone, drop what names it.
    pub parts: u32,
    /// Part of the JSON text.
    pub text: String,
}

/// Attempts whose branch or run was cancelled: running handlers learn it, queued ones are dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cancel {
    /// Which.
    pub attempts: Vec<AttemptKey>,
}

/// What a worker is and holds, every 2 s and on demand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who.
    pub worker: WorkerId,
    /// Counts this incarnation's reports.
    pub number: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// Version of the program; `None`: one that does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its namespace.
    pub namespace: Namespace,
    /// The task queues it consumes.
    pub queues: Vec<String>,
    /// The handlers it serves, on all of its queues.
    pub handlers: Vec<String>,
    /// Attempts it runs at once at most.
    pub slots: u32,
    /// Attempts it runs now.
    pub busy: u32,
    /// Attempts delivered to it whose completion is not confirmed yet: running, waiting for a slot, or completed.
    pub held: Vec<AttemptKey>,
    /// Claims that it has asked for or was granted, by the ids of their checks, until the completion is confirmed or the claim is
    /// handed back. One that is granted and listed no more is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimId>,
    /// Probes delivered since the last report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<uuid::Uuid>,
    /// It takes no new work and will not report again after its last attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// This is its last report: it holds nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// A coordinator asks the others what they have dispatched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The answers name it.
    pub id: uuid::Uuid,
    /// Incarnation of the coordinator that asks; the answers go to its own queue.
    pub coordinator: uuid::Uuid,
    /// Whether runs are to be told that wait for a worker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants_runs: bool,
}

/// Answers a [`Survey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    /// The question's id.
    pub id: uuid::Uuid,
    /// Incarnation of the coordinator that answers.
    pub coordinator: uuid::Uuid,
    /// Its task queues.
    pub queues: Vec<SurveyedQueue>,
    /// Its runs with a step whose handler no worker serves, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunId>,
}

/// A task queue, as one coordinator has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyedQueue {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name in definitions.
    pub queue: String,
    /// Attempts that are due and not dispatched.
    pub waiting: u64,
    /// Attempts dispatched and not recorded.
    pub out: u64,
    /// Those of them that may be lost.
    #[serde(default)]
    pub doubtful: u64,
    /// Handlers with ready steps that no worker of the queue serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<String>,
}
