//! Many starts at once.

use std::collections::BTreeSet;

use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;

use super::{Reply, Server};

const LINE: &str = "POST /v1/runs/batch";

fn batch(starts: &[&str]) -> String {
    format!(r#"{{"runs":[{}]}}"#, starts.join(","))
}

fn ids(reply: &Reply) -> Vec<String> {
    let json = reply.json();
    let items = json.get("items").and_then(Json::as_list).unwrap_or_default();
    let id = |item: &Json| item.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
    items.iter().map(id).collect()
}

/// Pointer and code of each error.
fn errors(reply: &Reply) -> Vec<(String, String)> {
    let json = reply.json();
    let errors = json.get("errors").and_then(Json::as_list).unwrap_or_default();
    let text = |error: &Json, key| error.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    errors
        .iter()
        .map(|error| (text(error, "pointer"), text(error, "code")))
        .collect()
}

async fn count(server: &Server) -> usize {
    ids(&server.call("GET /v1/runs?limit=1000", "", "").await).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_1000_runs_starts_in_one_partition_and_one_of_1001_or_of_none_is_refused() {
    let server = Server::start().await;
    server.started().await;
    let start = r#"{"workflow":"w","input":{"n":1},"tags":{"a":"b"}}"#;
    for wrong in [
        batch(&[start; 1_001]),
        batch(&[]),
        r#"{"runs":{}}"#.to_owned(),
        "{}".to_owned(),
    ] {
        assert_eq!(server.call(LINE, "", &wrong).await.text("code"), "invalid_request");
    }
    assert_eq!(count(&server).await, 1);
    let begun = server.call(LINE, "", &batch(&[start; 1_000])).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let begun: BTreeSet<String> = ids(&begun).into_iter().collect();
    let partition = |id: &String| id.parse::<RunId>().expect("an id").partition();
    let partitions: BTreeSet<_> = begun.iter().map(partition).collect();
    assert_eq!((begun.len(), partitions.len()), (1_000, 1));
    let listed = ids(&server.call("GET /v1/runs?limit=1000&tag=a:b", "", "").await);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), begun);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_batch_is_told_all_at_once_and_nothing_starts() {
    let server = Server::start().await;
    server.started().await;
    let good = r#"{"workflow":"w","input":{"n":1}}"#;
    let inputs = batch(&[
        good,
        r#"{"workflow":"w","input":{}}"#,
        good,
        r#"{"workflow":"w","input":[]}"#,
    ]);
    let refused = server.call(LINE, "", &inputs).await;
    assert_eq!(
        (refused.status, &*refused.text("code")),
        (422, "invalid_input"),
        "{}",
        refused.body
    );
    let told = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    assert_eq!(
        errors(&refused),
        [told("/runs/1/input", "schema"), told("/runs/3/input", "schema")]
    );
    let keyed = r#"{"workflow":"w","input":{"n":1},"idempotency_key":"k"}"#;
    let mixed = batch(&[
        keyed,
        r#"{"workflow":"none"}"#,
        r#"{"workflow":"w","input":{"n":1},"version":7}"#,
        r#"{"input":{}}"#,
        r#"{"workflow":"w","input":{"n":1},"priority":"urgent"}"#,
        "7",
        keyed,
        r#"{"workflow":"w","input":{"n":1},"what":1}"#,
    ]);
    let refused = server.call(LINE, "", &mixed).await;
    assert_eq!(
        (refused.status, &*refused.text("code")),
        (422, "invalid_request"),
        "{}",
        refused.body
    );
    let expected = [
        told("/runs/1/workflow", "not_found"),
        told("/runs/2/workflow", "not_found"),
        told("/runs/3/workflow", "invalid_request"),
        told("/runs/4/priority", "invalid_request"),
        told("/runs/5", "invalid_request"),
        told("/runs/6/idempotency_key", "invalid_request"),
        told("/runs/7/what", "invalid_request"),
    ];
    assert_eq!(errors(&refused), expected);
    let header = server.call(LINE, "Idempotency-Key: k\r\n", &batch(&[good])).await;
    assert_eq!(header.status, 422);
    assert_eq!(count(&server).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_gives_the_same_runs_and_a_key_of_another_request_starts_none() {
    let server = Server::start().await;
    server.started().await;
    let start = |key: &str, n: u32| format!(r#"{{"workflow":"w","input":{{"n":{n}}},"idempotency_key":"{key}"}}"#);
    let both = batch(&[&start("a", 1), &start("b", 2)]);
    let first = server.call(LINE, "", &both).await;
    let again = server.call(LINE, "", &both).await;
    assert_eq!((first.status, again.status), (201, 200), "{}", again.body);
    assert_eq!(ids(&first), ids(&again));
    // A key is the same whether the start came alone or in a batch.
    let alone = server
        .call(
            "POST /v1/workflows/w/runs",
            "Idempotency-Key: b\r\n",
            r#"{"input":{"n":2}}"#,
        )
        .await;
    assert_eq!(
        (alone.status, alone.text("id")),
        (200, ids(&first)[1].clone()),
        "{}",
        alone.body
    );
    let other = server.call(LINE, "", &batch(&[&start("c", 1), &start("b", 3)])).await;
    assert_eq!((other.status, &*other.text("code")), (422, "idempotency_mismatch"));
    assert_eq!(errors(&other)[0].0, "/runs/1/idempotency_key");
    assert_eq!(count(&server).await, 3);
    // The refused batch has bound none of its keys.
    let more = server.call(LINE, "", &batch(&[&start("a", 1), &start("c", 7)])).await;
    assert_eq!(
        (more.status, ids(&more)[0].clone()),
        (201, ids(&first)[0].clone()),
        "{}",
        more.body
    );
    assert_eq!(count(&server).await, 4);
    server.stop().await;
}
