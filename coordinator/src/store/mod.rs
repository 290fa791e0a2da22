//! Where journals live: the trait, and what it stores. Only this module and below knows SQL.
//!
//! Two implementations, `postgres` and `embedded`; one conformance suite runs on both. The trait is short because the
//! engine is a fold over a journal: everything else in here is for lists, ownership and commands on their way.

mod batch;
mod change;
pub mod embedded;
mod error;
pub mod postgres;
mod priority;
mod rows;
mod run;
pub mod seal;
pub mod tokens;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

pub use batch::*;
pub use error::*;
pub use rows::*;
pub use run::*;

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
