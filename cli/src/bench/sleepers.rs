//! Runs that sleep: what they cost in memory, and how punctually many are woken at once.

use std::time::{Duration, Instant};

use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use tokio_postgres::types::ToSql;

use super::database::{self, Connection};
use super::fleet::Fleet;
use super::report::{self, Measure, Unit};
use super::scenario;
use crate::args::BenchArgs;
use crate::exit::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait until all sleep, and until all that are due have ended.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Between the last of the runs that wake together falling asleep and their time.
const AHEAD: Duration = Duration::from_secs(10);

/// How long after their time the timers of runs with this tag fired, in milliseconds.
const LATENESS: &str = "select (extract(epoch from j.at - $1::text::timestamptz) * 1000)::float8 \
    from journal j join journal_kinds k on k.id = j.kind join tags t on t.run_id = j.run_id \
    where k.name = 'timer_fired' and t.key = 'of' and t.value = $2";
const OPEN: &str = "select count(*) from runs r join tags t on t.run_id = r.id \
    where t.key = 'of' and t.value = $1 and r.finished_at is null";
const ASLEEP: &str = "select count(*) from runs where workflow = 'bench-sleeper' and status = 'waiting'";

/// Memory of a coordinator without runs and with `--sleepers` of them asleep; then `--due` more that wake at one time: how late
/// their timers fire, and how long it takes until the last has ended.
pub async fn measure(fleet: &Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    let name = |what: &str| format!("{} runs asleep: {what}", args.sleepers);
    let mut memory = Measure::new(name("memory of a coordinator"), Unit::Mebibytes);
    let mut before = Measure::new("no run: memory of a coordinator".to_owned(), Unit::Mebibytes);
    let database = database::connect(&fleet.database_url, None).await?;
    before.add(fleet.memory_of_a_coordinator()?);
    start(fleet, "later", in_a_day(), args.sleepers).await?;
    wait_for(&database, ASLEEP, &[], i64::from(args.sleepers)).await?;
    memory.add(fleet.memory_of_a_coordinator()?);
    let mut measures = vec![before, memory];
    measures.extend(wake(fleet, &database, args).await?);
    Ok(measures)
}

/// Many that are due at once, beside those that sleep on.
async fn wake(fleet: &Fleet, database: &Connection, args: &BenchArgs) -> Result<[Measure; 3], Failure> {
    let name = |what: &str| format!("{} runs due at once: {what}", args.due);
    let mut middle = Measure::new(name("lateness (p50)"), Unit::Milliseconds);
    let mut late = Measure::new(name("lateness (p99)"), Unit::Milliseconds);
    let mut ended = Measure::new(name("all ended after"), Unit::Milliseconds);
    for round in 0..args.repeat {
        let of = format!("round {round}");
        // A thousand a second is far below what can be started; whoever is slower is told below.
        let at = Timestamp::now().plus(AHEAD + Duration::from_millis(u64::from(args.due)));
        start(fleet, &of, at, args.due).await?;
        if Timestamp::now() >= at {
            return Err(Failure::general("the runs could not be started before they were due"));
        }
        wait_for(database, OPEN, &[&of], 0).await?;
        let took = Timestamp::now().since(at);
        let rows = database.client.query(LATENESS, &[&at.to_string(), &of]).await;
        let rows = rows.map_err(|e| database::failure(&e))?;
        let lateness: Vec<f64> = rows.iter().map(|row| row.get(0)).collect();
        if lateness.len() != args.due as usize || lateness.iter().any(|ms| *ms < 0.0) {
            return Err(Failure::general(format!(
                "{} timers fired of {}, or early",
                lateness.len(),
                args.due
            )));
        }
        middle.add(report::quantile(&lateness, 0.50));
        late.add(report::quantile(&lateness, 0.99));
        ended.add(took.as_secs_f64() * 1_000.0);
    }
    Ok([middle, late, ended])
}

fn in_a_day() -> Timestamp {
    Timestamp::now().plus(Duration::from_secs(86_400))
}

/// Starts so many runs that sleep until `at`.
async fn start(fleet: &Fleet, of: &str, at: Timestamp, count: u32) -> Result<(), Failure> {
    let run = Json::from_entries([
        ("workflow", Json::str("bench-sleeper")),
        ("input", Json::from_entries([("at", Json::str(&at.to_string()))])),
        ("tags", Json::from_entries([("of", Json::str(of))])),
    ]);
    scenario::start_all(fleet, &run, count).await
}

/// Waits until the count that a statement returns is there.
async fn wait_for(
    database: &Connection,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
    wanted: i64,
) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < WAIT_MAX {
        let row = database.client.query_one(statement, parameters).await;
        if row.map_err(|e| database::failure(&e))?.get::<_, i64>(0) == wanted {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::general(format!("it did not come to that within {WAIT_MAX:?}")))
}
