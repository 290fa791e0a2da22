//! Open waits, and what goes to all that wait for an event.

use std::collections::BTreeSet;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::time::Timestamp;

use super::super::{Batch, Broadcast, InboxMessage, WaitKind, WaitRow};
use super::tables::{SLEEPS, WAIT_EVENTS, WAITS, key, run_id, times};
use super::{Result, inbox};

/// What an append does about waits: those that are over go, then new ones come, then broadcasts leave.
pub(super) fn keep(tx: &WriteTransaction, batch: &Batch, at: Timestamp) -> Result<()> {
    for (run, seq) in &batch.waits_over {
        remove(tx, *run, *seq)?;
    }
    for wait in &batch.waits {
        put(tx, wait, at)?;
    }
    for message in &batch.broadcasts {
        broadcast(tx, message, at)?;
    }
    Ok(())
}

fn put(tx: &WriteTransaction, wait: &WaitRow, at: Timestamp) -> Result<()> {
    if wait.kind == WaitKind::Timer {
        tx.open_table(SLEEPS)?.insert((key(wait.run), wait.seq), ())?;
        return Ok(());
    }
    let row = (
        &*wait.namespace.0,
        wait.workflow.as_str(),
        wait.name.as_str(),
        wait.path.as_str(),
        wait.kind == WaitKind::Input,
        &*wait.body,
        at.0,
        wait.until.map(|until| until.0),
    );
    tx.open_table(WAITS)?.insert((key(wait.run), wait.seq), row)?;
    let mut events = tx.open_table(WAIT_EVENTS)?;
    for event in &wait.events {
        events.insert((&*wait.namespace.0, event.as_str(), key(wait.run), wait.seq), ())?;
    }
    Ok(())
}

fn remove(tx: &WriteTransaction, run: RunId, seq: u64) -> Result<()> {
    tx.open_table(SLEEPS)?.remove((key(run), seq))?;
    if tx.open_table(WAITS)?.remove((key(run), seq))?.is_none() {
        return Ok(());
    }
    tx.open_table(WAIT_EVENTS)?
        .retain(|(_, _, of, opened), ()| of != key(run) || opened != seq)?;
    Ok(())
}

pub(super) fn remove_of_run(tx: &WriteTransaction, run: RunId) -> Result<()> {
    tx.open_table(WAITS)?.retain(|(of, _), _| of != key(run))?;
    tx.open_table(SLEEPS)?.retain(|(of, _), ()| of != key(run))?;
    tx.open_table(WAIT_EVENTS)?.retain(|(_, _, of, _), ()| of != key(run))?;
    Ok(())
}

pub(super) fn broadcast(tx: &WriteTransaction, message: &Broadcast, at: Timestamp) -> Result<u64> {
    let mut runs = BTreeSet::new();
    let (namespace, event) = (&*message.namespace.0, message.event.as_str());
    for entry in tx
        .open_table(WAIT_EVENTS)?
        .range((namespace, event, 0, 0)..=(namespace, event, u128::MAX, u64::MAX))?
    {
        runs.insert(entry?.0.value().2);
    }
    for run in runs.iter().copied().map(run_id) {
        let message = InboxMessage {
            partition: run.partition(),
            run,
            kind: message.kind.clone(),
            body: message.body.clone(),
            dedupe_key: message.dedupe_key.clone(),
            wants_verdict: false,
        };
        inbox::put(tx, &message, at)?;
    }
    Ok(u64::try_from(runs.len()).unwrap_or(u64::MAX))
}

/// Runs with an open wait of this kind, of all namespaces.
pub(super) fn runs_that_wait(tx: &ReadTransaction, kind: WaitKind) -> Result<BTreeSet<u128>> {
    let mut runs = BTreeSet::new();
    if kind == WaitKind::Timer {
        for entry in tx.open_table(SLEEPS)?.iter()? {
            runs.insert(entry?.0.value().0);
        }
        return Ok(runs);
    }
    for entry in tx.open_table(WAITS)?.iter()? {
        let (place, row) = entry?;
        if row.value().4 == (kind == WaitKind::Input) {
            runs.insert(place.value().0);
        }
    }
    Ok(runs)
}

pub(super) fn inputs(
    tx: &ReadTransaction,
    namespace: &Namespace,
    after: Option<(RunId, u64)>,
    limit: usize,
) -> Result<Vec<WaitRow>> {
    let first = after.map_or((0, 0), |(run, seq)| (key(run), seq + 1));
    let mut found = Vec::new();
    for entry in tx.open_table(WAITS)?.range(first..)? {
        if found.len() >= limit {
            break;
        }
        let (place, row) = entry?;
        let (of, workflow, name, path, is_input, body, opened_at, until) = row.value();
        if !is_input || of != &*namespace.0 {
            continue;
        }
        found.push(WaitRow {
            run: run_id(place.value().0),
            seq: place.value().1,
            namespace: namespace.clone(),
            workflow: workflow.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
            kind: WaitKind::Input,
            events: Vec::new(),
            body: Bytes::copy_from_slice(body),
            opened_at: Timestamp(opened_at),
            until: times(until),
        });
    }
    Ok(found)
}
