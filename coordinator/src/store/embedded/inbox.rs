//! Commands and messages on their way to the owner of a run.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::time::Timestamp;

use super::super::{InboxMessage, InboxPage, InboxRow, VERDICT_LIFE_MS};
use super::Result;
use super::tables::{COUNTERS, INBOX, INBOX_KEYS, key, run_id};

/// Puts a message; one whose dedupe key is there already is dropped. Returns the id of the one that is there.
pub(super) fn put(tx: &WriteTransaction, message: &InboxMessage, at: Timestamp) -> Result<u64> {
    let id = draw_id(tx)?;
    if let Some(dedupe) = message.dedupe_key.as_deref() {
        let mut keys = tx.open_table(INBOX_KEYS)?;
        let first = keys.get((key(message.run), dedupe))?.map(|id| id.value());
        if let Some(first) = first {
            return Ok(first);
        }
        keys.insert((key(message.run), dedupe), id)?;
    }
    let row = (
        message.partition.0,
        key(message.run),
        message.kind.as_str(),
        &*message.body,
        message.dedupe_key.as_deref(),
        message.wants_verdict,
        None,
        at.0,
    );
    tx.open_table(INBOX)?.insert(id, row)?;
    Ok(id)
}

fn draw_id(tx: &WriteTransaction) -> Result<u64> {
    let mut counters = tx.open_table(COUNTERS)?;
    let id = counters.get("inbox")?.map_or(0, |last| last.value()) + 1;
    counters.insert("inbox", id)?;
    Ok(id)
}

pub(super) fn list(tx: &ReadTransaction, partitions: &[Partition], after: u64, limit: usize) -> Result<InboxPage> {
    let (table, mut found) = (tx.open_table(INBOX)?, Vec::new());
    for entry in table.range(after.saturating_add(1)..)? {
        let (id, row) = entry?;
        if found.len() >= limit {
            break;
        }
        let (partition, run, kind, body, dedupe_key, wants_verdict, verdict, _) = row.value();
        if verdict.is_some() || !partitions.contains(&Partition(partition)) {
            continue;
        }
        let message = InboxMessage {
            partition: Partition(partition),
            run: run_id(run),
            kind: kind.to_owned(),
            body: Bytes::copy_from_slice(body),
            dedupe_key: dedupe_key.map(str::to_owned),
            wants_verdict,
        };
        found.push(InboxRow {
            id: id.value(),
            message,
        });
    }
    let next = found.last().filter(|_| found.len() >= limit).map(|row| row.id);
    Ok(InboxPage { rows: found, next })
}

pub(super) fn verdict(tx: &ReadTransaction, id: u64) -> Result<Option<Bytes>> {
    let row = tx.open_table(INBOX)?.get(id)?;
    Ok(row.and_then(|row| row.value().6.map(Bytes::copy_from_slice)))
}

/// Leaves a verdict in the row of a command; of one that is gone there is nobody to tell.
pub(super) fn answer(tx: &WriteTransaction, id: u64, verdict: &[u8], at: Timestamp) -> Result<()> {
    let mut table = tx.open_table(INBOX)?;
    let Some((partition, run, kind, dedupe, wants)) = table.get(id)?.map(|row| {
        let (partition, run, kind, _, dedupe, wants, _, _) = row.value();
        (partition, run, kind.to_owned(), dedupe.map(str::to_owned), wants)
    }) else {
        return Ok(());
    };
    let body: &[u8] = b"null";
    let row = (
        partition,
        run,
        kind.as_str(),
        body,
        dedupe.as_deref(),
        wants,
        Some(verdict),
        at.0,
    );
    table.insert(id, row)?;
    Ok(())
}

pub(super) fn remove(tx: &WriteTransaction, id: u64) -> Result<()> {
    let removed = {
        let mut table = tx.open_table(INBOX)?;
        let row = table.remove(id)?;
        row.and_then(|row| row.value().4.map(|dedupe| (row.value().1, dedupe.to_owned())))
    };
    if let Some((run, dedupe)) = removed {
        tx.open_table(INBOX_KEYS)?.remove((run, dedupe.as_str()))?;
    }
    Ok(())
}

pub(super) fn remove_of_run(tx: &WriteTransaction, run: RunId) -> Result<()> {
    tx.open_table(INBOX)?.retain(|_, row| row.1 != key(run))?;
    tx.open_table(INBOX_KEYS)?.retain(|(of, _), _| of != key(run))?;
    Ok(())
}

/// Removes verdicts that nobody fetched in time.
pub(super) fn sweep(tx: &WriteTransaction, now: Timestamp) -> Result<u64> {
    let oldest = now.0.saturating_sub(VERDICT_LIFE_MS * 1000);
    let mut old = Vec::new();
    for entry in tx.open_table(INBOX)?.iter()? {
        let (id, row) = entry?;
        if row.value().6.is_some() && row.value().7 < oldest {
            old.push(id.value());
        }
    }
    for id in &old {
        remove(tx, *id)?;
    }
    Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
}
