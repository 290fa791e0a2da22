//! More runs than a fleet without workers can do anything about: each start is accepted or put off, none is lost, and what they
//! take in memory is bounded.
//!
//! `REJOIN_OVERLOAD_STARTS` says how many (`scripts/faults overload`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::api::Api;
use super::memory::{MIB, Memory};
use super::settled::{journals_are_sound, nobody_panicked, nothing_is_left, wait_for_all};
use super::sorts::{SORTS, batch, ids, outcomes};
use super::story::fleet_of;
use super::{ALONE, asked};

const STARTS: usize = 2_000;
/// Clients that start at the same time.
const CLIENTS: usize = 4;
/// Runs that one request starts.
const BATCH: usize = 50;
/// How long a client that was put off waits.
const PUT_OFF: Duration = Duration::from_millis(100);
/// What a coordinator may hold beside the runs, and for each of them: below a gibibyte for 50,000.
const COORDINATOR_BYTES_MAX: u64 = 128 * MIB;
const BYTES_OF_RUN_MAX: u64 = 17 * 1024;
const WORKER_BYTES_MAX: u64 = 192 * MIB;

/// How often each status was answered.
type Statuses = BTreeMap<u16, usize>;

/// A client that starts some of the runs and looks at them: what it was answered.
struct Client {
    api: Api,
    name: String,
    runs: usize,
    statuses: Statuses,
}

impl Client {
    /// One request, whose answer has to be of success or 429.
    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>> {
        let answer = self.api.ask(method, path, body).await;
        let (status, value) = answer.with_context(|| format!("{path} got no answer"))?;
        *self.statuses.entry(status).or_default() += 1;
        ensure!(
            matches!(status, 200..=299 | 429),
            "{path} answered {status} under load: {value}"
        );
        Ok((status != 429).then_some(value))
    }

    async fn run(mut self) -> Result<Statuses> {
        let mut from = 0;
        while from < self.runs {
            let to = self.runs.min(from + BATCH);
            let body = batch(&SORTS, &self.name, from, to);
            let Some(started) = self.ask(Method::POST, "/v1/runs/batch", Some(&body)).await? else {
                tokio::time::sleep(PUT_OFF).await;
                continue;
            };
            let ids = ids(&started, to - from)?;
            from = to;
            let first = ids.first().context("a batch is not empty")?;
            self.ask(Method::GET, &format!("/v1/runs/{first}"), None).await?;
            self.ask(Method::GET, "/v1/runs?limit=20", None).await?;
        }
        Ok(self.statuses)
    }
}

/// Starts so many runs, split among the clients.
async fn flood(api: &Api, starts: usize) -> Result<Statuses> {
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let client = Client {
            api: api.clone(),
            name: format!("flood-{n}"),
            runs: (starts + n) / CLIENTS,
            statuses: Statuses::new(),
        };
        clients.spawn(client.run());
    }
    let mut statuses = Statuses::new();
    while let Some(answered) = clients.join_next().await {
        for (status, times) in answered?? {
            *statuses.entry(status).or_default() += times;
        }
    }
    Ok(statuses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_starts_than_a_fleet_without_workers_can_serve_are_all_kept_and_done_when_they_come() -> Result<()> {
    let _alone = ALONE.lock().await;
    let starts = asked("REJOIN_OVERLOAD_STARTS", STARTS)?;
    let mut fleet = fleet_of(2, 0, &SORTS.map(|sort| sort.document)).await?;
    let began = Instant::now();
    let statuses = flood(&fleet.api(), starts).await?;
    let flooded_in = began.elapsed();
    let keyed = "SELECT count(*) FROM runs WHERE idempotency_key IS NOT NULL";
    let kept: i64 = fleet.database.value(keyed, &[]).await?;
    ensure!(kept == i64::try_from(starts)?, "{kept} of {starts} runs are there");
    for _ in 0..2 {
        fleet.add_worker()?;
    }
    let served = Instant::now();
    wait_for_all(&fleet).await?;
    let served_in = served.elapsed();
    nothing_is_left(&fleet).await?;
    journals_are_sound(&fleet).await?;
    let states = outcomes(&fleet, &SORTS).await?;
    nobody_panicked(&mut fleet)?;
    let peak = Memory::peak(&fleet)?;
    println!(
        "overload: {starts} runs accepted in {:.1} s (answers {statuses:?}), all ended {:.1} s after the workers came: {states:?}; \
         most resident memory: {peak}",
        flooded_in.as_secs_f64(),
        served_in.as_secs_f64(),
    );
    let bound = Memory {
        coordinator: COORDINATOR_BYTES_MAX + BYTES_OF_RUN_MAX * starts as u64,
        worker: WORKER_BYTES_MAX,
    };
    peak.is_below(bound, "the most resident memory")?;
    fleet.end().await
}
