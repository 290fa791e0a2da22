//! Spans of requests that start runs: kept with the runs, whose own spans link to them.

use rejoin_shared::json::Json;

use super::Server;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn header(span: &str) -> String {
    format!("traceparent: {span}\r\n")
}

/// The spans that a run's journal names, in order.
async fn linked(server: &Server, run: &str) -> Vec<String> {
    let journal = server.call(&format!("GET /v1/runs/{run}/journal"), "", "").await;
    let named = journal.body.split("\"traceparent\":\"").skip(1);
    named
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_span_of_a_request_is_kept_with_each_run_that_it_starts() {
    let server = Server::start().await;
    let without = server.started().await;
    assert!(linked(&server, &without).await.is_empty());
    let (line, input) = ("POST /v1/workflows/w/runs", r#"{"input":{"n":1}}"#);
    let run = server.call(line, &header(CALLER), input).await.text("id");
    assert_eq!(linked(&server, &run).await, [CALLER]);
    let two = r#"{"runs":[{"workflow":"w","input":{"n":1}},{"workflow":"w","input":{"n":2}}]}"#;
    let batch = server.call("POST /v1/runs/batch", &header(CALLER), two).await.json();
    let items = batch.get("items").and_then(Json::as_list).expect("two runs").to_vec();
    assert_eq!(items.len(), 2);
    for item in items {
        let id = item.get("id").and_then(Json::as_str).expect("an id");
        assert_eq!(linked(&server, id).await, [CALLER]);
    }
    let line = format!("POST /v1/runs/{run}/fork");
    let fork = server.call(&line, &header(OTHER), "{}").await;
    assert_eq!(fork.status, 201, "{}", fork.body);
    assert_eq!(linked(&server, &fork.text("id")).await, [CALLER, OTHER]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_names_no_one_span_is_ignored() {
    let server = Server::start().await;
    server.started().await;
    for headers in [
        header("nonsense"),
        header(&CALLER.to_uppercase()),
        format!("{}{}", header(CALLER), header(OTHER)),
        header("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
    ] {
        let begun = server
            .call("POST /v1/workflows/w/runs", &headers, r#"{"input":{"n":1}}"#)
            .await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        assert!(linked(&server, &begun.text("id")).await.is_empty(), "{headers}");
    }
    server.stop().await;
}
