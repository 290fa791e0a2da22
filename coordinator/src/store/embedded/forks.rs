//! Copies of journals, and the runs that begin with them.

use redb::{ReadableTable, WriteTransaction};
use rejoin_shared::ids::RunId;
use rejoin_shared::time::Timestamp;

use super::super::{COPY_LIFE_MS, ForkedFrom};
use super::tables::{FORKS, JOURNAL, key, run_id};
use super::{Result, StoreError, append, runs};

/// A copy begins.
pub(super) fn begin_copy(tx: &WriteTransaction, run: RunId, from: ForkedFrom, now: Timestamp) -> Result<()> {
    let value = (key(from.run), from.seq, false, now.0);
    match tx.open_table(FORKS)?.insert(key(run), value)?.is_some() {
        false => Ok(()),
        true => Err(StoreError::Refused(format!("run {run} is forked already"))),
    }
}

/// Copies the records behind `after` up to `until`; `false`, and the copy is given up: they are not all there.
pub(super) fn copy(tx: &WriteTransaction, run: RunId, after: u64, until: u64, now: Timestamp) -> Result<bool> {
    let mut forks = tx.open_table(FORKS)?;
    let wanted = forks.get(key(run))?.map(|row| row.value());
    let Some((source, seq, false, _)) = wanted else {
        return Ok(false);
    };
    forks.insert(key(run), (source, seq, false, now.0))?;
    drop(forks);
    let mut journal = tx.open_table(JOURNAL)?;
    for seq in after + 1..=until {
        let found = journal.get((source, seq))?;
        let found = found.map(|row| runs::stored_row(run, seq, &row.value())).transpose()?;
        match found {
            Some(stored) => append::insert_row(&mut journal, &stored)?,
            None => {
                drop(journal);
                return give_up(tx, run).map(|()| false);
            }
        }
    }
    Ok(true)
}

fn give_up(tx: &WriteTransaction, run: RunId) -> Result<()> {
    tx.open_table(FORKS)?.remove(key(run))?;
    tx.open_table(JOURNAL)?
        .retain_in((key(run), 0)..=(key(run), u64::MAX), |_, _| false)?;
    Ok(())
}

/// The run of a copy is there.
pub(super) fn begin(tx: &WriteTransaction, run: RunId) -> Result<()> {
    let mut forks = tx.open_table(FORKS)?;
    let copied = forks.get(key(run))?.map(|row| row.value());
    match copied {
        Some((source, seq, false, at)) => {
            forks.insert(key(run), (source, seq, true, at))?;
            Ok(())
        }
        Some((.., true, _)) | None => Err(StoreError::Refused("the past of a fork is not there".to_owned())),
    }
}

/// Where a run was forked, as a row of the table says.
pub(super) fn forked_from((source, seq, ..): (u128, u64, bool, i64)) -> ForkedFrom {
    ForkedFrom {
        run: run_id(source),
        seq,
    }
}

/// Gives up copies that nobody used.
pub(super) fn sweep(tx: &WriteTransaction, now: Timestamp) -> Result<u64> {
    let oldest = now.0.saturating_sub(COPY_LIFE_MS * 1000);
    let mut unused = Vec::new();
    for entry in tx.open_table(FORKS)?.iter()? {
        let (run, row) = entry?;
        let (_, _, is_begun, copied_at) = row.value();
        if !is_begun && copied_at < oldest {
            unused.push(run_id(run.value()));
        }
    }
    for run in &unused {
        give_up(tx, *run)?;
    }
    Ok(u64::try_from(unused.len()).unwrap_or(u64::MAX))
}
