//! Registered workflows and idempotency keys.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::time::Timestamp;

use super::super::{KeyBinding, NewestVersion, Reserved, StoreError, WorkflowRow};
use super::Result;
use super::tables::{KEYS, WORKFLOWS, key, run_id};

fn row(namespace: &Namespace, name: &str, version: u32, value: (&str, &[u8], i64)) -> WorkflowRow {
    WorkflowRow {
        namespace: namespace.clone(),
        name: name.to_owned(),
        version,
        digest: value.0.to_owned(),
        document: Bytes::copy_from_slice(value.1),
        created_at: Timestamp(value.2),
    }
}

pub(super) fn put(tx: &WriteTransaction, new: WorkflowRow) -> Result<(WorkflowRow, bool)> {
    let mut table = tx.open_table(WORKFLOWS)?;
    let (namespace, name) = (&*new.namespace.0, new.name.as_str());
    let mut last = 0;
    for entry in table.range((namespace, name, 0)..=(namespace, name, u32::MAX))? {
        let (id, value) = entry?;
        last = id.value().2;
        if value.value().0 == new.digest {
            return Ok((row(&new.namespace, name, last, value.value()), false));
        }
    }
    let value = (new.digest.as_str(), &*new.document, new.created_at.0);
    table.insert((namespace, name, last + 1), value)?;
    Ok((
        WorkflowRow {
            version: last + 1,
            ..new.clone()
        },
        true,
    ))
}

/// Fails an append whose runs begin with versions that are not the newest any more.
pub(super) fn expect_newest(tx: &WriteTransaction, newest: &[NewestVersion]) -> Result<()> {
    let table = tx.open_table(WORKFLOWS)?;
    for (place, one) in newest.iter().enumerate() {
        let (namespace, workflow) = (&*one.namespace.0, one.workflow.as_str());
        let newer = (namespace, workflow, one.version.saturating_add(1))..=(namespace, workflow, u32::MAX);
        if table.range(newer)?.next().is_some() {
            return Err(StoreError::Superseded(place));
        }
    }
    Ok(())
}

pub(super) fn get(
    tx: &ReadTransaction,
    namespace: &Namespace,
    name: &str,
    version: Option<u32>,
) -> Result<Option<WorkflowRow>> {
    let table = tx.open_table(WORKFLOWS)?;
    let (from, to) = version.map_or((0, u32::MAX), |v| (v, v));
    let mut versions = table.range((&*namespace.0, name, from)..=(&*namespace.0, name, to))?;
    let Some(entry) = versions.next_back() else {
        return Ok(None);
    };
    let (id, value) = entry?;
    Ok(Some(row(namespace, name, id.value().2, value.value())))
}

pub(super) fn list(
    tx: &ReadTransaction,
    namespace: &Namespace,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<WorkflowRow>> {
    let table = tx.open_table(WORKFLOWS)?;
    let mut found: Vec<WorkflowRow> = Vec::new();
    for entry in table.range((&*namespace.0, after.unwrap_or(""), 0)..)? {
        let (id, value) = entry?;
        let (of, name, version) = id.value();
        if of != &*namespace.0 {
            break;
        }
        if after.is_some_and(|after| name <= after) {
            continue;
        }
        if found.last().is_some_and(|last| last.name == name) {
            found.pop();
        } else if found.len() >= limit {
            break;
        }
        found.push(row(namespace, name, version, value.value()));
    }
    Ok(found)
}

pub(super) fn reserve_key(
    tx: &WriteTransaction,
    namespace: &Namespace,
    text: &str,
    request_hash: &str,
    run: RunId,
    now: Timestamp,
) -> Result<Reserved> {
    if let Some(bound) = bound(tx, namespace, text, now)? {
        return Ok(bound);
    }
    tx.open_table(KEYS)?
        .insert((&*namespace.0, text), (key(run), request_hash, None))?;
    Ok(Reserved::Won)
}

/// Binds those that are free, unless one is bound to another request.
pub(super) fn reserve_keys(
    tx: &WriteTransaction,
    namespace: &Namespace,
    keys: &[KeyBinding],
    now: Timestamp,
) -> Result<Vec<Reserved>> {
    let mut reserved = Vec::with_capacity(keys.len());
    for wanted in keys {
        reserved.push(bound(tx, namespace, &wanted.key, now)?.unwrap_or(Reserved::Won));
    }
    if keys.iter().zip(&reserved).all(|(wanted, found)| wanted.fits(found)) {
        for wanted in keys {
            reserve_key(tx, namespace, &wanted.key, &wanted.request_hash, wanted.run, now)?;
        }
    }
    Ok(reserved)
}

/// What a key is bound to, if it is.
fn bound(tx: &WriteTransaction, namespace: &Namespace, text: &str, now: Timestamp) -> Result<Option<Reserved>> {
    let table = tx.open_table(KEYS)?;
    let found = table.get((&*namespace.0, text))?;
    let found = found.filter(|bound| bound.value().2.is_none_or(|t| t > now.0));
    Ok(found.map(|bound| Reserved::Bound {
        run: run_id(bound.value().0),
        request_hash: bound.value().1.to_owned(),
        is_deleted: bound.value().2.is_some(),
    }))
}

/// The run of a key is deleted: the key stays bound until `free_from`.
pub(super) fn outlive(
    tx: &WriteTransaction,
    namespace: &str,
    text: &str,
    run: RunId,
    free_from: Timestamp,
) -> Result<()> {
    let mut table = tx.open_table(KEYS)?;
    let hash = match table.get((namespace, text))? {
        Some(bound) if bound.value().0 == key(run) => bound.value().1.to_owned(),
        Some(_) | None => return Ok(()),
    };
    table.insert((namespace, text), (key(run), hash.as_str(), Some(free_from.0)))?;
    Ok(())
}

/// Removes keys that are free again.
pub(super) fn sweep_keys(tx: &WriteTransaction, now: Timestamp) -> Result<u64> {
    let (mut table, mut removed) = (tx.open_table(KEYS)?, 0);
    table.retain(|_, (_, _, free_from)| {
        let stays = free_from.is_none_or(|t| t > now.0);
        removed += u64::from(!stays);
        stays
    })?;
    Ok(removed)
}
