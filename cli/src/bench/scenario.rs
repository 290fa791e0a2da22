//! The workloads: what is registered, started and waited for.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use rejoin_shared::json::Json;

use super::database::{self, Connection};
use super::fleet::Fleet;
use crate::client::Client;
use crate::exit::Failure;

/// Start requests under way at once.
const STARTS_AT_ONCE: usize = 8;
/// Runs that one of them starts.
const BATCH_MAX: usize = 1_000;
/// Longest wait for the end of a run, as the API takes it.
const WAIT: &str = "300s";
/// How often the database is asked for runs that have not ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const RUNS_MAX: Duration = Duration::from_secs(300);

const FANOUT: &str = r#"{"workflow":"bench-fanout","steps":[{"foreach":"each","items":"ctx.branches",
  "concurrency":"unbounded","merge":"discard","steps":[{"step":"work","uses":"rejoin.noop"}]}]}"#;
const RUNS: &str = r#"{"workflow":"bench-runs","steps":[
  {"step":"first","uses":"rejoin.noop"},{"step":"second","uses":"rejoin.noop"},
  {"parallel":"four","branches":{
    "a":[{"step":"in_a","uses":"rejoin.noop"}],"b":[{"step":"in_b","uses":"rejoin.noop"}],
    "c":[{"step":"in_c","uses":"rejoin.noop"}],"d":[{"step":"in_d","uses":"rejoin.noop"}]}},
  {"step":"last","uses":"rejoin.noop"}]}"#;
const LATENCY: &str = r#"{"workflow":"bench-latency","steps":[{"parallel":"three","branches":{
    "a":[{"step":"in_a","uses":"rejoin.noop"}],"b":[{"step":"in_b","uses":"rejoin.noop"}],
    "c":[{"step":"in_c","uses":"rejoin.noop"}]}}]}"#;

const CONTEXT: &str = r#"{"workflow":"bench-context","steps":[
  {"set":"grow","values":{"more":"= ctx.parts.map(part, ctx.text)"}},
  {"sleep":"settle","for":"20ms"},
  {"foreach":"each","items":"1000","concurrency":"unbounded","merge":"discard","steps":[{"step":"work","uses":"rejoin.noop","with":{}}]}]}"#;
const SLEEPER: &str = r#"{"workflow":"bench-sleeper","steps":[
  {"sleep":"nap","until":"= input.at"},{"step":"work","uses":"rejoin.noop"}]}"#;
const JOIN: &str = r#"{"workflow":"bench-join","steps":[{"foreach":"each","items":"ctx.branches",
  "concurrency":"unbounded","merge":"discard","steps":[{"step":"work","uses":"rejoin.noop"}]},{"step":"last","uses":"rejoin.noop"}]}"#;
const SLOW: &str = r#"{"workflow":"bench-slow","steps":[{"foreach":"each","items":"ctx.branches",
  "concurrency":"unbounded","merge":"discard","steps":[{"step":"work","uses":"rejoin.sleep","with":{"ms":20}}]}]}"#;
const COMPUTE: &str = r#"{"workflow":"bench-compute","steps":[{"foreach":"each","items":"ctx.branches",
  "concurrency":"unbounded","merge":"discard","steps":[{"step":"work","uses":"bench.compute","with":{}}]}]}"#;
/// Runs that share the slow branches: each belongs to one coordinator.
pub const SLOW_RUNS: u32 = 8;
/// Seconds between two records of a run with one scope.
const FORK_TO_JOIN: &str = "select extract(epoch from max(j.at) filter (where k.name = 'scope_joined') \
    - min(j.at) filter (where k.name = 'scope_opened'))::float8 \
    from journal j join journal_kinds k on k.id = j.kind where j.run_id = $1";
/// An input may have 1 MiB, with all that is around the text.
const CONTEXT_PART_BYTES: usize = 1_000_000;

/// Registers the workflows.
pub async fn register(client: &Client) -> Result<(), Failure> {
    for document in [FANOUT, RUNS, LATENCY, CONTEXT, SLEEPER, JOIN, SLOW, COMPUTE] {
        let request = client
            .request(reqwest::Method::PUT, "/v1/workflows")
            .header("Content-Type", "application/json");
        client.send(request.body(document)).await?;
    }
    Ok(())
}

/// One run of so many no-op branches: from the start request to the answer that it has ended.
pub async fn fanout(client: &Client, branches: u32) -> Result<Duration, Failure> {
    of_branches(client, "bench-fanout", branches).await
}

/// One run of so many branches that compute.
pub async fn compute(client: &Client, branches: u32) -> Result<Duration, Failure> {
    of_branches(client, "bench-compute", branches).await
}

/// One run of so many no-op branches and a step after their join: milliseconds from the durable join to that step's dispatch, as its
/// coordinator measures it.
pub async fn join(fleet: &Fleet, branches: u32) -> Result<f64, Failure> {
    const SUM: &str = "rejoin_join_seconds_sum";
    let before = fleet.metric(SUM).await?;
    of_branches(fleet.client()?, "bench-join", branches).await?;
    Ok((fleet.metric(SUM).await? - before) * 1_000.0)
}

/// Branches that sleep for 20 ms, so many in each of [`SLOW_RUNS`] runs that all coordinators share.
pub async fn slow(fleet: &Fleet, each: u32) -> Result<Duration, Failure> {
    let clients = fleet.clients().iter().cycle();
    let runs = (0..SLOW_RUNS).zip(clients);
    let runs = runs.map(|(_, client)| of_branches(client, "bench-slow", each));
    let began = Instant::now();
    futures_util::future::try_join_all(runs).await?;
    Ok(began.elapsed())
}

async fn of_branches(client: &Client, workflow: &str, branches: u32) -> Result<Duration, Failure> {
    let input = Json::from_entries([("branches", Json::Int(i64::from(branches)))]);
    let body = Json::from_entries([("input", input)]);
    let began = Instant::now();
    to_end(client, workflow, &body).await?;
    Ok(began.elapsed())
}

/// One run of 1,000 no-op branches whose base context holds a text of so many bytes, in parts as large as an input may be: from the
/// start request to the end, and from the record of the fork to that of the join.
pub async fn context(fleet: &Fleet, database: &Connection, bytes: usize) -> Result<(Duration, Duration), Failure> {
    let parts = bytes.div_ceil(CONTEXT_PART_BYTES);
    let text = Json::str(&"x".repeat(bytes / parts));
    // The input has the text already; the workflow lays the other parts beside it.
    let parts = Json::list(vec![Json::Null; parts - 1]);
    let body = Json::from_entries([("input", Json::from_entries([("text", text), ("parts", parts)]))]);
    let began = Instant::now();
    let run = to_end(fleet.client()?, "bench-context", &body).await?;
    let whole = began.elapsed();
    let run: uuid::Uuid = run.parse().map_err(|e| Failure::general(format!("{run}: {e}")))?;
    let row = database.client.query_one(FORK_TO_JOIN, &[&run]).await;
    let fork_to_join: f64 = row.map_err(|e| database::failure(&e))?.get(0);
    Ok((whole, Duration::from_secs_f64(fork_to_join)))
}

/// Begins one run of so many no-op branches: its id.
pub async fn begin_giant(client: &Client, branches: u32) -> Result<String, Failure> {
    let input = Json::from_entries([("branches", Json::Int(i64::from(branches)))]);
    let body = Json::from_entries([("input", input)]);
    let started = client.post("/v1/workflows/bench-fanout/runs", &body).await?;
    let id = started.json.get("id").and_then(Json::as_str).map(str::to_owned);
    id.ok_or_else(|| Failure::general("a started run has no id"))
}

/// Waits until a run has completed.
pub async fn await_end(client: &Client, run: &str) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < RUNS_MAX {
        match state_of(client, run).await?.as_str() {
            "completed" => return Ok(()),
            "running" | "waiting" => tokio::time::sleep(LOOK_EVERY).await,
            other => return Err(Failure::general(format!("run {run} is {other}"))),
        }
    }
    Err(Failure::general(format!("run {run} did not end within {RUNS_MAX:?}")))
}

/// The state of a run.
pub async fn state_of(client: &Client, run: &str) -> Result<String, Failure> {
    let answer = client.get(&format!("/v1/runs/{run}"), &[]).await?;
    let state = answer.json.get("state").and_then(Json::as_str);
    Ok(state.unwrap_or_default().to_owned())
}

/// Small runs, one after the other: milliseconds from each start request to its end.
pub async fn small_runs(client: &Client, count: u32) -> Result<Vec<f64>, Failure> {
    timed(client, "bench-runs", count).await
}

/// Starts a run and waits until it has completed: its id.
async fn to_end(client: &Client, workflow: &str, body: &Json) -> Result<String, Failure> {
    let path = format!("/v1/workflows/{workflow}/runs?wait={WAIT}");
    let answer = client.post(&path, body).await?;
    let text = |member| answer.json.get(member).and_then(Json::as_str);
    match text("state") {
        Some("completed") => Ok(text("id").unwrap_or_default().to_owned()),
        state => Err(Failure::general(format!("a run of {workflow} is {state:?} in the end"))),
    }
}

/// Runs of three steps and a parallel of four, started at once: from the first start request to the last end in the
/// database.
pub async fn runs(fleet: &Fleet, count: u32) -> Result<Duration, Failure> {
    let database = database::connect(&fleet.database_url, None).await?;
    let run = Json::from_entries([("workflow", Json::str("bench-runs"))]);
    let began = Instant::now();
    start_all(fleet, &run, count).await?;
    while began.elapsed() < RUNS_MAX {
        if open_runs(&database).await? == 0 {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::general(format!("the runs did not end within {RUNS_MAX:?}")))
}

/// How many of them have not ended.
pub async fn open_runs(database: &Connection) -> Result<i64, Failure> {
    let open = "select count(*) from runs where workflow = 'bench-runs' and finished_at is null";
    let row = database.client.query_one(open, &[]).await;
    Ok(row.map_err(|e| database::failure(&e))?.get(0))
}

/// Starts so many runs of one kind, in requests of as many as one takes.
pub async fn start_all(fleet: &Fleet, run: &Json, count: u32) -> Result<(), Failure> {
    let batch = |first| {
        let runs = (first..count).take(BATCH_MAX).map(|_| run.clone()).collect();
        Json::from_entries([("runs", Json::list(runs))])
    };
    let bodies: Vec<Json> = (0..count).step_by(BATCH_MAX).map(batch).collect();
    let clients = fleet.clients().iter().cycle();
    let starts = bodies
        .iter()
        .zip(clients)
        .map(|(body, client)| client.post("/v1/runs/batch", body));
    let started = stream::iter(starts).buffer_unordered(STARTS_AT_ONCE);
    started.try_for_each(|_| std::future::ready(Ok(()))).await
}

/// Runs of three parallel branches, one after the other: milliseconds from each start request to its end.
pub async fn latency(client: &Client, count: u32) -> Result<Vec<f64>, Failure> {
    timed(client, "bench-latency", count).await
}

async fn timed(client: &Client, workflow: &str, count: u32) -> Result<Vec<f64>, Failure> {
    let body = Json::object();
    let mut took = Vec::new();
    for _ in 0..count.max(1) {
        let began = Instant::now();
        to_end(client, workflow, &body).await?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took)
}
