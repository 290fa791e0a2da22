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

/// An alert as it is written: its name, its expression in one line, its `for`, its runbook.
struct Alert<'a> {
    name: &'a str,
    expression: String,
    lasts: &'a str,
    book: &'a str,
}

fn alerts(rules: &str) -> Vec<Alert<'_>> {
    let parts = rules.split("- alert: ").skip(1);
    let alert = |part| -> Alert {
        let value = |key: &str| {
            let found = str::lines(part).find_map(|line| line.trim().strip_prefix(key));
            found.unwrap_or_else(|| panic!("no {key} in {part}"))
        };
        let lines = part.lines().skip_while(|line| !line.contains("expr: >-")).skip(1);
        let lines = lines.take_while(|line| !line.contains(" for: ")).map(str::trim);
        Alert {
            name: part.lines().next().unwrap_or_default(),
            expression: lines.collect::<Vec<_>>().join(" "),
            lasts: value("for: "),
            book: value("runbook: "),
        }
    };
    parts.map(alert).collect()
}

#[test]
fn every_alert_has_a_runbook_that_quotes_it_a_row_in_their_index_a_test_and_one_that_does_its_fault() {
    let (rules, tests) = (
        read("deploy/prometheus/alerts.yaml"),
        read("deploy/prometheus/alerts_test.yaml"),
    );
    let index = read("docs/runbooks/README.md");
    let faults =
        ["latencies", "outcomes", "processes"].map(|name| read(&format!("tests/tests/faults/alerts/{name}.rs")));
    let faults = faults.concat();
    let alerts = alerts(&rules);
    assert!(alerts.len() >= 12, "{}", alerts.len());
    for alert in alerts {
        let Alert {
            name,
            expression,
            lasts,
            book,
        } = alert;
        let page = read(book);
        assert!(page.starts_with(&format!("# {name}\n")), "{book}");
        assert!(
            page.contains(&format!("| fires | `{expression}` for {lasts} |")),
            "{book} quotes another rule"
        );
        assert!(index.contains(&format!("[{name}]")), "{name} is not in the index");
        assert!(tests.contains(name), "{name} has no test");
        assert!(
            faults.contains(&format!("\"{name}\"")),
            "nothing does the fault of {name}"
        );
    }
}
