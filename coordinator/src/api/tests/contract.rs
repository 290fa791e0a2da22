//! Every answer that these tests get is held against the OpenAPI document; and each operation against what it refuses.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Reply, Server};
use crate::api::openapi;

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

type Validators = Mutex<HashMap<String, Arc<jsonschema::Validator>>>;
static VALIDATORS: LazyLock<Validators> = LazyLock::new(Validators::default);

/// An operation of the document.
pub struct Operation {
    pub path: String,
    pub method: String,
    pub is: Value,
}

pub fn operations() -> impl Iterator<Item = Operation> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").iter();
        methods.map(move |(method, is)| Operation {
            path: path.clone(),
            method: method.to_uppercase(),
            is: is.clone(),
        })
    })
}

impl Operation {
    /// Names it.
    pub fn id(&self) -> &str {
        self.is["operationId"].as_str().expect("an id")
    }

    /// Whether an address is one of its own; `{name}:pause` ends as it says.
    fn is_at(&self, path: &str) -> bool {
        let (own, asked): (Vec<&str>, Vec<&str>) = (self.path.split('/').collect(), path.split('/').collect());
        own.len() == asked.len()
            && own.iter().zip(asked).all(|(own, asked)| match own.split_once('}') {
                Some((_, end)) => {
                    asked.len() > end.len() && asked.ends_with(end) && (end.is_empty() != asked.contains(':'))
                }
                None => *own == asked,
            })
    }

    /// An address of it.
    fn address(&self, variable: &str) -> String {
        let segments = self.path.split('/').map(|segment| match segment.split_once('}') {
            Some((_, end)) => format!("{variable}{end}"),
            None => segment.to_owned(),
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// Members of its JSON body, if it takes one.
    fn members(&self) -> Option<Vec<String>> {
        let schema = self.is.pointer("/requestBody/content/application~1json/schema")?;
        let mut names: Vec<String> = schema.get("properties")?.as_object()?.keys().cloned().collect();
        names.sort();
        Some(names)
    }
}

/// Panics unless the answer is one that the document has for this request.
pub fn check(line: &str, reply: &Reply) {
    let (method, target) = line.split_once(' ').expect("a request line");
    let path = target.split('?').next().expect("a path");
    let Some(operation) = operations().find(|one| one.method == method && one.is_at(path)) else {
        let is_problem = reply.head.contains("content-type: application/problem+json");
        assert!(
            matches!(reply.status, 404 | 405) && is_problem,
            "{line} is not described: {}",
            reply.body
        );
        return;
    };
    let response = &operation.is["responses"][reply.status.to_string()];
    assert!(
        response.is_object(),
        "{line} answers {}, which is not described: {}",
        reply.status,
        reply.body
    );
    let media = reply.header("content-type");
    let Some(content) = response["content"].as_object() else {
        assert!(
            reply.body.is_empty(),
            "{line}: a body that is not described: {}",
            reply.body
        );
        return;
    };
    let media = media.unwrap_or_else(|| panic!("{line} has no content type"));
    let described = content
        .get(media)
        .unwrap_or_else(|| panic!("{line} answers {media}, which is not described"));
    if media.ends_with("json") {
        let value: Value = rejoin_shared::json::read_own(reply.body.as_bytes()).expect("JSON");
        let errors: Vec<String> = validator(&described["schema"])
            .iter_errors(&value)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{line} {}: {errors:?}", reply.body);
    }
}

fn validator(schema: &Value) -> Arc<jsonschema::Validator> {
    let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let mut whole = schema.clone();
        if whole.is_object() {
            whole["components"] = DOCUMENT["components"].clone();
        }
        Arc::new(jsonschema::validator_for(&whole).expect("a schema"))
    };
    Arc::clone(known.entry(schema.to_string()).or_insert_with(make))
}

#[test]
fn the_check_finds_what_is_not_described() {
    let reply = |status, media: &str, body: &str| Reply {
        status,
        head: format!("http/1.1\r\ncontent-type: {media}"),
        body: body.to_owned(),
    };
    let fails = |reply: Reply| std::panic::catch_unwind(|| check("GET /v1/events", &reply)).is_err();
    assert!(fails(reply(200, "application/json", "{}")), "no such operation");
    let fails = |reply: Reply| std::panic::catch_unwind(|| check("GET /v1/queues?limit=1", &reply)).is_err();
    assert!(!fails(reply(200, "application/json", r#"{"items":[],"next":null}"#)));
    assert!(
        fails(reply(200, "application/json", r#"{"items":[{}],"next":null}"#)),
        "no queue"
    );
    assert!(
        fails(reply(200, "text/html", r#"{"items":[],"next":null}"#)),
        "another type"
    );
    assert!(
        fails(reply(418, "application/json", r#"{"items":[],"next":null}"#)),
        "another status"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_parameters_that_it_does_not_describe() {
    let server = Server::start().await;
    let run = server.started().await;
    for operation in operations() {
        let line = format!("{} {}?zzz=1", operation.method, operation.address(&run));
        let reply = server.call(&line, "", "").await;
        assert_eq!(
            (reply.status, &*reply.text("code")),
            (400, "unknown_parameter"),
            "{line}: {}",
            reply.body
        );
    }
    server.stop().await;
}

/// What is done in bulk has members of its own: together they are those that are described.
fn kinds(operation: &Operation) -> &'static [&'static str] {
    match operation.id() {
        "bulkRuns" => &["cancel", "retry", "fork"],
        _ => &["pause"],
    }
}

/// A body with what must be there, by which steps and answers are told apart, and with a member that nobody knows.
fn with_unknown_member(members: &[String], kind: &str) -> String {
    let body = json!({"zzz": 1, "event": "e", "value": 1, "runs": [], "path": "/a", "operation": kind, "workflow": "w", "name": "x", "every": "1m"});
    let body = body.as_object().expect("an object").clone().into_iter();
    let needed = body.filter(|(key, _)| key == "zzz" || members.contains(key));
    Value::Object(needed.collect()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_has_the_members_that_are_described_and_no_others() {
    let server = Server::start().await;
    let mut checked = 0;
    for operation in operations() {
        let Some(members) = operation.members() else { continue };
        let line = format!("{} {}", operation.method, operation.address("x"));
        let mut known = BTreeSet::new();
        for kind in kinds(&operation) {
            let reply = server.call(&line, "", &with_unknown_member(&members, kind)).await;
            assert_eq!(
                (reply.status, &*reply.text("code")),
                (422, "invalid_request"),
                "{line}: {}",
                reply.body
            );
            let detail = reply.text("detail");
            let told = detail.split("known are: ").nth(1).unwrap_or_default();
            let told = told.split(", ").filter(|name| !name.is_empty());
            known.extend(told.map(str::to_owned));
        }
        let known: Vec<String> = known.into_iter().collect();
        assert_eq!(known, members, "{line}");
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_that_is_no_json_is_refused_with_its_place() {
    let server = Server::start().await;
    let run = server.started().await;
    for operation in operations().filter(|operation| operation.members().is_some()) {
        let line = format!("{} {}", operation.method, operation.address(&run));
        let broken = server
            .call(&line, "Content-Type: application/json\r\n", "{\n  \"a\": }")
            .await;
        assert_eq!(
            (broken.status, &*broken.text("code")),
            (400, "malformed_json"),
            "{line}: {}",
            broken.body
        );
        assert!(broken.body.contains(r#""line":2,"column":8"#), "{}", broken.body);
        let other = server.call(&line, "Content-Type: text/html\r\n", "<a>").await;
        assert_eq!(
            (other.status, &*other.text("code")),
            (415, "unsupported_media_type"),
            "{line}: {}",
            other.body
        );
        let list = server.call(&line, "", "[]").await;
        assert_eq!(
            (list.status, &*list.text("code")),
            (400, "malformed"),
            "{line}: {}",
            list.body
        );
        let large = server.call(&line, "", &"x".repeat(super::BODY_MAX + 1)).await;
        assert_eq!(
            (large.status, &*large.text("code")),
            (413, "too_large"),
            "{line}: {}",
            large.body
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_answers_other_methods_with_a_problem_that_names_its_own() {
    let server = Server::start().await;
    for operation in operations() {
        let line = format!("OPTIONS {}", operation.address("x"));
        let reply = server.call(&line, "", "").await;
        assert_eq!(
            (reply.status, &*reply.text("code")),
            (405, "method_not_allowed"),
            "{line}: {}",
            reply.body
        );
        let allow = reply.header("allow").unwrap_or_default().to_uppercase();
        let mut allowed: Vec<&str> = allow.split(',').filter(|method| *method != "HEAD").collect();
        let same = operations().filter(|other| other.path == operation.path);
        let mut methods: Vec<String> = same.map(|other| other.method).collect();
        allowed.sort_unstable();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{line}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_shows_its_description_and_the_page_that_each_problem_names() {
    let server = Server::start().await;
    let document = server.call("GET /openapi.json", "", "").await;
    assert_eq!(document.body, *openapi::text());
    let page = server.call("GET /docs", "", "").await;
    for operation in operations() {
        let id = operation.is["operationId"].as_str().expect("an id");
        assert!(page.body.contains(&format!("<h2 id=\"{id}\">")), "{id}");
    }
    let missing = server.call("GET /docs/nothing", "", "").await;
    assert_eq!(missing.status, 404);
    let kind = missing.text("type");
    let (address, place) = kind.split_once('#').expect("a place on a page");
    let errors = server.call(&format!("GET {address}"), "", "").await;
    assert!(
        errors.status == 200 && errors.body.contains(&format!("id=\"{place}\"")),
        "{kind}"
    );
    server.stop().await;
}
