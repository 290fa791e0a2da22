//! Writes of schedules.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::{ScheduleRow, StoreError};
use super::pool::Reader;
use super::values::{At, bigint, integer};
use super::{rows, sql};

type Result<T> = std::result::Result<T, StoreError>;
type Param<'a> = &'a (dyn ToSql + Sync);

/// A row's values as the driver takes them.
struct Values {
    anchor_at: At,
    next_at: Option<At>,
    pending: Vec<At>,
    caught_up: i32,
    last_run: Option<Uuid>,
    open_runs: Vec<Uuid>,
    failures: i32,
    wake_at: Option<At>,
}

impl Values {
    fn of(row: &ScheduleRow) -> Result<Values> {
        Ok(Values {
            anchor_at: At(row.anchor_at),
            next_at: row.next_at.map(At),
            pending: row.pending.iter().copied().map(At).collect(),
            caught_up: integer(row.caught_up)?,
            last_run: row.last_run.map(|run| run.0),
            open_runs: row.open_runs.iter().map(|run| run.0).collect(),
            failures: integer(row.failures)?,
            wake_at: row.wake_at.map(At),
        })
    }
}

pub(super) async fn add(reader: &Reader, row: &ScheduleRow) -> Result<bool> {
    let values = Values::of(row)?;
    let (namespace, spec) = (&*row.namespace.0, &*row.spec);
    let params = params(&namespace, &spec, row, &values);
    Ok(reader.write(sql::SCHEDULE_ADD_IF_FREE, &params).await? == 1)
}

pub(super) async fn change(reader: &Reader, row: &ScheduleRow) -> Result<Option<u64>> {
    let (values, revision) = (Values::of(row)?, bigint(row.revision)?);
    let (namespace, spec) = (&*row.namespace.0, &*row.spec);
    let mut params = params(&namespace, &spec, row, &values).to_vec();
    params.push(&revision);
    let written = reader
        .write_returning(sql::SCHEDULE_CHANGE_IF_UNCHANGED, &params)
        .await?;
    written.first().map(rows::revision).transpose()
}

fn params<'a>(namespace: &'a &str, spec: &'a &[u8], row: &'a ScheduleRow, values: &'a Values) -> [Param<'a>; 13] {
    [
        namespace,
        &row.name,
        spec,
        &row.is_paused,
        &values.anchor_at,
        &values.next_at,
        &values.pending,
        &values.caught_up,
        &values.last_run,
        &values.open_runs,
        &values.failures,
        &row.last_error,
        &values.wake_at,
    ]
}
