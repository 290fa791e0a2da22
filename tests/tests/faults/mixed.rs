//! Many runs of every sort at once, some of them cancelled, with a coordinator and a worker killed among them: when all have
//! ended, nothing of them is left but what they recorded (G6).
//!
//! `REJOIN_TEST_RUNS` asks for more of them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::types::FromSql;

use super::ALONE;
use super::evidence::evidence;
use super::story::Story;

/// Runs that one request starts.
const BATCH: usize = 500;
/// Longest time without any change: a lease, a sweep, and 30 s.
const STANDSTILL_MAX: Duration = Duration::from_secs(45);
/// One in so many is cancelled.
const CANCELLED: usize = 10;

const WORKFLOWS: [&str; 7] = ["fan", "nap", "parent", "impatient", "undone", "retried", "claimed"];
const DOCUMENTS: [&str; 7] = [
    "workflow: fan
snapshots_after_join: drop
steps:
  - foreach: each
    items: '5'
    steps: [ { step: work, uses: rejoin.echo, with: { n: '= index' } } ]
",
    "workflow: nap
steps:
  - { sleep: nap, for: 700ms }
  - { step: work, uses: rejoin.noop }
",
    "workflow: parent
steps:
  - parallel: both
    branches:
      waits: [ { call: child, workflow: fan } ]
      leaves: [ { call: free, workflow: nap, detached: true } ]
",
    "workflow: impatient
steps:
  - { wait: event, event: never, timeout: 400ms, on_timeout: { value: nothing } }
  - { step: work, uses: rejoin.noop }
",
    "workflow: undone
steps:
  - { step: work, uses: rejoin.noop, compensate: { uses: rejoin.noop } }
  - { fail: no, error: { type: mixed.no } }
",
    "workflow: retried
steps:
  - step: work
    uses: rejoin.fail
    with: { type: mixed.busy, times: 2 }
    retry: { max_attempts: 3, backoff: constant, initial: 300ms, jitter: false }
",
    "workflow: claimed
steps:
  - { step: work, uses: rejoin.sleep, with: { ms: 5 }, idempotent: false }
",
];

fn wanted() -> usize {
    let asked = std::env::var("REJOIN_TEST_RUNS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(700)
}

/// Starts these runs by one request: their ids.
async fn start(story: &Story, from: usize, to: usize) -> Result<Vec<String>> {
    let runs: Vec<Value> = (from..to)
        .map(|n| json!({ "workflow": WORKFLOWS[n % WORKFLOWS.len()], "idempotency_key": format!("mixed-{n}") }))
        .collect();
    let body = json!({ "runs": runs });
    let started = story.fleet.insist(Method::POST, "/v1/runs/batch", Some(&body)).await?;
    let items = started["items"].as_array().cloned().unwrap_or_default();
    let ids = items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned));
    let ids: Vec<String> = ids.collect();
    ensure!(
        ids.len() == to - from,
        "{} of {} runs were started",
        ids.len(),
        to - from
    );
    Ok(ids)
}

/// The one value that a statement gives.
async fn ask<T: for<'a> FromSql<'a>>(story: &Story, statement: &str) -> Result<T> {
    let (client, connection) = tokio_postgres::connect(&story.fleet.database_url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let row = client.query_one(statement, &[]).await?;
    drop(client);
    connection.await??;
    Ok(row.try_get(0)?)
}

/// Runs that have not ended: workflow, state, how many, one of them.
const OPEN: &str = "SELECT coalesce(string_agg(o, '; '), '') FROM (SELECT workflow || ' ' || status || ' ' || count(*) || ' ' \
    || min(id::text) AS o FROM runs WHERE finished_at IS NULL GROUP BY workflow, status) open";

/// Waits until all runs have ended, and nothing else has changed for long.
async fn wait_for_all(story: &Story) -> Result<()> {
    let (mut last, mut since) = (String::new(), Instant::now());
    loop {
        let open: String = ask(story, OPEN).await?;
        if open.is_empty() {
            return Ok(());
        }
        if open != last {
            (last, since) = (open, Instant::now());
        }
        if since.elapsed() > STANDSTILL_MAX {
            let run = last.rsplit(' ').next().unwrap_or_default();
            let why = story.fleet.ask(Method::GET, &format!("/v1/runs/{run}/why"), None).await;
            bail!(
                "nothing has ended for {STANDSTILL_MAX:?}: {last}; the last one: {why:?}; logs in {:?}\n{}",
                story.fleet.keep_logs(),
                evidence(&story.fleet)
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Branches' snapshots that the workflow said to drop: they go a while after their join.
const SNAPSHOTS: &str = "SELECT count(*) FROM joined_scopes WHERE next_seq < joined";

/// What else may not be there.
async fn nothing_else_is_left(story: &Story) -> Result<()> {
    let began = Instant::now();
    while ask::<i64>(story, SNAPSHOTS).await? > 0 {
        ensure!(
            began.elapsed() < Duration::from_secs(60),
            "snapshots of joined scopes are left"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(
        ask::<i64>(story, "SELECT count(*) FROM wait_events").await? == 0,
        "events are waited for"
    );
    // Reports come and go; whatever is left stays.
    loop {
        let messages = story.fleet.messages()?;
        if messages.is_empty() {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(90),
            "messages are left: {messages:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_of_every_sort_leave_nothing_behind() -> Result<()> {
    let _alone = ALONE.lock().await;
    let mut story = Story::begin("mixed", 0, &DOCUMENTS, "fan").await?;
    story.fleet.add_worker()?;
    let runs = wanted();
    let (mut cancelled, mut late) = (0, 0);
    for from in (0..runs).step_by(BATCH) {
        let ids = start(&story, from, runs.min(from + BATCH)).await?;
        if from + BATCH >= runs {
            story.doom_owner(1000).await?;
            story.fleet.workers[0].kill()?;
        }
        for id in ids.iter().step_by(CANCELLED) {
            match story.ask_for(&format!("/v1/runs/{id}/cancel"), &json!({})).await? {
                200 => cancelled += 1,
                409 => late += 1,
                status => bail!("the cancel of {id} answered {status}"),
            }
        }
    }
    ensure!(cancelled > 0, "all cancels were too late");
    story.doomed().await?;
    wait_for_all(&story).await?;
    story.ended().await?;
    nothing_else_is_left(&story).await?;
    println!(
        "{runs} runs of {} workflows ended, {cancelled} cancelled, {late} too late",
        WORKFLOWS.len()
    );
    story.end().await
}
