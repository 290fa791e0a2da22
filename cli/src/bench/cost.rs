//! What a branch costs: processor time of Rejoin's own processes, bytes of messages, of write-ahead log, of table and index.

use super::database::{self, Connection};
use super::fleet::{Fleet, Spent};
use super::report::{Measure, Unit};
use super::scenario;
use crate::args::BenchArgs;
use crate::exit::Failure;

/// Branches that make one value: processor time is told in hundredths of a second.
const BRANCHES_A_VALUE: u32 = 50_000;

const SIZES: &str =
    "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8, pg_total_relation_size('journal')::float8";

/// All that is counted, since some beginning.
struct Counts {
    spent: Spent,
    message_bytes: f64,
    wal_bytes: f64,
    table_bytes: f64,
}

/// For each number of branches: microseconds and bytes of each.
pub async fn measure(fleet: &Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    let database = database::connect(&fleet.database_url, None).await?;
    let mut measures = Vec::new();
    for branches in &args.branches {
        measures.extend(measure_size(fleet, &database, *branches, args.repeat).await?);
    }
    Ok(measures)
}

async fn measure_size(
    fleet: &Fleet,
    database: &Connection,
    branches: u32,
    repeat: u32,
) -> Result<[Measure; 5], Failure> {
    let name = |what| format!("cost of one of {branches} branches: {what}");
    let time = |what| Measure::new(name(what), Unit::Microseconds);
    let bytes = |what| Measure::new(name(what), Unit::Bytes);
    let mut measures = [
        time("coordinators"),
        time("workers"),
        bytes("messages"),
        bytes("write-ahead log"),
        bytes("table and index"),
    ];
    let runs = BRANCHES_A_VALUE.div_ceil(branches.max(1)).max(1);
    for _ in 0..repeat {
        let before = counts(fleet, database).await?;
        for _ in 0..runs {
            scenario::fanout(fleet.client()?, branches).await?;
        }
        let after = counts(fleet, database).await?;
        let all = f64::from(runs) * f64::from(branches);
        let values = [
            (after.spent.coordinators - before.spent.coordinators) * 1e6,
            (after.spent.workers - before.spent.workers) * 1e6,
            after.message_bytes - before.message_bytes,
            after.wal_bytes - before.wal_bytes,
            after.table_bytes - before.table_bytes,
        ];
        for (measure, value) in measures.iter_mut().zip(values) {
            measure.add(value / all);
        }
    }
    Ok(measures)
}

async fn counts(fleet: &Fleet, database: &Connection) -> Result<Counts, Failure> {
    let row = database
        .client
        .query_one(SIZES, &[])
        .await
        .map_err(|e| database::failure(&e))?;
    Ok(Counts {
        spent: fleet.spent()?,
        message_bytes: fleet.metric("rejoin_broker_bytes_total").await?,
        wal_bytes: row.get(0),
        table_bytes: row.get(1),
    })
}
