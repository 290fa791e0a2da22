//! One run of a small definition, whose owner dies at a random moment in the middle, and what was executed and recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rejoin_tests::dice::Dice;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::fleet::Fleet;

/// Notes `run path attempt microseconds` at its start, works for `ms`, fails the first `fails` attempts, and as long as a file
/// of the name in `breaks` is there; else it yields `gives`.
const HANDLER: &str = r#"
import json, os, sys, time
log = os.open("executions.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    request = json.loads(line)
    os.write(log, f"{request['run']} {request['path']} {request['attempt']} {time.time_ns() // 1000}\n".encode())
    asked = request["input"]
    time.sleep(asked.get("ms", 0) / 1000)
    broken = "breaks" in asked and os.path.exists(asked["breaks"])
    if broken or request["attempt"] <= asked.get("fails", 0):
        error = {"type": "story.failed", "message": "as asked", "retryable": not broken}
        print(json.dumps({"$error": error}), flush=True)
    else:
        print(json.dumps(asked.get("gives")), flush=True)
"#;

const HANDLERS: &str = "
concurrency: 8
handlers:
  act: { exec: [python3, act.py], mode: stream }
";

/// Gives the fleet's workers the handler.
pub fn write_handler(fleet: &Fleet) -> Result<()> {
    fleet.write("handlers.yaml", HANDLERS)?;
    fleet.write("act.py", HANDLER)?;
    Ok(())
}

/// So many coordinators and workers with the handler, which know these documents.
pub async fn fleet_of(coordinators: usize, workers: usize, documents: &[&str]) -> Result<Fleet> {
    let mut fleet = Fleet::new().await?;
    write_handler(&fleet)?;
    for _ in 0..coordinators {
        fleet.add_coordinator(None)?;
    }
    for _ in 0..workers {
        fleet.add_worker()?;
    }
    for (_, port) in &fleet.coordinators {
        fleet.is_ready(*port).await?;
    }
    for document in documents {
        fleet.register_text(document).await?;
    }
    Ok(fleet)
}

/// All starts of the handler at the fleet's workers, in their order.
pub fn executions_in(fleet: &Fleet) -> Result<Vec<Execution>> {
    let log = match std::fs::read_to_string(fleet.dir.path().join("executions.log")) {
        Ok(log) => log,
        Err(none) if none.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let parse = |line: &str| {
        let mut parts = line.split(' ');
        Some(Execution {
            run: parts.next()?.to_owned(),
            path: parts.next()?.to_owned(),
            attempt: parts.next()?.parse().ok()?,
            at: parts.next()?.parse().ok()?,
        })
    };
    log.lines()
        .map(|line| parse(line).ok_or_else(|| anyhow!("a torn line in the execution log: {line:?}")))
        .collect()
}

/// A start of the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub run: String,
    pub path: String,
    pub attempt: u32,
    /// Microseconds since 1970.
    pub at: i64,
}

/// The fleet, the run, and the end that awaits its owner.
pub struct Story {
    pub fleet: Fleet,
    pub run: String,
    pub dice: Dice,
    doom: Option<JoinHandle<Result<Duration>>>,
}

impl Story {
    /// Two coordinators, two workers, these documents; the first run is of `workflow`.
    pub async fn begin(name: &str, round: u64, documents: &[&str], workflow: &str) -> Result<Story> {
        let fleet = fleet_of(2, 2, documents).await?;
        let run = fleet.start_run(workflow, json!({})).await?;
        Ok(Story {
            fleet,
            run,
            dice: Dice::of(fresh_seed() ^ round, name),
            doom: None,
        })
    }

    /// From now on the owner of the run has a random time below `window_ms` to live.
    pub async fn doom_owner(&mut self, window_ms: u64) -> Result<()> {
        let owner = self.fleet.owner_of(&self.run).await?;
        let process = self.fleet.coordinators[owner].0.id();
        let lives = Duration::from_millis(self.dice.any() % window_ms.max(1));
        self.doom = Some(tokio::spawn(async move {
            tokio::time::sleep(lives).await;
            let status = tokio::process::Command::new("kill")
                .args(["-9", &process.to_string()])
                .status()
                .await?;
            ensure!(status.success(), "kill -9 {process} failed: the fault did not strike");
            Ok(lives)
        }));
        Ok(())
    }

    /// Waits until the owner is dead.
    pub async fn doomed(&mut self) -> Result<()> {
        let doom = self.doom.take().context("nobody was doomed")?;
        println!("the owner died after {:?}", doom.await??);
        Ok(())
    }

    pub async fn view(&self, run: &str) -> Result<Value> {
        self.fleet.insist(Method::GET, &format!("/v1/runs/{run}"), None).await
    }

    /// Waits until the run's view satisfies `holds`.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        loop {
            let view = self.view(&self.run).await?;
            if holds(&view) {
                return Ok(view);
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "{what}: not so in {view}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks until a coordinator gives an answer that is final, and gives its status.
    pub async fn ask_for(&self, path: &str, body: &Value) -> Result<u16> {
        let (status, _) = self.fleet.api().ask_for(path, body, Duration::from_secs(60)).await?;
        Ok(status)
    }

    /// All starts of the handler, in their order.
    pub fn executions(&self) -> Result<Vec<Execution>> {
        executions_in(&self.fleet)
    }

    /// When the handler first began at this path.
    pub fn began(&self, path: &str) -> Result<i64> {
        let executions = self.executions()?;
        let first = executions.iter().find(|execution| execution.path == path);
        Ok(first.with_context(|| format!("{path} never ran"))?.at)
    }

    /// Attempts of this path that ran, each once however often it did.
    pub fn attempts(&self, path: &str) -> Result<BTreeSet<u32>> {
        let executions = self.executions()?;
        let own = executions.iter().filter(|execution| execution.path == path);
        Ok(own.map(|execution| execution.attempt).collect())
    }

    /// When each path was recorded as completed; none twice, and nothing began after its own record.
    pub async fn recorded(&self) -> Result<BTreeMap<String, i64>> {
        let rows = self.fleet.completions(&self.run).await?;
        let recorded: BTreeMap<String, i64> = rows.iter().cloned().collect();
        ensure!(recorded.len() == rows.len(), "a path was recorded twice: {rows:?}");
        for execution in self.executions()? {
            if let Some(at) = recorded.get(&execution.path) {
                ensure!(execution.at <= *at, "{execution:?} began after its record at {at}");
            }
        }
        Ok(recorded)
    }

    /// The end of the run, with nothing left of it that could still act: no wait, no command, no timer, no message.
    pub async fn ended(&self) -> Result<Value> {
        let view = self.fleet.wait_for_end(&self.run, Duration::from_secs(90)).await?;
        self.assert_nothing_left().await?;
        Ok(view)
    }

    async fn assert_nothing_left(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let left = self.fleet.left_behind().await?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(30), "left behind: {left:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn end(self) -> Result<()> {
        self.fleet.end().await
    }
}

/// Another one each time: the moments of the faults are printed, and need no repetition to the microsecond.
pub fn fresh_seed() -> u64 {
    let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
    seed
}
