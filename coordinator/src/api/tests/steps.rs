//! What is read of a run's steps, page by page.

use rejoin_shared::json::Json;
use rejoin_worker::{StepContext, StepError, Worker};
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::store::PAGE_BYTES_MAX;

const DOCUMENT: &str = "workflow: fan\nsteps:\n  - foreach: each\n    items: '12'\n    concurrency: unbounded\n    merge: \
    discard\n    steps: [ { step: work, with: { i: '= index' }, retry: { max_attempts: 2, initial: 1ms } } ]\n";
const OUTPUT_BYTES: usize = 900_000;

/// A run of twelve branches with large outputs, each of which succeeds at its second attempt.
async fn completed(server: &Server) -> String {
    let work = |ctx: StepContext, input: Json| async move {
        ctx.log(format!("attempt {}", ctx.attempt()));
        match ctx.attempt() {
            1 => Err(StepError::retryable("not yet").with_type("t.soon")),
            _ => Ok(Json::from_entries([
                ("i", input.get("i").cloned().unwrap_or_default()),
                ("text", Json::str(&"x".repeat(OUTPUT_BYTES))),
            ])),
        }
    };
    let worker = Worker::builder().name("w").handler("work", work);
    let worker = worker.build(server.broker.link("w")).expect("a worker");
    tokio::spawn(worker.run(CancellationToken::new()));
    let run = server.begun(DOCUMENT, "fan", "{}").await;
    server.reaches(&run, "completed").await;
    run
}

/// All items of a list, and how many there were on each of its pages.
async fn all(server: &Server, list: &str) -> (Vec<Json>, Vec<usize>) {
    let (mut found, mut pages, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = server.call(&format!("GET {list}{after}"), "", "").await;
        assert_eq!(page.status, 200, "{}", page.body);
        assert!(page.body.len() < 2 * PAGE_BYTES_MAX, "{} bytes", page.body.len());
        let page = page.json();
        let items = page.get("items").and_then(Json::as_list).unwrap_or_default();
        found.extend_from_slice(items);
        pages.push(items.len());
        match page.get("next").and_then(Json::as_str) {
            Some(next) => after = format!("&after={next}"),
            None => return (found, pages),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_outputs_end_a_page_early_and_no_step_and_no_attempt_is_left_out() {
    let server = Server::start().await;
    let run = completed(&server).await;
    let (steps, pages) = all(&server, &format!("/v1/runs/{run}/steps?limit=50")).await;
    assert!(pages.len() > 2 && pages.iter().all(|count| *count > 0), "{pages:?}");
    for (i, step) in steps.iter().enumerate() {
        assert_eq!(step.get("path"), Some(&Json::str(&format!("/each[{i}]/work"))));
        let output = step.get("output").expect("an output");
        let i = i64::try_from(i).expect("an index");
        assert_eq!(output.get("i"), Some(&Json::Int(i)));
        assert_eq!(
            output.get("text").and_then(Json::as_str).map(str::len),
            Some(OUTPUT_BYTES)
        );
        let attempts = step.get("attempts").and_then(Json::as_list).expect("attempts");
        let told = attempts.iter().map(|attempt| {
            let log = attempt
                .get("logs")
                .and_then(Json::as_list)
                .and_then(|logs| logs.first());
            let kind = attempt.get("error").and_then(|error| error.get("type"));
            [attempt.get("outcome"), kind, log, attempt.get("worker")].map(|text| text.and_then(Json::as_str))
        });
        let expected = [
            [Some("error"), Some("t.soon"), Some("attempt 1"), Some("w")],
            [Some("ok"), None, Some("attempt 2"), Some("w")],
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
    assert_eq!(steps.len(), 12);
    let (few, pages) = all(&server, &format!("/v1/runs/{run}/steps?limit=2&path=/each[7]")).await;
    assert_eq!((few.len(), pages), (1, vec![1]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_end_a_page_of_the_journal_early_and_none_is_left_out() {
    let server = Server::start().await;
    let run = completed(&server).await;
    let (records, pages) = all(&server, &format!("/v1/runs/{run}/journal?limit=1000")).await;
    assert!(pages.len() > 2, "{pages:?}");
    let seqs: Vec<&Json> = records.iter().filter_map(|record| record.get("seq")).collect();
    let expected: Vec<Json> = (1..=i64::try_from(records.len()).expect("a count"))
        .map(Json::Int)
        .collect();
    assert_eq!(seqs, expected.iter().collect::<Vec<_>>());
    let kinds = records
        .iter()
        .filter(|record| record.get("kind") == Some(&Json::str("step_completed")));
    assert_eq!(kinds.count(), 12);
    server.stop().await;
}
