//! A record as the columns of a journal row, and back.

use std::io::Write as _;
use std::sync::Arc;

use rejoin_shared::json::Json;
use rejoin_shared::run::Outcome;
use rejoin_shared::time::Timestamp;
use serde::Deserialize;

use super::{Claimed, Fact, Record, StepCompleted, StepFailed, done};

/// A record in the columns of a journal row (DESIGN 2). Texts and bytes are JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the columns of the store's JournalRow
pub struct Parts {
    pub seq: u64,
    pub kind: &'static str,
    pub path: Option<String>,
    pub attempt: Option<u32>,
    pub outcome: Option<Outcome>,
    pub worker: Option<Arc<str>>,
    pub body: Vec<u8>,
    pub output: Option<Vec<u8>>,
    pub snapshot: Option<Vec<u8>>,
    pub logs: Option<Vec<u8>>,
}

/// A stored row that is no record this version understands.
#[derive(Debug, thiserror::Error)]
#[error("journal record {seq} cannot be read: {reason}")]
pub struct UnreadableRecord {
    /// Its sequence number.
    pub seq: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Nothing is wrong with it but that a newer version wrote it: it names a kind, or a variant of something in it, that
    /// this one does not know.
    pub is_newer: bool,
}

#[derive(Deserialize)]
struct Body<F> {
    t: i64,
    #[serde(flatten)]
    fact: F,
}

impl Record {
    /// The record as columns.
    #[must_use]
    pub fn to_parts(&self) -> Parts {
        self.clone().into_parts()
    }

    /// The record as columns.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let mut parts = Parts {
            seq: self.seq,
            kind: self.fact.kind(),
            body: self.body(),
            ..Parts::default()
        };
        self.fact.fill_columns(&mut parts);
        parts
    }

    fn body(&self) -> Vec<u8> {
        if let Fact::StepCompleted(completed) = &self.fact {
            return done::write(completed, self.decided_at);
        }
        self.tagged_body()
    }

    /// The text of a [`Body`]: the time, and beside it the fact's one member. As it would be flattened, without the buffer.
    fn tagged_body(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(160);
        write!(text, "{{\"t\":{}", self.decided_at.0).expect("writing to a Vec");
        let start = text.len();
        serde_json::to_writer(&mut text, &self.fact).expect("a fact is plain data with text keys");
        match text[start] {
            b'{' => text[start] = b',',
            // A fact without members is its name alone.
            _ => {
                text.insert(start, b',');
                text.extend_from_slice(b":null}");
            }
        }
        text
    }

    /// The record of these columns; `parts.kind` is not looked at.
    ///
    /// # Errors
    /// [`UnreadableRecord`] if the body is not of a known format.
    pub fn from_parts(parts: &Parts) -> Result<Record, UnreadableRecord> {
        let fail = |reason: String| UnreadableRecord {
            seq: parts.seq,
            is_newer: rejoin_shared::json::is_unknown_variant(&reason),
            reason,
        };
        let (decided_at, mut fact) = match done::is_one(&parts.body) {
            true => done::read(&parts.body).map(|(at, completed)| (at, Fact::StepCompleted(completed))),
            false => rejoin_shared::json::read_own(&parts.body).map(|body: Body<Fact>| (Timestamp(body.t), body.fact)),
        }
        .map_err(|e| fail(e.to_string()))?;
        fact.take_columns(parts).map_err(fail)?;
        Ok(Record {
            seq: parts.seq,
            decided_at,
            fact,
        })
    }
}

impl Fact {
    /// Name of the kind, as the API shows it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Fact::RunStarted(_) => "run_started",
            Fact::RunBegun => "run_begun",
            Fact::StepOpened { .. } => "step_opened",
            Fact::NodeSkipped { .. } => "node_skipped",
            Fact::StepClaimed(_) => "step_claimed",
            Fact::ClaimReturned(_) => "claim_returned",
            Fact::CheckpointStored(_) => "checkpoint_stored",
            Fact::StepCompleted(_) => "step_completed",
            Fact::StepFailed(failed) if failed.retry.is_some() => "retry_scheduled",
            Fact::StepFailed(failed) if failed.is_parked => "step_parked",
            Fact::StepFailed(_) => "step_failed",
            Fact::StepRetried { .. } => "step_retried",
            Fact::StepSkipped { .. } => "step_skipped",
            Fact::StepGivenUp { .. } => "step_given_up",
            Fact::GroupOpened { .. } => "group_opened",
            Fact::ScopeOpened(_) => "scope_opened",
            Fact::BranchStarted { .. } => "branch_started",
            Fact::FlowFailed { .. } => "flow_failed",
            Fact::ScopeJoined(_) => "scope_joined",
            Fact::Chosen { .. } => "decision",
            Fact::ContextSet { .. } => "context_set",
            Fact::NodeFailed { .. } => "node_failed",
            Fact::NodeRetryScheduled { .. } => "retry_scheduled",
            Fact::NodeRetried { .. } => "node_retried",
            Fact::TimerSet { .. } => "timer_set",
            Fact::TimerFired { .. } => "timer_fired",
            Fact::WaitOpened { .. } => "wait_opened",
            Fact::EventReceived(_) => "event_received",
            Fact::EventRefused { .. } => "event_refused",
            Fact::EventTaken { .. } => "event_taken",
            Fact::InputAnswered { .. } => "input_answered",
            Fact::WaitTimedOut { .. } => "wait_timed_out",
            Fact::WaitEnded { .. } => "wait_ended",
            Fact::EventEmitted { .. } => "event_emitted",
            Fact::ChildStarted { .. } => "child_started",
            Fact::ChildFinished { .. } => "child_finished",
            Fact::ErrorCaught { .. } => "error_caught",
            Fact::TryFailed { .. } => "try_failed",
            Fact::Finishing { .. } => "finishing",
            Fact::RoundStarted { .. } => "round_started",
            Fact::RepeatEnded { .. } => "repeat_ended",
            Fact::Late { .. } => "late",
            Fact::CompensationStarted { .. } => "compensation_started",
            Fact::ChildUndone { .. } => "child_undone",
            Fact::RunPaused => "run_paused",
            Fact::RunEdited(_) => "run_edited",
            Fact::RunResumed { .. } => "run_resumed",
            Fact::RunForked(_) => "run_forked",
            Fact::RunFinished(_) => "run_finished",
        }
    }

    fn fill_columns(self, parts: &mut Parts) {
        match self {
            Fact::StepClaimed(c) | Fact::ClaimReturned(c) => {
                (parts.path, parts.attempt) = (Some(c.path), Some(c.attempt));
                parts.worker = Some(c.worker.as_str().into());
            }
            Fact::CheckpointStored(stored) => {
                (parts.path, parts.attempt) = (Some(stored.path), Some(stored.attempt));
                parts.output = Some(stored.value.to_bytes());
            }
            Fact::StepCompleted(completed) => completed.fill_columns(parts),
            Fact::StepFailed(failed) => failed.fill_columns(parts),
            Fact::Late {
                attempt,
                worker,
                outcome,
                ..
            } => {
                parts.attempt = Some(attempt);
                parts.worker = worker;
                parts.outcome = outcome;
            }
            Fact::Chosen { path, snapshot, .. }
            | Fact::ContextSet { path, snapshot, .. }
            | Fact::TimerFired { path, snapshot, .. }
            | Fact::ErrorCaught { path, snapshot, .. }
            | Fact::ChildStarted { path, snapshot, .. }
            | Fact::RepeatEnded { path, snapshot, .. } => {
                parts.path = Some(path);
                parts.snapshot = text_of(snapshot.as_ref());
            }
            Fact::InputAnswered {
                path,
                snapshot,
                value: output,
                ..
            }
            | Fact::WaitEnded {
                path, snapshot, output, ..
            }
            | Fact::ChildFinished {
                path, snapshot, output, ..
            }
            | Fact::StepSkipped {
                path, snapshot, output, ..
            }
            | Fact::EventEmitted {
                path,
                snapshot,
                payload: output,
                ..
            } => {
                parts.path = Some(path);
                parts.output = Some(output.to_bytes());
                parts.snapshot = text_of(snapshot.as_ref());
            }
            Fact::EventReceived(received) => parts.output = Some(received.payload.to_bytes()),
            Fact::ScopeJoined(joined) => {
                parts.path = Some(joined.path);
                parts.snapshot = text_of(joined.snapshot.as_ref());
            }
            Fact::ScopeOpened(opened) => parts.path = Some(opened.path),
            Fact::RunEdited(edited) => parts.path = Some(edited.path),
            Fact::NodeSkipped { path, .. }
            | Fact::NodeRetryScheduled { path, .. }
            | Fact::TimerSet { path, .. }
            | Fact::TryFailed { path, .. }
            | Fact::Finishing { path, .. }
            | Fact::WaitOpened { path, .. }
            | Fact::StepRetried { path, .. }
            | Fact::StepGivenUp { path, .. }
            | Fact::WaitTimedOut { path, .. }
            | Fact::ChildUndone { path, .. }
            | Fact::RoundStarted { path, .. } => parts.path = Some(path),
            Fact::NodeFailed { error, .. } | Fact::FlowFailed { error, .. } => parts.path = error.path,
            Fact::RunFinished(finished) => parts.output = text_of(finished.output.as_ref()),
            Fact::RunStarted(_)
            | Fact::RunBegun
            | Fact::StepOpened { .. }
            | Fact::GroupOpened { .. }
            | Fact::BranchStarted { .. }
            | Fact::NodeRetried { .. }
            | Fact::EventRefused { .. }
            | Fact::EventTaken { .. }
            | Fact::CompensationStarted { .. }
            | Fact::RunPaused
            | Fact::RunResumed { .. }
            | Fact::RunForked(_) => {}
        }
    }

    fn take_columns(&mut self, parts: &Parts) -> Result<(), String> {
        let own_path = || parts.path.clone().unwrap_or_default();
        match self {
            Fact::StepClaimed(claimed) | Fact::ClaimReturned(claimed) => claimed.take_columns(parts)?,
            Fact::CheckpointStored(stored) => {
                stored.attempt = parts.attempt.ok_or("no attempt")?;
                stored.value = read_json(parts.output.as_deref())?.unwrap_or_default();
                stored.path = own_path();
            }
            Fact::StepCompleted(completed) => completed.take_columns(parts)?,
            Fact::StepFailed(failed) => failed.take_columns(parts)?,
            Fact::Late {
                attempt,
                worker,
                outcome,
                ..
            } => {
                *attempt = parts.attempt.ok_or("no attempt")?;
                worker.clone_from(&parts.worker);
                *outcome = parts.outcome;
            }
            Fact::Chosen { path, snapshot, .. }
            | Fact::ContextSet { path, snapshot, .. }
            | Fact::TimerFired { path, snapshot, .. }
            | Fact::ErrorCaught { path, snapshot, .. }
            | Fact::ChildStarted { path, snapshot, .. }
            | Fact::RepeatEnded { path, snapshot, .. } => {
                *path = own_path();
                *snapshot = read_json(parts.snapshot.as_deref())?;
            }
            Fact::InputAnswered {
                path,
                snapshot,
                value: output,
                ..
            }
            | Fact::WaitEnded {
                path, snapshot, output, ..
            }
            | Fact::ChildFinished {
                path, snapshot, output, ..
            }
            | Fact::StepSkipped {
                path, snapshot, output, ..
            }
            | Fact::EventEmitted {
                path,
                snapshot,
                payload: output,
                ..
            } => {
                *path = own_path();
                *output = read_json(parts.output.as_deref())?.unwrap_or_default();
                *snapshot = read_json(parts.snapshot.as_deref())?;
            }
            Fact::EventReceived(received) => {
                received.payload = read_json(parts.output.as_deref())?.unwrap_or_default();
            }
            Fact::ScopeJoined(joined) => {
                joined.path = own_path();
                joined.snapshot = read_json(parts.snapshot.as_deref())?;
            }
            Fact::ScopeOpened(opened) => opened.path = own_path(),
            Fact::RunEdited(edited) => edited.path = own_path(),
            Fact::NodeSkipped { path, .. }
            | Fact::NodeRetryScheduled { path, .. }
            | Fact::TimerSet { path, .. }
            | Fact::TryFailed { path, .. }
            | Fact::Finishing { path, .. }
            | Fact::WaitOpened { path, .. }
            | Fact::StepRetried { path, .. }
            | Fact::StepGivenUp { path, .. }
            | Fact::WaitTimedOut { path, .. }
            | Fact::ChildUndone { path, .. }
            | Fact::RoundStarted { path, .. } => *path = own_path(),
            Fact::RunFinished(finished) => finished.output = read_json(parts.output.as_deref())?,
            Fact::RunStarted(_)
            | Fact::RunBegun
            | Fact::StepOpened { .. }
            | Fact::GroupOpened { .. }
            | Fact::BranchStarted { .. }
            | Fact::FlowFailed { .. }
            | Fact::NodeFailed { .. }
            | Fact::NodeRetried { .. }
            | Fact::EventRefused { .. }
            | Fact::EventTaken { .. }
            | Fact::CompensationStarted { .. }
            | Fact::RunPaused
            | Fact::RunResumed { .. }
            | Fact::RunForked(_) => {}
        }
        Ok(())
    }
}

impl Claimed {
    fn take_columns(&mut self, parts: &Parts) -> Result<(), String> {
        self.path = parts.path.clone().unwrap_or_default();
        self.attempt = parts.attempt.ok_or("no attempt")?;
        self.worker = parts.worker.as_deref().unwrap_or_default().to_owned();
        Ok(())
    }
}

impl StepCompleted {
    fn fill_columns(self, parts: &mut Parts) {
        parts.path = Some(self.path);
        parts.attempt = Some(self.attempt);
        parts.outcome = Some(Outcome::Ok);
        parts.worker = self.worker;
        parts.output = Some(self.output.to_bytes());
        parts.snapshot = text_of(self.snapshot.as_ref());
        parts.logs = lines_text(&self.logs);
    }

    fn take_columns(&mut self, parts: &Parts) -> Result<(), String> {
        self.path = parts.path.clone().unwrap_or_default();
        self.attempt = parts.attempt.ok_or("no attempt")?;
        self.worker.clone_from(&parts.worker);
        self.output = read_json(parts.output.as_deref())?.unwrap_or_default();
        self.snapshot = read_json(parts.snapshot.as_deref())?;
        self.logs = read_lines(parts.logs.as_deref())?;
        Ok(())
    }
}

impl StepFailed {
    fn fill_columns(self, parts: &mut Parts) {
        parts.path = Some(self.path);
        parts.attempt = Some(self.attempt);
        parts.outcome = self.outcome;
        parts.worker = self.worker;
        parts.logs = lines_text(&self.logs);
    }

    fn take_columns(&mut self, parts: &Parts) -> Result<(), String> {
        self.path = parts.path.clone().unwrap_or_default();
        self.attempt = parts.attempt.ok_or("no attempt")?;
        self.outcome = parts.outcome;
        self.worker.clone_from(&parts.worker);
        self.logs = read_lines(parts.logs.as_deref())?;
        Ok(())
    }
}

fn text_of(json: Option<&Json>) -> Option<Vec<u8>> {
    json.map(Json::to_bytes)
}

fn lines_text(lines: &[String]) -> Option<Vec<u8>> {
    (!lines.is_empty()).then(|| serde_json::to_vec(lines).expect("lines are text"))
}

fn read_json(text: Option<&[u8]>) -> Result<Option<Json>, String> {
    text.map(Json::parse_own).transpose().map_err(|e| e.to_string())
}

fn read_lines(text: Option<&[u8]>) -> Result<Vec<String>, String> {
    text.map_or(Ok(Vec::new()), |text| {
        rejoin_shared::json::read_own(text).map_err(|e| e.to_string())
    })
}
