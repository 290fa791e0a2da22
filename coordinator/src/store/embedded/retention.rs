//! Ended runs whose time is over; looks at all runs, which is what a process for one person needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, Value, WriteTransaction};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use serde::Deserialize;

use super::super::HELD_PAUSE_MS;
use super::tables::{JOURNAL, Journal, RUN_STATES, RUNS, RunHead, RunState, run_id, status};
use super::{Result, runs};

/// What of a run's first record says whether somebody waits for it.
#[derive(Deserialize)]
struct First {
    is_awaited: bool,
}

pub(super) fn delete_expired(
    tx: &WriteTransaction,
    keep: &[(RunStatus, Duration)],
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(RunStatus, u64)>> {
    let (expired, held) = {
        let (states, heads, journal) = (
            tx.open_table(RUN_STATES)?,
            tx.open_table(RUNS)?,
            tx.open_table(JOURNAL)?,
        );
        let expired = expired(&states, keep, now)?;
        let held = match expired.is_empty() {
            true => BTreeSet::new(),
            false => held(&states, &heads, &journal)?,
        };
        (expired, held)
    };
    let mut gone = Vec::new();
    for (_, id, status) in expired.into_iter().take(limit) {
        match held.contains(&id) {
            true => put_off(tx, id, now)?,
            false if runs::delete(tx, run_id(id), now)? => gone.push(status),
            false => {}
        }
    }
    Ok(counts(gone))
}

pub(super) fn count_expired(
    tx: &ReadTransaction,
    keep: &[(RunStatus, Duration)],
    now: Timestamp,
) -> Result<Vec<(RunStatus, u64)>> {
    let (states, heads, journal) = (
        tx.open_table(RUN_STATES)?,
        tx.open_table(RUNS)?,
        tx.open_table(JOURNAL)?,
    );
    let expired = expired(&states, keep, now)?;
    let held = held(&states, &heads, &journal)?;
    let free = expired.into_iter().filter(|(_, id, _)| !held.contains(id));
    Ok(counts(free.map(|(_, _, status)| status)))
}

/// Ended runs whose time is over, longest ago first.
fn expired(
    states: &impl ReadableTable<u128, RunState>,
    keep: &[(RunStatus, Duration)],
    now: Timestamp,
) -> Result<Vec<(Timestamp, u128, RunStatus)>> {
    let mut found = Vec::new();
    for entry in states.iter()? {
        let (id, state) = entry?;
        let (name, _, _, wake_at, _, finished_at, _) = state.value();
        let status = status(name)?;
        let Some(finished_at) = finished_at.filter(|_| status.is_terminal()).map(Timestamp) else {
            continue;
        };
        let by_state = keep.iter().find(|(of, _)| *of == status);
        let until = wake_at
            .map(Timestamp)
            .or_else(|| by_state.map(|(_, keep)| finished_at.plus(*keep)));
        found.extend(
            until
                .filter(|until| *until <= now)
                .map(|until| (until, id.value(), status)),
        );
    }
    found.sort_unstable();
    Ok(found)
}

/// Runs with an unfinished child that they wait for.
fn held(
    states: &impl ReadableTable<u128, RunState>,
    heads: &impl ReadableTable<u128, RunHead>,
    journal: &impl ReadableTable<(u128, u64), Journal>,
) -> Result<BTreeSet<u128>> {
    let mut held = BTreeSet::new();
    for entry in states.iter()? {
        let (id, state) = entry?;
        if status(state.value().0)?.is_terminal() {
            continue;
        }
        let parent = heads.get(id.value())?.and_then(|head| head.value().7);
        let Some(parent) = parent else { continue };
        let first = journal.get((id.value(), 1))?;
        let first = first.and_then(|row| serde_json::from_slice::<First>(body(&row.value())).ok());
        if first.is_none_or(|first| first.is_awaited) {
            held.insert(parent);
        }
    }
    Ok(held)
}

fn body<'a>(row: &<Journal as Value>::SelfType<'a>) -> &'a [u8] {
    row.7
}

/// Has a run looked at again later.
fn put_off(tx: &WriteTransaction, id: u128, now: Timestamp) -> Result<()> {
    let mut states = tx.open_table(RUN_STATES)?;
    let Some((name, progress, numbers, _, started_at, finished_at, active_at)) = states.get(id)?.map(|state| {
        let (name, progress, numbers, wake_at, started_at, finished_at, active_at) = state.value();
        (
            name.to_owned(),
            progress,
            numbers,
            wake_at,
            started_at,
            finished_at,
            active_at,
        )
    }) else {
        return Ok(());
    };
    let again = now.0.saturating_add(HELD_PAUSE_MS * 1000);
    let state = (
        name.as_str(),
        progress,
        numbers,
        Some(again),
        started_at,
        finished_at,
        active_at,
    );
    states.insert(id, state)?;
    Ok(())
}

fn counts(states: impl IntoIterator<Item = RunStatus>) -> Vec<(RunStatus, u64)> {
    let mut counts: BTreeMap<&str, (RunStatus, u64)> = BTreeMap::new();
    for status in states {
        counts.entry(status.as_str()).or_insert((status, 0)).1 += 1;
    }
    counts.into_values().collect()
}
