//! Lists of runs by what they wait for.

use rejoin_shared::json::Json;

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
