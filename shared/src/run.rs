//! What everyone says about a run in the same words: its state, its progress, its errors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::json::Json;

/// State of a run (SPEC 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // SPEC 6
pub enum RunStatus {
    Scheduled,
    Running,
    Waiting,
    Paused,
    Compensating,
    Completed,
    Failed,
    CompensationFailed,
    Cancelled,
}

impl RunStatus {
    /// All of them.
    pub const ALL: [RunStatus; 9] = [
        RunStatus::Scheduled,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Paused,
        RunStatus::Compensating,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::CompensationFailed,
        RunStatus::Cancelled,
    ];

    /// Its name in JSON, SQL and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Scheduled => "scheduled",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Paused => "paused",
            RunStatus::Compensating => "compensating",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::CompensationFailed => "compensation_failed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<RunStatus> {
        RunStatus::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether the run has ended (a failed one may still be resumed).
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            RunStatus::Completed | RunStatus::Failed | RunStatus::CompensationFailed | RunStatus::Cancelled => true,
            RunStatus::Scheduled | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => false,
            RunStatus::Compensating => false,
        }
    }
}

/// Order among runs when dispatch credit is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// Counts of steps, `total` those opened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Progress {
    pub total: u64,
    pub done: u64,
    pub failed: u64,
    pub running: u64,
    pub waiting: u64,
}

impl Progress {
    /// Of the attempts that are due at most `taken` are on their way to a worker or with one: the others wait, for credit or
    /// because the run is paused.
    #[must_use]
    pub fn with_taken(self, taken: usize) -> Progress {
        let running = self.running.min(u64::try_from(taken).unwrap_or(u64::MAX));
        Progress {
            running,
            waiting: self.waiting + (self.running - running),
            ..self
        }
    }
}

/// Counts of messages and completions of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Attempts published.
    pub dispatched: u64,
    /// Attempts delivered or published again.
    pub redelivered: u64,
    /// Completions of what was recorded already.
    pub duplicate: u64,
    /// Completions that came after it no longer mattered.
    pub late: u64,
}

/// How a recorded attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // INTERFACE 8
pub enum Outcome {
    Ok,
    Error,
    Timeout,
    Lost,
    Cancelled,
}

impl Outcome {
    /// Its name in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Timeout => "timeout",
            Outcome::Lost => "lost",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Outcome> {
        [
            Outcome::Ok,
            Outcome::Error,
            Outcome::Timeout,
            Outcome::Lost,
            Outcome::Cancelled,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == name)
    }
}

/// An error as everyone sees it (SPEC 3): absent parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorValue {
    /// `rejoin.…`, `http.…`, `exec.…`, `handler.error` or the handler's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// An object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Json>,
    /// Where it arose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of the attempt that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Innermost errors of `rejoin.branches_failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<ErrorValue>,
}

impl ErrorValue {
    /// An error of `kind` that says `message`, at `path`.
    #[must_use]
    pub fn new(kind: &str, message: impl Into<String>, path: &str) -> ErrorValue {
        ErrorValue {
            kind: kind.to_owned(),
            message: without_nul(message.into()),
            path: Some(path.to_owned()),
            ..ErrorValue::default()
        }
    }

    /// Bytes of its text, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const NAMES: usize = 60;
        let causes: usize = self.causes.iter().map(ErrorValue::bytes).sum();
        let details = self.details.as_ref().map_or(0, Json::text_len);
        let path = self.path.as_ref().map_or(0, String::len);
        NAMES + self.kind.len() + self.message.len() + path + details + causes
    }

    /// The error as expressions and the API see it.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let bytes = serde_json::to_vec(self).expect("an error value is plain data");
        Json::parse_own(&bytes).unwrap_or_else(|_| {
            // Something in it is no JSON of ours (a NUL, too many levels): an error that says less is better than none.
            let message = without_nul(self.message.clone());
            Json::from_entries([("type", Json::str(&self.kind)), ("message", Json::str(&message))])
        })
    }
}

/// The text with NULs, which no database holds, shown as U+FFFD: texts that quote values, or that workers send, may have some.
#[must_use]
pub fn without_nul(text: String) -> String {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}"),
        false => text,
    }
}
