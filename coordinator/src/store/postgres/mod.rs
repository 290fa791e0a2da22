//! The store of production: PostgreSQL.
//!
//! ```text
//!   append ──▶ appender: one connection, in order ──▶ rejoin_append(…), one round trip, all or nothing
//!   the rest ─▶ pool ──▶ one statement each (sql.rs)
//! ```
//! Nothing on the hot path holds a transaction open across round trips, and nothing notifies: both would tie it to the slowest
//! client. (The keys of many starts at once are bound in such a transaction: all of them, or none.)

mod appender;
mod columns;
mod config;
mod encryption;
mod error;
mod kinds;
mod migrate;
mod pool;
pub mod reseal;
mod rights;
mod rows;
mod schedules;
mod sealing;
pub mod sql;
mod tls;
mod tokens;
mod values;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

pub use config::StoreConfig;
pub use encryption::KeyUse;
pub use migrate::{MigrationState, connect, migrate, migrate_check, read_only};

use super::seal::Place;
use super::{
    Batch, Broadcast, COPY_LIFE_MS, COPY_PORTION, Claim, Dropped, ForkedFrom, HEAD_BYTES_MAX, HEAD_ROWS, HELD_PAUSE_MS,
    Head, InboxMessage, InboxPage, JoinedScope, KEY_LIFE_MS, KeyBinding, MEMBER_LISTED_MS, Member, MemberRow,
    PAGE_BYTES_MAX, PartitionRow, PoolView, Reserved, RunFilter, RunRow, ScheduleRow, Sleeper, Store, StoreError,
    StoredRow, VERDICT_LIFE_MS, WaitKind, WaitRow, WorkflowRow,
};
use appender::Appender;
use columns::{Columns, fold_changes};
use kinds::Kinds;
use pool::Reader;
use sealing::Sealing;
use values::{At, bigint, integer, row_limit};

type Result<T> = std::result::Result<T, StoreError>;
type Param<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

/// Journal rows of one deleted run that one statement removes.
const JOURNAL_PORTION: i64 = 500;
/// Rows that one statement of a sweep removes.
const SWEEP_PORTION: i64 = 1_000;
/// Joined scopes that one statement drops such a portion of the snapshots of.
const SCOPES_PORTION: i64 = 20;
/// Deleted runs that one statement removes such a portion of.
const DELETED_RUNS_PORTION: i64 = 20;
/// Such statements of one sweep.
const PORTIONS_AT_ONCE: usize = 50;
/// How often a write that lost a race against another one looks again.
const RACES_MAX: usize = 20;

/// A [`Store`] on PostgreSQL 13 or newer.
pub struct PostgresStore {
    reader: Reader,
    appender: Appender,
    kinds: Kinds,
    sealing: Sealing,
}

impl PostgresStore {
    /// Connects to a migrated database.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if it is not migrated as far as this version needs, or not in UTF-8; [`StoreError::Away`] if it
    /// cannot be reached; [`StoreError::Sealed`] if a key is not the one that the database knows by its id.
    pub async fn connect(config: StoreConfig) -> Result<PostgresStore> {
        let store = PostgresStore::open(config).await?;
        store.prove_keys().await?;
        Ok(store)
    }

    /// The same without a word to the database about keys.
    async fn open(config: StoreConfig) -> Result<PostgresStore> {
        let store = PostgresStore {
            reader: Reader::new(&config)?,
            appender: Appender::new(&config)?,
            kinds: Kinds::default(),
            sealing: Sealing::new(config.codec),
        };
        store.ping().await?;
        store.kinds.load(&store.reader).await?;
        Ok(store)
    }

    async fn first<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(&tokio_postgres::Row) -> Result<T>,
    ) -> Result<Option<T>> {
        self.reader.read(sql, params).await?.first().map(read).transpose()
    }

    /// Removes one portion of the journals of deleted runs; returns how many runs it was about, and how many rows went.
    async fn remove_journals(&self) -> Result<(u64, u64)> {
        let params: [Param<'_>; 2] = [&DELETED_RUNS_PORTION, &JOURNAL_PORTION];
        let found = self
            .reader
            .write_returning(sql::DELETED_JOURNALS_REMOVE, &params)
            .await?;
        found.first().map_or(Ok((0, 0)), rows::runs_and_rows)
    }

    /// Removes what is left of deleted runs, at most `portions` of it.
    async fn remove_deleted(&self, portions: usize) -> Result<u64> {
        let mut removed = 0;
        for _ in 0..portions {
            let (runs, rows) = self.remove_journals().await?;
            removed += rows;
            if runs == 0 {
                break;
            }
        }
        Ok(removed)
    }
}

/// States and how long runs in them are kept, as two parameters.
fn kept(keep: &[(RunStatus, Duration)]) -> (Vec<&'static str>, Vec<i64>) {
    let millis = |keep: &Duration| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    keep.iter()
        .map(|(status, keep)| (status.as_str(), millis(keep)))
        .unzip()
}

fn numbers(partitions: &[Partition]) -> Vec<i16> {
    partitions.iter().map(|partition| i16::from(partition.0)).collect()
}

/// A filter's values as the two parameters they may go into, the list or the single one; empty means any, SQL null.
fn one_or_many(values: Vec<&str>) -> (Option<Vec<&str>>, Option<&str>) {
    match values.as_slice() {
        [] => (None, None),
        [one] => (None, Some(*one)),
        [_, _, ..] => (Some(values), None),
    }
}

/// The smallest and the largest id whose text begins with `text`; none if no id does.
fn ids_with_prefix(text: &str) -> Option<(uuid::Uuid, uuid::Uuid)> {
    const LOWEST: &str = "00000000-0000-0000-0000-000000000000";
    const HIGHEST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let fill = |rest: &str| uuid::Uuid::try_parse(&format!("{text}{}", rest.get(text.len()..)?)).ok();
    Some((fill(LOWEST)?, fill(HIGHEST)?))
}

#[async_trait]
impl Store for PostgresStore {
    async fn append(&self, batch: &Batch) -> Result<Timestamp> {
        let kinds = self.kinds.numbers(&self.reader, &batch.rows).await?;
        let batch = self.sealing.batch(batch)?;
        let changes = fold_changes(&batch.changed);
        let columns = Columns::of(&batch, kinds, &changes)?;
        Box::pin(self.appender.append(&columns)).await
    }

    async fn journal(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let page_bytes = row_limit(PAGE_BYTES_MAX);
        let found = self
            .reader
            .read(sql::JOURNAL_PAGE, &[&run.0, &after, &row_limit(limit), &page_bytes])
            .await?;
        found
            .iter()
            .map(|row| self.sealing.open_row(rows::stored_row(run, row)?))
            .collect()
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>> {
        let open = |row: &tokio_postgres::Row| self.sealing.open_run(rows::run_row(row)?);
        self.first(sql::RUN_READ, &[&run.0], open).await
    }

    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>> {
        let ids: Vec<uuid::Uuid> = runs.iter().map(|run| run.0).collect();
        let found = self.reader.read(sql::RUNS_READ, &[&ids]).await?;
        let params: [Param<'_>; 3] = [&ids, &row_limit(HEAD_ROWS), &row_limit(HEAD_BYTES_MAX)];
        let journals = self.reader.read(sql::JOURNAL_HEADS, &params).await?;
        let heads = rows::heads(&found, &journals)?.into_iter().map(|head| {
            let journal = head.journal.into_iter().map(|row| self.sealing.open_row(row));
            Ok(Head {
                row: self.sealing.open_run(head.row)?,
                journal: journal.collect::<Result<_>>()?,
                is_whole: head.is_whole,
            })
        });
        heads.collect()
    }

    async fn run_ids_like(&self, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>> {
        let (lowest, highest) = ids_with_prefix(text).unzip();
        let reversed: String = text.chars().rev().collect();
        let params: [Param<'_>; 5] = [&&*namespace.0, &lowest, &highest, &reversed, &row_limit(limit)];
        self.reader
            .read(sql::RUN_IDS_LIKE, &params)
            .await?
            .iter()
            .map(rows::id)
            .collect()
    }

    async fn runs(
        &self,
        namespace: &Namespace,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>> {
        let workflows: Vec<&str> = filter.workflows.iter().map(String::as_str).collect();
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        let ((workflows, workflow), (statuses, status)) = (one_or_many(workflows), one_or_many(statuses));
        let (keys, values): (Vec<&str>, Vec<&str>) = filter
            .tags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .unzip();
        let waiting = filter.waiting.map(WaitKind::as_str);
        let ids = |runs: &Vec<RunId>| runs.iter().map(|run| run.0).collect::<Vec<uuid::Uuid>>();
        let among = filter.among.as_ref().map(ids);
        let params: [Param<'_>; 15] = [
            &&*namespace.0,
            &workflows,
            &statuses,
            &filter.since.map(At),
            &filter.until.map(At),
            &filter.parent.map(|parent| parent.0),
            &filter.text,
            &before.map(|run| run.0),
            &workflow,
            &status,
            &row_limit(limit),
            &waiting,
            &among,
            &keys,
            &values,
        ];
        let by_tag = [&params[..11], &params[13..]].concat();
        let found = match (waiting.is_some() || among.is_some(), keys.is_empty()) {
            (true, _) => self.reader.read(sql::RUNS_PAGE_WAITING, &params).await?,
            (false, true) => self.reader.read(sql::RUNS_PAGE, &params[..11]).await?,
            (false, false) => self.reader.read(sql::RUNS_PAGE_BY_TAG, &by_tag).await?,
        };
        let shown = |row| Ok(self.sealing.show_run(rows::run_row(row)?));
        found.iter().map(shown).collect()
    }

    async fn open_runs(&self, partitions: &[Partition]) -> Result<Vec<RunId>> {
        let found = self.reader.read(sql::OPEN_RUNS, &[&numbers(partitions)]).await?;
        found.iter().map(rows::id).collect()
    }

    async fn asleep(
        &self,
        partitions: &[Partition],
        until: Timestamp,
        after: Option<Sleeper>,
        limit: usize,
    ) -> Result<Vec<Sleeper>> {
        let (at, run) = (after.map(|after| At(after.wake_at)), after.map(|after| after.run.0));
        let params: [Param<'_>; 5] = [&numbers(partitions), &at, &run, &row_limit(limit), &At(until)];
        let found = self.reader.read(sql::RUNS_ASLEEP, &params).await?;
        let mut sleepers = found.iter().map(rows::sleeper).collect::<Result<Vec<Sleeper>>>()?;
        // Of each partition the next one comes too.
        let due = sleepers.iter().take_while(|sleeper| sleeper.wake_at <= until).count();
        sleepers.truncate(due + 1);
        Ok(sleepers)
    }

    async fn asleep_counts(&self, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>> {
        let found = self
            .reader
            .read(sql::RUNS_ASLEEP_COUNT, &[&numbers(partitions)])
            .await?;
        found.iter().map(rows::status_count).collect()
    }

    async fn run_counts(&self) -> Result<Vec<(RunStatus, u64)>> {
        let found = self.reader.read(sql::RUN_COUNTS, &[]).await?;
        found.iter().map(rows::status_count).collect()
    }

    async fn copy_past(&self, run: RunId, from: ForkedFrom) -> Result<bool> {
        let last = bigint(from.seq)?;
        let source = from.run.0;
        self.reader.write(sql::COPY_BEGIN, &[&run.0, &source, &last]).await?;
        if self.sealing.codec().has_keys() {
            return self.copy_opened(run, from).await;
        }
        let mut copied = 0;
        while copied < from.seq {
            let until = from.seq.min(copied + COPY_PORTION);
            let portion: [Param<'_>; 4] = [&run.0, &source, &bigint(copied)?, &bigint(until)?];
            let rows = self.reader.write(sql::COPY_PORTION_IF_WANTED, &portion).await?;
            if rows != until - copied {
                self.reader.write(sql::COPY_GIVE_UP, &[&run.0]).await?;
                return Ok(false);
            }
            copied = until;
        }
        Ok(true)
    }

    async fn delete_run(&self, run: RunId) -> Result<bool> {
        let deleted = self
            .reader
            .write_returning(sql::RUN_DELETE_IF_ENDED, &[&run.0, &KEY_LIFE_MS])
            .await?;
        let was_there = deleted.first().map_or(Ok(0), rows::inbox_id)? > 0;
        if was_there {
            // The run is gone already; what is left of its journal goes with the next sweeps.
            if let Err(error) = self.remove_deleted(PORTIONS_AT_ONCE).await {
                tracing::warn!(%run, %error, "the journal of a deleted run is left to the next sweep");
            }
        }
        Ok(was_there)
    }

    async fn delete_expired(&self, keep: &[(RunStatus, Duration)], limit: usize) -> Result<Vec<(RunStatus, u64)>> {
        let (states, keeps) = kept(keep);
        let params: [Param<'_>; 5] = [&states, &keeps, &KEY_LIFE_MS, &row_limit(limit), &HELD_PAUSE_MS];
        let gone = self
            .reader
            .write_returning(sql::RUNS_DELETE_IF_EXPIRED, &params)
            .await?;
        gone.iter().map(rows::status_count).collect()
    }

    async fn expired(&self, keep: &[(RunStatus, Duration)]) -> Result<Vec<(RunStatus, u64)>> {
        let (states, keeps) = kept(keep);
        let found = self.reader.read(sql::RUNS_EXPIRED_COUNT, &[&states, &keeps]).await?;
        found.iter().map(rows::status_count).collect()
    }

    async fn drop_snapshots(&self) -> Result<Dropped> {
        let params: [Param<'_>; 2] = [&SCOPES_PORTION, &JOURNAL_PORTION];
        let found = self.reader.write_returning(sql::SNAPSHOTS_DROP, &params).await?;
        let (scopes, snapshots) = found.first().map_or(Ok((0, 0)), rows::runs_and_rows)?;
        Ok(Dropped { scopes, snapshots })
    }

    async fn snapshots_to_drop(&self) -> Result<u64> {
        let count = self.first(sql::SNAPSHOTS_TO_DROP, &[], rows::inbox_id).await?;
        Ok(count.unwrap_or(0))
    }

    async fn joined_scopes(&self, run: RunId) -> Result<Vec<JoinedScope>> {
        let found = self.reader.read(sql::JOINED_SCOPES_READ, &[&run.0]).await?;
        found.iter().map(rows::joined_scope).collect()
    }

    async fn put_workflow(
        &self,
        namespace: &Namespace,
        name: &str,
        digest: &str,
        document: &[u8],
    ) -> Result<(WorkflowRow, bool)> {
        let namespace = &*namespace.0;
        for _ in 0..RACES_MAX {
            let same: [Param<'_>; 3] = [&namespace, &name, &digest];
            if let Some(known) = self
                .first(sql::WORKFLOW_READ_BY_DIGEST, &same, rows::workflow_row)
                .await?
            {
                return Ok((known, false));
            }
            let params: [Param<'_>; 4] = [&namespace, &name, &digest, &document];
            if let Some(row) = self
                .reader
                .write_returning(sql::WORKFLOW_ADD_IF_FREE, &params)
                .await?
                .first()
            {
                return Ok((rows::workflow_row(row)?, true));
            }
        }
        Err(StoreError::Away(
            "too many registrations of one workflow at once".to_owned(),
        ))
    }

    async fn workflow(&self, namespace: &Namespace, name: &str, version: Option<u32>) -> Result<Option<WorkflowRow>> {
        let namespace = &*namespace.0;
        match version.map(integer) {
            Some(Ok(version)) => {
                self.first(sql::WORKFLOW_READ, &[&namespace, &name, &version], rows::workflow_row)
                    .await
            }
            // No version is that high.
            Some(Err(_)) => Ok(None),
            None => {
                self.first(sql::WORKFLOW_READ_NEWEST, &[&namespace, &name], rows::workflow_row)
                    .await
            }
        }
    }

    async fn workflows(&self, namespace: &Namespace, after: Option<&str>, limit: usize) -> Result<Vec<WorkflowRow>> {
        let found = self
            .reader
            .read(sql::WORKFLOWS_PAGE, &[&&*namespace.0, &after, &row_limit(limit)])
            .await?;
        found.iter().map(rows::workflow_row).collect()
    }

    async fn reserve_key(&self, namespace: &Namespace, key: &str, request_hash: &str, run: RunId) -> Result<Reserved> {
        let namespace = &*namespace.0;
        for _ in 0..RACES_MAX {
            let reserved = self
                .reader
                .write(sql::KEY_RESERVE_IF_FREE, &[&namespace, &key, &run.0, &request_hash])
                .await?;
            if reserved == 1 {
                return Ok(Reserved::Won);
            }
            if let Some(bound) = self.first(sql::KEY_READ, &[&namespace, &key], rows::bound_key).await? {
                return Ok(bound);
            }
        }
        Err(StoreError::Away(
            "the idempotency key changes hands all the time".to_owned(),
        ))
    }

    async fn reserve_keys(&self, namespace: &Namespace, keys: &[KeyBinding]) -> Result<Vec<Reserved>> {
        let namespace = &*namespace.0;
        let names: Vec<&str> = keys.iter().map(|wanted| wanted.key.as_str()).collect();
        let runs: Vec<uuid::Uuid> = keys.iter().map(|wanted| wanted.run.0).collect();
        let hashes: Vec<&str> = keys.iter().map(|wanted| wanted.request_hash.as_str()).collect();
        let bind: [Param<'_>; 4] = [&namespace, &names, &runs, &hashes];
        let read: [Param<'_>; 2] = [&namespace, &names];
        let judge = |won: &[tokio_postgres::Row], bound: &[tokio_postgres::Row]| {
            let reserved = reserved(keys, won, bound)?;
            let keep = keys.iter().zip(&reserved).all(|(wanted, found)| wanted.fits(found));
            Ok((reserved, keep))
        };
        let (write, look) = ((sql::KEYS_RESERVE_IF_FREE, &bind[..]), (sql::KEYS_READ, &read[..]));
        self.reader.write_if(write, look, judge).await
    }

    async fn runs_there(&self, runs: &[RunId]) -> Result<Vec<RunId>> {
        let ids: Vec<uuid::Uuid> = runs.iter().map(|run| run.0).collect();
        let found = self.reader.read(sql::RUNS_THERE, &[&ids]).await?;
        found.iter().map(rows::id).collect()
    }

    async fn inbox_put(&self, message: &InboxMessage) -> Result<u64> {
        let partition = i16::from(message.partition.0);
        let body = self.sealing.seal(Place::Message(&message.kind), &message.body)?;
        let params: [Param<'_>; 6] = [
            &partition,
            &message.run.0,
            &message.kind,
            &&*body,
            &message.dedupe_key,
            &message.wants_verdict,
        ];
        for _ in 0..RACES_MAX {
            if let Some(row) = self
                .reader
                .write_returning(sql::INBOX_PUT_IF_NEW, &params)
                .await?
                .first()
            {
                return rows::inbox_id(row);
            }
            let same: [Param<'_>; 2] = [&message.run.0, &message.dedupe_key];
            if let Some(id) = self.first(sql::INBOX_READ_BY_KEY, &same, rows::inbox_id).await? {
                return Ok(id);
            }
        }
        Err(StoreError::Away("the inbox key changes hands all the time".to_owned()))
    }

    async fn broadcast(&self, message: &Broadcast) -> Result<u64> {
        let body = self.sealing.seal(Place::Message(&message.kind), &message.body)?;
        let params: [Param<'_>; 5] = [
            &&*message.namespace.0,
            &message.event,
            &message.kind,
            &&*body,
            &message.dedupe_key,
        ];
        let found = self.reader.write_returning(sql::BROADCAST, &params).await?;
        found.first().map_or(Ok(0), rows::inbox_id)
    }

    async fn inputs(&self, namespace: &Namespace, after: Option<(RunId, u64)>, limit: usize) -> Result<Vec<WaitRow>> {
        let (run, seq) = (after.map(|(run, _)| run.0), bigint(after.map_or(0, |(_, seq)| seq))?);
        let params: [Param<'_>; 4] = [&&*namespace.0, &run, &seq, &row_limit(limit)];
        let found = self.reader.read(sql::INPUTS_PAGE, &params).await?;
        let open = |row| self.sealing.open_wait(rows::input_row(row)?);
        self.sealing.readable(found.iter().map(open))
    }

    async fn inbox(&self, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let found = self
            .reader
            .read(sql::INBOX_PAGE, &[&numbers(partitions), &after, &row_limit(limit)])
            .await?;
        let last = found.last().map(rows::inbox_row).transpose()?;
        let open = |row| self.sealing.open_message(rows::inbox_row(row)?);
        Ok(InboxPage {
            rows: self.sealing.readable(found.iter().map(open))?,
            next: last.filter(|_| found.len() >= limit).map(|row| row.id),
        })
    }

    async fn take_verdict(&self, id: u64) -> Result<Option<Bytes>> {
        let found = self.reader.write_returning(sql::VERDICT_TAKE, &[&bigint(id)?]).await?;
        let verdict = found.first().map(rows::verdict).transpose()?;
        verdict
            .map(|text| self.sealing.open(Place::Verdict(id), text))
            .transpose()
    }

    async fn renew(&self, member: &Member, lease_ms: u64) -> Result<()> {
        let params: [Param<'_>; 4] = [&member.name, &member.incarnation, &member.address, &bigint(lease_ms)?];
        self.reader.write(sql::MEMBER_RENEW, &params).await.map(|_| ())
    }

    async fn leave(&self, member: &Member) -> Result<()> {
        let params: [Param<'_>; 2] = [&member.name, &member.incarnation];
        self.reader.write(sql::PARTITIONS_RELEASE_OF_MEMBER, &params).await?;
        self.reader.write(sql::MEMBER_END, &params).await.map(|_| ())
    }

    async fn members(&self) -> Result<Vec<MemberRow>> {
        let found = self.reader.read(sql::MEMBERS_READ, &[&MEMBER_LISTED_MS]).await?;
        found.iter().map(rows::member_row).collect()
    }

    async fn partitions(&self) -> Result<Vec<PartitionRow>> {
        let found = self.reader.read(sql::PARTITIONS_READ, &[]).await?;
        found.iter().map(rows::partition_row).collect()
    }

    async fn claim(
        &self,
        member: &Member,
        partitions: &[Partition],
        restart: Option<uuid::Uuid>,
    ) -> Result<Vec<Claim>> {
        let tokens: Vec<i64> = partitions.iter().map(|_| rand::random()).collect();
        let params: [Param<'_>; 6] = [
            &numbers(partitions),
            &tokens,
            &member.name,
            &member.incarnation,
            &member.address,
            &restart,
        ];
        let taken = self
            .reader
            .write_returning(sql::PARTITIONS_CLAIM_IF_FREE, &params)
            .await?;
        let mut claims = taken
            .iter()
            .map(|row| {
                rows::claimed(row).map(|(partition, epoch)| Claim {
                    partition,
                    epoch,
                    batch: 0,
                })
            })
            .collect::<Result<Vec<Claim>>>()?;
        claims.sort_unstable_by_key(|claim| claim.partition);
        Ok(claims)
    }

    async fn release(&self, member: &Member, claims: &[Claim]) -> Result<()> {
        let held: Vec<i16> = claims.iter().map(|claim| i16::from(claim.partition.0)).collect();
        let (epochs, tokens): (Vec<i64>, Vec<i64>) = claims.iter().map(|c| (c.epoch.count, c.epoch.token)).unzip();
        let params: [Param<'_>; 5] = [&held, &epochs, &tokens, &member.name, &member.incarnation];
        // Those that were taken over meanwhile are not ours to free, and the caller wants to be rid of them anyway.
        self.reader
            .write(sql::PARTITIONS_RELEASE_IF_OWNER, &params)
            .await
            .map(|_| ())
    }

    async fn mark_events(&self, partition: Partition) -> Result<()> {
        let number = i16::from(partition.0);
        self.reader
            .write(sql::PARTITION_MARK_EVENTS, &[&number])
            .await
            .map(|_| ())
    }

    async fn add_schedule(&self, row: &ScheduleRow) -> Result<bool> {
        schedules::add(&self.reader, &*self.sealing.seal_schedule(row)?).await
    }

    async fn change_schedule(&self, row: &ScheduleRow) -> Result<Option<u64>> {
        schedules::change(&self.reader, &*self.sealing.seal_schedule(row)?).await
    }

    async fn remove_schedule(&self, namespace: &Namespace, name: &str) -> Result<bool> {
        let params: [Param<'_>; 2] = [&&*namespace.0, &name];
        Ok(self.reader.write(sql::SCHEDULE_REMOVE, &params).await? > 0)
    }

    async fn schedule(&self, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>> {
        let params: [Param<'_>; 2] = [&&*namespace.0, &name];
        let found = self.first(sql::SCHEDULE_READ, &params, rows::schedule_row).await?;
        Ok(found.map(|row| self.sealing.open_schedule(row)))
    }

    async fn schedules(&self, namespace: &Namespace, after: Option<&str>, limit: usize) -> Result<Vec<ScheduleRow>> {
        let params: [Param<'_>; 3] = [&&*namespace.0, &after, &row_limit(limit)];
        let found = self.reader.read(sql::SCHEDULES_PAGE, &params).await?;
        let open = |row| Ok(self.sealing.open_schedule(rows::schedule_row(row)?));
        found.iter().map(open).collect()
    }

    async fn schedules_due(&self, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>> {
        let params: [Param<'_>; 2] = [&At(now), &row_limit(limit)];
        let found = self.reader.read(sql::SCHEDULES_DUE, &params).await?;
        let open = |row| Ok(self.sealing.open_schedule(rows::schedule_row(row)?));
        found.iter().map(open).collect()
    }

    async fn sweep(&self) -> Result<u64> {
        let mut swept = self
            .reader
            .write(sql::VERDICTS_SWEEP, &[&VERDICT_LIFE_MS, &SWEEP_PORTION])
            .await?;
        swept += self.reader.write(sql::KEYS_SWEEP, &[&SWEEP_PORTION]).await?;
        swept += self.reader.write(sql::COPIES_SWEEP, &[&COPY_LIFE_MS]).await?;
        swept += self.reader.write(sql::MEMBERS_SWEEP, &[&MEMBER_LISTED_MS]).await?;
        swept += self.remove_deleted(PORTIONS_AT_ONCE).await?;
        Ok(swept)
    }

    fn pool(&self) -> Option<PoolView> {
        Some(self.reader.view())
    }

    async fn ping(&self) -> Result<()> {
        let found = self
            .first(sql::SCHEMA_VERSION, &[], |row| {
                Ok((rows::version(row)?, rows::encoding(row)?))
            })
            .await
            .map_err(without_tables)?;
        let (version, encoding) = found.unwrap_or_default();
        if encoding != "UTF8" {
            return Err(StoreError::Schema(format!(
                "the database is encoded in {encoding}, not in UTF8"
            )));
        }
        let needed = migrate::newest_version();
        if version < needed {
            return Err(StoreError::Schema(format!(
                "migration {needed} is needed, {version} is the newest that ran; `rejoin migrate` runs what is missing"
            )));
        }
        Ok(())
    }

    async fn now(&self) -> Result<Timestamp> {
        let now = self.first(sql::NOW, &[], |row| rows::time(row).map(|at| at.0)).await?;
        now.ok_or_else(|| StoreError::Schema("the database tells no time".to_owned()))
    }
}

/// The list of migrations cannot be read: most likely nobody has run any.
fn without_tables(error: StoreError) -> StoreError {
    if let StoreError::Schema(text) = &error {
        return StoreError::Schema(format!("{text}. A new database gets its tables by `rejoin migrate`"));
    }
    error
}

/// What became of each key: `won` names those that were bound just now, `bound` has what all are bound to.
fn reserved(keys: &[KeyBinding], won: &[tokio_postgres::Row], bound: &[tokio_postgres::Row]) -> Result<Vec<Reserved>> {
    let won: HashSet<String> = won.iter().map(|row| rows::key(row, 0)).collect::<Result<_>>()?;
    let bound: HashMap<String, Reserved> = bound
        .iter()
        .map(|row| Ok((rows::key(row, 3)?, rows::bound_key(row)?)))
        .collect::<Result<_>>()?;
    let one = |wanted: &KeyBinding| match bound.get(&wanted.key) {
        _ if won.contains(&wanted.key) => Ok(Reserved::Won),
        Some(bound) => Ok(bound.clone()),
        None => Err(StoreError::Away("an idempotency key changes hands".to_owned())),
    };
    keys.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_bounds_exactly_the_ids_that_begin_with_it() {
        let (low, high) = ids_with_prefix("0192-").unzip();
        assert_eq!((low, high), (None, None), "no id has a hyphen there");
        let (low, high) = ids_with_prefix("01920000-a").expect("a proper prefix");
        assert!(low.to_string().starts_with("01920000-a000-") && high.to_string().starts_with("01920000-afff-"));
    }
}
