//! Snapshots that go after the join of their scope.

use redb::{ReadTransaction, ReadableTable, Value, WriteTransaction};
use rejoin_shared::ids::RunId;

use super::super::{Dropped, JoinedScope};
use super::Result;
use super::tables::{JOINED_SCOPES, JOURNAL, Journal, key, run_id};

/// Scopes that one call works on.
const SCOPES_MAX: usize = 20;
/// Records of each that it looks at.
const PORTION: u64 = 500;

pub(super) fn note(tx: &WriteTransaction, joins: &[JoinedScope]) -> Result<()> {
    if joins.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(JOINED_SCOPES)?;
    for join in joins {
        let scope = (join.joined, join.path.as_str(), join.opened + 1);
        table.insert((key(join.run), join.opened), scope)?;
    }
    Ok(())
}

pub(super) fn remove_of_run(tx: &WriteTransaction, run: RunId) -> Result<()> {
    let mut table = tx.open_table(JOINED_SCOPES)?;
    table.retain_in((key(run), 0)..=(key(run), u64::MAX), |_, _| false)?;
    Ok(())
}

fn scope((run, opened): (u128, u64), (joined, path, next_seq): (u64, &str, u64)) -> JoinedScope {
    JoinedScope {
        run: run_id(run),
        opened,
        joined,
        path: path.to_owned(),
        next_seq,
    }
}

pub(super) fn of_run(tx: &ReadTransaction, run: RunId) -> Result<Vec<JoinedScope>> {
    let table = tx.open_table(JOINED_SCOPES)?;
    let mut found = Vec::new();
    for entry in table.range((key(run), 0)..=(key(run), u64::MAX))? {
        let (place, value) = entry?;
        found.push(scope(place.value(), value.value()));
    }
    Ok(found)
}

/// Scopes with something left to drop, at most `limit`.
fn waiting(
    table: &impl ReadableTable<(u128, u64), (u64, &'static str, u64)>,
    limit: usize,
) -> Result<Vec<JoinedScope>> {
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (place, value) = entry?;
        let scope = scope(place.value(), value.value());
        if scope.next_seq < scope.joined {
            found.push(scope);
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// Records of `scope` from its mark up to `end` whose snapshots go.
fn going(journal: &impl ReadableTable<(u128, u64), Journal>, scope: &JoinedScope, end: u64) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in journal.range((key(scope.run), scope.next_seq)..(key(scope.run), end))? {
        let (place, row) = entry?;
        let (seq, row) = (place.value().1, row.value());
        if row.9.is_some() && scope.holds(seq, row.3) {
            found.push(seq);
        }
    }
    Ok(found)
}

pub(super) fn to_drop(tx: &ReadTransaction) -> Result<u64> {
    let journal = tx.open_table(JOURNAL)?;
    let mut found = std::collections::BTreeSet::new();
    for scope in waiting(&tx.open_table(JOINED_SCOPES)?, usize::MAX)? {
        let going = going(&journal, &scope, scope.joined)?;
        found.extend(going.into_iter().map(|seq| (scope.run, seq)));
    }
    Ok(u64::try_from(found.len()).unwrap_or(u64::MAX))
}

pub(super) fn drop_some(tx: &WriteTransaction) -> Result<Dropped> {
    let mut table = tx.open_table(JOINED_SCOPES)?;
    let mut journal = tx.open_table(JOURNAL)?;
    let mut dropped = Dropped::default();
    for scope in waiting(&table, SCOPES_MAX)? {
        let end = scope.joined.min(scope.next_seq + PORTION);
        for seq in going(&journal, &scope, end)? {
            drop_one(&mut journal, (key(scope.run), seq))?;
            dropped.snapshots += 1;
        }
        dropped.scopes += 1;
        table.insert((key(scope.run), scope.opened), (scope.joined, scope.path.as_str(), end))?;
    }
    Ok(dropped)
}

fn drop_one(journal: &mut redb::Table<'_, (u128, u64), Journal>, place: (u128, u64)) -> Result<()> {
    let Some(row) = journal.get(place)?.map(|row| Owned::of(&row.value())) else {
        return Ok(());
    };
    journal.insert(place, row.without_snapshot())?;
    Ok(())
}

/// A row taken out of the table, to be written back.
struct Owned {
    numbers: (i64, i16, Option<u32>),
    kind: String,
    path: Option<String>,
    outcome: Option<String>,
    worker: Option<String>,
    body: Vec<u8>,
    output: Option<Vec<u8>>,
    logs: Option<Vec<u8>>,
}

impl Owned {
    fn of(row: &<Journal as Value>::SelfType<'_>) -> Owned {
        let (at, format, kind, path, attempt, outcome, worker, body, output, _, logs) = *row;
        Owned {
            numbers: (at, format, attempt),
            kind: kind.to_owned(),
            path: path.map(str::to_owned),
            outcome: outcome.map(str::to_owned),
            worker: worker.map(str::to_owned),
            body: body.to_vec(),
            output: output.map(<[u8]>::to_vec),
            logs: logs.map(<[u8]>::to_vec),
        }
    }

    fn without_snapshot(&self) -> <Journal as Value>::SelfType<'_> {
        let (at, format, attempt) = self.numbers;
        (
            at,
            format,
            self.kind.as_str(),
            self.path.as_deref(),
            attempt,
            self.outcome.as_deref(),
            self.worker.as_deref(),
            self.body.as_slice(),
            self.output.as_deref(),
            None,
            self.logs.as_deref(),
        )
    }
}
