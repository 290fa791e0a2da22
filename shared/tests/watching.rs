//! What `deploy/` gives to those who watch a fleet fits what it serves, and what `docs/` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Names of metrics in a text, without what Prometheus adds to a histogram's name.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter_map(|word| word.strip_prefix("rejoin_"));
    let plain = |name: &str| {
        let ends = ["_bucket", "_count", "_sum"];
        let end = ends.iter().find_map(|end| name.strip_suffix(end));
        end.unwrap_or(name).to_owned()
    };
    names.map(plain).collect()
}

fn documented() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn dashboards_and_alerts_ask_only_for_metrics_that_are_documented() {
    let documented = documented();
    for file in [
        "deploy/prometheus/alerts.yaml",
        "deploy/prometheus/alerts_test.yaml",
        "deploy/grafana/operations.json",
        "deploy/grafana/workflows.json",
        "deploy/grafana/internals.json",
    ] {
        let asked = metrics(&read(file));
        assert!(!asked.is_empty(), "{file}");
        let unknown: Vec<&String> = asked.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[test]
fn every_metric_is_on_a_dashboard() {
    let dashboards = ["operations", "workflows", "internals"].map(|name| read(&format!("deploy/grafana/{name}.json")));
    let shown = metrics(&dashboards.concat());
    let documented = documented();
    let missing: Vec<&String> = documented.difference(&shown).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_alert_has_a_runbook_a_row_in_their_index_and_a_test() {
    let (rules, tests) = (
        read("deploy/prometheus/alerts.yaml"),
        read("deploy/prometheus/alerts_test.yaml"),
    );
    let index = read("docs/runbooks/README.md");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 12, "{}", alerts.len());
    let books = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: "));
    for (alert, book) in alerts.iter().zip(books) {
        assert!(read(book).starts_with(&format!("# {alert}\n")), "{book}");
        assert!(index.contains(&format!("[{alert}]")), "{alert} is not in the index");
        assert!(tests.contains(alert), "{alert} has no test");
    }
}
