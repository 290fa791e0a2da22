//! The store of a simulated process: appends meet faults, leases run by simulated time, commits are noted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_coordinator::store::*;
use rejoin_shared::ids::{AttemptKey, Namespace, Partition, RunId, StepKey};
use rejoin_shared::run::{Outcome, RunStatus};
use rejoin_shared::time::Timestamp;

use super::START;
use super::shell_process::{Fuse, Planted, SimClock, SimDice};
use super::shell_runs::Runs;

/// Lines of history that are kept, and characters of each.
const HISTORY_MAX: usize = 2_000;
const LINE_MAX: usize = 600;

/// What all processes share of the database.
pub struct Database {
    /// Where the rows are.
    pub store: Arc<dyn Store>,
    /// Its clock.
    pub clock: SimClock,
    /// Leases by simulated time.
    leases: Mutex<BTreeMap<uuid::Uuid, (Member, Timestamp)>>,
    /// Steps whose completion is committed, by run and path.
    pub committed: Mutex<BTreeSet<(RunId, String)>>,
    /// The ownership in force.
    current: Mutex<BTreeMap<Partition, Claim>>,
    /// Which runs there are.
    pub runs: Runs,
    /// When sleeps end, by run and path.
    sleeps: Mutex<BTreeMap<(RunId, String), Option<Timestamp>>>,
    have_clocks_differed: AtomicBool,
    /// Attempts of steps with `idempotent: false` that were begun, by run, path and number.
    pub begun_once: Mutex<BTreeSet<(RunId, String, u32)>>,
    /// Whether a lost claim was committed: what the reference says holds no more.
    pub has_unknown_outcomes: AtomicBool,
    /// Invariants that broke.
    pub broken: Mutex<Vec<String>>,
    /// What the processes did, as far back as it is kept.
    history: Mutex<VecDeque<String>>,
    /// Attempts whose end is committed.
    ended: Mutex<BTreeSet<AttemptKey>>,
    /// Completions that a process has acknowledged though their end was not committed: it must ignore them.
    acked_early: Mutex<BTreeSet<(String, AttemptKey)>>,
}

impl Database {
    /// A database over this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: SimClock) -> Database {
        Database {
            store,
            clock,
            leases: Mutex::default(),
            committed: Mutex::default(),
            current: Mutex::default(),
            runs: Runs::default(),
            sleeps: Mutex::default(),
            have_clocks_differed: AtomicBool::new(false),
            begun_once: Mutex::default(),
            has_unknown_outcomes: AtomicBool::new(false),
            broken: Mutex::default(),
            history: Mutex::default(),
            ended: Mutex::default(),
            acked_early: Mutex::default(),
        }
    }

    /// A process acknowledges completions.
    pub fn acked(&self, process: &str, keys: &[AttemptKey]) {
        let ended = self.ended.lock().expect("the ends");
        let early = keys.iter().filter(|key| !ended.contains(key));
        let early: Vec<_> = early.map(|key| (process.to_owned(), *key)).collect();
        self.acked_early.lock().expect("the acks").extend(early);
    }

    /// Completions are delivered to a process (again).
    pub fn delivered(&self, process: &str, keys: &[AttemptKey]) {
        let mut early = self.acked_early.lock().expect("the acks");
        for key in keys {
            early.remove(&(process.to_owned(), *key));
        }
    }

    fn note_ends(&self, batch: &Batch, process: &str) {
        let kinds = ["step_completed", "step_failed", "retry_scheduled"];
        for row in batch.rows.iter().filter(|row| kinds.contains(&row.kind.as_str())) {
            let step = step_of(&row.body);
            let Some((step, attempt)) = step.zip(row.attempt) else {
                continue;
            };
            let key = AttemptKey {
                run: row.run,
                step,
                attempt,
            };
            self.ended.lock().expect("the ends").insert(key);
            if self
                .acked_early
                .lock()
                .expect("the acks")
                .contains(&(process.to_owned(), key))
            {
                self.report(format!(
                    "{:?} attempt {attempt} was acknowledged before its commit",
                    row.path
                ));
            }
        }
    }

    /// A process's clock is off from now on: what one calls early need not be so for another.
    pub fn clocks_differ(&self) {
        self.have_clocks_differed.store(true, Ordering::SeqCst);
    }

    /// A sleep ends no earlier than it said, as long as all clocks agree.
    fn note_sleeps(&self, batch: &Batch) {
        if self.have_clocks_differed.load(Ordering::SeqCst) {
            return;
        }
        let mut sleeps = self.sleeps.lock().expect("the sleeps");
        for row in &batch.rows {
            let place = (row.run, row.path.clone().unwrap_or_default());
            match row.kind.as_str() {
                "timer_set" => drop(sleeps.insert(place, until_of(&row.body))),
                "timer_fired" => {
                    let until = sleeps.get(&place).copied().flatten();
                    if until.is_none_or(|until| self.clock.time() < until) {
                        self.report(format!("the sleep {} ended before {until:?}", place.1));
                    }
                }
                _ => {}
            }
        }
    }

    fn note(&self, batch: &Batch, process: &str) {
        self.note_ends(batch, process);
        batch.rows.iter().for_each(|row| self.runs.note(row));
        self.note_sleeps(batch);
        let is_unknown = |row: &JournalRow| {
            row.outcome == Some(Outcome::Lost) && row.body.windows(15).any(|part| part == b"outcome_unknown")
        };
        if batch.rows.iter().any(is_unknown) {
            self.has_unknown_outcomes.store(true, Ordering::SeqCst);
        }
        let mut committed = self.committed.lock().expect("the commits");
        for row in batch.rows.iter().filter(|row| row.kind == "step_completed") {
            let path = row.path.clone().unwrap_or_default();
            if !committed.insert((row.run, path.clone())) {
                self.report(format!("{path} completed twice"));
            }
        }
    }

    /// Adds to the history.
    pub fn tell(&self, process: &str, what: fmt::Arguments<'_>) {
        let at = self.clock.time().since(START);
        let line = format!("{:9.3} {process:4} {what}", at.as_secs_f64());
        let line = line.chars().take(LINE_MAX).collect();
        let mut history = self.history.lock().expect("the history");
        if history.len() >= HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(line);
    }

    /// The history, oldest first.
    #[must_use]
    pub fn history(&self) -> String {
        let history = self.history.lock().expect("the history");
        history.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Notes an invariant that broke.
    pub fn report(&self, what: String) {
        self.broken.lock().expect("the reports").push(what);
    }

    /// The ownership under which the last append, or claim, was made; `more` batches lie behind it.
    fn holds(&self, claims: &[Claim], more: u64) {
        let mut current = self.current.lock().expect("the claims");
        for claim in claims {
            let claim = Claim {
                batch: claim.batch + more,
                ..*claim
            };
            let is_late = current
                .get(&claim.partition)
                .is_some_and(|known| known.epoch > claim.epoch);
            if !is_late {
                current.insert(claim.partition, claim);
            }
        }
    }

    /// Whether others have taken one of these partitions since.
    fn have_others(&self, claims: &[Claim]) -> bool {
        let current = self.current.lock().expect("the claims");
        let mut known = claims
            .iter()
            .filter_map(|claim| Some((claim, current.get(&claim.partition)?)));
        known.any(|(claim, known)| known.epoch > claim.epoch)
    }

    /// Puts the ownership in force in place of one that is lost.
    fn current(&self, claims: &mut [Claim]) {
        let current = self.current.lock().expect("the claims");
        for claim in claims {
            *claim = current.get(&claim.partition).copied().unwrap_or(*claim);
        }
    }

    /// Ends the leases that have run out by simulated time.
    async fn expire(&self) -> Result<(), StoreError> {
        let now = self.clock.time();
        let leases: Vec<(Member, Timestamp)> = self.leases.lock().expect("the leases").values().cloned().collect();
        for (member, until) in leases {
            if until <= now {
                self.store.renew(&member, 0).await?;
            }
        }
        Ok(())
    }

    fn left_ms(&self, row: &MemberRow) -> i64 {
        let leases = self.leases.lock().expect("the leases");
        let until = leases.get(&row.member.incarnation).map_or(0, |(_, until)| until.0);
        (until - self.clock.time().0).div_euclid(1000)
    }
}

fn until_of(body: &[u8]) -> Option<Timestamp> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    serde_json::from_value(body.get("until")?.clone()).ok()
}

fn step_of(body: &[u8]) -> Option<StepKey> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    serde_json::from_value(body.get("step")?.clone()).ok()
}

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

    async fn commit(&self, batch: &Batch) -> Result<Timestamp, StoreError> {
        let mut batch = batch.clone();
        if self.planted == Some(Planted::GapInTheChain) && batch.rows.len() > 2 {
            batch.rows.remove(1);
        }
        if self.planted == Some(Planted::NoTimeToWake) {
            batch.changed.iter_mut().for_each(|change| change.wake_at = None);
            batch.created.iter_mut().for_each(|run| run.wake_at = None);
        }
        let is_stale = self.database.have_others(&batch.claims);
        let committed = self.inner.append(&batch).await;
        for row in &batch.rows {
            let path = row.path.as_deref().unwrap_or_default();
            let what = format_args!(
                "commits {} {} {path} #{:?}: {}",
                row.seq,
                row.kind,
                row.attempt,
                committed.is_ok()
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

#[async_trait]
impl Store for FaultyStore {
    async fn append(&self, batch: &Batch) -> Result<Timestamp, StoreError> {
        self.fuse.pass().await;
        let faults = !self.healed.load(Ordering::SeqCst);
        let roll = self.dice.below(100);
        if faults && roll < 8 && self.planted == Some(Planted::EffectsBeforeCommit) {
            return Ok(self.database.clock.time());
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
            _ => self.commit(batch).await,
        }
    }
    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<(), StoreError> {
        self.fuse.pass().await;
        let until = self.database.clock.time().plus(Duration::from_millis(lease_ms));
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
        Ok(self.database.clock.time())
    }
    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        self.reach().await?;
        self.inner.journal(run, after, limit).await
    }
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.reach().await?;
        self.inner.run(run).await
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
        self.fuse.pass().await;
        self.inner.reserve_key(namespace, key, request_hash, run).await
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
        match self.dice.below(50) {
            0 if !self.healed.load(Ordering::SeqCst) => Err(StoreError::Unknown("simulated, put".to_owned())),
            _ => Ok(id),
        }
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
        self.fuse.pass().await;
        self.inner.change_schedule(row).await
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
        self.fuse.pass().await;
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
