//! A Prometheus of the test's own that asks coordinators every second, with the project's rules in quicker time.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::fleet::free_port;
use super::super::services::root;

/// By what every `for`, range and offset of the rules is divided: a minute becomes a second.
const QUICKER: u64 = 60;
const START_MAX: Duration = Duration::from_secs(60);

/// A word that is a duration, as rules have them.
fn duration_ms(word: &str) -> Option<u64> {
    let unit_s = match word.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let count: u64 = word[..word.len() - 1].parse().ok()?;
    Some(count * unit_s * 1000)
}

/// The same rules, with every duration of `for`, ranges and offsets divided by [`QUICKER`] and nothing else changed.
pub fn quicker(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.split_inclusive('\n') {
        let is_prose = ["#", "summary:", "runbook:"]
            .iter()
            .any(|start| line.trim_start().starts_with(start));
        // Parted at the ends of words, which stay with them.
        for piece in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            match duration_ms(word).filter(|_| !is_prose) {
                Some(ms) => text.push_str(&format!("{}ms{}", ms / QUICKER, &piece[word.len()..])),
                None => text.push_str(piece),
            }
        }
    }
    text
}

/// Asks, judges, and is killed when it is dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    client: reqwest::Client,
}

impl Prometheus {
    /// Of the program that `REJOIN_TEST_PROMETHEUS` names, in `folder`, over the coordinators at these ports.
    pub async fn start(folder: &Path, coordinators: &[u16]) -> Result<Prometheus> {
        let program = std::env::var_os("REJOIN_TEST_PROMETHEUS").map(PathBuf::from);
        let program = program.context("REJOIN_TEST_PROMETHEUS is not set: run this by `scripts/alerts live`")?;
        let rules = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yaml"))?;
        std::fs::write(folder.join("alerts.yaml"), quicker(&rules))?;
        std::fs::write(folder.join("prometheus.yaml"), configuration(coordinators))?;
        let port = free_port()?;
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let child = Command::new(program)
            .current_dir(folder)
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting Prometheus")?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(rejoin_shared::tls::of_nobody())
            .timeout(Duration::from_secs(15))
            .build()?;
        let mut prometheus = Prometheus { child, port, client };
        prometheus.is_ready().await?;
        Ok(prometheus)
    }

    async fn is_ready(&mut self) -> Result<()> {
        let began = std::time::Instant::now();
        while began.elapsed() < START_MAX {
            if self.ask("targets", &[]).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("Prometheus ended: {status}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("Prometheus did not answer within {START_MAX:?}")
    }

    /// `data` of an answer of its API.
    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{}/api/v1/{what}", self.port))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let answer: Value = self.client.get(url).send().await?.error_for_status()?.json().await?;
        Ok(answer["data"].clone())
    }

    /// Names of the alerts that fire, by `/api/v1/alerts`; each once.
    pub async fn firing(&self) -> Result<Vec<String>> {
        let data = self.ask("alerts", &[]).await?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let mut names: Vec<String> = firing
            .filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The value of an expression that gives one; `None`: none.
    pub async fn value(&self, expression: &str) -> Result<Option<f64>> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let value = data["result"][0]["value"][1].as_str();
        Ok(value.and_then(|value| value.parse().ok()))
    }

    /// Names of the alerts that fired at any time within the last `seconds`.
    pub async fn fired_within(&self, seconds: u64) -> Result<Vec<String>> {
        let asked = format!("count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{seconds}s]))");
        let data = self.ask("query", &[("query", &asked)]).await?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let names = series.iter().filter_map(|one| one["metric"]["alertname"].as_str());
        Ok(names.map(str::to_owned).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Nothing is left to do about a process that cannot be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(coordinators: &[u16]) -> String {
    let targets: Vec<String> = coordinators.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
         rule_files: [alerts.yaml]\n\
         scrape_configs:\n  - job_name: rejoin\n    static_configs: [ {{ targets: [{}] }} ]\n",
        targets.join(", ")
    )
}

#[test]
fn quicker_rules_differ_in_their_durations_only() {
    let rules = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).expect("rules");
    let quick = quicker(&rules);
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.map(str::to_owned).collect()
    };
    let (slow, fast) = (words(&rules), words(&quick));
    assert_eq!(slow.len(), fast.len());
    for (slow, fast) in slow.iter().zip(&fast).filter(|(slow, fast)| slow != fast) {
        let asked = duration_ms(slow).expect("a duration") / QUICKER;
        assert_eq!(*fast, format!("{asked}ms"));
    }
    let alerts = rules.matches("- alert: ").count();
    let changed = slow.iter().zip(&fast).filter(|(slow, fast)| slow != fast).count();
    assert!(changed >= alerts, "{changed} durations of {alerts} alerts");
    assert_eq!(
        quicker("rate(a[5m]) > 1 offset 15m\n  for: 30s\n  summary: \"5m\"\n"),
        "rate(a[5000ms]) > 1 offset 15000ms\n  for: 500ms\n  summary: \"5m\"\n"
    );
}
