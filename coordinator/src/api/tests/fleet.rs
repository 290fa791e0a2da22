//! What several coordinators tell of the fleet together, and runs of what nobody comes for.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_worker::Worker;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;

/// Two coordinators that own partitions each, of which one may still give some to the other. A run that is started lies with the
/// coordinator that is asked.
pub(super) async fn two() -> (Server, Server, MemoryBroker) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
    let broker = MemoryBroker::new();
    let one = Server::over(store.clone(), &broker, "one").await;
    let two = Server::over(store, &broker, "two").await;
    tokio::time::timeout(Duration::from_secs(60), async {
        one.coordinator.owns(1).await;
        two.coordinator.owns(1).await;
    })
    .await
    .expect("both own partitions");
    (one, two, broker)
}

fn items(list: &Json) -> Vec<Json> {
    list.get("items").and_then(Json::as_list).unwrap_or_default().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_coordinator_lists_the_queues_and_unserved_runs_of_all() {
    let (one, two, _broker) = two().await;
    let mut runs = vec![one.started().await, one.started().await, two.started().await];
    runs.sort_by(|a, b| b.cmp(a));
    let nobody = Json::list(vec![Json::str("nobody")]);
    for server in [&one, &two] {
        soon(server, "queues", |queues| {
            let queues = items(queues);
            let queue = queues
                .iter()
                .find(|queue| queue.get("name") == Some(&Json::str("default")))?;
            let is_whole = queue.get("waiting") == Some(&Json::Int(3)) && queue.get("unserved") == Some(&nobody);
            is_whole.then_some(())
        })
        .await;
        let all: Vec<Json> = runs.iter().map(|run| Json::str(run)).collect();
        soon(server, "runs?waiting=worker", |listed| {
            let ids: Vec<Json> = items(listed).iter().filter_map(|run| run.get("id").cloned()).collect();
            (ids == all).then_some(())
        })
        .await;
        for run in &runs {
            let shown = server.call(&format!("GET /v1/runs/{run}"), "", "").await;
            let expected = r#""waits":[{"type":"worker","path":"/a","until":null,"handler":"nobody","queue":"default","count":1,"reason":"no worker serves handler nobody on queue default"}]"#;
            assert!(shown.body.contains(expected), "{}", shown.body);
        }
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_cancelled_runs_wait_no_more_and_none_waits_twice() {
    let server = Server::start().await;
    let (run, other) = (server.started().await, server.started().await);
    let told = async |count: i64| {
        soon(&server, "queues", |queues| {
            let counted = |queue: &Json| queue.get("waiting").cloned();
            let counts: Vec<Json> = items(queues).iter().filter_map(counted).collect();
            (counts == [Json::Int(count)]).then_some(())
        })
        .await;
    };
    told(2).await;
    for operation in ["pause", "resume", "pause", "resume"] {
        let reply = server.call(&format!("POST /v1/runs/{run}/{operation}"), "", "{}").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let reply = server.call(&format!("POST /v1/runs/{other}/cancel"), "", "{}").await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    told(1).await;
    let reply = server.call(&format!("POST /v1/runs/{run}/cancel"), "", "{}").await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    told(0).await;
    server.stop().await;
}

/// Asks until `found` finds something.
async fn soon<T>(server: &Server, what: &str, found: impl Fn(&Json) -> Option<T>) -> T {
    let mut last = String::new();
    for _ in 0..250 {
        let answer = server.call(&format!("GET /v1/{what}"), "", "").await;
        if let Some(found) = found(&answer.json()) {
            return found;
        }
        last = answer.body;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_does_not_answer_is_named_and_lists_are_not_silently_short() {
    let (one, two, broker) = two().await;
    let run = two.started().await;
    soon(&one, "runs?waiting=worker", |runs| {
        (items(runs).len() == 1).then_some(())
    })
    .await;
    broker.cut("two");
    let refused = one.call("GET /v1/runs?waiting=worker", "", "").await;
    assert_eq!(
        (refused.status, &*refused.text("code")),
        (503, "unavailable"),
        "{}",
        refused.body
    );
    assert!(
        refused.text("detail").ends_with("no answer from two"),
        "{}",
        refused.body
    );
    // The queues are shown without what it has.
    let queues = one.call("GET /v1/queues", "", "").await;
    assert_eq!(queues.status, 200);
    let shown = one.call(&format!("GET /v1/runs/{run}"), "", "").await;
    assert!(shown.body.contains(r#""type":"worker""#), "{}", shown.body);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_step_is_among_the_waits_of_its_run_until_an_operator_comes() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let worker = Worker::builder()
        .name("w")
        .build(server.broker.link("w"))
        .expect("a worker");
    tokio::spawn(worker.run(stop.clone()));
    let document =
        "workflow: park\nsteps: [ { step: s, uses: rejoin.fail, with: { type: app.bad }, on_exhausted: park } ]\n";
    let run = server.begun(document, "park", "{}").await;
    server.reaches(&run, "waiting").await;
    let shown = server.call(&format!("GET /v1/runs/{run}"), "", "").await;
    let expected = r#""waits":[{"type":"parked","path":"/s","until":null,"handler":"rejoin.fail","queue":"default","reason":"parked after app.bad: waits for an operator"}]"#;
    assert!(shown.body.contains(expected), "{}", shown.body);
    let skip = format!("POST /v1/runs/{run}/steps/skip");
    let skipped = server.call(&skip, "", r#"{"path":"/s","value":1}"#).await;
    assert!(skipped.body.contains(r#""waits":[]"#), "{}", skipped.body);
    stop.cancel();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_nobody_serves_is_given_up_and_skipped_once_it_was_undone_by_hand() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let worker = Worker::builder().name("w").build(server.broker.link("w"));
    tokio::spawn(worker.expect("a worker").run(stop.clone()));
    let document = "workflow: trip\nsteps:\n  - { step: hotel, uses: rejoin.noop, compensate: { uses: cancel_hotel } }\n  - { fail: full }\n";
    let run = server.begun(document, "trip", "{}").await;
    server.reaches(&run, "compensating").await;
    let ask = |what: &str| format!("POST /v1/runs/{run}/steps/{what}");
    let refused = server.call(&ask("fail"), "", r#"{"path":"/hotel"}"#).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let unknown = server.call(&ask("fail"), "", r#"{"path":"/other/compensate"}"#).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    let path = r#"{"path":"/hotel/compensate"}"#;
    let given_up = server.call(&ask("fail"), "", path).await;
    assert_eq!(
        (given_up.status, given_up.text("state").as_str()),
        (200, "compensation_failed"),
        "{}",
        given_up.body
    );
    let steps = server.call(&format!("GET /v1/runs/{run}/steps"), "", "").await;
    assert!(steps.body.contains("given up by an operator"), "{}", steps.body);
    let skipped = server.call(&ask("skip"), "", path).await;
    assert_eq!(
        (skipped.status, skipped.text("state").as_str()),
        (200, "failed"),
        "{}",
        skipped.body
    );
    assert!(skipped.body.contains(r#""compensated":true"#), "{}", skipped.body);
    stop.cancel();
    server.stop().await;
}
