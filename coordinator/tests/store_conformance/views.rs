//! What the views show to other readers of the database.

use rejoin_coordinator::store::{Batch, JournalRow};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::{Outcome, RunStatus};

use crate::subject::{Subject, end, json, record};

fn completion(run: RunId, seq: u64, output: &'static str, snapshot: Option<&'static str>) -> JournalRow {
    JournalRow {
        output: Some(json(output)),
        snapshot: snapshot.map(json),
        ..record(run, seq)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_show_completions_digit_for_digit() {
    let Some((s, database)) = Subject::postgres().await else {
        return;
    };
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let failure = JournalRow {
        kind: "retry_scheduled".into(),
        path: Some("main/step[1]".to_owned()),
        outcome: Some(Outcome::Error),
        body: json("{\"error\":{\"type\":\"x\",\"n\":1.0}}"),
        output: None,
        ..record(run, 1)
    };
    let rows = vec![
        failure,
        JournalRow {
            path: Some("main/step[1]".to_owned()),
            ..completion(run, 2, "{\"n\":1.0}", Some("{\"a\":1.50}"))
        },
        completion(
            run,
            3,
            "9223372036854775807",
            Some("{\"output\":1,\"__context__\":{\"c\":2.0}}"),
        ),
        completion(run, 4, "\"\\u0000\"", None),
        completion(run, 5, "null", Some("[]")),
        JournalRow {
            kind: "scope_joined".into(),
            attempt: None,
            outcome: None,
            ..record(run, 6)
        },
    ];
    let rows = rows.into_iter().chain(parked_and_decided(run)).collect();
    s.append(
        &mut claim,
        Batch {
            rows,
            changed: vec![end(run, RunStatus::Failed)],
            ..Batch::default()
        },
    )
    .await;
    let client = database.client().await;
    let text =
        "select seq, outcome, output::text, context::text, worker, path, attempt from rejoin_completions order by seq";
    let read = client.query(text, &[]).await.expect("read");
    let shown: Vec<(i64, &str, Option<&str>, Option<&str>)> = read
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let expected = vec![
        (1, "error", None, None),
        (2, "ok", Some("{\"n\":1.0}"), Some("{\"a\":1.50}")),
        (3, "ok", Some("9223372036854775807"), Some("{\"c\":2.0}")),
        (4, "ok", Some("\"\\u0000\""), None),
        (5, "ok", Some("null"), Some("[]")),
        (7, "error", None, None),
        (8, "error", None, None),
        (10, "error", None, None),
        (12, "error", None, None),
    ];
    assert_eq!(shown, expected);
    let steps = "select path, state, error::text, attempt from rejoin_steps order by path";
    let steps = client.query(steps, &[]).await.expect("read");
    let (others, parked): (Vec<_>, Vec<_>) = steps
        .iter()
        .partition(|row| !row.get::<_, &str>(0).starts_with("main/parked"));
    assert_eq!(others.len(), 4, "one row a visit");
    assert!(others.iter().all(|row| row.get::<_, &str>(1) == "completed"));
    let states: Vec<(&str, i32)> = parked.iter().map(|row| (row.get(1), row.get(3))).collect();
    assert_eq!(states, [("parked", 1), ("skipped", 1), ("retrying", 1), ("failed", 1)]);
    let runs = "select state, output::text, context::text, tags::text from rejoin_runs";
    let row = client.query_one(runs, &[]).await.expect("read");
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("failed", "7", "{\"a\":1.0}"));
}

/// Four parked steps; an operator has skipped, retried and given up all but the first.
fn parked_and_decided(run: RunId) -> Vec<JournalRow> {
    let parked = |seq, name: &str| JournalRow {
        kind: "step_parked".into(),
        path: Some(format!("main/parked-{name}")),
        outcome: Some(Outcome::Error),
        body: json("{\"error\":{\"type\":\"x\"}}"),
        output: None,
        ..record(run, seq)
    };
    let decided = |seq, name: &str, kind: &'static str| JournalRow {
        kind: kind.into(),
        attempt: None,
        outcome: None,
        ..parked(seq, name)
    };
    vec![
        parked(7, "1"),
        parked(8, "2"),
        decided(9, "2", "step_skipped"),
        parked(10, "3"),
        decided(11, "3", "step_retried"),
        parked(12, "4"),
        decided(13, "4", "step_given_up"),
    ]
}
