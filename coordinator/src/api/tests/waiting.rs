//! Lists of runs by what they wait for.

use rejoin_shared::json::Json;
use rejoin_worker::Worker;
use tokio_util::sync::CancellationToken;

use super::Server;

async fn waiting(server: &Server, query: &str) -> Vec<String> {
    let listed = server.call(&format!("GET /v1/runs?waiting={query}"), "", "").await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    let json = listed.json();
    let items = json.get("items").and_then(Json::as_list).unwrap_or_default();
    let id = |item: &Json| item.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
    items.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_by_what_they_wait_for_until_they_do_no_more() {
    let server = Server::start().await;
    let begin = async |name: &str, node: &str| {
        let document = format!("workflow: {name}\nsteps: [ {node} ]\n");
        server.begun(&document, name, "{}").await
    };
    let timer = begin("timer", "{ sleep: rest, for: 1h }").await;
    let nap = begin("nap", "{ sleep: rest, for: 100ms }").await;
    let event = begin("event", "{ wait: hear, event: e }").await;
    let input = begin("input", "{ wait: ask, input: { type: text } }").await;
    let worker = begin("worker", "{ step: s, uses: nobody }").await;
    server.reaches(&nap, "completed").await;
    let all = [
        ("timer", &timer),
        ("event", &event),
        ("input", &input),
        ("worker", &worker),
    ];
    for (kind, run) in all {
        let expected = [run.as_str()];
        assert_eq!(waiting(&server, kind).await, expected, "{kind}");
        let of_workflow = waiting(&server, &format!("{kind}&workflow={kind}")).await;
        assert_eq!(of_workflow, expected, "{kind}");
        let of_none = waiting(&server, &format!("{kind}&workflow=none")).await;
        assert!(of_none.is_empty(), "{kind}");
    }
    let other = server
        .call("GET /v1/runs?waiting=timer", "Rejoin-Namespace: other\r\n", "")
        .await;
    assert!(other.body.contains(r#""items":[]"#), "{}", other.body);
    let wrong = server.call("GET /v1/runs?waiting=nobody", "", "").await;
    assert_eq!((wrong.status, &*wrong.text("code")), (400, "malformed"));
    for kind in ["timer", "event", "input", "worker"] {
        let body = format!(r#"{{"filter":{{"waiting":"{kind}"}},"operation":"cancel"}}"#);
        let done = server.call("POST /v1/runs:bulk", "", &body).await;
        assert!(done.body.contains(r#""done":1"#), "{kind}: {}", done.body);
        assert!(waiting(&server, kind).await.is_empty(), "{kind}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_that_was_cancelled_with_its_scope_is_listed_no_more() {
    let server = Server::start().await;
    let document = "workflow: w\nsteps:\n  - parallel: p\n    branches:\n      slow: [ { sleep: rest, for: 1h } ]\n      bad: [ { \
                    fail: stop, error: { type: x, message: no } } ]\n";
    let run = server.begun(document, "w", "{}").await;
    server.reaches(&run, "failed").await;
    assert!(waiting(&server, "timer").await.is_empty());
    let resumed = server.call(&format!("POST /v1/runs/{run}/resume"), "", "").await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    server.reaches(&run, "failed").await;
    assert!(waiting(&server, "timer").await.is_empty());
    server.stop().await;
}

/// Kind of node and its visits by state, of every node but the outermost ones' containers.
fn drawn(graph: &Json, into: &mut Vec<(String, String)>) {
    for node in graph.get("nodes").and_then(Json::as_list).unwrap_or_default() {
        let path = node.get("path").and_then(Json::as_str).unwrap_or_default();
        let counts = node.get("counts").map(ToString::to_string).unwrap_or_default();
        into.push((path.to_owned(), counts));
        for flow in node.get("flows").and_then(Json::as_list).unwrap_or_default() {
            drawn(flow, into);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancel_or_a_failure_cuts_off_is_drawn_as_cancelled() {
    let server = Server::start().await;
    let document = |last: &str| {
        format!(
            "workflow: drawn\nsteps:\n  - parallel: p\n    branches:\n      a: [ {{ wait: w, event: e }} ]\n      b: [ {{ sleep: s, for: 1h }} ]\n      \
             f: [ {{ foreach: f, items: '2', concurrency: 2, steps: [ {{ wait: v, event: e }} ] }} ]\n      x: [ {last} ]\n"
        )
    };
    let nodes = async |run: &str| {
        let graph = server.call(&format!("GET /v1/runs/{run}/graph"), "", "").await;
        let mut found = Vec::new();
        drawn(&graph.json(), &mut found);
        found.into_iter().map(|(_, counts)| counts).collect::<Vec<_>>()
    };
    let run = server.begun(&document("{ wait: x, event: e }"), "drawn", "{}").await;
    server.reaches(&run, "waiting").await;
    let all = |scope: &str, inner: &str, last: &str| {
        let (scope, two) = (format!("{{{scope:?}:1}}"), format!("{{{inner:?}:2}}"));
        let one = format!("{{{inner:?}:1}}");
        vec![scope, one.clone(), one.clone(), one, two, format!("{{{last:?}:1}}")]
    };
    assert_eq!(nodes(&run).await, all("running", "running", "running"));
    server.call(&format!("POST /v1/runs/{run}/cancel"), "", "").await;
    assert_eq!(nodes(&run).await, all("cancelled", "cancelled", "cancelled"));
    let failing = "{ wait: go, event: go }, { fail: x }";
    let run = server.begun(&document(failing), "drawn", "{}").await;
    server.reaches(&run, "waiting").await;
    let sent = server
        .call(&format!("POST /v1/runs/{run}/events"), "", r#"{"event":"go"}"#)
        .await;
    assert_eq!(sent.status / 100, 2, "{}", sent.body);
    server.reaches(&run, "failed").await;
    let mut expected = all("failed", "cancelled", "completed");
    expected.push(r#"{"failed":1}"#.to_owned());
    assert_eq!(nodes(&run).await, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_second_try_succeeds_is_drawn_as_completed() {
    let server = Server::start().await;
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let twice = move |_: rejoin_worker::StepContext, input: Json| {
        let before = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            match before {
                0 => Err(rejoin_worker::StepError::fatal("not yet").with_type("t.soon")),
                _ => Ok(input),
            }
        }
    };
    let worker = rejoin_worker::Worker::builder().name("w").handler("twice", twice);
    let worker = worker.build(server.broker.link("w")).expect("a worker");
    tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new()));
    let child = "workflow: child\nsteps: [ { step: s, uses: twice } ]\n";
    assert_eq!(server.call("PUT /v1/workflows", "", child).await.status, 201);
    let document =
        "workflow: caller\nsteps: [ { call: c, workflow: child, retry: { max_attempts: 2, initial: 1ms } } ]\n";
    let run = server.begun(document, "caller", "{}").await;
    server.reaches(&run, "completed").await;
    let graph = server.call(&format!("GET /v1/runs/{run}/graph"), "", "").await;
    let mut found = Vec::new();
    drawn(&graph.json(), &mut found);
    assert_eq!(found, [("/c".to_owned(), r#"{"completed":1}"#.to_owned())]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_tells_what_was_begun_and_a_broker_that_is_away_is_no_missing_worker() {
    let server = Server::start().await;
    let document = "
workflow: held
steps:
  - foreach: each
    items: '6'
    concurrency: unbounded
    steps: [ { step: s, uses: nobody } ]
";
    let run = server.begun(document, "held", "{}").await;
    server.broker.cut("c");
    for call in ["", "/why"] {
        let told = server.call(&format!("GET /v1/runs/{run}{call}"), "", "").await;
        assert!(told.body.contains("the broker is away"), "{}", told.body);
        assert!(!told.body.contains("no worker serves"), "{}", told.body);
    }
    server.broker.connect("c");
    let paused = server.call(&format!("POST /v1/runs/{run}/pause"), "", "").await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    let why = server.call(&format!("GET /v1/runs/{run}/why"), "", "").await;
    let why = why.json();
    assert_eq!(why.get("missing_count"), Some(&Json::Int(6)), "{why}");
    let summary = why.get("summary").and_then(Json::as_str);
    assert_eq!(summary, Some("the run is paused; 6 steps begun and not done"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_has_failed_is_waited_for_no_longer() {
    let server = Server::start().await;
    let worker = Worker::builder().name("w").build(server.broker.link("w"));
    tokio::spawn(worker.expect("a worker").run(CancellationToken::new()));
    let document = "
workflow: partly
steps:
  - foreach: each
    items: '4'
    concurrency: unbounded
    on_error: complete_all
    steps:
      - branch: kind
        on: index
        cases:
          '0': [ { fail: bad } ]
          '2': [ { step: s, uses: rejoin.noop } ]
        default: [ { wait: w, event: go } ]
";
    let run = server.begun(document, "partly", "{}").await;
    server.reaches(&run, "waiting").await;
    let why = server.call(&format!("GET /v1/runs/{run}/why"), "", "").await;
    assert!(
        why.body.contains(r#""failed":1"#) && why.body.contains(r#""missing":"1,3""#),
        "{}",
        why.body
    );
    server.stop().await;
}
