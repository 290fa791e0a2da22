//! A fleet with a Prometheus that watches it, and what is asked of both.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::super::ALONE;
use super::super::evidence::evidence;
use super::super::fleet::{Fleet, free_port};
use super::super::services::services;
use super::prometheus::Prometheus;

/// Longest wait for an alert, or for its end: a busy machine starts and heals slowly.
const CHANGE_MAX: Duration = Duration::from_secs(150);
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Evaluations that an alert has to be silent for, one a second.
const CALM_ROUNDS: u32 = 3;

/// `count` branches on the workers' built-in sleep, one after the other as slots come free.
pub fn sleepers(workflow: &str, queue: &str, count: usize, ms: u64) -> Value {
    json!({
        "workflow": workflow,
        "steps": [{
            "foreach": "each",
            "items": count.to_string(),
            "concurrency": "unbounded",
            "merge": "discard",
            "steps": [{ "step": "nap", "uses": "rejoin.sleep", "queue": queue, "with": { "ms": ms } }],
        }],
    })
}

/// The fleet under watch.
pub struct Watch {
    pub fleet: Fleet,
    /// A port that is asked too, and at which nobody answers yet.
    pub spare: u16,
    pub prometheus: Prometheus,
    struck: Instant,
    // The last to go: what is above uses the servers.
    _alone: MutexGuard<'static, ()>,
}

/// A fleet of no process yet, alone on the servers.
pub async fn fleet() -> Result<(MutexGuard<'static, ()>, Fleet)> {
    let alone = ALONE.lock().await;
    Ok((alone, Fleet::new().await?))
}

impl Watch {
    /// So many coordinators, and workers of eight slots on the queue `default`, with the built-in handlers only.
    pub async fn start(coordinators: usize, workers: usize) -> Result<Watch> {
        let mut watch = Watch::over(fleet().await?, coordinators).await?;
        watch.add_workers("default", 8, workers).await?;
        Ok(watch)
    }

    /// The same on the routes and settings of this fleet, without workers.
    pub async fn over((alone, mut fleet): (MutexGuard<'static, ()>, Fleet), coordinators: usize) -> Result<Watch> {
        for _ in 0..coordinators {
            fleet.add_coordinator(None)?;
        }
        let mut ports: Vec<u16> = fleet.coordinators.iter().map(|(_, port)| *port).collect();
        for port in &ports {
            fleet.is_ready(*port).await?;
        }
        let spare = free_port()?;
        ports.push(spare);
        let prometheus = Prometheus::start(fleet.dir.path(), &ports).await?;
        Ok(Watch {
            fleet,
            spare,
            prometheus,
            struck: Instant::now(),
            _alone: alone,
        })
    }

    /// Workers with the built-in handlers only.
    pub async fn add_workers(&mut self, queue: &str, slots: usize, count: usize) -> Result<()> {
        let handlers = format!("queue: {queue}\nconcurrency: {slots}\nhandlers: {{}}\n");
        self.fleet.write("handlers.yaml", &handlers)?;
        (0..count).try_for_each(|_| self.fleet.add_worker())?;
        self.workers_are_known().await
    }

    /// Waits until the workers have read their handlers, and the coordinators know of all of them.
    pub async fn workers_are_known(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let known = self.fleet.insist(Method::GET, "/v1/workers", None).await?;
            let count = known["items"].as_array().map_or(0, Vec::len);
            if count >= self.fleet.workers.len() {
                return Ok(());
            }
            ensure!(began.elapsed() < CHANGE_MAX, "workers do not report: {known}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Registers a workflow, and starts a run of it.
    pub async fn run(&self, document: &Value) -> Result<String> {
        self.fleet.register(document).await?;
        let workflow = document["workflow"].as_str().unwrap_or_default();
        self.fleet.start_run(workflow, json!({})).await
    }

    pub async fn cancel(&self, run: &str) -> Result<()> {
        let path = format!("/v1/runs/{run}/cancel");
        self.fleet.insist(Method::POST, &path, Some(&json!({}))).await?;
        Ok(())
    }

    /// Waits until every coordinator is scraped and the alert is silent, which it has to be before its fault. The fault is what
    /// comes after this call.
    pub async fn is_silent(&mut self, alert: &str) -> Result<()> {
        let alive = self.fleet.coordinators.len();
        let (began, mut calm) = (Instant::now(), 0);
        while calm < CALM_ROUNDS {
            ensure!(
                began.elapsed() < CHANGE_MAX,
                "{alert} fires without its fault; {}",
                self.state().await
            );
            let scraped = self.prometheus.value("count(rejoin_build_info)").await?;
            let is_whole = scraped.is_some_and(|count| (count - alive as f64).abs() < 0.5);
            let fires = self.prometheus.firing().await?.iter().any(|name| name == alert);
            calm = if is_whole && !fires { calm + 1 } else { 0 };
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.struck = Instant::now();
        Ok(())
    }

    /// Waits until the alert fires.
    pub async fn fires(&self, alert: &str) -> Result<()> {
        self.fires_while(alert, async |_| Ok(())).await
    }

    /// Does the fault again and again until the alert fires.
    pub async fn fires_while(&self, alert: &str, strike: impl AsyncFn(&Watch) -> Result<()>) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < CHANGE_MAX {
            strike(self).await?;
            let firing = self.prometheus.firing().await?;
            if firing.iter().any(|name| name == alert) {
                let others: Vec<_> = firing.iter().filter(|name| *name != alert).collect();
                println!(
                    "{alert} fires {:.1} s after its fault; beside it {others:?}",
                    self.struck.elapsed().as_secs_f64()
                );
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        bail!(
            "{alert} does not fire within {CHANGE_MAX:?} of its fault; {}",
            self.state().await
        )
    }

    /// Waits until the alert is silent again: call it after healing.
    pub async fn falls_silent(&self, alert: &str) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < CHANGE_MAX {
            if !self.prometheus.firing().await?.iter().any(|name| name == alert) {
                println!("{alert} is silent {:.1} s after healing", began.elapsed().as_secs_f64());
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        bail!(
            "{alert} still fires {CHANGE_MAX:?} after healing; {}",
            self.state().await
        )
    }

    /// What Prometheus and the fleet know, for whoever reads a failure.
    async fn state(&self) -> String {
        let firing = self.prometheus.firing().await;
        let logs = self.fleet.keep_logs();
        format!("firing: {firing:?}; logs in {logs:?}\n{}", evidence(&self.fleet))
    }

    pub async fn end(self) -> Result<()> {
        let Watch { fleet, prometheus, .. } = self;
        drop(prometheus);
        fleet.end().await
    }
}

/// A fault of the servers, taken back when it is dropped: tests that come after must not meet it.
pub struct Harm {
    heal: Option<&'static [&'static str]>,
}

impl Harm {
    /// `scripts/services HARM…`, and what heals it.
    pub fn done(harm: &[&str], heal: &'static [&'static str]) -> Result<Harm> {
        let done = Harm { heal: Some(heal) };
        services(harm)?;
        Ok(done)
    }

    pub fn heal(mut self) -> Result<()> {
        self.heal.take().map_or(Ok(()), services)
    }
}

impl Drop for Harm {
    fn drop(&mut self) {
        if let Some(heal) = self.heal.take() {
            services(heal).ok();
        }
    }
}
