//! Where journals live: the trait, and what it stores. Only this module and below knows SQL.
//!
//! Two implementations, `postgres` and `embedded`; one conformance suite runs on both. The trait is short because the
//! engine is a fold over a journal: everything else in here is for lists, ownership and commands on their way.

mod change;
pub mod embedded;
pub mod postgres;
mod priority;
pub mod seal;
pub mod tokens;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::{Counts, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use seal::SealError;

/// Version of the layout of [`JournalRow::body`], stored with each row. Since 2 a completed step has a short one; since 3 the end of
/// a run does not repeat the context that is its output.
pub const JOURNAL_FORMAT: i16 = 3;
/// Those that are read.
pub const JOURNAL_FORMATS: std::ops::RangeInclusive<i16> = 1..=JOURNAL_FORMAT;
/// A page of a journal ends once it holds this many bytes.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Rows of a journal in a [`Head`].
pub const HEAD_ROWS: usize = 64;
/// A [`Head`] ends once its journal's rows hold this many bytes.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;
/// How long an idempotency key outlives the end of its run, once the run is deleted, in ms (G1).
pub const KEY_LIFE_MS: i64 = 24 * 60 * 60 * 1000;
/// A run that is kept beyond its time for its children's sake is looked at again after so long, in ms.
pub const HELD_PAUSE_MS: i64 = 10 * 60 * 1000;
/// How long the copy of a past waits for its run, in ms.
pub const COPY_LIFE_MS: i64 = 60 * 60 * 1000;
/// Journal rows that are copied at once.
pub const COPY_PORTION: u64 = 10_000;
/// How long a verdict waits for its asker, in ms.
pub const VERDICT_LIFE_MS: i64 = 60 * 60 * 1000;
/// How long a member whose lease has run out is still listed, in ms.
pub const MEMBER_LISTED_MS: i64 = 24 * 60 * 60 * 1000;

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

/// Proof of ownership of a partition, and the number of the next batch in its chain (DESIGN 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: Partition,
    /// Counter of takeovers, with a random part, so that no two owners share one.
    pub epoch: Epoch,
    /// Number of the last batch appended under this epoch.
    pub batch: u64,
}

/// Which ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// Rises with each takeover.
    pub count: i64,
    /// Drawn at each takeover.
    pub token: i64,
}

/// Everything one append writes, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The partitions it touches, sorted: each moves from `batch` to `batch + 1`, or nothing is written.
    pub claims: Vec<Claim>,
    /// New runs. The past of one that was forked must be there ([`Store::copy_past`]), or nothing is written.
    pub created: Vec<RunRow>,
    /// Rows, each run's in the order of `seq`.
    pub rows: Vec<JournalRow>,
    /// Changed run rows.
    pub changed: Vec<RunChange>,
    /// Messages to other runs.
    pub sent: Vec<InboxMessage>,
    /// Messages whose effect is in this batch: removed.
    pub received: Vec<u64>,
    /// Commands whose verdict is in this batch: the row stays, with this JSON, until its asker has read it or it is swept.
    pub answered: Vec<(u64, Bytes)>,
    /// Waits that are over: run, and the record that opened the wait. Removed before new ones are put.
    pub waits_over: Vec<(RunId, u64)>,
    /// Waits that opened.
    pub waits: Vec<WaitRow>,
    /// Messages to all runs that wait for an event.
    pub broadcasts: Vec<Broadcast>,
    /// Joined scopes whose branches' snapshots go.
    pub joins: Vec<JoinedScope>,
    /// Versions with which new runs begin as the newest: where one of them is not any more, nothing is written.
    pub newest: Vec<NewestVersion>,
}

/// The newest version of a workflow, as far as somebody knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewestVersion {
    /// The workflow's namespace.
    pub namespace: Namespace,
    /// Its name.
    pub workflow: String,
    /// The version.
    pub version: u32,
}

/// A joined scope whose branches' snapshots go (`snapshots_after_join: drop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedScope {
    /// The run.
    pub run: RunId,
    /// The record that opened it.
    pub opened: u64,
    /// The record that joined it.
    pub joined: u64,
    /// The scope's node visit.
    pub path: String,
    /// Up to here, exclusively, they are gone; what is given when it is put does not count.
    pub next_seq: u64,
}

impl JoinedScope {
    /// Whether the record of this number and path lies in one of its branches.
    #[must_use]
    pub fn holds(&self, seq: u64, path: Option<&str>) -> bool {
        let rest = path.and_then(|path| path.strip_prefix(self.path.as_str()));
        self.opened < seq && seq < self.joined && rest.is_some_and(|rest| rest.starts_with(['/', '[']))
    }

    /// Whether the snapshot of this record has gone.
    #[must_use]
    pub fn has_dropped(&self, seq: u64, path: Option<&str>) -> bool {
        seq < self.next_seq && self.holds(seq, path)
    }
}

/// Snapshots that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Scopes that were worked on.
    pub scopes: u64,
    /// Snapshots that went.
    pub snapshots: u64,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// Events.
    Event,
    /// A human answer.
    Input,
    /// A time: a sleep.
    Timer,
}

impl WaitKind {
    /// Its name in tables and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WaitKind::Event => "event",
            WaitKind::Input => "input",
            WaitKind::Timer => "timer",
        }
    }
}

/// An open wait, for those who look for waits without reading journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitRow {
    /// The run that waits.
    pub run: RunId,
    /// The record that opened the wait.
    pub seq: u64,
    /// The run's namespace.
    pub namespace: Namespace,
    /// The run's workflow.
    pub workflow: String,
    /// Name of the node.
    pub name: String,
    /// The node visit.
    pub path: String,
    /// What it waits for.
    pub kind: WaitKind,
    /// The events it names, if it waits for events.
    pub events: Vec<String>,
    /// JSON: what is asked.
    pub body: Bytes,
    /// The database's time of the append; what is given when it is put does not count.
    pub opened_at: Timestamp,
    /// When it times out.
    pub until: Option<Timestamp>,
}

/// A message to all runs of a namespace that wait for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The namespace.
    pub namespace: Namespace,
    /// The event.
    pub event: String,
    /// Name of the message's kind.
    pub kind: String,
    /// JSON, read by the inbox module only.
    pub body: Bytes,
    /// A second message for one run with the same key is dropped.
    pub dedupe_key: Option<String>,
}

/// A command or message on its way to the owner of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// The partition of the run it is for.
    pub partition: Partition,
    /// The run.
    pub run: RunId,
    /// Name of its kind.
    pub kind: String,
    /// JSON, read by the inbox module only.
    pub body: Bytes,
    /// A second message with the same key is dropped.
    pub dedupe_key: Option<String>,
    /// Whether somebody waits for a verdict.
    pub wants_verdict: bool,
}

/// An inbox message as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Rises with time.
    pub id: u64,
    /// The message.
    pub message: InboxMessage,
}

/// A page of the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxPage {
    /// Those of its messages that can be read here.
    pub rows: Vec<InboxRow>,
    /// Behind which id the next page begins, if this one holds as many messages as it may, whether they can be read or not.
    pub next: Option<u64>,
}

/// A coordinator process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable name.
    pub name: String,
    /// Drawn at each start.
    pub incarnation: uuid::Uuid,
    /// Where its API listens, for people and forwarding.
    pub address: String,
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The member.
    pub member: Member,
    /// By the database's clock.
    pub joined_at: Timestamp,
    /// How long its lease still runs by the database's clock, in ms; 0 or less: it has run out.
    pub lease_left_ms: i64,
}

/// A partition as everyone sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Which.
    pub partition: Partition,
    /// Its owner, if any.
    pub owner: Option<Member>,
    /// Whether that owner's lease still runs.
    pub is_live: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// Whether its event queue was ever used: its owner consumes it then.
    pub has_events: bool,
}

/// A registered version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WorkflowRow {
    pub namespace: Namespace,
    pub name: String,
    pub version: u32,
    /// SHA-256 of the canonical document, hex.
    pub digest: String,
    /// Canonical JSON text of the document.
    pub document: Bytes,
    pub created_at: Timestamp,
}

/// A schedule: what is asked for, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// JSON text of what it starts and when, read by the service only.
    pub spec: Bytes,
    /// Drawn with each write, never twice; what is given when it is added does not count.
    pub revision: u64,
    /// Nothing is started.
    pub is_paused: bool,
    /// Where an interval begins to count.
    pub anchor_at: Timestamp,
    /// The next tick that nobody has taken yet.
    pub next_at: Option<Timestamp>,
    /// Ticks that are taken and whose runs are not known to have started, in order.
    pub pending: Vec<Timestamp>,
    /// How many missed ticks were made up in a row.
    pub caught_up: u32,
    /// The run it started last.
    pub last_run: Option<RunId>,
    /// Runs of ticks whose end is not counted yet, in the order of their starts.
    pub open_runs: Vec<RunId>,
    /// How many starts and runs failed in a row.
    pub failures: u32,
    /// Why the last of them failed.
    pub last_error: Option<String>,
    /// When a coordinator has to look at it.
    pub wake_at: Option<Timestamp>,
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

/// An idempotency key that is to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBinding {
    /// The key.
    pub key: String,
    /// The run it is bound to.
    pub run: RunId,
    /// Hash of the request it is bound to.
    pub request_hash: String,
}

impl KeyBinding {
    /// Whether the key is free, or bound to this very request.
    #[must_use]
    pub fn fits(&self, reserved: &Reserved) -> bool {
        match reserved {
            Reserved::Won => true,
            Reserved::Bound { request_hash, .. } => *request_hash == self.request_hash,
        }
    }
}

/// What became of a reserved idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It was free and is bound now.
    Won,
    /// It is bound already, to this run and this hash of a request.
    Bound {
        /// The run it was bound with.
        run: RunId,
        /// Hash of the request it was bound with.
        request_hash: String,
        /// The run has ended and was deleted; the key stays bound for a while.
        is_deleted: bool,
    },
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The epoch or batch number of a partition is no longer ours: nothing was written.
    #[error("partition {0:?} is not owned any more")]
    NotOwner(Option<Partition>),
    /// Nothing was written, and the same may work later (connection refused, serialization, pool exhausted).
    #[error("the database is away: {0}")]
    Away(String),
    /// The connection was lost or timed out under way: it may have been written or not.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The database refuses these very data, now and later.
    #[error("the database refuses the data: {0}")]
    Refused(String),
    /// A newer version is registered than the one at this place of [`Batch::newest`]: nothing was written.
    #[error("a newer version of a workflow is registered than a run was to begin with")]
    Superseded(usize),
    /// The schema is not what this version needs.
    #[error("the database's schema does not fit: {0}")]
    Schema(String),
    /// This process cannot read a payload; another one may, with the right key. What stands there stays as it is.
    #[error("{0}")]
    Sealed(String),
    /// A row names what this version does not know; a newer one wrote it, and can read it. What stands there stays as it is.
    #[error("a newer version of Rejoin wrote it: {0}")]
    Newer(String),
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> StoreError {
        match error {
            SealError::NoRandomness => StoreError::Away(error.to_string()),
            SealError::UnknownKey { .. }
            | SealError::Broken { .. }
            | SealError::Malformed { .. }
            | SealError::NoSuchKey(_) => StoreError::Sealed(error.to_string()),
        }
    }
}

/// What to do after a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call again, with back-off.
    Later,
    /// Re-acquire the partitions and reload first.
    AfterReload,
    /// Never: split the batch, or give the data up.
    Never,
}

impl StoreError {
    /// What the caller does about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            StoreError::NotOwner(_) | StoreError::Unknown(_) => Retry::AfterReload,
            StoreError::Away(_) => Retry::Later,
            StoreError::Refused(_)
            | StoreError::Superseded(_)
            | StoreError::Schema(_)
            | StoreError::Sealed(_)
            | StoreError::Newer(_) => Retry::Never,
        }
    }
}

/// The connections for everything but the append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// Lent to a statement.
    pub in_use: usize,
    /// Open and free.
    pub idle: usize,
    /// Statements that wait for one.
    pub waiting: usize,
}

/// A journal and what stands around it.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends a batch in one transaction, one round trip. Returns the database's time of the append.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] if a claim does not match: nothing was written.
    async fn append(&self, batch: &Batch) -> Result<Timestamp, StoreError>;

    /// One page of a run's journal, after `after`, in order, up to `limit` rows or about 4 MiB, at least one row if there is one.
    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>, StoreError>;
    /// A run's row.
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError>;
    /// What these runs, each named once, are loaded from, of those that are there, in any order. Asked for a few at a time: it may hold
    /// a MiB or more of each. A store that has no quicker way reads them one after the other.
    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::new();
        for run in runs {
            if let Some(row) = self.run(*run).await? {
                let journal = self.journal(*run, 0, HEAD_ROWS).await?;
                heads.push(Head::of(row, journal));
            }
        }
        Ok(heads)
    }
    /// Ids that begin or end with `text` (lower-case hex and hyphens), in a namespace, newest first, at most `limit`.
    async fn run_ids_like(&self, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>, StoreError>;
    /// Rows of runs, newest first, of ids below `before`.
    async fn runs(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError>;
    /// Runs of these partitions that have not ended and are neither scheduled nor waiting, newest activity first: what a takeover
    /// loads.
    async fn open_runs(&self, partitions: &[Partition]) -> Result<Vec<RunId>, StoreError>;
    /// Scheduled and waiting runs of these partitions whose time to wake comes by `until`, soonest first, those behind `after`; if they
    /// are fewer than `limit`, then with the next one whose time comes later.
    async fn asleep(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        after: Option<Sleeper>,
        limit: usize,
    ) -> Result<Vec<Sleeper>, StoreError>;
    /// How many scheduled and waiting runs these partitions have, by state.
    async fn asleep_counts(&self, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>, StoreError>;
    /// Counts of runs by state, over all namespaces.
    async fn run_counts(&self) -> Result<Vec<(RunStatus, u64)>, StoreError>;
    /// Copies the journal of a run up to a position, portion by portion, to be the past of `run`. Nobody sees the copy before an
    /// append creates the run with this [`RunRow::forked_from`]; one that is never used is swept after [`COPY_LIFE_MS`], and an
    /// append that comes later yet is refused. `false`: these records are not all there.
    async fn copy_past(&self, run: RunId, from: ForkedFrom) -> Result<bool, StoreError>;
    /// Deletes an ended run with all that belongs to it; `false` if there is none or it has not ended.
    async fn delete_run(&self, run: RunId) -> Result<bool, StoreError>;
    /// Deletes ended runs whose retention is over, at most `limit`, in the way of [`Store::delete_run`]; none that waits for an
    /// unfinished run it called. `keep` says how long those are kept whose row does not say so. Several callers share the work.
    /// Returns how many went, by state.
    async fn delete_expired(
        &self,
        keep: &[(RunStatus, Duration)],
        limit: usize,
    ) -> Result<Vec<(RunStatus, u64)>, StoreError>;
    /// How many [`Store::delete_expired`] would delete now in all, by state.
    async fn expired(&self, keep: &[(RunStatus, Duration)]) -> Result<Vec<(RunStatus, u64)>, StoreError>;
    /// Drops a portion of the snapshots of joined scopes; several callers share the work.
    async fn drop_snapshots(&self) -> Result<Dropped, StoreError>;
    /// How many snapshots [`Store::drop_snapshots`] would drop now in all.
    async fn snapshots_to_drop(&self) -> Result<u64, StoreError>;
    /// The joined scopes of a run whose snapshots go or have gone, in the order in which they opened.
    async fn joined_scopes(&self, run: RunId) -> Result<Vec<JoinedScope>, StoreError>;

    /// Registers a document: the same digest as any version's is that version again. Returns the row and whether it is new.
    async fn put_workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        digest: &str,
        document: &[u8],
    ) -> Result<(WorkflowRow, bool), StoreError>;
    /// A version, or the newest.
    async fn workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowRow>, StoreError>;
    /// The newest version of each workflow, by name, after `after`.
    async fn workflows(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowRow>, StoreError>;

    /// Binds an idempotency key to a run that is about to be started, and to the hash of the request.
    async fn reserve_key(
        &self,
        namespace: &Namespace,
        key: &str,
        request_hash: &str,
        run: RunId,
    ) -> Result<Reserved, StoreError>;
    /// Binds keys, all different, in one transaction: those that are free, or none of them if one is bound to another request.
    /// Answers in the order given; which of them stay free after a refusal is not told.
    async fn reserve_keys(&self, namespace: &Namespace, keys: &[KeyBinding]) -> Result<Vec<Reserved>, StoreError>;
    /// Those of these runs that are there.
    async fn runs_there(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError>;

    /// Puts a message into the inbox; a second one with the same dedupe key returns the first one's id.
    async fn inbox_put(&self, message: &InboxMessage) -> Result<u64, StoreError>;
    /// Puts a message for every run that waits for an event now; returns how many that are.
    async fn broadcast(&self, message: &Broadcast) -> Result<u64, StoreError>;
    /// Inputs that wait in a namespace, in the order of their runs and records, after `after`.
    async fn inputs(
        &self,
        namespace: &Namespace,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<WaitRow>, StoreError>;
    /// Messages for these partitions without a verdict yet, oldest first, ids above `after`. Writers commit out of the order of
    /// ids, so whoever goes on behind a page has to begin at 0 again now and then.
    async fn inbox(&self, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage, StoreError>;
    /// The verdict on a command, once there is one. `Some` removes the row.
    async fn take_verdict(&self, id: u64) -> Result<Option<Bytes>, StoreError>;

    /// Joins, or renews the lease of, a member: it runs for `lease_ms` from now by the database's clock.
    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<(), StoreError>;
    /// Leaves: ends the lease and frees the partitions it still owns.
    async fn leave(&self, member: &Member) -> Result<(), StoreError>;
    /// All members whose lease has not run out for more than a day.
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError>;
    /// All partitions.
    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError>;
    /// Takes partitions that are free, whose owner's lease has run out, or that are its own already (of this or, when `restart`
    /// names it, an earlier incarnation): each gets a new epoch (count + 1, new token) with batch 0. Returns those it got.
    async fn claim(
        &self,
        member: &Member,
        partitions: &[Partition],
        restart: Option<uuid::Uuid>,
    ) -> Result<Vec<Claim>, StoreError>;
    /// Gives partitions back under their epochs.
    async fn release(&self, member: &Member, claims: &[Claim]) -> Result<(), StoreError>;
    /// Marks that the event queue of this partition is in use.
    async fn mark_events(&self, partition: Partition) -> Result<(), StoreError>;

    /// Adds a schedule; `false` if there is one of this name.
    async fn add_schedule(&self, row: &ScheduleRow) -> Result<bool, StoreError>;
    /// Writes a schedule if nobody has written it since `row` was read. Returns its new revision; `None`: nothing was written.
    async fn change_schedule(&self, row: &ScheduleRow) -> Result<Option<u64>, StoreError>;
    /// Removes a schedule; `false` if there is none.
    async fn remove_schedule(&self, namespace: &Namespace, name: &str) -> Result<bool, StoreError>;
    /// A schedule.
    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>, StoreError>;
    /// Schedules of a namespace, by name, after `after`.
    async fn schedules(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScheduleRow>, StoreError>;
    /// Schedules of all namespaces that somebody has to look at by `now`, those that wait longest first.
    async fn schedules_due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>, StoreError>;

    /// Removes what has outlived its use: verdicts nobody fetched, idempotency keys and remains of deleted runs. Bounded; returns
    /// how many rows went. Called now and then by every member.
    async fn sweep(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Its pool of connections, if it has one.
    fn pool(&self) -> Option<PoolView> {
        None
    }

    /// Whether the database answers and its schema fits.
    async fn ping(&self) -> Result<(), StoreError>;
    /// The database's time.
    async fn now(&self) -> Result<Timestamp, StoreError>;
}
