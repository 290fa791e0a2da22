//! The store of a simulated process: appends meet faults, leases run by simulated time, commits are noted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_coordinator::store::*;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::shell_database::Database;
use super::shell_fires::Looked;
use super::shell_process::{Fuse, Planted, SimDice};

/// The database as one process reaches it.
pub struct FaultyStore {
    /// Of the process.
    pub name: String,
    /// A bug.
    pub planted: Option<Planted>,
    /// Shared by all.
    pub database: Arc<Database>,
    /// [`Database::store`].
    pub inner: Arc<dyn Store>,
    /// Of the process.
    pub fuse: Arc<Fuse>,
    /// What decides.
    pub dice: Arc<SimDice>,
    /// No more faults.
    pub healed: Arc<AtomicBool>,
    /// When it last asked for the time.
    pub looked: Mutex<Option<Looked>>,
}

/// Leases of living processes never run out by the machine's clock.
const FOR_EVER_MS: u64 = 1 << 40;

impl FaultyStore {
    /// Before anything but an append: now and then the database is slow, or away.
    async fn reach(&self) -> Result<(), StoreError> {
        self.fuse.pass().await;
        if self.healed.load(Ordering::SeqCst) {
            return Ok(());
        }
        match self.dice.below(200) {
            0 => Err(StoreError::Away("simulated".to_owned())),
            1 => {
                let ms = u64::try_from(self.dice.below(1000)).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An append is under way for a moment, at most for as long as others come meanwhile: its caller works ahead of it.
    async fn take_a_while(&self) {
        match self.dice.below(3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => {
                let ms = u64::try_from(self.dice.below(20)).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
        }
    }

    /// What was written is; now and then its answer is lost.
    fn answer<T>(&self, what: &str, value: T) -> Result<T, StoreError> {
        match self.dice.below(50) {
            0 if !self.healed.load(Ordering::SeqCst) => Err(StoreError::Unknown(format!("simulated, {what}"))),
            _ => Ok(value),
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<Timestamp, StoreError> {
        let mut batch = batch.clone();
        if self.planted == Some(Planted::GapInTheChain) && batch.rows.len() > 2 {
            batch.rows.remove(1);
        }
        if self.planted == Some(Planted::NoTimeToWake) {
            batch.changed.iter_mut().for_each(|change| change.wake_at = None);
            batch.created.iter_mut().for_each(|run| run.wake_at = None);
        }
        self.database.claims_cover(&batch, &self.name);
        let is_stale = self.database.have_others(&batch.claims);
        let committed = self.inner.append(&batch).await;
        for row in &batch.rows {
            let path = row.path.as_deref().unwrap_or_default();
            let what = format_args!(
                "commits {} {} {} {path} #{:?}: {:?}",
                row.run,
                row.seq,
                row.kind,
                row.attempt,
                committed.as_ref().map(|_| ())
            );
            self.database.tell(&self.name, what);
        }
        let at = match committed {
            Err(StoreError::NotOwner(_)) if self.planted == Some(Planted::NoEpochCheck) => {
                self.database.current(&mut batch.claims);
                self.inner.append(&batch).await?
            }
            committed => committed?,
        };
        if is_stale {
            let what = format!("{} wrote to partitions that others had taken before", self.name);
            self.database.report(what);
        }
        self.database.holds(&batch.claims, 1);
        self.database.note(&batch, &self.name);
        self.fuse.pass().await;
        Ok(at)
    }
}

/// Whether a batch can be halved: it is about several runs, of which no two begin together.
fn concerns_several(batch: &Batch) -> bool {
    let runs: BTreeSet<RunId> = batch.rows.iter().map(|row| row.run).collect();
    runs.len() > 1 && batch.created.len() < 2
}

#[async_trait]
impl Store for FaultyStore {
    async fn append(&self, batch: &Batch) -> Result<Timestamp, StoreError> {
        self.fuse.pass().await;
        self.take_a_while().await;
        let faults = !self.healed.load(Ordering::SeqCst);
        let roll = self.dice.below(100);
        if faults && roll < 8 && self.planted == Some(Planted::EffectsBeforeCommit) {
            return Ok(self.database.now());
        }
        match roll {
            0..=2 if faults => Err(StoreError::Away("simulated".to_owned())),
            3..=4 if faults => Err(StoreError::Unknown("simulated, lost".to_owned())),
            5..=7 if faults => {
                self.commit(batch).await?;
                Err(StoreError::Unknown("simulated, committed".to_owned()))
            }
            8..=12 if faults => {
                let ms = u64::try_from(self.dice.below(2000)).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.commit(batch).await
            }
            // The rows of one run are refused with the others': each by itself is taken.
            13..=15 if faults && concerns_several(batch) => Err(StoreError::Refused("simulated".to_owned())),
            _ => self.commit(batch).await,
        }
    }
    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<(), StoreError> {
        self.fuse.pass().await;
        let until = self.database.now().plus(Duration::from_millis(lease_ms));
        self.inner.renew(member, FOR_EVER_MS).await?;
        let mut leases = self.database.leases.lock().expect("the leases");
        leases.insert(member.incarnation, (member.clone(), until));
        Ok(())
    }
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.reach().await?;
        self.database.expire().await?;
        let mut rows = self.inner.members().await?;
        for row in &mut rows {
            row.lease_left_ms = self.database.left_ms(row);
        }
        Ok(rows)
    }
    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        self.reach().await?;
        self.database.expire().await?;
        self.inner.partitions().await
    }
    async fn claim(
        &self,
        member: &Member,
        partitions: &[Partition],
        restart: Option<uuid::Uuid>,
    ) -> Result<Vec<Claim>, StoreError> {
        self.fuse.pass().await;
        self.database.expire().await?;
        let claims = self.inner.claim(member, partitions, restart).await?;
        self.database.holds(&claims, 0);
        Ok(claims)
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        let now = self.database.now();
        let at = self.database.clock.time();
        *self.looked.lock().expect("the look") = Some(Looked { at, now });
        Ok(now)
    }
    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        self.reach().await?;
        self.inner.journal(run, after, limit).await
    }
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.reach().await?;
        let row = self.inner.run(run).await?;
        Ok(row.map(|row| self.database.fires.dated(row)))
    }
    async fn run_ids_like(&self, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.fuse.pass().await;
        self.inner.run_ids_like(namespace, text, limit).await
    }
    async fn runs(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        self.fuse.pass().await;
        self.inner.runs(namespace, filter, before, limit).await
    }
    async fn open_runs(&self, partitions: &[Partition]) -> Result<Vec<RunId>, StoreError> {
        self.reach().await?;
        self.inner.open_runs(partitions).await
    }
    async fn asleep(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        after: Option<Sleeper>,
        limit: usize,
    ) -> Result<Vec<Sleeper>, StoreError> {
        self.reach().await?;
        self.inner.asleep(partitions, until, after, limit).await
    }
    async fn asleep_counts(&self, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.reach().await?;
        self.inner.asleep_counts(partitions).await
    }
    async fn run_counts(&self) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.fuse.pass().await;
        self.inner.run_counts().await
    }
    async fn copy_past(&self, run: RunId, from: ForkedFrom) -> Result<bool, StoreError> {
        self.fuse.pass().await;
        self.inner.copy_past(run, from).await
    }
    async fn delete_run(&self, run: RunId) -> Result<bool, StoreError> {
        self.fuse.pass().await;
        self.inner.delete_run(run).await
    }
    async fn delete_expired(
        &self,
        keep: &[(RunStatus, Duration)],
        limit: usize,
    ) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.reach().await?;
        self.inner.delete_expired(keep, limit).await
    }
    async fn expired(&self, keep: &[(RunStatus, Duration)]) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.reach().await?;
        self.inner.expired(keep).await
    }
    async fn drop_snapshots(&self) -> Result<Dropped, StoreError> {
        self.reach().await?;
        self.inner.drop_snapshots().await
    }
    async fn snapshots_to_drop(&self) -> Result<u64, StoreError> {
        self.reach().await?;
        self.inner.snapshots_to_drop().await
    }
    async fn joined_scopes(&self, run: RunId) -> Result<Vec<JoinedScope>, StoreError> {
        self.reach().await?;
        self.inner.joined_scopes(run).await
    }
    async fn put_workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        digest: &str,
        document: &[u8],
    ) -> Result<(WorkflowRow, bool), StoreError> {
        self.fuse.pass().await;
        self.inner.put_workflow(namespace, name, digest, document).await
    }
    async fn workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        self.reach().await?;
        self.inner.workflow(namespace, name, version).await
    }
    async fn workflows(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowRow>, StoreError> {
        self.fuse.pass().await;
        self.inner.workflows(namespace, after, limit).await
    }
    async fn reserve_key(
        &self,
        namespace: &Namespace,
        key: &str,
        request_hash: &str,
        run: RunId,
    ) -> Result<Reserved, StoreError> {
        self.reach().await?;
        if self.planted == Some(Planted::KeyForgotten) {
            return Ok(Reserved::Won);
        }
        let reserved = self.inner.reserve_key(namespace, key, request_hash, run).await?;
        self.answer("put", reserved)
    }
    async fn reserve_keys(&self, namespace: &Namespace, keys: &[KeyBinding]) -> Result<Vec<Reserved>, StoreError> {
        self.fuse.pass().await;
        self.inner.reserve_keys(namespace, keys).await
    }
    async fn runs_there(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        self.fuse.pass().await;
        self.inner.runs_there(runs).await
    }
    async fn inbox_put(&self, message: &InboxMessage) -> Result<u64, StoreError> {
        self.reach().await?;
        let id = self.inner.inbox_put(message).await?;
        self.answer("put", id)
    }
    async fn broadcast(&self, message: &Broadcast) -> Result<u64, StoreError> {
        self.reach().await?;
        self.inner.broadcast(message).await
    }
    async fn inputs(
        &self,
        namespace: &Namespace,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<WaitRow>, StoreError> {
        self.fuse.pass().await;
        self.inner.inputs(namespace, after, limit).await
    }
    async fn inbox(&self, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage, StoreError> {
        self.reach().await?;
        self.inner.inbox(partitions, after, limit).await
    }
    async fn take_verdict(&self, id: u64) -> Result<Option<Bytes>, StoreError> {
        self.reach().await?;
        self.inner.take_verdict(id).await
    }
    async fn leave(&self, member: &Member) -> Result<(), StoreError> {
        self.fuse.pass().await;
        self.inner.leave(member).await
    }
    async fn release(&self, member: &Member, claims: &[Claim]) -> Result<(), StoreError> {
        self.fuse.pass().await;
        self.inner.release(member, claims).await
    }
    async fn mark_events(&self, partition: Partition) -> Result<(), StoreError> {
        self.reach().await?;
        self.inner.mark_events(partition).await
    }
    async fn add_schedule(&self, row: &ScheduleRow) -> Result<bool, StoreError> {
        self.fuse.pass().await;
        self.inner.add_schedule(row).await
    }
    async fn change_schedule(&self, row: &ScheduleRow) -> Result<Option<u64>, StoreError> {
        self.reach().await?;
        let mut row = row.clone();
        if self.planted == Some(Planted::TickForgotten) {
            row.pending.clear();
        }
        let changed = self.inner.change_schedule(&row).await?;
        if changed.is_some() {
            let looked = *self.looked.lock().expect("the look");
            let what = format_args!(
                "changes {}: next {:?}, pending {:?}",
                row.name, row.next_at, row.pending
            );
            self.database.tell(&self.name, what);
            self.database.fires.moved(&row, looked, self.database.clock.time());
        }
        self.fuse.pass().await;
        self.answer("changed", changed)
    }
    async fn remove_schedule(&self, namespace: &Namespace, name: &str) -> Result<bool, StoreError> {
        self.fuse.pass().await;
        self.inner.remove_schedule(namespace, name).await
    }
    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        self.fuse.pass().await;
        self.inner.schedule(namespace, name).await
    }
    async fn schedules(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        self.fuse.pass().await;
        self.inner.schedules(namespace, after, limit).await
    }
    async fn schedules_due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>, StoreError> {
        self.reach().await?;
        self.inner.schedules_due(now, limit).await
    }
    async fn sweep(&self) -> Result<u64, StoreError> {
        self.fuse.pass().await;
        self.inner.sweep().await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.fuse.pass().await;
        self.inner.ping().await
    }
}
