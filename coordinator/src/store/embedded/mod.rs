//! The store of `rejoin dev` and `rejoin demo`: the crate redb, in a folder or in memory.
//!
//! ```text
//!   async trait ──▶ blocking thread ──▶ one redb transaction ──▶ functions of the sibling modules, one a method
//! ```
//! The file is locked by the one process that has it open. Members, partitions and claims mean the same as on a server all the
//! same, so that the owner's code is one; the database's clock is the process's.

mod append;
mod forks;
mod inbox;
mod owners;
mod retention;
mod runs;
mod schedules;
mod snapshots;
mod tables;
mod tokens;
mod waits;
mod workflows;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redb::backends::InMemoryBackend;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::{
    Batch, Broadcast, COPY_PORTION, Claim, Dropped, ForkedFrom, InboxMessage, InboxPage, JoinedScope, KeyBinding,
    Member, MemberRow, PartitionRow, Reserved, RunFilter, RunRow, ScheduleRow, Sleeper, Store, StoreError, StoredRow,
    WaitRow, WorkflowRow,
};

/// Name of the database file within its folder.
const FILE_NAME: &str = "rejoin.redb";

type Result<T> = std::result::Result<T, StoreError>;

/// A [`Store`] inside this process.
#[derive(Clone)]
pub struct EmbeddedStore {
    db: Arc<Database>,
    place: Place,
}

/// Where transactions run, and by which clock.
#[derive(Clone)]
enum Place {
    /// On threads that may wait for a disk, by the machine's clock.
    Threads,
    /// On the caller's thread, by this clock.
    Caller(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Place {
    fn now(&self) -> Timestamp {
        match self {
            Place::Threads => Timestamp::now(),
            Place::Caller(now) => now(),
        }
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        match self {
            Place::Threads => {
                let outcome = tokio::task::spawn_blocking(work).await;
                outcome.unwrap_or_else(|e| Err(StoreError::Unknown(format!("the storage thread broke off: {e}"))))
            }
            Place::Caller(_) => work(),
        }
    }
}

impl EmbeddedStore {
    /// Opens or creates the store in the folder `dir`; what it answered is on disk.
    ///
    /// # Errors
    /// [`StoreError::Away`] if the folder cannot be written or another process has it open.
    pub fn open(dir: &Path) -> Result<EmbeddedStore> {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::Away(format!("{}: {e}", dir.display())))?;
        let file = dir.join(FILE_NAME);
        let db = Database::create(&file).map_err(|e| {
            let why = match matches!(e, DatabaseError::DatabaseAlreadyOpen) {
                true => "another process has it open; is there a second `rejoin dev`?".to_owned(),
                false => e.to_string(),
            };
            StoreError::Away(format!("{}: {why}", file.display()))
        })?;
        EmbeddedStore::prepare(db, Place::Threads)
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// None in practice; those of the backend.
    pub fn in_memory() -> Result<EmbeddedStore> {
        EmbeddedStore::in_memory_at(Place::Threads)
    }

    /// The same without threads and with this clock: what is asked of it happens in the order of the calls, as a simulation
    /// that is to be the same twice needs it.
    ///
    /// # Errors
    /// None in practice; those of the backend.
    pub fn in_memory_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Result<EmbeddedStore> {
        EmbeddedStore::in_memory_at(Place::Caller(Arc::new(now)))
    }

    fn in_memory_at(place: Place) -> Result<EmbeddedStore> {
        let db = Database::builder().create_with_backend(InMemoryBackend::new());
        EmbeddedStore::prepare(db.map_err(|e| StoreError::Away(e.to_string()))?, place)
    }

    fn prepare(db: Database, place: Place) -> Result<EmbeddedStore> {
        let tx = db.begin_write()?;
        tables::create(&tx)?;
        // The file is ours alone: whoever had it open before is gone, whatever its lease says.
        owners::end_all_leases(&tx, place.now())?;
        tx.commit()?;
        let db = Arc::new(db);
        Ok(EmbeddedStore { db, place })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_at(move |tx, _| work(tx)).await
    }

    /// The same with the time at which it is read.
    async fn read_at<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let EmbeddedStore { db, place } = self.clone();
        let now = place.clone();
        place.work(move || work(&db.begin_read()?, now.now())).await
    }

    /// Runs `work` in one transaction: an error drops it, and nothing was written.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_at(move |tx, _| work(tx)).await
    }

    /// The same with the time at which it is written.
    async fn write_at<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let EmbeddedStore { db, place } = self.clone();
        let now = place.clone();
        let transaction = move || {
            let tx = db.begin_write()?;
            let done = work(&tx, now.now())?;
            tx.commit()?;
            Ok(done)
        };
        place.work(transaction).await
    }
}

macro_rules! nothing_was_written {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> StoreError {
                StoreError::Away(error.to_string())
            }
        }
    )*};
}
nothing_was_written!(redb::StorageError, redb::TransactionError);

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> StoreError {
        StoreError::Schema(error.to_string())
    }
}

impl From<redb::CommitError> for StoreError {
    fn from(error: redb::CommitError) -> StoreError {
        StoreError::Unknown(error.to_string())
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn append(&self, batch: &Batch) -> Result<Timestamp> {
        let batch = batch.clone();
        self.write_at(move |tx, now| append::append(tx, &batch, now)).await
    }

    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>> {
        self.read(move |tx| runs::journal(tx, run, after, limit)).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>> {
        self.read(move |tx| runs::run(tx, run)).await
    }

    async fn run_ids_like(&self, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>> {
        let (namespace, text) = (namespace.clone(), text.to_owned());
        self.read(move |tx| runs::ids_like(tx, &namespace, &text, limit)).await
    }

    async fn runs(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>> {
        let (namespace, filter) = (namespace.clone(), filter.clone());
        self.read(move |tx| runs::list(tx, &namespace, &filter, before, limit))
            .await
    }

    async fn open_runs(&self, partitions: &[Partition]) -> Result<Vec<RunId>> {
        let partitions = partitions.to_vec();
        self.read(move |tx| runs::open_runs(tx, &partitions)).await
    }

    async fn asleep(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        after: Option<Sleeper>,
        limit: usize,
    ) -> Result<Vec<Sleeper>> {
        let partitions = partitions.to_vec();
        self.read(move |tx| runs::asleep(tx, &partitions, until, after, limit))
            .await
    }

    async fn asleep_counts(&self, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>> {
        let partitions = partitions.to_vec();
        self.read(move |tx| runs::asleep_counts(tx, &partitions)).await
    }

    async fn run_counts(&self) -> Result<Vec<(RunStatus, u64)>> {
        self.read(runs::counts).await
    }

    async fn copy_past(&self, run: RunId, from: ForkedFrom) -> Result<bool> {
        self.write_at(move |tx, now| forks::begin_copy(tx, run, from, now))
            .await?;
        let mut copied = 0;
        while copied < from.seq {
            let (after, until) = (copied, from.seq.min(copied + COPY_PORTION));
            let portion = move |tx: &WriteTransaction, now| forks::copy(tx, run, after, until, now);
            if !self.write_at(portion).await? {
                return Ok(false);
            }
            copied = until;
        }
        Ok(true)
    }

    async fn delete_run(&self, run: RunId) -> Result<bool> {
        self.write_at(move |tx, now| runs::delete(tx, run, now)).await
    }

    async fn delete_expired(&self, keep: &[(RunStatus, Duration)], limit: usize) -> Result<Vec<(RunStatus, u64)>> {
        let keep = keep.to_vec();
        self.write_at(move |tx, now| retention::delete_expired(tx, &keep, limit, now))
            .await
    }

    async fn expired(&self, keep: &[(RunStatus, Duration)]) -> Result<Vec<(RunStatus, u64)>> {
        let keep = keep.to_vec();
        self.read_at(move |tx, now| retention::count_expired(tx, &keep, now))
            .await
    }

    async fn drop_snapshots(&self) -> Result<Dropped> {
        self.write(snapshots::drop_some).await
    }

    async fn snapshots_to_drop(&self) -> Result<u64> {
        self.read(snapshots::to_drop).await
    }

    async fn joined_scopes(&self, run: RunId) -> Result<Vec<JoinedScope>> {
        self.read(move |tx| snapshots::of_run(tx, run)).await
    }

    async fn put_workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        digest: &str,
        document: &[u8],
    ) -> Result<(WorkflowRow, bool)> {
        let row = WorkflowRow {
            namespace: namespace.clone(),
            name: name.to_owned(),
            version: 0,
            digest: digest.to_owned(),
            document: Bytes::copy_from_slice(document),
            created_at: self.place.now(),
        };
        self.write(move |tx| workflows::put(tx, row)).await
    }

    async fn workflow(&self, namespace: &Namespace, name: &str, version: Option<u32>) -> Result<Option<WorkflowRow>> {
        let (namespace, name) = (namespace.clone(), name.to_owned());
        self.read(move |tx| workflows::get(tx, &namespace, &name, version))
            .await
    }

    async fn workflows(&self, namespace: &Namespace, after: Option<&str>, limit: usize) -> Result<Vec<WorkflowRow>> {
        let (namespace, after) = (namespace.clone(), after.map(str::to_owned));
        self.read(move |tx| workflows::list(tx, &namespace, after.as_deref(), limit))
            .await
    }

    async fn reserve_key(&self, namespace: &Namespace, key: &str, request_hash: &str, run: RunId) -> Result<Reserved> {
        let (namespace, key, hash) = (namespace.clone(), key.to_owned(), request_hash.to_owned());
        self.write_at(move |tx, now| workflows::reserve_key(tx, &namespace, &key, &hash, run, now))
            .await
    }

    async fn reserve_keys(&self, namespace: &Namespace, keys: &[KeyBinding]) -> Result<Vec<Reserved>> {
        let (namespace, keys) = (namespace.clone(), keys.to_vec());
        self.write_at(move |tx, now| workflows::reserve_keys(tx, &namespace, &keys, now))
            .await
    }

    async fn runs_there(&self, runs: &[RunId]) -> Result<Vec<RunId>> {
        let runs = runs.to_vec();
        self.read(move |tx| runs::there(tx, runs)).await
    }

    async fn inbox_put(&self, message: &InboxMessage) -> Result<u64> {
        let message = message.clone();
        self.write_at(move |tx, now| inbox::put(tx, &message, now)).await
    }

    async fn broadcast(&self, message: &Broadcast) -> Result<u64> {
        let message = message.clone();
        self.write_at(move |tx, now| waits::broadcast(tx, &message, now)).await
    }

    async fn inputs(&self, namespace: &Namespace, after: Option<(RunId, u64)>, limit: usize) -> Result<Vec<WaitRow>> {
        let namespace = namespace.clone();
        self.read(move |tx| waits::inputs(tx, &namespace, after, limit)).await
    }

    async fn inbox(&self, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage> {
        let partitions = partitions.to_vec();
        self.read(move |tx| inbox::list(tx, &partitions, after, limit)).await
    }

    async fn take_verdict(&self, id: u64) -> Result<Option<Bytes>> {
        // Most polls find none: a read first, so that they cost no write.
        let Some(verdict) = self.read(move |tx| inbox::verdict(tx, id)).await? else {
            return Ok(None);
        };
        self.write(move |tx| inbox::remove(tx, id)).await?;
        Ok(Some(verdict))
    }

    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<()> {
        let member = member.clone();
        self.write_at(move |tx, now| owners::renew(tx, &member, lease_ms, now))
            .await
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let member = member.clone();
        self.write_at(move |tx, now| owners::leave(tx, &member, now)).await
    }

    async fn members(&self) -> Result<Vec<MemberRow>> {
        self.read_at(owners::members).await
    }

    async fn partitions(&self) -> Result<Vec<PartitionRow>> {
        self.read_at(owners::partitions).await
    }

    async fn claim(
        &self,
        member: &Member,
        partitions: &[Partition],
        restart: Option<uuid::Uuid>,
    ) -> Result<Vec<Claim>> {
        let (member, partitions) = (member.clone(), partitions.to_vec());
        self.write_at(move |tx, now| owners::claim(tx, &member, &partitions, restart, now))
            .await
    }

    async fn release(&self, member: &Member, claims: &[Claim]) -> Result<()> {
        let (member, claims) = (member.clone(), claims.to_vec());
        self.write(move |tx| owners::release(tx, &member, &claims)).await
    }

    async fn mark_events(&self, partition: Partition) -> Result<()> {
        self.write(move |tx| owners::mark_events(tx, partition)).await
    }

    async fn add_schedule(&self, row: &ScheduleRow) -> Result<bool> {
        let row = row.clone();
        self.write(move |tx| schedules::add(tx, &row)).await
    }

    async fn change_schedule(&self, row: &ScheduleRow) -> Result<Option<u64>> {
        let row = row.clone();
        self.write(move |tx| schedules::change(tx, &row)).await
    }

    async fn remove_schedule(&self, namespace: &Namespace, name: &str) -> Result<bool> {
        let (namespace, name) = (namespace.clone(), name.to_owned());
        self.write(move |tx| schedules::remove(tx, &namespace, &name)).await
    }

    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>> {
        let (namespace, name) = (namespace.clone(), name.to_owned());
        self.read(move |tx| schedules::get(tx, &namespace, &name)).await
    }

    async fn schedules(&self, namespace: &Namespace, after: Option<&str>, limit: usize) -> Result<Vec<ScheduleRow>> {
        let (namespace, after) = (namespace.clone(), after.map(str::to_owned));
        self.read(move |tx| schedules::list(tx, &namespace, after.as_deref(), limit))
            .await
    }

    async fn schedules_due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>> {
        self.read(move |tx| schedules::due(tx, now, limit)).await
    }

    async fn sweep(&self) -> Result<u64> {
        self.write_at(|tx, now| Ok(inbox::sweep(tx, now)? + workflows::sweep_keys(tx, now)? + forks::sweep(tx, now)?))
            .await
    }

    async fn ping(&self) -> Result<()> {
        self.read(|tx| tx.open_table(tables::PARTITIONS).map(|_| ()).map_err(StoreError::from))
            .await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.place.now())
    }
}
