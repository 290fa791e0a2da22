//! What is read of a run's steps, page by page.

use std::sync::Arc;

use rejoin_shared::definition::{self, Format};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_worker::{StepContext, StepError, Worker};
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::fleet::Held;
use crate::read::folds::Folds;
use crate::read::replay::Replayed;
use crate::read::steps::Visit;
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

/// Path and state of all steps, in their order.
async fn states(server: &Server, run: &str) -> Vec<[String; 2]> {
    let (steps, _) = all(server, &format!("/v1/runs/{run}/steps?limit=50")).await;
    let text = |step: &Json, key| step.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    steps
        .iter()
        .map(|step| ["path", "state"].map(|key| text(step, key)))
        .collect()
}

fn worker(server: &Server) {
    let worker = Worker::builder().name("w").build(server.broker.link("w"));
    tokio::spawn(worker.expect("a worker").run(CancellationToken::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_were_cut_off_before_they_had_a_record_are_cancelled() {
    let server = Server::start().await;
    worker(&server);
    let document = "workflow: cut\nsteps:\n  - parallel: p\n    branches:\n      a: [ { sleep: moment, for: 300ms }, { step: a, uses: \
        rejoin.fail, with: { type: app.bad } } ]\n      b: [ { step: b, uses: nobody } ]\n";
    let failed = server.begun(document, "cut", "{}").await;
    server.reaches(&failed, "failed").await;
    let expected = [["/p/b/b", "cancelled"], ["/p/a/a", "failed"]].map(|step| step.map(str::to_owned));
    assert_eq!(states(&server, &failed).await, expected);
    let graph = server.call(&format!("GET /v1/runs/{failed}/graph"), "", "").await;
    assert!(graph.body.contains(r#""counts":{"cancelled":1}"#), "{}", graph.body);

    // A branch that failed, is tried again by a resume and is then cut off, is cancelled too; one that was not stays failed.
    let document = "workflow: again\nsteps:\n  - parallel: p\n    need: any\n    branches:\n      a: [ { step: a, uses: twice } ]\n      \
        b: [ { step: b, uses: slow } ]\n";
    let twice = |ctx: StepContext, input: Json| async move {
        match ctx.attempt() {
            1 => Err(StepError::fatal("once")),
            _ => Ok(input),
        }
    };
    let slow = |ctx: StepContext, input: Json| async move {
        match ctx.attempt() {
            1 => Err(StepError::fatal("once")),
            _ => {
                ctx.cancelled().await;
                Ok(input)
            }
        }
    };
    let second = Worker::builder()
        .name("w2")
        .handler("twice", twice)
        .handler("slow", slow);
    let second = second.build(server.broker.link("w2")).expect("a worker");
    tokio::spawn(second.run(CancellationToken::new()));
    let run = server.begun(document, "again", "{}").await;
    server.reaches(&run, "failed").await;
    let resumed = server.call(&format!("POST /v1/runs/{run}/resume"), "", "").await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    server.reaches(&run, "completed").await;
    let expected = [["/p/a/a", "completed"], ["/p/b/b", "cancelled"]].map(|step| step.map(str::to_owned));
    assert_eq!(states(&server, &run).await, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_cancelled_run_are_cancelled() {
    let server = Server::start().await;
    let document =
        "workflow: idle\nsteps:\n  - foreach: each\n    items: '5'\n    concurrency: 2\n    steps: [ { step: s } ]\n";
    let run = server.begun(document, "idle", "{}").await;
    let cancelled = server.call(&format!("POST /v1/runs/{run}/cancel"), "", "").await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    server.reaches(&run, "cancelled").await;
    let expected = [["/each[0]/s", "cancelled"], ["/each[1]/s", "cancelled"]].map(|step| step.map(str::to_owned));
    assert_eq!(states(&server, &run).await, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_receives_the_checkpoint_until_another_is_stored() {
    let server = Server::start().await;
    let work = |ctx: StepContext, _: Json| async move {
        let known: Option<i64> = ctx.last_checkpoint()?;
        ctx.log(format!("{known:?}"));
        match ctx.attempt() {
            1 => ctx.checkpoint(1)?,
            3 => ctx.checkpoint(3)?,
            4 => return Ok(Json::Null),
            _ => {}
        }
        Err::<Json, _>(StepError::retryable("on"))
    };
    let worker = Worker::builder().name("w").handler("work", work);
    let worker = worker.build(server.broker.link("w")).expect("a worker");
    tokio::spawn(worker.run(CancellationToken::new()));
    let document = "{ workflow: cp, steps: [ { step: work, retry: { max_attempts: 4, initial: 1ms } } ] }";
    let run = server.begun(document, "cp", "{}").await;
    server.reaches(&run, "completed").await;
    let steps = server.call(&format!("GET /v1/runs/{run}/steps"), "", "").await;
    let logs: Vec<&str> = steps
        .body
        .split(r#""logs":["#)
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .collect();
    let expected = ["None", "Some(1)", "Some(1)", "Some(3)"].map(|text| format!("{text:?}"));
    assert_eq!(logs, expected, "{}", steps.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_that_take_turns_are_listed_in_the_order_in_which_they_began() {
    let server = Server::start().await;
    let echo = |_: StepContext, input: Json| async move { Ok::<_, StepError>(input) };
    let worker = Worker::builder().name("w").concurrency(1).handler("h", echo);
    let worker = worker.build(server.broker.link("w")).expect("a worker");
    tokio::spawn(worker.run(CancellationToken::new()));
    let document = "
workflow: turns
steps:
  - foreach: loop
    items: '2'
    steps: [ { step: a, uses: h }, { step: b, uses: h } ]
  - foreach: narrow
    items: '3'
    concurrency: 1
    merge: discard
    steps:
      - { step: a, uses: h }
      - parallel: p
        concurrency: 1
        branches: { x: [ { step: x, uses: h } ], y: [ { step: y, uses: h } ] }
";
    let run = server.begun(document, "turns", "{}").await;
    server.reaches(&run, "completed").await;
    let (steps, _) = all(&server, &format!("/v1/runs/{run}/steps?limit=50")).await;
    let paths: Vec<&str> = steps.iter().filter_map(|step| step.get("path")?.as_str()).collect();
    let mut expected = Vec::new();
    for i in 0..2 {
        expected.extend(["a", "b"].map(|step| format!("/loop[{i}]/{step}")));
    }
    for i in 0..3 {
        expected.extend(["a", "p/x/x", "p/y/y"].map(|step| format!("/narrow[{i}]/{step}")));
    }
    assert_eq!(paths, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_were_cut_off_in_nested_scopes_are_cancelled() {
    let server = Server::start().await;
    worker(&server);
    let bad = "[ { sleep: z, for: 200ms }, { step: bad, uses: rejoin.fail, with: { type: app.bad } } ]";
    let inner = format!("{{ parallel: inner, branches: {{ slow: [ {{ step: slow, uses: nobody }} ], bad: {bad} }} }}");
    let caught = format!(
        "workflow: caught\nsteps:\n  - try: t\n    steps:\n      - parallel: outer\n        branches:\n          a: [ {inner} ]\n          \
         b: [ {{ step: b, uses: nobody }} ]\n    catch: [ {{ steps: [ {{ set: s, values: {{ caught: true }} }} ] }} ]\n"
    );
    let run = server.begun(&caught, "caught", "{}").await;
    server.reaches(&run, "completed").await;
    let expected = [
        ["/t/outer/b/b", "cancelled"],
        ["/t/outer/a/inner/slow/slow", "cancelled"],
        ["/t/outer/a/inner/bad/bad", "failed"],
    ];
    assert_eq!(
        states(&server, &run).await,
        expected.map(|step| step.map(str::to_owned))
    );
    let tolerated = format!(
        "workflow: tolerated\nsteps:\n  - foreach: outer\n    items: '2'\n    concurrency: 2\n    tolerate: 2\n    steps: [ {inner} ]\n"
    );
    let run = server.begun(&tolerated, "tolerated", "{}").await;
    server.reaches(&run, "completed").await;
    let mut found = states(&server, &run).await;
    found.sort();
    let expected = [
        ["/outer[0]/inner/bad/bad", "failed"],
        ["/outer[0]/inner/slow/slow", "cancelled"],
        ["/outer[1]/inner/bad/bad", "failed"],
        ["/outer[1]/inner/slow/slow", "cancelled"],
    ];
    assert_eq!(found, expected.map(|step| step.map(str::to_owned)));
    let retried = "workflow: retried\nsteps:\n  - parallel: p\n    retry: { max_attempts: 2, initial: 1ms }\n    branches:\n      a: [ { \
        sleep: z, for: 200ms }, { step: a, uses: rejoin.fail, with: { type: app.bad } } ]\n      c: [ { step: c, uses: nobody } ]\n";
    let run = server.begun(retried, "retried", "{}").await;
    server.reaches(&run, "failed").await;
    let expected = [
        ["/p/c/c", "cancelled"],
        ["/p/a/a", "failed"],
        ["/p/c/c#2", "cancelled"],
        ["/p/a/a#2", "failed"],
    ];
    assert_eq!(
        states(&server, &run).await,
        expected.map(|step| step.map(str::to_owned))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_looked_at_is_read_on_from_there_and_not_again() {
    let server = Server::start().await;
    let worker = Worker::builder().name("w").build(server.broker.link("w"));
    tokio::spawn(worker.expect("a worker").run(CancellationToken::new()));
    let document = "
workflow: seen
steps:
  - wait: go
    event: go
  - { step: a, uses: rejoin.noop }
  - { step: b, uses: rejoin.fail, with: { times: 1 } }
";
    let run = server.begun(document, "seen", "{}").await;
    server.reaches(&run, "waiting").await;
    let id = run.parse().expect("an id");
    let definition = definition::parse(document.as_bytes(), Format::Yaml, &Limits::default());
    let definition = Arc::new(definition.expect("a definition"));
    let folds = Folds::default();
    let held = Held::default();
    let look = || folds.look(&*server.store, &definition, id, 8, &held);
    let paths = |run: &Replayed| -> Vec<String> {
        let shown = |step: &Visit| format!("{} {}", step.path, step.state.as_str());
        run.steps.iter().map(shown).collect()
    };
    assert_eq!(paths(&look().await.expect("a live run")), Vec::<String>::new());
    server
        .call(&format!("POST /v1/runs/{run}/events"), "", r#"{"event":"go"}"#)
        .await;
    server.reaches(&run, "failed").await;
    let failed = look().await.expect("a failed run");
    assert_eq!(paths(&failed), ["/a completed", "/b failed"]);
    assert!(
        Arc::ptr_eq(&failed, &look().await.expect("kept")),
        "it is not read again"
    );
    server.call(&format!("POST /v1/runs/{run}/resume"), "", "").await;
    server.reaches(&run, "completed").await;
    assert_eq!(
        paths(&look().await.expect("a resumed run")),
        ["/a completed", "/b completed"]
    );
    assert_eq!(
        states(&server, &run).await,
        [["/a", "completed"], ["/b", "completed"]].map(|step| step.map(str::to_owned))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compensations_are_listed_in_the_order_in_which_they_began_and_none_moves() {
    let server = Server::start().await;
    let worker = Worker::builder().name("w").build(server.broker.link("w"));
    tokio::spawn(worker.expect("a worker").run(CancellationToken::new()));
    let document = "
workflow: back
steps:
  - { step: a, uses: rejoin.noop, compensate: { uses: rejoin.noop } }
  - { step: b, uses: rejoin.noop, compensate: { uses: nobody } }
  - { step: c, uses: rejoin.noop, compensate: { uses: rejoin.noop } }
  - { fail: now }
";
    let run = server.begun(document, "back", "{}").await;
    let paths = async || -> Vec<String> { states(&server, &run).await.into_iter().map(|[path, _]| path).collect() };
    let first = ["/a", "/b", "/c", "/c/compensate", "/b/compensate"];
    for _ in 0..200 {
        if paths().await.len() == first.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(paths().await, first);
    let skip = format!("POST /v1/runs/{run}/steps/skip");
    let skipped = server.call(&skip, "", r#"{"path":"/b/compensate"}"#).await;
    assert_eq!(skipped.status, 200, "{}", skipped.body);
    server.reaches(&run, "failed").await;
    assert_eq!(paths().await, [&first[..], &["/a/compensate"]].concat());
    server.stop().await;
}
