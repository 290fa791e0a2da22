//! Runs of every sort, started without pause, some of them cancelled, whatever befalls the fleet meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rejoin_tests::dice::hash;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::api::Api;
use super::database::Database;
use super::fleet::Fleet;
use super::sorts::{Sort, batch, ids};

/// Runs that one request starts.
const BATCH: usize = 24;
/// Between two batches.
const PAUSE: Duration = Duration::from_millis(250);
/// Open runs above which nothing is started: what a fleet of two cores can bear, and enough for every fault to meet some.
const OPEN_MAX: i64 = 600;
/// One in so many is cancelled: no divisor of the number of sorts, so that each has its turn.
const CANCELLED: usize = 9;
/// Within so many milliseconds of its start, wherever it is then.
const CANCELLED_WITHIN_MS: u64 = 1_500;
/// Longest time for an answer, whatever has been struck meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(240);

/// By an index of its own.
const OPEN: &str =
    "SELECT count(*) FROM runs WHERE status IN ('scheduled', 'running', 'waiting', 'paused', 'compensating')";

/// What was accepted.
#[derive(Default)]
pub struct Accepted {
    pub started: Vec<String>,
    /// Of these, those whose cancel was answered by success.
    pub cancelled: BTreeSet<String>,
    /// Those that had ended, or were being compensated, when the cancel came.
    pub late: usize,
}

/// The load under way.
pub struct Load {
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<Accepted>>,
}

impl Load {
    /// Begins. Keys begin with `name`.
    pub fn begin(fleet: &Fleet, sorts: Vec<Sort>, name: String) -> Load {
        let stop = CancellationToken::new();
        let source = Source {
            api: fleet.api(),
            database: fleet.database.clone(),
            sorts,
            name,
        };
        let task = tokio::spawn(source.run(stop.clone()));
        Load {
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Starts no more, and waits for the answers that are open.
    pub async fn end(self) -> Result<Accepted> {
        self.stop.cancel();
        self.task.await?
    }

    /// Whether it has ended by itself, which is a failure.
    pub fn has_failed(&self) -> bool {
        self.task.is_finished()
    }
}

struct Source {
    api: Api,
    database: Database,
    sorts: Vec<Sort>,
    name: String,
}

impl Source {
    async fn run(self, stop: CancellationToken) -> Result<Accepted> {
        let mut accepted = Accepted::default();
        let mut cancels = JoinSet::new();
        while !stop.is_cancelled() {
            if self.has_room().await {
                let from = accepted.started.len();
                let started = self.start(&mut accepted).await?.into_iter().zip(from..);
                for (run, _) in started.filter(|(_, n)| n % CANCELLED == 0) {
                    let api = self.api.clone();
                    cancels.spawn(async move { cancel(&api, run).await });
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            while let Some(cancelled) = cancels.try_join_next() {
                accepted.note(cancelled??);
            }
        }
        while let Some(cancelled) = cancels.join_next().await {
            accepted.note(cancelled??);
        }
        Ok(accepted)
    }

    /// A database that does not answer has none either.
    async fn has_room(&self) -> bool {
        let open = self.database.value::<i64>(OPEN, &[]);
        matches!(tokio::time::timeout(Duration::from_secs(2), open).await, Ok(Ok(open)) if open < OPEN_MAX)
    }

    /// One more batch: asked for until it is answered, which its keys make safe.
    async fn start(&self, accepted: &mut Accepted) -> Result<Vec<String>> {
        let from = accepted.started.len();
        let body = batch(&self.sorts, &self.name, from, from + BATCH);
        let (status, answer) = self.api.ask_for("/v1/runs/batch", &body, ANSWER_MAX).await?;
        if !matches!(status, 200 | 201) {
            bail!("a batch of starts answered {status}: {answer}");
        }
        let started = ids(&answer, BATCH)?;
        accepted.started.extend_from_slice(&started);
        Ok(started)
    }
}

impl Accepted {
    fn note(&mut self, cancelled: Option<String>) {
        match cancelled {
            Some(run) => drop(self.cancelled.insert(run)),
            None => self.late += 1,
        }
    }
}

/// The run, if it was cancelled; `None`: it was too late.
async fn cancel(api: &Api, run: String) -> Result<Option<String>> {
    let lives = Duration::from_millis(hash(0, &run) % CANCELLED_WITHIN_MS);
    tokio::time::sleep(lives).await;
    let path = format!("/v1/runs/{run}/cancel");
    let answer = api.ask_for(&path, &json!({}), ANSWER_MAX).await;
    match answer.with_context(|| format!("cancelling {run}"))? {
        (200, _) => Ok(Some(run)),
        (409, _) => Ok(None),
        (status, answer) => bail!("the cancel of {run} answered {status}: {answer}"),
    }
}
