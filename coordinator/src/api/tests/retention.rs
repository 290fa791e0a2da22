//! Runs whose retention is over.

use std::time::Duration;

use rejoin_shared::ids::RunId;
use rejoin_shared::run::RunStatus;
use rejoin_worker::Worker;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::services::retention::Retention;
use crate::store::RunRow;

const DOCUMENT: &str = "workflow: brief\nretention: { completed: 0s, failed: 30d }\nsteps:\n  - decision: fails\n    \
    rules: [ { when: 'input.fails', goto: no } ]\n  - finish: yes\n  - fail: no\n    error: { type: no }\n";
const LINE: &str = "POST /v1/workflows/brief/runs";

/// Starts one and waits for its end.
async fn ended(server: &Server, key: &str, fails: bool) -> String {
    let body = format!(r#"{{"input":{{"fails":{fails}}},"idempotency_key":"{key}"}}"#);
    let run = server.call(&format!("{LINE}?wait=60s"), "", &body).await;
    assert_eq!(run.status, 201, "{}", run.body);
    run.text("id")
}

async fn server() -> Server {
    let server = Server::start().await;
    let put = server
        .call("PUT /v1/workflows", "Content-Type: application/yaml\r\n", DOCUMENT)
        .await;
    assert_eq!(put.status, 201, "{}", put.body);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_retention_is_over_is_gone_and_its_key_starts_no_second_one() {
    let server = server().await;
    let completed = ended(&server, "c", false).await;
    let failed = ended(&server, "f", true).await;
    let retention = Retention::new(server.store.clone(), Vec::new());
    let (due, _) = retention.due().await.expect("counted");
    assert_eq!(due, [(RunStatus::Completed, 1)], "a failed one is kept for 30 days");
    assert_eq!(retention.run_once().await.expect("swept").runs, due);
    assert!(retention.run_once().await.expect("swept").is_nothing());
    assert_eq!(
        server.call(&format!("GET /v1/runs/{completed}"), "", "").await.status,
        404
    );
    assert_eq!(server.call(&format!("GET /v1/runs/{failed}"), "", "").await.status, 200);

    let same = r#"{"input":{"fails":false},"idempotency_key":"c"}"#;
    let again = server.call(LINE, "", same).await;
    assert_eq!(
        (again.status, again.text("code").as_str()),
        (410, "gone"),
        "{}",
        again.body
    );
    let other = r#"{"input":{"fails":true},"idempotency_key":"c"}"#;
    assert_eq!(server.call(LINE, "", other).await.status, 422);
    let batch = r#"{"runs":[{"workflow":"brief","input":{"fails":false},"idempotency_key":"new"},
        {"workflow":"brief","input":{"fails":false},"idempotency_key":"c"}]}"#;
    let refused = server.call("POST /v1/runs/batch", "", batch).await;
    assert_eq!(refused.status, 410, "{}", refused.body);
    assert!(refused.body.contains("/runs/1/idempotency_key"), "{}", refused.body);
    let list = server.call("GET /v1/runs", "", "").await;
    assert_eq!(
        list.json()
            .get("items")
            .and_then(|items| items.as_list())
            .map(|l| l.len()),
        Some(1)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_how_long_runs_are_kept_whose_workflow_does_not() {
    let server = server().await;
    ended(&server, "f", true).await;
    let cancelled = server.started().await;
    let cancel = server
        .call(&format!("POST /v1/runs/{cancelled}/cancel"), "", "{}")
        .await;
    assert_eq!(cancel.status, 200, "{}", cancel.body);
    let keep = |duration| vec![(RunStatus::Cancelled, duration), (RunStatus::Failed, Duration::ZERO)];
    let long = Retention::new(server.store.clone(), keep(Duration::from_secs(3600)));
    assert!(long.run_once().await.expect("swept").is_nothing());
    let short = Retention::new(server.store.clone(), keep(Duration::ZERO));
    assert_eq!(short.run_once().await.expect("swept").runs, [(RunStatus::Cancelled, 1)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retention_of_a_run_whose_last_step_an_operator_ends_anew_counts_from_that_end() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let worker = Worker::builder()
        .name("w")
        .build(server.broker.link("w"))
        .expect("a worker");
    tokio::spawn(worker.run(stop.clone()));
    let document = "workflow: kept\nretention: { completed: 1h, failed: 30d }\nsteps: [ { step: s, uses: rejoin.fail, with: { type: app.bad } } ]\n";
    let day = 86_400_000_000;
    let row = async |run: &str| {
        let id: RunId = run.parse().expect("an id");
        server.store.run(id).await.expect("read").expect("there")
    };
    // When its retention is over, and how long after its end that is.
    let kept = |row: &RunRow| {
        let (until, end) = (row.wake_at.expect("a retention"), row.finished_at.expect("an end"));
        (until, until.0 - end.0)
    };
    let close = |micros: i64, wanted: i64| (micros - wanted).abs() < 60_000_000;
    let ends = [
        (
            "fail",
            r#"{"path":"/s","error":{"type":"app.worse"}}"#,
            RunStatus::Failed,
            30 * day,
        ),
        (
            "skip",
            r#"{"path":"/s","value":{"x":1}}"#,
            RunStatus::Completed,
            day / 24,
        ),
    ];
    for (operation, body, status, keep) in ends {
        let run = server.begun(document, "kept", "{}").await;
        server.reaches(&run, "failed").await;
        let (first, length) = kept(&row(&run).await);
        assert!(close(length, 30 * day), "{length}");
        let line = format!("POST /v1/runs/{run}/steps/{operation}");
        let done = server.call(&line, "", body).await;
        assert_eq!(done.status, 200, "{}", done.body);
        let again = row(&run).await;
        assert_eq!(again.status, status);
        let (second, length) = kept(&again);
        assert!(close(length, keep), "{operation}: {length}");
        assert!(
            second > first || status == RunStatus::Completed && second < first,
            "{operation}: {second} after {first}"
        );
    }
    stop.cancel();
    server.stop().await;
}

/// Branches of sets, with a nested fork; `snapshots` and what happens to them after a join are put in.
fn forks(settings: &str) -> String {
    format!(
        "workflow: forks\n{settings}steps:\n  - parallel: p\n    branches:\n      a: [ {{ set: s, values: {{ x: 1 }} }} ]\n      \
         b:\n        - parallel: q\n          branches:\n            c: [ {{ set: s, values: {{ y: 2 }} }} ]\n  - wait: go\n    event: go\n  \
         - finish: done\n"
    )
}

/// Journal entries of a run: number, kind, path, whether it has a snapshot.
async fn entries(server: &Server, run: &str) -> Vec<(i64, String, String, bool)> {
    let journal = server
        .call(&format!("GET /v1/runs/{run}/journal?limit=1000"), "", "")
        .await
        .json();
    let items = journal
        .get("items")
        .and_then(|items| items.as_list().map(<[_]>::to_vec))
        .expect("items");
    let text =
        |entry: &rejoin_shared::json::Json, key| entry.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let entry = |entry: &rejoin_shared::json::Json| {
        let seq = entry.get("seq").and_then(|seq| seq.as_int()).expect("a number");
        (
            seq,
            text(entry, "kind"),
            text(entry, "path"),
            entry.get("snapshot").is_some(),
        )
    };
    items.iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_position_answers_410_with_the_nearest_readable_ones_and_the_run_goes_on() {
    let server = Server::start().await;
    let run = server
        .begun(&forks("snapshots: full\nsnapshots_after_join: drop\n"), "forks", "{}")
        .await;
    server.reaches(&run, "waiting").await;
    let before = entries(&server, &run).await;
    let at = |kind: &str, path: &str| {
        let found = before.iter().find(|(_, k, p, _)| k == kind && p == path);
        found.unwrap_or_else(|| panic!("no {kind} {path} in {before:?}")).0
    };
    let (opened, inner, joined) = (
        at("scope_opened", "/p"),
        at("context_set", "/p/b/q/c/s"),
        at("scope_joined", "/p"),
    );
    let context = async |at: i64| {
        server
            .call(&format!("GET /v1/runs/{run}/context?at={at}"), "", "")
            .await
    };
    assert_eq!(context(inner).await.status, 200, "the sweep has not come by yet");
    let retention = Retention::new(server.store.clone(), Vec::new());
    let (_, due) = retention.due().await.expect("counted");
    let mut dropped = 0;
    loop {
        let swept = retention.run_once().await.expect("swept");
        if swept.is_nothing() {
            break;
        }
        dropped += swept.dropped.snapshots;
    }
    assert_eq!((due, dropped), (3, 3), "those of a, of b and of c");
    let gone = context(inner).await;
    assert_eq!(
        (gone.status, gone.text("code").as_str()),
        (410, "gone"),
        "{}",
        gone.body
    );
    let nearest = gone.json().get("nearest").map(ToString::to_string);
    assert_eq!(nearest, Some(format!("[{opened},{joined}]")), "{before:?}");
    assert_eq!(context(opened).await.body, "{}");
    assert_eq!(context(joined).await.body, r#"{"x":1,"y":2}"#);
    for (is, was) in entries(&server, &run).await.iter().zip(&before) {
        let goes = was.3 && was.2.starts_with("/p/");
        assert_eq!(is.3, was.3 && !goes, "{was:?}");
    }

    let sent = server
        .call(&format!("POST /v1/runs/{run}/events"), "", r#"{"event":"go"}"#)
        .await;
    assert_eq!(sent.status, 202, "{}", sent.body);
    server.reaches(&run, "completed").await;
    let shown = server.call(&format!("GET /v1/runs/{run}/context"), "", "").await;
    assert_eq!(shown.body, r#"{"x":1,"y":2}"#);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_kept_unless_the_workflow_says_otherwise() {
    let server = Server::start().await;
    let run = server.begun(&forks(""), "forks", "{}").await;
    server.reaches(&run, "waiting").await;
    let before = entries(&server, &run).await;
    assert!(before.iter().any(|(_, _, _, has_snapshot)| *has_snapshot));
    let retention = Retention::new(server.store.clone(), Vec::new());
    assert!(retention.run_once().await.expect("swept").is_nothing());
    assert_eq!(entries(&server, &run).await, before);
    server.stop().await;
}
