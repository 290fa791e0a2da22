//! A run as it is stored: its journal, and its row, which lists show.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::run::{Counts, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HEAD_BYTES_MAX, HEAD_ROWS, WaitKind};

/// One record of a run's journal, as it is stored. Only the engine reads `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// The run.
    pub run: RunId,
    /// From 1, without gaps.
    pub seq: u64,
    /// Name of the record's kind (INTERFACE 8).
    pub kind: Cow<'static, str>,
    /// The node visit it is about.
    pub path: Option<String>,
    /// The attempt it is about.
    pub attempt: Option<u32>,
    /// How that attempt ended.
    pub outcome: Option<Outcome>,
    /// Who ran it.
    pub worker: Option<Arc<str>>,
    /// The record without the columns that follow, in format [`JOURNAL_FORMAT`].
    pub body: Bytes,
    /// JSON text of the output.
    pub output: Option<Bytes>,
    /// JSON text: the branch's changes (`delta`), or output and context (`full`).
    pub snapshot: Option<Bytes>,
    /// JSON list of lines.
    pub logs: Option<Bytes>,
}

impl Head {
    /// A head of these rows, the first of the journal. There are no more if neither bound ended them.
    #[must_use]
    pub fn of(row: RunRow, journal: Vec<StoredRow>) -> Head {
        let bytes: usize = journal.iter().map(|stored| stored.row.payload_bytes()).sum();
        Head {
            is_whole: journal.len() < HEAD_ROWS && bytes < HEAD_BYTES_MAX,
            row,
            journal,
        }
    }
}

impl JournalRow {
    /// Bytes of what a page of a journal is measured by.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        self.body.len() + of(&self.output) + of(&self.snapshot) + of(&self.logs)
    }
}

/// A journal row as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The row.
    pub row: JournalRow,
    /// Layout of its body.
    pub format: i16,
    /// The database's time of the append.
    pub at: Timestamp,
}

/// What a run is loaded from: its row, and the beginning of its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The row.
    pub row: RunRow,
    /// The first rows of its journal, at most [`HEAD_ROWS`] and about [`HEAD_BYTES_MAX`].
    pub journal: Vec<StoredRow>,
    /// There are no more of them.
    pub is_whole: bool,
}

/// A run as lists show it; the truth is its journal.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // INTERFACE 8
pub struct RunRow {
    pub id: RunId,
    pub namespace: Namespace,
    pub workflow: String,
    pub version: u32,
    pub status: RunStatus,
    pub priority: Priority,
    /// JSON text.
    pub input: Bytes,
    /// JSON text; set when the run ends.
    pub context: Option<Bytes>,
    /// JSON text; set when the run ends.
    pub output: Option<Bytes>,
    /// JSON text of an error value; set when the run ends.
    pub error: Option<Bytes>,
    pub compensated: bool,
    pub tags: BTreeMap<String, String>,
    pub idempotency_key: Option<String>,
    pub parent: Option<RunId>,
    pub forked_from: Option<ForkedFrom>,
    pub progress: Progress,
    pub counts: Counts,
    /// When a coordinator has to look at it: of a scheduled or waiting one no later than its first timer; of one that has ended when
    /// its retention ends.
    pub wake_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// Where a run was forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ForkedFrom {
    /// The run it was forked from, which may be deleted since.
    pub run: RunId,
    /// The last record that the two have in common.
    pub seq: u64,
}

/// What changes in a run's row; the key is the run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunChange {
    /// The run.
    pub run: RunId,
    /// New state.
    pub status: RunStatus,
    /// New progress.
    pub progress: Progress,
    /// New counts.
    pub counts: Counts,
    /// New time to wake; of a run that has ended: when its retention ends.
    pub wake_at: Option<Timestamp>,
    /// `Some` writes these; `None` leaves them.
    pub ended: Option<RunEnd>,
    /// The run goes on after it had ended (resume): clears what [`RunEnd`] wrote.
    pub reopened: bool,
}

/// A scheduled or waiting run, with the time at which it has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sleeper {
    /// No later than its first timer.
    pub wake_at: Timestamp,
    /// The run.
    pub run: RunId,
}

/// [`RunRow::wake_at`] of a run whose row was written by an older version: its waits may not stand in their table.
pub const LOOK_AT_ONCE: Timestamp = Timestamp(0);

/// What is written when a run ends.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct RunEnd {
    pub context: Option<Bytes>,
    /// Of a run that completed, none stands for the context: kept once, and read back as both.
    pub output: Option<Bytes>,
    pub error: Option<Bytes>,
    pub compensated: bool,
}

/// What a list of runs is filtered by; empty means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RunFilter {
    pub workflows: Vec<String>,
    pub statuses: Vec<RunStatus>,
    /// All of them must be there.
    pub tags: Vec<(String, String)>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub parent: Option<RunId>,
    /// Prefix or suffix of the id, or part of the workflow's name.
    pub text: Option<String>,
    /// With an open wait of this kind.
    pub waiting: Option<WaitKind>,
    /// One of these.
    pub among: Option<Vec<RunId>>,
}
