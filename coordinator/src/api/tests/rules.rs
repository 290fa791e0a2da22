//! Limits of requests, the read-only API, what is masked, and what the audit log tells.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use rejoin_shared::json::Json;
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::redact::Redactor;
use rejoin_shared::time::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::contract::operations;
use super::{Server, WORKFLOW};
use crate::api::access::{Access, NewToken, create};
use crate::api::rates::Rates;
use crate::api::rules::Rules;
use crate::store::embedded::EmbeddedStore;
use crate::store::tokens::{Scope, TokenStore as _};

async fn server(rules: Rules) -> (Server, EmbeddedStore) {
    let store = EmbeddedStore::in_memory().expect("a store in memory");
    let server = Server::ruled(Arc::new(store.clone()), &MemoryBroker::new(), "c", rules).await;
    server.coordinator.owns(64).await;
    (server, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_answers_reads_and_refuses_every_write() {
    let (server, _) = server(Rules {
        is_read_only: true,
        ..Rules::default()
    })
    .await;
    let mut writes = 0;
    for operation in operations() {
        let path = operation.path.replace("{page}", "errors");
        let path = path
            .replace("{id}", "01920000-0000-7000-8000-000000000001")
            .replace("{version}", "1");
        let path = path.replace("{name}", "x");
        let reply = server.call(&format!("{} {path}", operation.method), "", "{}").await;
        let is_refused = (reply.status, reply.text_if_json("code").as_str()) == (403, "read_only");
        assert_eq!(
            is_refused,
            operation.method != "GET",
            "{}: {}",
            operation.id(),
            reply.body
        );
        writes += usize::from(is_refused);
    }
    assert!(writes > 20, "{writes}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_429_for_their_token_and_probes_go_on() {
    let store = EmbeddedStore::in_memory().expect("a store in memory");
    let rules = Rules {
        access: Access::tokens(Arc::new(store.clone())),
        rates: Some(Arc::new(Rates::new(2))),
        ..Rules::default()
    };
    let server = Server::ruled(Arc::new(store.clone()), &MemoryBroker::new(), "c", rules).await;
    let token = async |name: &str| {
        let new = NewToken {
            name: name.to_owned(),
            namespace: rejoin_shared::ids::Namespace::default_name(),
            scope: Scope::Viewer,
            lifetime: None,
        };
        let (text, _) = create(&store, new, Timestamp::now()).await.expect("a token");
        format!("Authorization: Bearer {text}\r\n")
    };
    let (busy, quiet) = (token("busy").await, token("quiet").await);
    let mut last = None;
    for _ in 0..50 {
        let reply = server.call("GET /v1/runs", &busy, "").await;
        if reply.status == 429 {
            last = Some(reply);
            break;
        }
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let refused = last.expect("one is refused");
    assert_eq!(
        (&*refused.text("code"), refused.header("retry-after")),
        ("too_many", Some("1"))
    );
    assert_eq!(server.call("GET /v1/runs", &quiet, "").await.status, 200);
    assert_eq!(server.call("GET /livez", "", "").await.status, 200);
    let mut guesses = Vec::new();
    for _ in 0..50 {
        guesses.push(
            server
                .call("GET /v1/runs", "Authorization: Bearer rejoin_0\r\n", "")
                .await
                .status,
        );
    }
    assert!(guesses[0] == 401 && guesses.contains(&429), "{guesses:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_above_their_limit_are_431() {
    let (server, _) = server(Rules {
        header_bytes_max: 1000,
        ..Rules::default()
    })
    .await;
    let header = |bytes: usize| format!("X-Large: {}\r\n", "x".repeat(bytes));
    assert_eq!(server.call("GET /v1/runs", &header(800), "").await.status, 200);
    let reply = server.call("GET /v1/runs", &header(1000), "").await;
    assert_eq!((reply.status, &*reply.text("code")), (431, "headers_too_large"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_configured_keys_show_in_no_answer() {
    let (server, _) = server(Rules {
        redactor: Redactor::of("n").map(Arc::new),
        ..Rules::default()
    })
    .await;
    assert_eq!(server.call("PUT /v1/workflows", "", WORKFLOW).await.status, 201);
    let started = server
        .call("POST /v1/workflows/w/runs", "", r#"{"input":{"n":"geheim","m":1}}"#)
        .await;
    let run = started.text("id");
    for address in ["", "/journal", "/context", "/steps", "/why", "/graph"] {
        let reply = server.call(&format!("GET /v1/runs/{run}{address}"), "", "").await;
        assert_eq!(reply.status, 200, "{address}: {}", reply.body);
        assert!(!reply.body.contains("geheim"), "{address}: {}", reply.body);
    }
    let shown = server.call(&format!("GET /v1/runs/{run}"), "", "").await.json();
    let input = shown.get("input").expect("an input");
    assert_eq!(
        (input.get("n"), input.get("m")),
        (Some(&Json::str("***")), Some(&Json::Int(1)))
    );
    assert_eq!(
        server.call(&format!("POST /v1/runs/{run}/cancel"), "", "").await.status,
        200
    );
    let watched = server.call(&format!("GET /v1/runs/{run}/watch"), "", "").await.body;
    assert!(
        watched.contains("event: end") && watched.contains("***") && !watched.contains("geheim"),
        "{watched}"
    );
    server.stop().await;
}

/// What is logged, kept in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;

    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}

/// On one thread, so that the test's own subscriber hears all of it.
#[tokio::test]
async fn the_audit_log_tells_every_write_with_its_token_done_or_refused_and_no_read() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(kept.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let store = EmbeddedStore::in_memory().expect("a store in memory");
    let rules = Rules {
        access: Access::tokens(Arc::new(store.clone())),
        ..Rules::default()
    };
    let server = Server::ruled(Arc::new(store.clone()), &MemoryBroker::new(), "c", rules).await;
    server.coordinator.owns(64).await;
    let new = NewToken {
        name: "ci".to_owned(),
        namespace: rejoin_shared::ids::Namespace::default_name(),
        scope: Scope::Operator,
        lifetime: None,
    };
    let (text, _) = create(&store, new, Timestamp::now()).await.expect("a token");
    let token = format!("Authorization: Bearer {text}\r\n");
    server.call("PUT /v1/workflows", &token, WORKFLOW).await;
    server.call("POST /v1/workflows/w/runs", "", "{}").await;
    server
        .call("POST /v1/workflows/w/runs", &token, r#"{"input":{"n":1}}"#)
        .await;
    server.call("GET /v1/runs", &token, "").await;
    let id = store.tokens(None, 1).await.expect("listed")[0].id.to_string();

    let lines = String::from_utf8(kept.0.lock().expect("the log").clone()).expect("text");
    let lines = lines
        .lines()
        .map(|line| Json::parse(line.as_bytes()).expect("a JSON line"));
    let is_audit = |line: &Json| line.get("target") == Some(&Json::str("rejoin::audit"));
    let part = |line: &Json, key: &str| match line.get(key) {
        Some(Json::Str(text)) => text.to_string(),
        Some(Json::Int(number)) => number.to_string(),
        _ => String::new(),
    };
    let told: Vec<[String; 5]> = lines
        .filter(is_audit)
        .map(|line| ["operation", "token", "token_id", "namespace", "status"].map(|key| part(&line, key)))
        .collect();
    let expected = [
        ["putWorkflow", "ci", &id, "default", "403"],
        ["startRun", "", "", "", "401"],
        ["startRun", "ci", &id, "default", "404"],
    ];
    assert_eq!(told, expected.map(|row| row.map(str::to_owned)));
    server.stop().await;
}
