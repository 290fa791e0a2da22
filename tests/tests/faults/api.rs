//! What a fleet is asked over its API.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::evidence::evidence;
use super::fleet::Fleet;

/// The API of all coordinators that were there when it was made.
#[derive(Clone)]
pub struct Api {
    pub client: reqwest::Client,
    pub ports: Vec<u16>,
}

impl Api {
    /// Asks any coordinator that answers; `None`: none does.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        for port in &self.ports {
            let mut request = self
                .client
                .request(method.clone(), format!("http://127.0.0.1:{port}{path}"));
            if let Some(body) = body {
                request = request.json(body);
            }
            let Ok(response) = request.send().await else { continue };
            let status = response.status().as_u16();
            if let Ok(value) = response.json().await {
                return Some((status, value));
            }
        }
        None
    }

    /// Asks until a coordinator gives an answer that is final: a success, or a refusal. What was asked may have been carried
    /// out by one that died before it answered.
    pub async fn ask_for(&self, path: &str, body: &Value, within: Duration) -> Result<(u16, Value)> {
        let began = Instant::now();
        while began.elapsed() < within {
            match self.ask(Method::POST, path, Some(body)).await {
                Some((status, answer)) if status < 500 && status != 429 => return Ok((status, answer)),
                Some(_) | None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        bail!("{path} got no answer within {within:?}")
    }
}

impl Fleet {
    /// The API as it can be reached now.
    pub fn api(&self) -> Api {
        Api {
            client: self.client.clone(),
            ports: self.coordinators.iter().map(|(_, port)| *port).collect(),
        }
    }

    /// Asks any coordinator that answers; `None`: none does.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        self.api().ask(method, path, body).await
    }

    /// Asks until the answer is one of success.
    pub async fn insist(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut last = None;
        for _ in 0..300 {
            match self.ask(method.clone(), path, body).await {
                Some((200..=299, value)) => return Ok(value),
                other => last = other,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{path} gave no success within 30 s: {last:?}")
    }

    pub async fn register(&self, document: &Value) -> Result<()> {
        self.insist(Method::PUT, "/v1/workflows", Some(document))
            .await
            .map(|_| ())
    }

    /// Registers a document in YAML.
    pub async fn register_text(&self, document: &str) -> Result<()> {
        for _ in 0..300 {
            for (_, port) in &self.coordinators {
                let request = self.client.put(format!("http://127.0.0.1:{port}/v1/workflows"));
                let request = request
                    .header("content-type", "application/yaml")
                    .body(document.to_owned());
                let Ok(response) = request.send().await else { continue };
                match response.status().as_u16() {
                    200..=299 => return Ok(()),
                    400..=499 => bail!("the document is refused: {}", response.text().await?),
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the document could not be registered within 30 s")
    }

    pub async fn start_run(&self, workflow: &str, input: Value) -> Result<String> {
        let key = uuid::Uuid::new_v4().to_string();
        let body = json!({ "input": input, "idempotency_key": key });
        let run = self
            .insist(Method::POST, &format!("/v1/workflows/{workflow}/runs"), Some(&body))
            .await?;
        run["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("no id in {run}"))
    }

    /// Waits until the run has recorded `done` steps.
    pub async fn wait_for_progress(&self, run: &str, done: u64, within: Duration) -> Result<()> {
        self.wait(run, within, |view| {
            view["progress"]["done"].as_u64().unwrap_or(0) >= done
        })
        .await
        .map(|_| ())
    }

    /// Waits until the run has ended.
    pub async fn wait_for_end(&self, run: &str, within: Duration) -> Result<Value> {
        self.wait(run, within, |view| {
            matches!(
                view["state"].as_str(),
                Some("completed" | "failed" | "cancelled" | "compensation_failed")
            )
        })
        .await
    }

    async fn wait(&self, run: &str, within: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < within {
            if let Some((200, view)) = self.ask(Method::GET, &format!("/v1/runs/{run}"), None).await {
                if holds(&view) {
                    return Ok(view);
                }
                last = Some(view);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let why = self.ask(Method::GET, &format!("/v1/runs/{run}/why"), None).await;
        bail!(
            "run {run} did not get there within {within:?}; last seen: {last:?}; why: {why:?}; logs in {:?}\n{}",
            self.keep_logs(),
            evidence(self)
        )
    }
}
