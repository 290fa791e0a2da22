//! Every endpoint by every scope, and from another namespace.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::time::Timestamp;

use super::contract::{Operation, operations};
use super::{Reply, Server};
use crate::api::access::{Access, NewToken, create};
use crate::store::embedded::EmbeddedStore;
use crate::store::tokens::{Scope, TokenStore};

struct Guarded {
    server: Server,
    store: EmbeddedStore,
}

impl Guarded {
    async fn start() -> Guarded {
        Guarded::shaped(Access::tokens).await
    }

    async fn shaped(access: impl Fn(Arc<dyn TokenStore>) -> Access) -> Guarded {
        let store = EmbeddedStore::in_memory().expect("a store in memory");
        let access = access(Arc::new(store.clone()));
        let server = Server::guarded(Arc::new(store.clone()), &MemoryBroker::new(), "c", access).await;
        server.coordinator.owns(64).await;
        Guarded { server, store }
    }

    /// The header that shows a new token.
    async fn token(&self, namespace: &str, scope: Scope, lifetime: Option<Duration>) -> String {
        let new = NewToken {
            name: "test".to_owned(),
            namespace: Namespace(namespace.into()),
            scope,
            lifetime,
        };
        let (text, _) = create(&self.store, new, Timestamp::now()).await.expect("a token");
        format!("Authorization: Bearer {text}\r\n")
    }

    async fn ask(&self, operation: &Operation, run: &str, headers: &str) -> Reply {
        let line = format!("{} {}", operation.method, address(operation, run));
        self.server.call(&line, headers, body(operation)).await
    }
}

/// An address of what is there: a run, its workflow, a schedule.
fn address(operation: &Operation, run: &str) -> String {
    let path = operation.path.replace("/runs/{id}", &format!("/runs/{run}"));
    let path = path
        .replace("/workflows/{name}", "/workflows/w")
        .replace("/inputs/{name}", "/inputs/a");
    let path = path
        .replace("/schedules/{name}", "/schedules/s")
        .replace("{version}", "1")
        .replace("{page}", "errors");
    path.replace("{id}", "01920000-0000-7000-8000-000000000000")
}

/// A body that can be read.
fn body(operation: &Operation) -> &'static str {
    match operation.id() {
        "sendEvent" | "broadcastEvent" => r#"{"event":"e"}"#,
        "answerInput" => r#"{"value":1}"#,
        "retrySteps" | "skipSteps" | "failSteps" => r#"{"path":"/a"}"#,
        "editScope" => r#"{"path":"/a","concurrency":1}"#,
        "startRun" => r#"{"input":{"n":1}}"#,
        "startRuns" => r#"{"runs":[{"workflow":"w","input":{"n":1}}]}"#,
        "bulkRuns" => r#"{"operation":"pause","all":true}"#,
        "createSchedule" => r#"{"name":"s","workflow":"w","every":"1h","input":{"n":1}}"#,
        "replaceSchedule" => r#"{"workflow":"w","every":"1h","input":{"n":1}}"#,
        "putWorkflow" => super::WORKFLOW,
        _ => "",
    }
}

fn needed(operation: &Operation) -> Option<Scope> {
    let scope = operation.is.get("x-rejoin-scope")?.as_str().expect("a text");
    Some(scope.split(' ').next().unwrap_or(scope).parse().expect("a scope"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_open_to_its_scope_and_those_above_and_to_nobody_else() {
    let guarded = Guarded::start().await;
    let tokens = [
        (Scope::Viewer, guarded.token("default", Scope::Viewer, None).await),
        (Scope::Operator, guarded.token("default", Scope::Operator, None).await),
        (Scope::Admin, guarded.token("default", Scope::Admin, None).await),
    ];
    let mut guarded_count = 0;
    for operation in operations() {
        let run = "01920000-0000-7000-8000-000000000001";
        let open = guarded.ask(&operation, run, "").await;
        let Some(needed) = needed(&operation) else {
            assert!(!matches!(open.status, 401 | 403), "{}", operation.id());
            continue;
        };
        guarded_count += 1;
        assert_eq!(
            (open.status, &*open.text("code")),
            (401, "unauthorized"),
            "{}",
            operation.id()
        );
        assert_eq!(open.header("www-authenticate"), Some("bearer"));
        for (scope, token) in &tokens {
            let reply = guarded.ask(&operation, run, token).await;
            let is_refused = matches!(reply.status, 401 | 403);
            assert_eq!(
                is_refused,
                *scope < needed,
                "{} by {scope}: {}",
                operation.id(),
                reply.body
            );
            let elsewhere = format!("{token}Rejoin-Namespace: other\r\n");
            let reply = guarded.ask(&operation, run, &elsewhere).await;
            assert_eq!(
                reply.status,
                403,
                "{} of another namespace by {scope}: {}",
                operation.id(),
                reply.body
            );
        }
    }
    assert!(guarded_count >= 35, "{guarded_count}");
    guarded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_namespace_can_be_seen_or_touched_from_another() {
    let guarded = Guarded::start().await;
    let (own, other) = (
        guarded.token("default", Scope::Admin, None).await,
        guarded.token("other", Scope::Admin, None).await,
    );
    let call = async |line: &str, token: &str, body: &str| guarded.server.call(line, token, body).await;
    assert_eq!(call("PUT /v1/workflows", &own, super::WORKFLOW).await.status, 201);
    let run = call("POST /v1/workflows/w/runs", &own, r#"{"input":{"n":1}}"#)
        .await
        .text("id");
    let schedule = r#"{"name":"s","workflow":"w","every":"1h","input":{"n":1}}"#;
    assert_eq!(call("POST /v1/schedules", &own, schedule).await.status, 201);
    let before = call(&format!("GET /v1/runs/{run}"), &own, "").await.body;
    // These two name nothing that is there.
    let makes = |operation: &Operation| matches!(operation.id(), "putWorkflow" | "createSchedule");
    for operation in operations().filter(|one| one.path.starts_with("/v1/") && !makes(one)) {
        let reply = guarded.ask(&operation, &run, &other).await;
        let items = || reply.json().get("items").and_then(Json::as_list).map(<[Json]>::len);
        match operation.id() {
            "broadcastEvent" => assert_eq!(reply.json().get("runs"), Some(&Json::Int(0))),
            "bulkRuns" => assert_eq!(reply.json().get("matched"), Some(&Json::Int(0)), "{}", reply.body),
            "startRuns" | "replaceSchedule" => {
                assert_eq!(reply.status, 422, "there is no such workflow: {}", reply.body)
            }
            id if operation.path.contains('{') => assert_eq!(reply.status, 404, "{id}: {}", reply.body),
            id => assert_eq!(items(), Some(0), "{id}: {}", reply.body),
        }
        let shown = call(&format!("GET /v1/runs/{run}"), &own, "").await;
        assert_eq!(
            shown.body,
            before,
            "{} changed a run of another namespace",
            operation.id()
        );
    }
    guarded.server.stop().await;
}

/// A cell of the table: what was answered; with a mark where the caller was admitted.
fn cell(reply: &Reply) -> String {
    match reply.status {
        401 | 403 => reply.status.to_string(),
        admitted => format!("{admitted} ✓"),
    }
}

/// Every operation by whoever asks, as it was answered: a run of the namespace, or of another one.
async fn table() -> String {
    let guarded = Guarded::start().await;
    let own = guarded.token("default", Scope::Admin, None).await;
    let call = async |line: &str, body: &str| guarded.server.call(line, &own, body).await;
    assert_eq!(call("PUT /v1/workflows", super::WORKFLOW).await.status, 201);
    let viewer = guarded.token("default", Scope::Viewer, None).await;
    let operator = guarded.token("default", Scope::Operator, None).await;
    let other = guarded.token("other", Scope::Admin, None).await;
    let crossing = format!("{own}Rejoin-Namespace: other\r\n");
    let mut rows = String::new();
    for operation in operations() {
        let started = call("POST /v1/workflows/w/runs", r#"{"input":{"n":1}}"#).await;
        let run = started.text("id");
        if operation.path.ends_with("/watch") {
            // That of a run which goes on has no end.
            call(&format!("POST /v1/runs/{run}/cancel"), "").await;
        }
        let mut cells = Vec::new();
        // The ones with more rights last: they may change what the others ask about.
        for headers in ["", &crossing, &other, &viewer, &operator, &own] {
            cells.push(cell(&guarded.ask(&operation, &run, headers).await));
        }
        let (method, path) = (&operation.method, &operation.path);
        rows.push_str(&format!("| `{method} {path}` | {} |\n", cells.join(" | ")));
    }
    guarded.server.stop().await;
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_access_has_every_endpoint_by_every_scope_as_it_is_answered() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access.md");
    let committed = std::fs::read_to_string(file).expect("docs/access.md");
    let table = table().await;
    if std::env::var_os("REJOIN_TEST_WRITE_DOCS").is_some() {
        let (head, _) = committed.split_once("\n| `").expect("a table");
        std::fs::write(file, format!("{head}\n{table}")).expect("written");
        return;
    }
    assert!(
        committed.ends_with(&table),
        "with REJOIN_TEST_WRITE_DOCS=1 this test writes the page:\n{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_or_is_none_is_refused() {
    let guarded = Guarded::start().await;
    let expired = guarded.token("default", Scope::Admin, Some(Duration::ZERO)).await;
    let unknown = "Authorization: Bearer rejoin_0000\r\n".to_owned();
    let basic = "Authorization: Basic cmVqb2luOng=\r\n".to_owned();
    for header in [expired, unknown, basic] {
        let reply = guarded.server.call("GET /v1/runs", &header, "").await;
        assert_eq!(
            (reply.status, &*reply.text("code")),
            (401, "unauthorized"),
            "{header}: {}",
            reply.body
        );
    }
    guarded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_token_is_needed_one_that_is_shown_counts_all_the_same() {
    let guarded = Guarded::shaped(Access::offered).await;
    let call = async |line: &str, token: &str, body: &str| guarded.server.call(line, token, body).await;
    let other = guarded.token("other", Scope::Operator, None).await;
    assert_eq!(call("PUT /v1/workflows", "", super::WORKFLOW).await.status, 201);
    let start = async |token: &str| {
        call("POST /v1/workflows/w/runs", token, r#"{"input":{"n":1}}"#)
            .await
            .status
    };
    assert_eq!(start("").await, 201);
    assert_eq!(start(&other).await, 404, "its namespace has no such workflow");
    let in_default = format!("{other}Rejoin-Namespace: default\r\n");
    assert_eq!(start(&in_default).await, 403);
    assert_eq!(call("PUT /v1/workflows", &other, super::WORKFLOW).await.status, 403);
    for invalid in ["Bearer rejoin_0000", "Bearer other", "Basic cmVqb2luOng="] {
        assert_eq!(start(&format!("Authorization: {invalid}\r\n")).await, 201, "{invalid}");
    }
    guarded.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_as_a_hash_only() {
    let guarded = Guarded::start().await;
    let header = guarded.token("default", Scope::Viewer, None).await;
    let text = header.trim().rsplit(' ').next().expect("a token").to_owned();
    let rows = guarded.store.tokens(None, 10).await.expect("listed");
    assert_eq!(rows.len(), 1);
    assert!(!format!("{rows:?}").contains(&text[text.len() - 16..]));
    let expired_by_removal = guarded.store.remove_token(rows[0].id).await.expect("removed");
    assert!(expired_by_removal);
    let reply = guarded.server.call("GET /v1/runs", &header, "").await;
    assert_eq!(reply.status, 401, "it was never seen before its removal");
    guarded.server.stop().await;
}
