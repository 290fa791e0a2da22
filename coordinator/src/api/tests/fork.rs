//! Forks, and edits of open scopes.

use rejoin_shared::json::Json;

use super::Server;

const FLOW: &str = "workflow: f
input: { type: object, required: [n] }
steps:
  - set: first
    values: { a: 1 }
  - wait: go
    event: go
    timeout: 1h
  - set: last
    values: { seen: '= input.n' }
";

fn number(json: &Json, key: &str) -> Option<i64> {
    json.get(key).and_then(Json::as_int)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_a_run_of_its_own_with_the_same_past() {
    let server = Server::start().await;
    let run = server.begun(FLOW, "f", r#"{"n":1}"#).await;
    server.reaches(&run, "waiting").await;
    let forked = server
        .call(&format!("POST /v1/runs/{run}/fork"), "", r#"{"input":{"n":2}}"#)
        .await;
    assert_eq!(forked.status, 201, "{}", forked.body);
    let fork = forked.text("id");
    assert!(
        forked.head.contains(&format!("location: /v1/runs/{fork}")),
        "{}",
        forked.head
    );
    let from = forked.json().get("forked_from").cloned().expect("where it was forked");
    assert_eq!(from.get("run").and_then(Json::as_str), Some(&*run));
    let at = number(&from, "seq").expect("the position");
    assert_eq!(forked.text("state"), "waiting");
    assert_eq!(
        forked.json().get("waits").and_then(Json::as_list).map(<[Json]>::len),
        Some(1)
    );
    let journal = server
        .call(&format!("GET /v1/runs/{fork}/journal"), "", "")
        .await
        .json();
    let records = journal.get("items").and_then(Json::as_list).expect("records").to_vec();
    let kinds: Vec<&str> = records.iter().filter_map(|r| r.get("kind")?.as_str()).collect();
    let at = usize::try_from(at).expect("a position");
    assert_eq!(kinds[at..], ["run_forked"], "{kinds:?}");
    for (id, n) in [(&fork, 2), (&run, 1)] {
        let sent = server
            .call(
                &format!("POST /v1/runs/{id}/events"),
                "",
                r#"{"event":"go","payload":{}}"#,
            )
            .await;
        assert_eq!(sent.status, 202, "{}", sent.body);
        server.reaches(id, "completed").await;
        let output = server.call(&format!("GET /v1/runs/{id}"), "", "").await.json();
        let output = output.get("output").cloned().expect("an output");
        assert_eq!((number(&output, "a"), number(&output, "seen")), (Some(1), Some(n)));
    }
    let deleted = server.call(&format!("DELETE /v1/runs/{run}"), "", "").await;
    assert_eq!(deleted.status, 204);
    let left = server.call(&format!("GET /v1/runs/{fork}/steps"), "", "").await;
    assert_eq!(left.status, 200, "its source is not needed any more: {}", left.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_versions_and_inputs_that_do_not_fit_fork_nothing() {
    let server = Server::start().await;
    let run = server.begun(FLOW, "f", r#"{"n":1}"#).await;
    server.reaches(&run, "waiting").await;
    let put = async |document: &str| {
        let put = server
            .call("PUT /v1/workflows", "Content-Type: application/yaml\r\n", document)
            .await;
        assert_eq!(put.status, 201, "{}", put.body);
        number(&put.json(), "version").expect("a version")
    };
    let longer = put(&format!("{FLOW}  - set: more\n    values: {{ b: 2 }}\n")).await;
    let renamed = put(&FLOW.replace("set: first", "set: begin")).await;
    let before = put(&FLOW.replace("  - wait: go", "  - set: between\n    values: { c: 3 }\n  - wait: go")).await;
    let fork = async |body: String| server.call(&format!("POST /v1/runs/{run}/fork"), "", &body).await;
    for (body, status) in [
        (r#"{"at":0}"#.to_owned(), 422),
        (r#"{"at":1000}"#.to_owned(), 404),
        (r#"{"version":99}"#.to_owned(), 404),
        (r#"{"at":"end"}"#.to_owned(), 422),
        (r#"{"input":{}}"#.to_owned(), 422),
        (r#"{"where":1}"#.to_owned(), 422),
        (format!(r#"{{"version":{renamed}}}"#), 409),
        (format!(r#"{{"version":{before}}}"#), 409),
        (format!(r#"{{"version":{longer}}}"#), 201),
        (format!(r#"{{"at":1,"version":{renamed}}}"#), 201),
        (format!(r#"{{"at":2,"version":{before}}}"#), 201),
    ] {
        let answer = fork(body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        if status == 201 {
            assert_eq!(answer.text("state"), "waiting", "{body}");
        }
    }
    let runs = server.call("GET /v1/runs?workflow=f", "", "").await.json();
    assert_eq!(runs.get("items").and_then(Json::as_list).map(<[Json]>::len), Some(4));
    let cancelled = server.call(&format!("POST /v1/runs/{run}/cancel"), "", "{}").await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let revived = fork(format!(r#"{{"version":{longer}}}"#)).await;
    assert_eq!(
        (revived.status, &*revived.text("state")),
        (201, "waiting"),
        "{}",
        revived.body
    );
    let bulk = r#"{"filter":{"workflow":"f","state":"cancelled"},"operation":"fork"}"#;
    let forked = server.call("POST /v1/runs:bulk", "", bulk).await;
    assert_eq!(number(&forked.json(), "done"), Some(1), "{}", forked.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_scope_is_edited_and_the_edit_is_a_record() {
    let server = Server::start().await;
    let document = "workflow: e
steps:
  - foreach: each
    items: '5'
    concurrency: 2
    steps: [ { wait: w, event: never } ]
";
    let run = server.begun(document, "e", "{}").await;
    server.reaches(&run, "waiting").await;
    let edit = async |body: &str| server.call(&format!("PATCH /v1/runs/{run}/scopes"), "", body).await;
    for (body, status) in [
        (r#"{"path":"/other","need":1}"#, 404),
        (r#"{"path":"/each"}"#, 422),
        (r#"{"need":1}"#, 422),
        (r#"{"path":"/each","need":6}"#, 422),
        (r#"{"path":"/each","need":1,"tolerate":1}"#, 422),
        (r#"{"path":"/each","concurrency":0}"#, 422),
        (r#"{"path":"/each","retry":{"max_attempts":0}}"#, 422),
        (r#"{"path":"/each","retries":1}"#, 422),
    ] {
        let answer = edit(body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
    }
    let raised = edit(r#"{"path":"/each","concurrency":4,"retry":{"max_attempts":2,"initial":"5s"}}"#).await;
    assert_eq!(raised.status, 200, "{}", raised.body);
    assert_eq!(
        raised.json().get("waits").and_then(Json::as_list).map(<[Json]>::len),
        Some(4)
    );
    let journal = server.call(&format!("GET /v1/runs/{run}/journal"), "", "").await.json();
    let records = journal.get("items").and_then(Json::as_list).expect("records").to_vec();
    let edited = records
        .iter()
        .find(|r| r.get("kind").and_then(Json::as_str) == Some("run_edited"));
    assert_eq!(edited.and_then(|r| r.get("path")?.as_str()), Some("/each"));
    server.call(&format!("POST /v1/runs/{run}/cancel"), "", "{}").await;
    assert_eq!(edit(r#"{"path":"/each","need":1}"#).await.status, 409);
    server.stop().await;
}
