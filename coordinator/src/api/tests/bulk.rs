//! One operation on many runs.

use rejoin_shared::json::Json;

use super::{Reply, Server};

const LINE: &str = "POST /v1/runs:bulk";

fn told(reply: &Reply) -> (Option<i64>, Option<i64>, Option<bool>) {
    let json = reply.json();
    let number = |key| json.get(key).and_then(Json::as_int);
    (
        number("matched"),
        number("done"),
        json.get("dry_run").and_then(Json::as_bool),
    )
}

/// Starts `count` runs with this tag.
async fn begin(server: &Server, count: usize, tag: &str) {
    let start = format!(r#"{{"workflow":"w","input":{{"n":1}},"tags":{{"of":"{tag}"}}}}"#);
    let body = format!(r#"{{"runs":[{}]}}"#, vec![start; count].join(","));
    let begun = server.call("POST /v1/runs/batch", "", &body).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_that_matches_is_operated_on_over_many_pages_if_its_state_allows_it() {
    let server = Server::start().await;
    let other = server.started().await;
    begin(&server, 120, "a").await;
    begin(&server, 3, "b").await;
    let ask = async |body: &str| {
        let reply = server.call(LINE, "", body).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.body);
        told(&reply)
    };
    let dry = ask(r#"{"filter":{"tag":"of:a"},"operation":"cancel","dry_run":true}"#).await;
    assert_eq!(dry, (Some(120), Some(0), Some(true)));
    let some = ask(r#"{"filter":{"tag":"of:a","state":"cancelled"},"operation":"delete"}"#).await;
    assert_eq!(some, (Some(0), Some(0), Some(false)));
    let all = ask(r#"{"filter":{"tag":["of:a"]},"operation":"cancel","reason":"enough"}"#).await;
    assert_eq!(all, (Some(120), Some(120), Some(false)));
    let retried = ask(r#"{"filter":{"tag":"of:b"},"operation":"retry","error_type":"app.bad"}"#).await;
    assert_eq!(retried, (Some(3), Some(0), Some(false)), "no step of theirs has failed");
    let paused = ask(r#"{"filter":{"workflow":["w","x"]},"operation":"pause"}"#).await;
    assert_eq!(
        paused,
        (Some(124), Some(4), Some(false)),
        "cancelled runs cannot be paused"
    );
    let resumed = ask(r#"{"filter":{"tag":"of:b","state":["paused"]},"operation":"resume"}"#).await;
    assert_eq!(resumed, (Some(3), Some(3), Some(false)));
    let elsewhere = server
        .call(
            LINE,
            "Rejoin-Namespace: other\r\n",
            r#"{"all":true,"operation":"cancel"}"#,
        )
        .await;
    assert_eq!(told(&elsewhere), (Some(0), Some(0), Some(false)));
    let deleted = ask(r#"{"all":true,"operation":"delete"}"#).await;
    assert_eq!(deleted, (Some(124), Some(120), Some(false)));
    let left = server.call("GET /v1/runs", "", "").await;
    let left = left.json().get("items").and_then(Json::as_list).map(<[Json]>::len);
    assert_eq!(left, Some(4));
    assert_eq!(
        server
            .call(&format!("GET /v1/runs/{other}"), "", "")
            .await
            .text("state"),
        "paused"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_says_nothing_touches_no_run() {
    let server = Server::start().await;
    let run = server.started().await;
    for body in [
        r#"{"operation":"cancel"}"#,
        r#"{"filter":{},"operation":"cancel"}"#,
        r#"{"filter":null,"operation":"cancel"}"#,
        r#"{"filter":{"workflow":""},"operation":"cancel","all":true}"#,
        r#"{"filter":{"workflow":[]},"operation":"cancel","all":true}"#,
        r#"{"filter":{"workflow":null},"operation":"cancel","all":true}"#,
        r#"{"filter":{"tag":",","state":"running"},"operation":"cancel"}"#,
        r#"{"filter":{"since":["2026-01-01T00:00:00Z"]},"operation":"cancel"}"#,
        r#"{"filter":{"state":"nice"},"operation":"cancel"}"#,
        r#"{"filter":{"sate":"running"},"operation":"cancel"}"#,
        r#"{"filter":["running"],"operation":"cancel"}"#,
        r#"{"filter":{"state":"running"},"operation":"stop"}"#,
        r#"{"filter":{"state":"running"}}"#,
        r#"{"filter":{"state":"running"},"operation":"pause","reason":"x"}"#,
        r#"{"filter":{"state":"running"},"operation":"cancel","dryrun":true}"#,
        r#"{"filter":{"state":"running"},"operation":"retry"}"#,
        r#"{"filter":{"state":"running"},"operation":"resume","compensate":true}"#,
        r#"{"filter":{"state":"running"},"operation":"delete","version":1}"#,
        r#"{"filter":{"state":"running"},"operation":"cancel","dry_run":"yes"}"#,
    ] {
        let refused = server.call(LINE, "", body).await;
        assert_eq!(
            (refused.status, &*refused.text("code")),
            (422, "invalid_request"),
            "{body}: {}",
            refused.body
        );
    }
    assert_eq!(
        server.call(&format!("GET /v1/runs/{run}"), "", "").await.text("state"),
        "running"
    );
    server.stop().await;
}
