//! The append: claims first, then everything they guard.

use redb::{ReadableTable, WriteTransaction};
use rejoin_shared::run::{Counts, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use super::super::{Batch, Claim, JOURNAL_FORMAT, JournalRow, RunChange, RunRow, StoredRow, priority};
use super::tables::{JOURNAL, Journal, PARTITIONS, RUN_ENDINGS, RUN_STATES, RUNS, key, status};
use super::{Result, StoreError, forks, inbox, snapshots, waits, workflows};

type JournalTable<'tx> = redb::Table<'tx, (u128, u64), Journal>;

pub(super) fn append(tx: &WriteTransaction, batch: &Batch, at: Timestamp) -> Result<Timestamp> {
    move_chain(tx, &batch.claims)?;
    workflows::expect_newest(tx, &batch.newest)?;
    create(tx, &batch.created, at)?;
    insert_rows(tx, &batch.rows, at)?;
    for change in &batch.changed {
        change_run(tx, change, at)?;
    }
    for id in &batch.received {
        inbox::remove(tx, *id)?;
    }
    for (id, verdict) in &batch.answered {
        inbox::answer(tx, *id, verdict, at)?;
    }
    for message in &batch.sent {
        inbox::put(tx, message, at)?;
    }
    waits::keep(tx, batch, at)?;
    snapshots::note(tx, &batch.joins)?;
    Ok(at)
}

/// Moves each claimed partition from `batch` to `batch + 1` under its epoch, or fails the append.
fn move_chain(tx: &WriteTransaction, claims: &[Claim]) -> Result<()> {
    let mut partitions = tx.open_table(PARTITIONS)?;
    for claim in claims {
        let not_ours = || StoreError::NotOwner(Some(claim.partition));
        let row = partitions.get(claim.partition.0)?.ok_or_else(not_ours)?;
        let (owner, count, token, batch, has_events) = row.value();
        if (count, token, batch) != (claim.epoch.count, claim.epoch.token, claim.batch) {
            return Err(not_ours());
        }
        let owner = owner.map(|(name, incarnation, address)| (name.to_owned(), incarnation, address.to_owned()));
        drop(row);
        let owner = owner
            .as_ref()
            .map(|(name, i, address)| (name.as_str(), *i, address.as_str()));
        partitions.insert(claim.partition.0, (owner, count, token, batch + 1, has_events))?;
    }
    Ok(())
}

fn create(tx: &WriteTransaction, created: &[RunRow], at: Timestamp) -> Result<()> {
    if created.is_empty() {
        return Ok(());
    }
    let (mut heads, mut states) = (tx.open_table(RUNS)?, tx.open_table(RUN_STATES)?);
    let mut endings = tx.open_table(RUN_ENDINGS)?;
    for run in created {
        let tags = serde_json::to_string(&run.tags).expect("tags are plain text");
        let head = (
            &*run.namespace.0,
            run.workflow.as_str(),
            run.version,
            priority::name_of(run.priority),
            &*run.input,
            tags.as_str(),
            run.idempotency_key.as_deref(),
            run.parent.map(key),
            run.created_at.0,
        );
        if heads.insert(key(run.id), head)?.is_some() {
            return Err(StoreError::Refused(format!("run {} exists already", run.id)));
        }
        let times = (run.started_at.map(|t| t.0), run.finished_at.map(|t| t.0));
        let state = (
            run.status.as_str(),
            progress(&run.progress),
            counts(&run.counts),
            run.wake_at.map(|t| t.0),
            times.0,
            times.1,
            at.0,
        );
        states.insert(key(run.id), state)?;
        let ending = (
            run.context.as_deref(),
            run.output.as_deref(),
            run.error.as_deref(),
            run.compensated,
        );
        endings.insert(key(run.id), ending)?;
        if run.forked_from.is_some() {
            forks::begin(tx, run.id)?;
        }
    }
    Ok(())
}

fn insert_rows(tx: &WriteTransaction, rows: &[JournalRow], at: Timestamp) -> Result<()> {
    let mut journal = tx.open_table(JOURNAL)?;
    for row in rows {
        put_row(&mut journal, row, at, JOURNAL_FORMAT)?;
    }
    Ok(())
}

/// Puts a row in that was read elsewhere, as it is.
pub(super) fn insert_row(journal: &mut JournalTable<'_>, stored: &StoredRow) -> Result<()> {
    put_row(journal, &stored.row, stored.at, stored.format)
}

fn put_row(journal: &mut JournalTable<'_>, row: &JournalRow, at: Timestamp, format: i16) -> Result<()> {
    let value = (
        at.0,
        format,
        &*row.kind,
        row.path.as_deref(),
        row.attempt,
        row.outcome.map(|o| o.as_str()),
        row.worker.as_deref(),
        &*row.body,
        row.output.as_deref(),
        row.snapshot.as_deref(),
        row.logs.as_deref(),
    );
    match journal.insert((key(row.run), row.seq), value)?.is_some() {
        false => Ok(()),
        true => Err(StoreError::Refused(format!(
            "record {} of run {} exists already",
            row.seq, row.run
        ))),
    }
}

fn change_run(tx: &WriteTransaction, change: &RunChange, at: Timestamp) -> Result<()> {
    let mut states = tx.open_table(RUN_STATES)?;
    let (started_at, finished_at) = match states.get(key(change.run))? {
        Some(row) => {
            let (was, _, _, _, started_at, finished_at, _) = row.value();
            let begins = status(was)? == RunStatus::Scheduled && change.status != RunStatus::Scheduled;
            (if begins { started_at.or(Some(at.0)) } else { started_at }, finished_at)
        }
        None => return Err(StoreError::Refused(format!("run {} is not there", change.run))),
    };
    let finished_at = match (&change.ended, change.reopened) {
        (Some(_), _) => Some(at.0),
        (None, true) => None,
        (None, false) => finished_at,
    };
    let state = (
        change.status.as_str(),
        progress(&change.progress),
        counts(&change.counts),
        change.wake_at.map(|t| t.0),
        started_at,
        finished_at,
        at.0,
    );
    states.insert(key(change.run), state)?;
    write_ending(tx, change)
}

fn write_ending(tx: &WriteTransaction, change: &RunChange) -> Result<()> {
    let ending = match (&change.ended, change.reopened) {
        (Some(end), _) => (
            end.context.as_deref(),
            end.output.as_deref(),
            end.error.as_deref(),
            end.compensated,
        ),
        (None, true) => (None, None, None, false),
        (None, false) => return Ok(()),
    };
    tx.open_table(RUN_ENDINGS)?.insert(key(change.run), ending)?;
    Ok(())
}

fn progress(p: &Progress) -> [u64; 5] {
    [p.total, p.done, p.failed, p.running, p.waiting]
}

fn counts(c: &Counts) -> [u64; 4] {
    [c.dispatched, c.redelivered, c.duplicate, c.late]
}
