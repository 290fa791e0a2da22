//! Runs and their journals, read back; lists go over all runs, newest first, which is what a process for one person needs.

use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::{Counts, Outcome, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use super::super::priority as priorities;
use super::super::{JournalRow, KEY_LIFE_MS, PAGE_BYTES_MAX, RunFilter, RunRow, Sleeper, StoredRow};
use super::tables::{
    self, FORKS, JOURNAL, Journal, RUN_ENDINGS, RUN_STATES, RUNS, RunEnding, RunHead, RunState, key, run_id, status,
};
use super::{Result, StoreError, forks, inbox, snapshots, waits, workflows};

type Value<'a, T> = <T as redb::Value>::SelfType<'a>;

pub(super) fn journal(tx: &ReadTransaction, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredRow>> {
    let table = tx.open_table(JOURNAL)?;
    let Some(first) = after.checked_add(1) else {
        return Ok(Vec::new());
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for entry in table.range((key(run), first)..=(key(run), u64::MAX))? {
        let (at, value) = entry?;
        if rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
            break;
        }
        let row = stored_row(run, at.value().1, &value.value())?;
        bytes += row.row.payload_bytes();
        rows.push(row);
    }
    Ok(rows)
}

pub(super) fn stored_row(run: RunId, seq: u64, value: &Value<'_, Journal>) -> Result<StoredRow> {
    let (at, format, kind, path, attempt, outcome, worker, body, output, snapshot, logs) = *value;
    let outcome = match outcome {
        Some(name) => {
            Some(Outcome::from_name(name).ok_or_else(|| StoreError::Newer(format!("unknown outcome {name}")))?)
        }
        None => None,
    };
    let row = JournalRow {
        run,
        seq,
        kind: kind.to_owned().into(),
        path: path.map(str::to_owned),
        attempt,
        outcome,
        worker: worker.map(Arc::from),
        body: Bytes::copy_from_slice(body),
        output: output.map(Bytes::copy_from_slice),
        snapshot: snapshot.map(Bytes::copy_from_slice),
        logs: logs.map(Bytes::copy_from_slice),
    };
    Ok(StoredRow {
        row,
        format,
        at: Timestamp(at),
    })
}

/// The tables a run's row is spread over.
struct RunTables {
    forks: redb::ReadOnlyTable<u128, (u128, u64, bool, i64)>,
    heads: redb::ReadOnlyTable<u128, RunHead>,
    states: redb::ReadOnlyTable<u128, RunState>,
    endings: redb::ReadOnlyTable<u128, RunEnding>,
}

impl RunTables {
    fn open(tx: &ReadTransaction) -> Result<RunTables> {
        Ok(RunTables {
            forks: tx.open_table(FORKS)?,
            heads: tx.open_table(RUNS)?,
            states: tx.open_table(RUN_STATES)?,
            endings: tx.open_table(RUN_ENDINGS)?,
        })
    }

    fn status(&self, id: u128) -> Result<RunStatus> {
        let row = self.states.get(id)?.ok_or_else(|| half_a_run(id))?;
        status(row.value().0)
    }

    fn row(&self, id: u128, head: &Value<'_, RunHead>) -> Result<RunRow> {
        let state = self.states.get(id)?.ok_or_else(|| half_a_run(id))?;
        let ending = self.endings.get(id)?.ok_or_else(|| half_a_run(id))?;
        let forked = self.forks.get(id)?.map(|row| forks::forked_from(row.value()));
        let mut row = run_row(run_id(id), head, &state.value(), &ending.value())?;
        row.forked_from = forked;
        row.fill_output();
        Ok(row)
    }
}

fn half_a_run(id: u128) -> StoreError {
    StoreError::Schema(format!("run {} is there in parts only", run_id(id)))
}

fn run_row(
    id: RunId,
    head: &Value<'_, RunHead>,
    state: &Value<'_, RunState>,
    ending: &Value<'_, RunEnding>,
) -> Result<RunRow> {
    let (namespace, workflow, version, priority, input, tags, idempotency_key, parent, created_at) = *head;
    let (name, [total, done, failed, running, waiting], counts, wake_at, started_at, finished_at, _) = *state;
    let [dispatched, redelivered, duplicate, late] = counts;
    let (context, output, error, compensated) = *ending;
    Ok(RunRow {
        id,
        namespace: Namespace(namespace.into()),
        workflow: workflow.to_owned(),
        version,
        status: status(name)?,
        priority: priorities::named(priority)?,
        input: Bytes::copy_from_slice(input),
        context: context.map(Bytes::copy_from_slice),
        output: output.map(Bytes::copy_from_slice),
        error: error.map(Bytes::copy_from_slice),
        compensated,
        tags: serde_json::from_str(tags).map_err(|e| StoreError::Schema(format!("tags of run {id}: {e}")))?,
        idempotency_key: idempotency_key.map(str::to_owned),
        parent: parent.map(run_id),
        forked_from: None,
        progress: Progress {
            total,
            done,
            failed,
            running,
            waiting,
        },
        counts: Counts {
            dispatched,
            redelivered,
            duplicate,
            late,
        },
        wake_at: tables::times(wake_at),
        created_at: Timestamp(created_at),
        started_at: tables::times(started_at),
        finished_at: tables::times(finished_at),
    })
}

pub(super) fn run(tx: &ReadTransaction, run: RunId) -> Result<Option<RunRow>> {
    let tables = RunTables::open(tx)?;
    match tables.heads.get(key(run))? {
        Some(head) => tables.row(key(run), &head.value()).map(Some),
        None => Ok(None),
    }
}

pub(super) fn there(tx: &ReadTransaction, mut runs: Vec<RunId>) -> Result<Vec<RunId>> {
    let heads = tx.open_table(RUNS)?;
    let mut failed = None;
    runs.retain(|run| match heads.get(key(*run)) {
        Ok(found) => found.is_some(),
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    match failed {
        None => Ok(runs),
        Some(error) => Err(error.into()),
    }
}

pub(super) fn ids_like(tx: &ReadTransaction, namespace: &Namespace, text: &str, limit: usize) -> Result<Vec<RunId>> {
    let (heads, mut found) = (tx.open_table(RUNS)?, Vec::new());
    for entry in heads.iter()?.rev() {
        let (id, head) = entry?;
        if found.len() >= limit {
            break;
        }
        let id = run_id(id.value());
        if head.value().0 == &*namespace.0 && is_end_of(&id, text) {
            found.push(id);
        }
    }
    Ok(found)
}

fn is_end_of(id: &RunId, text: &str) -> bool {
    let id = id.to_string();
    id.starts_with(text) || id.ends_with(text)
}

pub(super) fn list(
    tx: &ReadTransaction,
    namespace: &Namespace,
    filter: &RunFilter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>> {
    let (tables, mut found) = (RunTables::open(tx)?, Vec::new());
    let end = before.map_or(std::ops::Bound::Unbounded, |run| std::ops::Bound::Excluded(key(run)));
    let range = (std::ops::Bound::Unbounded, end);
    let waiting = filter.waiting.map(|kind| waits::runs_that_wait(tx, kind)).transpose()?;
    let is_wanted = |id: u128| {
        waiting.as_ref().is_none_or(|runs| runs.contains(&id))
            && filter.among.as_ref().is_none_or(|runs| runs.contains(&run_id(id)))
    };
    for entry in tables.heads.range::<u128>(range)?.rev() {
        let (id, head) = entry?;
        if found.len() >= limit {
            break;
        }
        let (id, head) = (id.value(), head.value());
        if head.0 == &*namespace.0
            && is_wanted(id)
            && fits_head(filter, run_id(id), &head)
            && fits_status(filter, &tables, id)?
        {
            found.push(tables.row(id, &head)?);
        }
    }
    Ok(found)
}

fn fits_status(filter: &RunFilter, tables: &RunTables, id: u128) -> Result<bool> {
    Ok(filter.statuses.is_empty() || filter.statuses.contains(&tables.status(id)?))
}

fn fits_head(filter: &RunFilter, id: RunId, head: &Value<'_, RunHead>) -> bool {
    let (_, workflow, _, _, _, tags, _, parent, created_at) = *head;
    (filter.workflows.is_empty() || filter.workflows.iter().any(|name| name == workflow))
        && filter.since.is_none_or(|since| created_at >= since.0)
        && filter.until.is_none_or(|until| created_at < until.0)
        && filter.parent.is_none_or(|wanted| parent == Some(key(wanted)))
        && filter
            .text
            .as_deref()
            .is_none_or(|text| is_end_of(&id, text) || workflow.contains(text))
        && fits_tags(&filter.tags, tags)
}

fn fits_tags(wanted: &[(String, String)], tags: &str) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let tags: std::collections::BTreeMap<String, String> = serde_json::from_str(tags).unwrap_or_default();
    wanted.iter().all(|(name, value)| tags.get(name) == Some(value))
}

pub(super) fn open_runs(tx: &ReadTransaction, partitions: &[Partition]) -> Result<Vec<RunId>> {
    let mut found = Vec::new();
    for entry in tx.open_table(RUN_STATES)?.iter()? {
        let (id, state) = entry?;
        let (id, state) = (run_id(id.value()), state.value());
        let status = status(state.0)?;
        if tables::is_in(partitions, id) && !status.is_terminal() && !sleeps(status) {
            found.push((std::cmp::Reverse(state.6), id));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

fn sleeps(status: RunStatus) -> bool {
    matches!(status, RunStatus::Scheduled | RunStatus::Waiting)
}

pub(super) fn asleep(
    tx: &ReadTransaction,
    partitions: &[Partition],
    until: Timestamp,
    after: Option<Sleeper>,
    limit: usize,
) -> Result<Vec<Sleeper>> {
    let mut found = Vec::new();
    for entry in tx.open_table(RUN_STATES)?.iter()? {
        let (id, state) = entry?;
        let (run, state) = (run_id(id.value()), state.value());
        if let Some(wake_at) = state.3.map(Timestamp)
            && tables::is_in(partitions, run)
            && sleeps(status(state.0)?)
        {
            found.push(Sleeper { wake_at, run });
        }
    }
    found.retain(|sleeper| after.is_none_or(|after| *sleeper > after));
    found.sort_unstable();
    let due = found.iter().take_while(|sleeper| sleeper.wake_at <= until).count();
    found.truncate(limit.min(due + 1));
    Ok(found)
}

pub(super) fn asleep_counts(tx: &ReadTransaction, partitions: &[Partition]) -> Result<Vec<(RunStatus, u64)>> {
    let mut counts = [(RunStatus::Scheduled, 0), (RunStatus::Waiting, 0)];
    for entry in tx.open_table(RUN_STATES)?.iter()? {
        let (id, state) = entry?;
        let found = status(state.value().0)?;
        let is_in = tables::is_in(partitions, run_id(id.value()));
        let counted = counts.iter_mut().filter(|(status, _)| is_in && *status == found);
        counted.for_each(|(_, count)| *count += 1);
    }
    Ok(counts.into_iter().filter(|(_, count)| *count > 0).collect())
}

pub(super) fn counts(tx: &ReadTransaction) -> Result<Vec<(RunStatus, u64)>> {
    let mut counts = RunStatus::ALL.map(|status| (status, 0));
    for entry in tx.open_table(RUN_STATES)?.iter()? {
        let found = status(entry?.1.value().0)?;
        counts
            .iter_mut()
            .filter(|(status, _)| *status == found)
            .for_each(|(_, n)| *n += 1);
    }
    Ok(counts.into_iter().filter(|(_, n)| *n > 0).collect())
}

pub(super) fn delete(tx: &WriteTransaction, run: RunId, now: Timestamp) -> Result<bool> {
    let mut states = tx.open_table(RUN_STATES)?;
    let finished_at = match states.get(key(run))? {
        Some(row) if status(row.value().0)?.is_terminal() => row.value().5,
        Some(_) | None => return Ok(false),
    };
    states.remove(key(run))?;
    tx.open_table(RUN_ENDINGS)?.remove(key(run))?;
    tx.open_table(JOURNAL)?
        .retain_in((key(run), 0)..=(key(run), u64::MAX), |_, _| false)?;
    tx.open_table(FORKS)?.remove(key(run))?;
    inbox::remove_of_run(tx, run)?;
    waits::remove_of_run(tx, run)?;
    snapshots::remove_of_run(tx, run)?;
    let mut heads = tx.open_table(RUNS)?;
    let head = heads.remove(key(run))?;
    if let Some((namespace, Some(idempotency_key))) = head.as_ref().map(|h| (h.value().0, h.value().6)) {
        let free_from = Timestamp(finished_at.unwrap_or(now.0).saturating_add(KEY_LIFE_MS * 1000));
        workflows::outlive(tx, namespace, idempotency_key, run, free_from)?;
    }
    Ok(true)
}
