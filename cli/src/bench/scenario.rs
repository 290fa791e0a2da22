//! The workloads: what is registered, started and waited for.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use rejoin_shared::json::Json;

use super::database;
use super::fleet::Fleet;
use crate::client::Client;
use crate::exit::Failure;

/// Start requests under way at once.
const STARTS_AT_ONCE: usize = 64;
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

/// Registers the workflows.
pub async fn register(client: &Client) -> Result<(), Failure> {
    for document in [FANOUT, RUNS, LATENCY] {
        let request = client
            .request(reqwest::Method::PUT, "/v1/workflows")
            .header("Content-Type", "application/json");
        client.send(request.body(document)).await?;
    }
    Ok(())
}

/// One run of so many no-op branches: from the start request to the answer that it has ended.
pub async fn fanout(client: &Client, branches: u32) -> Result<Duration, Failure> {
    let input = Json::from_entries([("branches", Json::Int(i64::from(branches)))]);
    let body = Json::from_entries([("input", input)]);
    let began = Instant::now();
    to_end(client, "bench-fanout", &body).await?;
    Ok(began.elapsed())
}

async fn to_end(client: &Client, workflow: &str, body: &Json) -> Result<(), Failure> {
    let path = format!("/v1/workflows/{workflow}/runs?wait={WAIT}");
    let answer = client.post(&path, body).await?;
    match answer.json.get("state").and_then(Json::as_str) {
        Some("completed") => Ok(()),
        state => Err(Failure::general(format!("a run of {workflow} is {state:?} in the end"))),
    }
}

/// Runs of three steps and a parallel of four, started at once: from the first start request to the last end in the
/// database.
pub async fn runs(fleet: &Fleet, count: u32) -> Result<Duration, Failure> {
    let database = database::connect(&fleet.database_url, None).await?;
    let body = Json::object();
    let began = Instant::now();
    let clients = fleet.clients().iter().cycle();
    let starts = (0..count)
        .zip(clients)
        .map(|(_, client)| client.post("/v1/workflows/bench-runs/runs", &body));
    let started = stream::iter(starts).buffer_unordered(STARTS_AT_ONCE);
    started.try_for_each(|_| std::future::ready(Ok(()))).await?;
    while began.elapsed() < RUNS_MAX {
        let open = "select count(*) from runs where workflow = 'bench-runs' and finished_at is null";
        let row = database.client.query_one(open, &[]).await;
        if row.map_err(|e| database::failure(&e))?.get::<_, i64>(0) == 0 {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::general(format!("the runs did not end within {RUNS_MAX:?}")))
}

/// Runs of three parallel branches, one after the other: milliseconds from each start request to its end.
pub async fn latency(client: &Client, count: u32) -> Result<Vec<f64>, Failure> {
    let body = Json::object();
    let mut took = Vec::new();
    for _ in 0..count.max(1) {
        let began = Instant::now();
        to_end(client, "bench-latency", &body).await?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took)
}
