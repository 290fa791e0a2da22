//! A fan-out of branches of 50 ms whose handler notes each start in a file, and what has to hold of it afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::fleet::Fleet;

/// Notes `path attempt microseconds` in a file at its start, then works for 50 ms.
const HANDLER: &str = r#"
import json, os, sys, time
log = os.open("executions.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    request = json.loads(line)
    os.write(log, f"{request['path']} {request['attempt']} {time.time_ns() // 1000} {os.getppid()}\n".encode())
    time.sleep(0.05)
    n = request["index"]
    print(json.dumps({"$result": {"output": n * 2, "set": {"hits": request["context"]["hits"] + 1}}}), flush=True)
"#;

const HANDLERS: &str = "
concurrency: 8
handlers:
  work: { exec: [python3, work.py], mode: stream }
";

/// The fan-out under way.
pub struct Fanout {
    pub fleet: Fleet,
    pub run: String,
    branches: usize,
    began: Instant,
}

/// What was seen.
pub struct Report {
    branches: usize,
    executions: usize,
    repeated: usize,
    took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            branches,
            executions,
            repeated,
            took,
        } = self;
        write!(
            f,
            "{branches} branches recorded once, {executions} executions, {repeated} of branches that were not recorded \
             when they ran again, none after its record; {:.1} s",
            took.as_secs_f64()
        )
    }
}

fn document(branches: usize) -> Value {
    json!({
        "workflow": "fanout",
        "steps": [{
            "foreach": "each",
            "items": branches.to_string(),
            "concurrency": "unbounded",
            "reduce": { "hits": "sum" },
            "merge": "discard",
            "collect_as": "out",
            "steps": [{ "step": "work" }],
        }],
    })
}

impl Fanout {
    /// Two coordinators, three workers, one run.
    pub async fn start(branches: usize) -> Result<Fanout> {
        Fanout::on(Fleet::new().await?, branches).await
    }

    /// The same on the routes of this fleet, which may have a coordinator already.
    pub async fn on(mut fleet: Fleet, branches: usize) -> Result<Fanout> {
        fleet.write("handlers.yaml", HANDLERS)?;
        fleet.write("work.py", HANDLER)?;
        while fleet.coordinators.len() < 2 {
            fleet.add_coordinator(None)?;
        }
        for _ in 0..3 {
            fleet.add_worker()?;
        }
        fleet.register(&document(branches)).await?;
        let run = fleet.start_run("fanout", json!({ "hits": 0 })).await?;
        Ok(Fanout {
            fleet,
            run,
            branches,
            began: Instant::now(),
        })
    }

    /// Waits until so many branches are recorded.
    pub async fn reach(&self, done: u64) -> Result<()> {
        self.fleet
            .wait_for_progress(&self.run, done, Duration::from_secs(60))
            .await
    }

    /// How many branches are recorded.
    pub async fn progress(&self) -> Result<u64> {
        let path = format!("/v1/runs/{}", self.run);
        let view = self.fleet.insist(reqwest::Method::GET, &path, None).await?;
        Ok(view["progress"]["done"].as_u64().unwrap_or(0))
    }

    /// Waits until the run is owned by the coordinator of this name.
    pub async fn wait_for_owner(&self, name: &str, within: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < within {
            let view = self
                .fleet
                .insist(reqwest::Method::GET, &format!("/v1/runs/{}", self.run), None)
                .await?;
            if view["owner"] == name {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{name} did not take the run over within {within:?}")
    }

    /// Waits for the end, and checks the promises.
    pub async fn check(&mut self) -> Result<Report> {
        let view = self.fleet.wait_for_end(&self.run, Duration::from_secs(180)).await?;
        ensure!(view["state"] == "completed", "the run ended as {view}");
        let out: Vec<u64> = (0..self.branches as u64).map(|n| n * 2).collect();
        let expected = json!({ "hits": self.branches, "out": out });
        ensure!(
            view["context"] == expected,
            "the context is not that of an undisturbed run: {}",
            view["context"]
        );
        let recorded = self.fleet.completions(&self.run).await?;
        let by_path: BTreeMap<&str, i64> = recorded.iter().map(|(path, at)| (path.as_str(), *at)).collect();
        ensure!(recorded.len() == by_path.len(), "a branch was recorded twice");
        ensure!(
            by_path.len() == self.branches,
            "{} of {} branches were recorded",
            by_path.len(),
            self.branches
        );
        let executions = self.executions()?;
        for (path, started) in &executions {
            let at = by_path.get(path.as_str()).copied().unwrap_or_default();
            ensure!(
                *started <= at,
                "{path} ran again {} µs after it was recorded at {at}; its executions:\n{}",
                started - at,
                self.executions_of(path)?
            );
        }
        Ok(Report {
            branches: self.branches,
            executions: executions.len(),
            repeated: executions.len() - self.branches,
            took: self.began.elapsed(),
        })
    }

    fn executions_of(&self, path: &str) -> Result<String> {
        let log = std::fs::read_to_string(self.fleet.dir.path().join("executions.log"))?;
        let own = log.lines().filter(|line| line.split(' ').next() == Some(path));
        Ok(format!(
            "{}\nlogs in {:?}",
            own.collect::<Vec<_>>().join("\n"),
            self.fleet.keep_logs()
        ))
    }

    /// Every start of the handler: path and time in microseconds.
    pub fn executions(&self) -> Result<Vec<(String, i64)>> {
        let log = std::fs::read_to_string(self.fleet.dir.path().join("executions.log"))?;
        let mut found = Vec::new();
        for line in log.lines() {
            let mut parts = line.split(' ');
            let (Some(path), Some(_), Some(at)) = (parts.next(), parts.next(), parts.next()) else {
                bail!("a torn line in the execution log: {line:?}");
            };
            found.push((path.to_owned(), at.parse()?));
        }
        Ok(found)
    }

    pub async fn end(self) -> Result<()> {
        self.fleet.end().await
    }
}
