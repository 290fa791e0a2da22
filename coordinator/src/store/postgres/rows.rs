//! Rows of the database as values of the trait. Columns are read by position, in the order of [`super::sql`].

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::map::HashMap;
use rejoin_shared::run::{Counts, Progress, RunStatus};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::super::{
    Epoch, ForkedFrom, Head, InboxMessage, InboxRow, JoinedScope, JournalRow, Member, MemberRow, PartitionRow,
    Reserved, RunRow, ScheduleRow, Sleeper, StoreError, StoredRow, WaitKind, WaitRow, WorkflowRow, priority,
};
use super::values::{At, outcome};

type Result<T> = std::result::Result<T, StoreError>;

fn unfit(what: impl Display) -> StoreError {
    StoreError::Schema(what.to_string())
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(unfit)
}

fn bytes(row: &Row, column: usize) -> Result<Bytes> {
    get::<Vec<u8>>(row, column).map(Bytes::from)
}

fn bytes_or_none(row: &Row, column: usize) -> Result<Option<Bytes>> {
    Ok(get::<Option<Vec<u8>>>(row, column)?.map(Bytes::from))
}

pub(super) fn number(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(unfit)
}

fn count(row: &Row, column: usize) -> Result<u32> {
    u32::try_from(get::<i32>(row, column)?).map_err(unfit)
}

fn partition(row: &Row, column: usize) -> Result<Partition> {
    u8::try_from(get::<i16>(row, column)?).map(Partition).map_err(unfit)
}

pub(super) fn id(row: &Row) -> Result<RunId> {
    get(row, 0).map(RunId)
}

/// Runs, each with the rows that belong to it; `journals` is in the order of runs and sequence numbers. Payloads are as they are
/// stored: their lengths say whether the database had more.
pub(super) fn heads(runs: &[Row], journals: &[Row]) -> Result<Vec<Head>> {
    const RUN: usize = 12;
    let mut by_run: HashMap<RunId, Vec<StoredRow>> = HashMap::default();
    for row in journals {
        let run = get(row, RUN).map(RunId)?;
        by_run.entry(run).or_default().push(stored_row(run, row)?);
    }
    let heads = runs.iter().map(|row| {
        let row = run_row(row)?;
        let journal = by_run.remove(&row.id).unwrap_or_default();
        Ok(Head::of(row, journal))
    });
    heads.collect()
}

pub(super) fn stored_row(run: RunId, row: &Row) -> Result<StoredRow> {
    let attempt: Option<i32> = get(row, 5)?;
    let journal_row = JournalRow {
        run,
        seq: number(row, 0)?,
        kind: get::<String>(row, 3)?.into(),
        path: get(row, 4)?,
        attempt: attempt.map(u32::try_from).transpose().map_err(unfit)?,
        outcome: get::<Option<i16>>(row, 6)?.map(outcome).transpose()?,
        worker: get::<Option<&str>>(row, 7)?.map(Arc::from),
        body: bytes(row, 8)?,
        output: bytes_or_none(row, 9)?,
        snapshot: bytes_or_none(row, 10)?,
        logs: bytes_or_none(row, 11)?,
    };
    Ok(StoredRow {
        row: journal_row,
        at: get::<At>(row, 1)?.0,
        format: get(row, 2)?,
    })
}

pub(super) fn status(row: &Row, column: usize) -> Result<RunStatus> {
    let name: &str = get(row, column)?;
    RunStatus::from_name(name).ok_or_else(|| StoreError::Newer(format!("unknown state {name}")))
}

pub(super) fn run_row(row: &Row) -> Result<RunRow> {
    let tags: Option<&str> = get(row, 11)?;
    let time = |column| Ok::<_, StoreError>(get::<Option<At>>(row, column)?.map(|at| at.0));
    Ok(RunRow {
        id: id(row)?,
        namespace: namespace(row, 1)?,
        workflow: get(row, 2)?,
        version: count(row, 3)?,
        status: status(row, 4)?,
        priority: priority::named(get(row, 5)?)?,
        input: bytes(row, 6)?,
        context: bytes_or_none(row, 7)?,
        output: bytes_or_none(row, 8)?,
        error: bytes_or_none(row, 9)?,
        compensated: get(row, 10)?,
        tags: tags
            .map(serde_json::from_str)
            .transpose()
            .map_err(unfit)?
            .unwrap_or_default(),
        idempotency_key: get(row, 12)?,
        parent: get::<Option<Uuid>>(row, 13)?.map(RunId),
        forked_from: forked_from(row)?,
        progress: Progress {
            total: number(row, 14)?,
            done: number(row, 15)?,
            failed: number(row, 16)?,
            running: number(row, 17)?,
            waiting: number(row, 18)?,
        },
        counts: Counts {
            dispatched: number(row, 19)?,
            redelivered: number(row, 20)?,
            duplicate: number(row, 21)?,
            late: number(row, 22)?,
        },
        wake_at: time(23)?,
        created_at: get::<At>(row, 24)?.0,
        started_at: time(25)?,
        finished_at: time(26)?,
    })
}

fn forked_from(row: &Row) -> Result<Option<ForkedFrom>> {
    let Some(source) = get::<Option<Uuid>>(row, 27)? else {
        return Ok(None);
    };
    let (run, seq) = (RunId(source), number(row, 28)?);
    Ok(Some(ForkedFrom { run, seq }))
}

fn namespace(row: &Row, column: usize) -> Result<Namespace> {
    get::<&str>(row, column).map(|name| Namespace(name.into()))
}

pub(super) fn status_count(row: &Row) -> Result<(RunStatus, u64)> {
    Ok((status(row, 0)?, number(row, 1)?))
}

pub(super) fn sleeper(row: &Row) -> Result<Sleeper> {
    Ok(Sleeper {
        run: id(row)?,
        wake_at: get::<At>(row, 1)?.0,
    })
}

pub(super) fn joined_scope(row: &Row) -> Result<JoinedScope> {
    Ok(JoinedScope {
        run: id(row)?,
        opened: number(row, 1)?,
        joined: number(row, 2)?,
        path: get(row, 3)?,
        next_seq: number(row, 4)?,
    })
}

/// How many runs a removal was about, and how many rows went.
pub(super) fn runs_and_rows(row: &Row) -> Result<(u64, u64)> {
    Ok((number(row, 0)?, number(row, 1)?))
}

pub(super) fn workflow_row(row: &Row) -> Result<WorkflowRow> {
    Ok(WorkflowRow {
        namespace: namespace(row, 0)?,
        name: get(row, 1)?,
        version: count(row, 2)?,
        digest: get(row, 3)?,
        document: bytes(row, 4)?,
        created_at: get::<At>(row, 5)?.0,
    })
}

pub(super) fn inbox_id(row: &Row) -> Result<u64> {
    number(row, 0)
}

pub(super) fn inbox_row(row: &Row) -> Result<InboxRow> {
    let message = InboxMessage {
        partition: partition(row, 1)?,
        run: get(row, 2).map(RunId)?,
        kind: get(row, 3)?,
        body: bytes(row, 4)?,
        dedupe_key: get(row, 5)?,
        wants_verdict: get(row, 6)?,
    };
    Ok(InboxRow {
        id: number(row, 0)?,
        message,
    })
}

pub(super) fn verdict(row: &Row) -> Result<Bytes> {
    bytes(row, 0)
}

pub(super) fn bound_key(row: &Row) -> Result<Reserved> {
    Ok(Reserved::Bound {
        run: id(row)?,
        request_hash: get(row, 1)?,
        is_deleted: get(row, 2)?,
    })
}

/// The text of an idempotency key.
pub(super) fn key(row: &Row, place: usize) -> Result<String> {
    get(row, place)
}

pub(super) fn input_row(row: &Row) -> Result<WaitRow> {
    Ok(WaitRow {
        run: id(row)?,
        seq: number(row, 1)?,
        namespace: Namespace(get::<String>(row, 2)?.into()),
        workflow: get(row, 3)?,
        name: get(row, 4)?,
        path: get(row, 5)?,
        kind: WaitKind::Input,
        events: Vec::new(),
        body: bytes(row, 6)?,
        opened_at: get::<At>(row, 7)?.0,
        until: get::<Option<At>>(row, 8)?.map(|at| at.0),
    })
}

pub(super) fn schedule_row(row: &Row) -> Result<ScheduleRow> {
    let time = |column| Ok::<_, StoreError>(get::<Option<At>>(row, column)?.map(|at| at.0));
    let pending: Vec<At> = get(row, 7)?;
    let open_runs: Vec<Uuid> = get(row, 10)?;
    Ok(ScheduleRow {
        namespace: namespace(row, 0)?,
        name: get(row, 1)?,
        spec: bytes(row, 2)?,
        revision: number(row, 3)?,
        is_paused: get(row, 4)?,
        anchor_at: get::<At>(row, 5)?.0,
        next_at: time(6)?,
        pending: pending.into_iter().map(|at| at.0).collect(),
        caught_up: count(row, 8)?,
        last_run: get::<Option<Uuid>>(row, 9)?.map(RunId),
        open_runs: open_runs.into_iter().map(RunId).collect(),
        failures: count(row, 11)?,
        last_error: get(row, 12)?,
        wake_at: time(13)?,
    })
}

pub(super) fn revision(row: &Row) -> Result<u64> {
    number(row, 0)
}

pub(super) fn member_row(row: &Row) -> Result<MemberRow> {
    let member = Member {
        name: get(row, 0)?,
        incarnation: get(row, 1)?,
        address: get(row, 2)?,
    };
    Ok(MemberRow {
        member,
        joined_at: get::<At>(row, 3)?.0,
        lease_left_ms: get(row, 4)?,
    })
}

pub(super) fn partition_row(row: &Row) -> Result<PartitionRow> {
    let owner = match (get(row, 1)?, get(row, 2)?, get(row, 3)?) {
        (Some(name), Some(incarnation), Some(address)) => Some(Member {
            name,
            incarnation,
            address,
        }),
        (_, _, _) => None,
    };
    Ok(PartitionRow {
        partition: partition(row, 0)?,
        owner,
        is_live: get(row, 4)?,
        epoch: Epoch {
            count: get(row, 5)?,
            token: get(row, 6)?,
        },
        has_events: get(row, 7)?,
    })
}

pub(super) fn claimed(row: &Row) -> Result<(Partition, Epoch)> {
    Ok((
        partition(row, 0)?,
        Epoch {
            count: get(row, 1)?,
            token: get(row, 2)?,
        },
    ))
}

pub(super) fn version(row: &Row) -> Result<i32> {
    get(row, 0)
}

pub(super) fn time(row: &Row) -> Result<At> {
    get(row, 0)
}

pub(super) fn encoding(row: &Row) -> Result<String> {
    get(row, 1)
}
