//! The tables, as redb's own tuple types: no format of ours lies between a row and its bytes.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use rejoin_shared::ids::{PARTITIONS as PARTITION_COUNT, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::{Result, StoreError};

/// What never changes of a run: namespace, workflow, version, priority, input, tags (JSON), idempotency key, parent, created at.
pub(super) type RunHead = (
    &'static str,
    &'static str,
    u32,
    &'static str,
    &'static [u8],
    &'static str,
    Option<&'static str>,
    Option<u128>,
    i64,
);

/// What changes: status, progress, counts, wake at, started at, finished at, last activity.
pub(super) type RunState = (
    &'static str,
    [u64; 5],
    [u64; 4],
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i64,
);

/// What is written at the end: context, output, error, compensated.
pub(super) type RunEnding = (
    Option<&'static [u8]>,
    Option<&'static [u8]>,
    Option<&'static [u8]>,
    bool,
);

/// At, format, kind, path, attempt, outcome, worker, body, output, snapshot, logs.
pub(super) type Journal = (
    i64,
    i16,
    &'static str,
    Option<&'static str>,
    Option<u32>,
    Option<&'static str>,
    Option<&'static str>,
    &'static [u8],
    Option<&'static [u8]>,
    Option<&'static [u8]>,
    Option<&'static [u8]>,
);

/// Partition, run, kind, body, dedupe key, wants verdict, verdict, put or answered at.
pub(super) type Inbox = (
    u8,
    u128,
    &'static str,
    &'static [u8],
    Option<&'static str>,
    bool,
    Option<&'static [u8]>,
    i64,
);

/// Namespace, workflow, node, path, is an input, body, opened at, until.
pub(super) type Wait = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static [u8],
    i64,
    Option<i64>,
);

/// Spec, revision, is paused, anchor at, next at, pending, caught up, last run, open runs, failures, last error, wake at.
pub(super) type Schedule = (
    &'static [u8],
    u64,
    bool,
    i64,
    Option<i64>,
    Vec<i64>,
    u32,
    Option<u128>,
    Vec<u128>,
    u32,
    Option<&'static str>,
    Option<i64>,
);

/// Id, namespace, name, scope, made at, expires at.
pub(super) type Token = (u128, &'static str, &'static str, &'static str, i64, Option<i64>);

/// Owner (name, incarnation, address), epoch count, token, batch, has events.
pub(super) type PartitionState = (Option<(&'static str, u128, &'static str)>, i64, i64, u64, bool);

/// Namespace, name, version.
pub(super) type WorkflowKey = (&'static str, &'static str, u32);

/// Digest, document, created at.
pub(super) type Workflow = (&'static str, &'static [u8], i64);

pub(super) const RUNS: TableDefinition<u128, RunHead> = TableDefinition::new("runs");
pub(super) const RUN_STATES: TableDefinition<u128, RunState> = TableDefinition::new("run_states");
pub(super) const RUN_ENDINGS: TableDefinition<u128, RunEnding> = TableDefinition::new("run_endings");
/// By run and sequence number.
pub(super) const JOURNAL: TableDefinition<(u128, u64), Journal> = TableDefinition::new("journal");
/// Source, the last record in common, whether the run is there, when a portion was last copied.
pub(super) const FORKS: TableDefinition<u128, (u128, u64, bool, i64)> = TableDefinition::new("forks");
pub(super) const WORKFLOWS: TableDefinition<WorkflowKey, Workflow> = TableDefinition::new("workflows");
/// Namespace and key: run, request hash, free from (set once the run is deleted).
pub(super) const KEYS: TableDefinition<(&str, &str), (u128, &str, Option<i64>)> =
    TableDefinition::new("idempotency_keys");
pub(super) const INBOX: TableDefinition<u64, Inbox> = TableDefinition::new("inbox");
/// Run and dedupe key: id.
pub(super) const INBOX_KEYS: TableDefinition<(u128, &str), u64> = TableDefinition::new("inbox_keys");
/// By run and opening record.
pub(super) const WAITS: TableDefinition<(u128, u64), Wait> = TableDefinition::new("waits");
/// Sleeps, by run and opening record.
pub(super) const SLEEPS: TableDefinition<(u128, u64), ()> = TableDefinition::new("sleeps");
/// Namespace, event, run, opening record.
pub(super) const WAIT_EVENTS: TableDefinition<(&str, &str, u128, u64), ()> = TableDefinition::new("wait_events");
/// By run and opening record: joining record, path, next record.
pub(super) const JOINED_SCOPES: TableDefinition<(u128, u64), (u64, &str, u64)> = TableDefinition::new("joined_scopes");
/// By namespace and name.
pub(super) const SCHEDULES: TableDefinition<(&str, &str), Schedule> = TableDefinition::new("schedules");
/// By hash.
pub(super) const TOKENS: TableDefinition<[u8; 32], Token> = TableDefinition::new("tokens");
/// Name and incarnation: address, joined at, lease until.
pub(super) const MEMBERS: TableDefinition<(&str, u128), (&str, i64, i64)> = TableDefinition::new("members");
pub(super) const PARTITIONS: TableDefinition<u8, PartitionState> = TableDefinition::new("partitions");
/// Last number drawn, by name of the series.
pub(super) const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");

/// Makes what is missing: readers cannot open a table that nobody wrote.
pub(super) fn create(tx: &WriteTransaction) -> Result<()> {
    tx.open_table(RUNS)?;
    tx.open_table(RUN_STATES)?;
    tx.open_table(RUN_ENDINGS)?;
    tx.open_table(JOURNAL)?;
    tx.open_table(FORKS)?;
    tx.open_table(WORKFLOWS)?;
    tx.open_table(KEYS)?;
    tx.open_table(INBOX)?;
    tx.open_table(INBOX_KEYS)?;
    tx.open_table(WAITS)?;
    tx.open_table(SLEEPS)?;
    tx.open_table(WAIT_EVENTS)?;
    tx.open_table(JOINED_SCOPES)?;
    tx.open_table(SCHEDULES)?;
    tx.open_table(TOKENS)?;
    tx.open_table(MEMBERS)?;
    tx.open_table(COUNTERS)?;
    let mut partitions = tx.open_table(PARTITIONS)?;
    for number in 0..PARTITION_COUNT {
        let is_new = partitions.get(number)?.is_none();
        if is_new {
            partitions.insert(number, (None, 0, 0, 0, false))?;
        }
    }
    Ok(())
}

pub(super) fn key(run: RunId) -> u128 {
    run.0.as_u128()
}

pub(super) fn run_id(key: u128) -> RunId {
    RunId(Uuid::from_u128(key))
}

pub(super) fn is_in(partitions: &[Partition], run: RunId) -> bool {
    partitions.contains(&run.partition())
}

pub(super) fn times(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp)
}

pub(super) fn status(name: &str) -> Result<RunStatus> {
    RunStatus::from_name(name).ok_or_else(|| StoreError::Newer(format!("unknown state {name}")))
}
