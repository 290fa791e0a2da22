//! Schedules.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, Value, WriteTransaction};
use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;

use super::super::ScheduleRow;
use super::Result;
use super::tables::{COUNTERS, SCHEDULES, Schedule, key, run_id, times};

fn row(place: (&str, &str), value: <Schedule as Value>::SelfType<'_>) -> ScheduleRow {
    let (spec, revision, is_paused, anchor_at, next_at, pending, caught_up, last_run, open, failures, error, wake_at) =
        value;
    ScheduleRow {
        namespace: Namespace(place.0.into()),
        name: place.1.to_owned(),
        spec: Bytes::copy_from_slice(spec),
        revision,
        is_paused,
        anchor_at: Timestamp(anchor_at),
        next_at: times(next_at),
        pending: pending.into_iter().map(Timestamp).collect(),
        caught_up,
        last_run: last_run.map(run_id),
        open_runs: open.into_iter().map(run_id).collect(),
        failures,
        last_error: error.map(str::to_owned),
        wake_at: times(wake_at),
    }
}

/// Writes a row under a revision that no write had before.
fn put(tx: &WriteTransaction, row: &ScheduleRow) -> Result<u64> {
    let mut counters = tx.open_table(COUNTERS)?;
    let revision = counters.get("schedules")?.map_or(0, |last| last.value()) + 1;
    counters.insert("schedules", revision)?;
    let value = (
        &*row.spec,
        revision,
        row.is_paused,
        row.anchor_at.0,
        row.next_at.map(|at| at.0),
        row.pending.iter().map(|at| at.0).collect(),
        row.caught_up,
        row.last_run.map(key),
        row.open_runs.iter().copied().map(key).collect(),
        row.failures,
        row.last_error.as_deref(),
        row.wake_at.map(|at| at.0),
    );
    tx.open_table(SCHEDULES)?
        .insert((&*row.namespace.0, row.name.as_str()), value)?;
    Ok(revision)
}

fn revision(tx: &WriteTransaction, row: &ScheduleRow) -> Result<Option<u64>> {
    let table = tx.open_table(SCHEDULES)?;
    let found = table.get((&*row.namespace.0, row.name.as_str()))?;
    Ok(found.map(|value| value.value().1))
}

pub(super) fn add(tx: &WriteTransaction, row: &ScheduleRow) -> Result<bool> {
    if revision(tx, row)?.is_some() {
        return Ok(false);
    }
    put(tx, row).map(|_| true)
}

pub(super) fn change(tx: &WriteTransaction, row: &ScheduleRow) -> Result<Option<u64>> {
    if revision(tx, row)? != Some(row.revision) {
        return Ok(None);
    }
    put(tx, row).map(Some)
}

pub(super) fn remove(tx: &WriteTransaction, namespace: &Namespace, name: &str) -> Result<bool> {
    let mut table = tx.open_table(SCHEDULES)?;
    let was_there = table.remove((&*namespace.0, name))?.is_some();
    Ok(was_there)
}

pub(super) fn get(tx: &ReadTransaction, namespace: &Namespace, name: &str) -> Result<Option<ScheduleRow>> {
    let table = tx.open_table(SCHEDULES)?;
    let found = table.get((&*namespace.0, name))?;
    Ok(found.map(|value| row((&namespace.0, name), value.value())))
}

pub(super) fn list(
    tx: &ReadTransaction,
    namespace: &Namespace,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<ScheduleRow>> {
    let mut found = Vec::new();
    for entry in tx
        .open_table(SCHEDULES)?
        .range((&*namespace.0, after.unwrap_or(""))..)?
    {
        let (place, value) = entry?;
        let (of, name) = place.value();
        if of != &*namespace.0 || found.len() >= limit {
            break;
        }
        if after != Some(name) {
            found.push(row((of, name), value.value()));
        }
    }
    Ok(found)
}

pub(super) fn due(tx: &ReadTransaction, now: Timestamp, limit: usize) -> Result<Vec<ScheduleRow>> {
    let mut found = Vec::new();
    for entry in tx.open_table(SCHEDULES)?.iter()? {
        let (place, value) = entry?;
        let row = row(place.value(), value.value());
        if row.wake_at.is_some_and(|at| at <= now) {
            found.push(row);
        }
    }
    found.sort_by_key(|row| row.wake_at);
    found.truncate(limit);
    Ok(found)
}
