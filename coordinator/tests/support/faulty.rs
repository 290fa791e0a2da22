//! A store that fails now and then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_coordinator::store::*;
use rejoin_shared::definition::digest_of_stored;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The append is done, but its caller does not learn it.
    UnknownCommitted,
    /// The append is not done, and its caller does not learn it.
    UnknownLost,
    /// The append is not done, which its caller does not learn; its partitions are another's for a moment, who writes the first record.
    UnknownOvertaken,
    /// Nothing is done.
    Away,
    /// Completions of one run are refused.
    RefusedRun,
    /// The first completions of one run are refused, after a while in which more of them come.
    RefusedOnce,
    /// The start of one run is refused.
    RefusedStart,
    /// The last record of one run has a format of a newer version.
    NewerFormat,
    /// The last record of one run has a kind of a newer version.
    NewerKind,
    /// The last record of one run is cut off.
    CutRecord,
    /// The last record of one run is another than it was, appended at another time.
    OtherHistory,
    /// The workflow `newer` has a key of a newer version.
    NewerDefinition,
    /// The workflow `newer` is not what was registered.
    AlteredDefinition,
}

/// Well below the owner's tick, so that what comes meanwhile is judged ahead in most of all cases.
const REFUSED_AFTER: Duration = Duration::from_millis(60);

pub struct Faulty {
    inner: Arc<dyn Store>,
    fault: Fault,
    appends: AtomicUsize,
    met: Arc<AtomicUsize>,
    pub refused: Mutex<Option<RunId>>,
    /// Rows of journals that were read.
    pub rows_read: AtomicUsize,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, fault: Fault, met: Arc<AtomicUsize>) -> Faulty {
        Faulty {
            inner,
            fault,
            appends: AtomicUsize::new(0),
            met,
            refused: Mutex::new(None),
            rows_read: AtomicUsize::new(0),
        }
    }

    fn is_refused(&self, batch: &Batch) -> bool {
        let refused = *self.refused.lock().expect("the run");
        if self.fault == Fault::RefusedStart {
            return batch.created.iter().any(|run| Some(run.id) == refused);
        }
        batch
            .rows
            .iter()
            .any(|row| Some(row.run) == refused && row.kind == "step_completed")
    }
}

impl Faulty {
    /// Another owner has the partitions of the batch for a moment, and writes its first record.
    async fn overtake(&self, batch: &Batch) -> Result<(), StoreError> {
        let partitions: Vec<Partition> = batch.claims.iter().map(|claim| claim.partition).collect();
        let rows = self.inner.partitions().await?;
        let owner = rows.into_iter().find(|row| row.partition == partitions[0]);
        let owner = owner.and_then(|row| row.owner).expect("an owner");
        let other = Member {
            name: "other".to_owned(),
            incarnation: uuid::Uuid::new_v4(),
            address: String::new(),
        };
        self.inner.release(&owner, &batch.claims).await?;
        self.inner.renew(&other, 60_000).await?;
        let first = Batch {
            claims: self.inner.claim(&other, &partitions, None).await?,
            rows: batch.rows[..1].to_vec(),
            ..Batch::default()
        };
        self.inner.append(&first).await?;
        self.inner.leave(&other).await
    }
}

/// A record's body with a kind that no version has.
fn renamed(body: &str) -> String {
    let (before, kind) = body.split_once("\"k\":\"").expect("a kind");
    let (_, after) = kind.split_once('"').expect("its end");
    format!("{before}\"k\":\"weather_changed\"{after}")
}

#[async_trait]
impl Store for Faulty {
    async fn append(&self, batch: &Batch) -> Result<Timestamp, StoreError> {
        let is_met = self.appends.fetch_add(1, Ordering::SeqCst) % 3 == 2;
        match self.fault {
            Fault::RefusedRun | Fault::RefusedStart if self.is_refused(batch) => {
                self.met.fetch_add(1, Ordering::SeqCst);
                return Err(StoreError::Refused("these data".to_owned()));
            }
            Fault::RefusedOnce if self.is_refused(batch) => {
                *self.refused.lock().expect("the run") = None;
                self.met.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(REFUSED_AFTER).await;
                return Err(StoreError::Refused("these data".to_owned()));
            }
            Fault::RefusedRun | Fault::RefusedOnce | Fault::RefusedStart => {}
            Fault::UnknownCommitted if is_met => {
                self.inner.append(batch).await?;
                self.met.fetch_add(1, Ordering::SeqCst);
                return Err(StoreError::Unknown("cut".to_owned()));
            }
            Fault::UnknownLost if is_met => {
                self.met.fetch_add(1, Ordering::SeqCst);
                return Err(StoreError::Unknown("cut".to_owned()));
            }
            Fault::UnknownOvertaken if is_met && batch.created.is_empty() && !batch.rows.is_empty() => {
                self.met.fetch_add(1, Ordering::SeqCst);
                self.overtake(batch).await?;
                return Err(StoreError::Unknown("cut".to_owned()));
            }
            Fault::Away if is_met => {
                self.met.fetch_add(1, Ordering::SeqCst);
                return Err(StoreError::Away("refused".to_owned()));
            }
            Fault::UnknownCommitted
            | Fault::UnknownLost
            | Fault::UnknownOvertaken
            | Fault::Away
            | Fault::NewerFormat
            | Fault::NewerKind
            | Fault::CutRecord
            | Fault::OtherHistory
            | Fault::NewerDefinition
            | Fault::AlteredDefinition => {}
        }
        self.inner.append(batch).await
    }
    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let mut page = self.inner.journal(run, after, limit).await?;
        self.rows_read.fetch_add(page.len(), Ordering::SeqCst);
        let is_it = Some(run) == *self.refused.lock().expect("the run");
        if let Some(last) = page.last_mut().filter(|_| is_it) {
            let body = std::str::from_utf8(&last.row.body).expect("text").to_owned();
            let is_met = match self.fault {
                Fault::NewerFormat => {
                    last.format += 1;
                    true
                }
                Fault::NewerKind => {
                    last.row.body = renamed(&body).into();
                    true
                }
                Fault::CutRecord => {
                    last.row.body.truncate(body.len() / 2);
                    true
                }
                Fault::OtherHistory => {
                    last.at.0 += 1;
                    true
                }
                Fault::UnknownCommitted
                | Fault::UnknownLost
                | Fault::UnknownOvertaken
                | Fault::Away
                | Fault::RefusedRun
                | Fault::RefusedOnce
                | Fault::RefusedStart
                | Fault::NewerDefinition
                | Fault::AlteredDefinition => false,
            };
            self.met.fetch_add(usize::from(is_met), Ordering::SeqCst);
        }
        Ok(page)
    }
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.inner.run(run).await
    }
    async fn run_ids_like(&self, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.inner.run_ids_like(namespace, text, limit).await
    }
    async fn runs(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        self.inner.runs(namespace, filter, before, limit).await
    }
    async fn open_runs(&self, partitions: &[Partition]) -> Result<Vec<RunId>, StoreError> {
        self.inner.open_runs(partitions).await
    }
    async fn asleep(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        after: Option<Sleeper>,
        limit: usize,
    ) -> Result<Vec<Sleeper>, StoreError> {
        self.inner.asleep(partitions, until, after, limit).await
    }
    async fn asleep_counts(&self, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.inner.asleep_counts(partitions).await
    }
    async fn run_counts(&self) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.inner.run_counts().await
    }
    async fn copy_past(&self, run: RunId, from: ForkedFrom) -> Result<bool, StoreError> {
        self.inner.copy_past(run, from).await
    }
    async fn delete_run(&self, run: RunId) -> Result<bool, StoreError> {
        self.inner.delete_run(run).await
    }
    async fn delete_expired(
        &self,
        keep: &[(RunStatus, Duration)],
        limit: usize,
    ) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.inner.delete_expired(keep, limit).await
    }
    async fn expired(&self, keep: &[(RunStatus, Duration)]) -> Result<Vec<(RunStatus, u64)>, StoreError> {
        self.inner.expired(keep).await
    }
    async fn drop_snapshots(&self) -> Result<Dropped, StoreError> {
        self.inner.drop_snapshots().await
    }
    async fn snapshots_to_drop(&self) -> Result<u64, StoreError> {
        self.inner.snapshots_to_drop().await
    }
    async fn joined_scopes(&self, run: RunId) -> Result<Vec<JoinedScope>, StoreError> {
        self.inner.joined_scopes(run).await
    }
    async fn put_workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        digest: &str,
        document: &[u8],
    ) -> Result<(WorkflowRow, bool), StoreError> {
        self.inner.put_workflow(namespace, name, digest, document).await
    }
    async fn workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        let mut row = self.inner.workflow(namespace, name, version).await?;
        if let Some(row) = row.as_mut().filter(|row| row.name == "newer") {
            let is_newer = self.fault == Fault::NewerDefinition;
            if is_newer || self.fault == Fault::AlteredDefinition {
                let text = std::str::from_utf8(&row.document).expect("text");
                let altered = text.replacen('{', "{\"weather\":\"rain\",", 1);
                if is_newer {
                    row.digest = digest_of_stored(altered.as_bytes()).expect("JSON");
                }
                row.document = altered.into_bytes().into();
                self.met.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(row)
    }
    async fn workflows(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowRow>, StoreError> {
        self.inner.workflows(namespace, after, limit).await
    }
    async fn reserve_key(
        &self,
        namespace: &Namespace,
        key: &str,
        request_hash: &str,
        run: RunId,
    ) -> Result<Reserved, StoreError> {
        self.inner.reserve_key(namespace, key, request_hash, run).await
    }
    async fn reserve_keys(&self, namespace: &Namespace, keys: &[KeyBinding]) -> Result<Vec<Reserved>, StoreError> {
        self.inner.reserve_keys(namespace, keys).await
    }
    async fn runs_there(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        self.inner.runs_there(runs).await
    }
    async fn inbox_put(&self, message: &InboxMessage) -> Result<u64, StoreError> {
        self.inner.inbox_put(message).await
    }
    async fn broadcast(&self, message: &Broadcast) -> Result<u64, StoreError> {
        self.inner.broadcast(message).await
    }
    async fn inputs(
        &self,
        namespace: &Namespace,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<WaitRow>, StoreError> {
        self.inner.inputs(namespace, after, limit).await
    }
    async fn inbox(&self, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage, StoreError> {
        self.inner.inbox(partitions, after, limit).await
    }
    async fn take_verdict(&self, id: u64) -> Result<Option<Bytes>, StoreError> {
        self.inner.take_verdict(id).await
    }
    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<(), StoreError> {
        self.inner.renew(member, lease_ms).await
    }
    async fn leave(&self, member: &Member) -> Result<(), StoreError> {
        self.inner.leave(member).await
    }
    async fn members(&self) -> Result<Vec<MemberRow>, StoreError> {
        self.inner.members().await
    }
    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        self.inner.partitions().await
    }
    async fn claim(
        &self,
        member: &Member,
        partitions: &[Partition],
        restart: Option<uuid::Uuid>,
    ) -> Result<Vec<Claim>, StoreError> {
        self.inner.claim(member, partitions, restart).await
    }
    async fn release(&self, member: &Member, claims: &[Claim]) -> Result<(), StoreError> {
        self.inner.release(member, claims).await
    }
    async fn mark_events(&self, partition: Partition) -> Result<(), StoreError> {
        self.inner.mark_events(partition).await
    }
    async fn add_schedule(&self, row: &ScheduleRow) -> Result<bool, StoreError> {
        self.inner.add_schedule(row).await
    }
    async fn change_schedule(&self, row: &ScheduleRow) -> Result<Option<u64>, StoreError> {
        self.inner.change_schedule(row).await
    }
    async fn remove_schedule(&self, namespace: &Namespace, name: &str) -> Result<bool, StoreError> {
        self.inner.remove_schedule(namespace, name).await
    }
    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        self.inner.schedule(namespace, name).await
    }
    async fn schedules(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        self.inner.schedules(namespace, after, limit).await
    }
    async fn schedules_due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>, StoreError> {
        self.inner.schedules_due(now, limit).await
    }
    async fn sweep(&self) -> Result<u64, StoreError> {
        self.inner.sweep().await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }
}
