//! The API over a whole coordinator on the embedded store and broker, spoken to over a socket.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::PARTITIONS;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Link;
use rejoin_shared::link::memory::MemoryBroker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

mod access;
mod batch;
mod bulk;
mod console;
mod contract;
mod dead_letters;
mod fleet;
mod fork;
mod links;
mod requests;
mod retention;
mod rules;
mod steps;
mod waiting;
mod workflows;

use super::Api;
use super::access::Access;
use super::backend::Local;
use super::rules::Rules;
use crate::coordinator::{Coordinator, CoordinatorConfig};
use crate::services::schedules::Schedules;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;

mod schedules;

const WORKFLOW: &str = "workflow: w\ninput: { type: object, required: [n] }\nsteps:\n  - step: a\n    uses: nobody\n";
const BODY_MAX: usize = 2 * 1024 * 1024;

struct Server {
    broker: MemoryBroker,
    store: Arc<dyn Store>,
    address: std::net::SocketAddr,
    coordinator: Coordinator,
    stopping: CancellationToken,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Json {
        Json::parse(self.body.as_bytes()).expect("a JSON answer")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The same of an answer that may be no JSON.
    fn text_if_json(&self, key: &str) -> String {
        let json = Json::parse(self.body.as_bytes()).unwrap_or_default();
        json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    fn text(&self, key: &str) -> String {
        self.json()
            .get(key)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

impl Server {
    async fn start() -> Server {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
        let server = Server::over(store, &MemoryBroker::new(), "c").await;
        server.coordinator.owns(usize::from(PARTITIONS)).await;
        server
    }

    async fn over(store: Arc<dyn Store>, broker: &MemoryBroker, name: &str) -> Server {
        Server::guarded(store, broker, name, Access::Open).await
    }

    async fn guarded(store: Arc<dyn Store>, broker: &MemoryBroker, name: &str, access: Access) -> Server {
        let rules = Rules {
            access,
            ..Rules::default()
        };
        Server::ruled(store, broker, name, rules).await
    }

    async fn ruled(store: Arc<dyn Store>, broker: &MemoryBroker, name: &str, rules: Rules) -> Server {
        Server::linked(store, broker, broker.link(name), CoordinatorConfig::new(name), rules).await
    }

    /// With any link; `broker` is only kept.
    async fn linked(
        store: Arc<dyn Store>,
        broker: &MemoryBroker,
        link: Arc<dyn Link>,
        config: CoordinatorConfig,
        rules: Rules,
    ) -> Server {
        let shape = |api: Api| api.with_access(rules.access.clone()).with_rules(rules);
        Server::built(store, broker, link, config, shape).await
    }

    /// With an API that `shape` has made something else of.
    async fn shaped(shape: impl FnOnce(Api) -> Api) -> Server {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
        let broker = MemoryBroker::new();
        Server::built(store, &broker, broker.link("c"), CoordinatorConfig::new("c"), shape).await
    }

    async fn built(
        store: Arc<dyn Store>,
        broker: &MemoryBroker,
        link: Arc<dyn Link>,
        config: CoordinatorConfig,
        shape: impl FnOnce(Api) -> Api,
    ) -> Server {
        let stopping = CancellationToken::new();
        let name = config.name.clone();
        let coordinator = Coordinator::start(config, store.clone(), link.clone(), CancellationToken::new());
        let backend = Local::new(coordinator.clone(), &name, store.clone(), link);
        let registry = coordinator.metrics().registry.clone();
        let limits = Arc::new(Limits::default());
        let api = Api::new(
            store.clone(),
            Arc::new(backend),
            limits,
            registry,
            BODY_MAX,
            stopping.clone(),
        );
        let api = shape(api);
        let schedules = Schedules::new(store.clone(), Arc::new(api.clone()));
        tokio::spawn(schedules.run(stopping.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(api.serve(listener));
        Server {
            broker: broker.clone(),
            store,
            address,
            coordinator,
            stopping,
        }
    }

    async fn call(&self, line: &str, headers: &str, body: &str) -> Reply {
        let reply = self.sent(line, headers, body).await;
        contract::check(line, &reply);
        reply
    }

    /// The same for what is no part of the API.
    async fn sent(&self, line: &str, headers: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("listening");
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
        // At once, as clients do: a server that refuses by the head alone may close before it has read a body that comes later,
        // and what answers that takes its own answer away. One that is long may still be cut off.
        stream.write_all((head + body).as_bytes()).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        Reply {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// A run of this document.
    async fn begun(&self, document: &str, workflow: &str, input: &str) -> String {
        let put = self
            .call("PUT /v1/workflows", "Content-Type: application/yaml\r\n", document)
            .await;
        assert!(matches!(put.status, 200 | 201), "{}", put.body);
        let body = format!(r#"{{"input":{input}}}"#);
        let begun = self
            .call(&format!("POST /v1/workflows/{workflow}/runs"), "", &body)
            .await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        begun.text("id")
    }

    /// Waits until a run is in this state.
    async fn reaches(&self, run: &str, state: &str) {
        let mut last = String::new();
        for _ in 0..500 {
            let shown = self.call(&format!("GET /v1/runs/{run}"), "", "").await;
            if shown.text("state") == state {
                return;
            }
            last = shown.body;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the run did not become {state}: {last}");
    }

    async fn started(&self) -> String {
        let put = self.call("PUT /v1/workflows", "", WORKFLOW).await;
        assert!(matches!(put.status, 200 | 201), "{}", put.body);
        let run = self.call("POST /v1/workflows/w/runs", "", r#"{"input":{"n":1}}"#).await;
        assert_eq!(run.status, 201, "{}", run.body);
        run.text("id")
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.coordinator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_of_128_levels_is_taken_and_read_back_and_129_refused() {
    let server = Server::start().await;
    server.started().await;
    let nested = |levels: usize| format!(r#"{{"input":{{"n":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels));
    let run = server.call("POST /v1/workflows/w/runs", "", &nested(127)).await;
    assert_eq!(run.status, 201, "{}", run.body);
    let id = Json::parse_own(run.body.as_bytes())
        .expect("an answer")
        .get("id")
        .and_then(Json::as_str)
        .expect("an id")
        .to_owned();
    for view in ["", "/steps", "/journal", "/context", "/graph", "/why"] {
        let read = server.call(&format!("GET /v1/runs/{id}{view}"), "", "").await;
        assert_eq!(read.status, 200, "{view}: {}", read.body);
    }
    let refused = server.call("POST /v1/workflows/w/runs", "", &nested(128)).await;
    assert_eq!((refused.status, &*refused.text("code")), (422, "invalid_request"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_with_its_code() {
    let server = Server::start().await;
    let run = server.started().await;
    let deep = format!(r#"{{"input":{{"n":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    let (missing, big) = (format!("GET /v1/runs/{}", "0".repeat(36)), "x".repeat(BODY_MAX + 1));
    let (delete, path) = (
        format!("DELETE /v1/runs/{run}"),
        format!("GET /v1/runs/{run}/context?path=no.such"),
    );
    let start = "POST /v1/workflows/w/runs";
    let table = [
        ("GET /nope", "", "", 404, "no_such_route"),
        ("PATCH /v1/runs", "", "", 405, "method_not_allowed"),
        ("GET /v1/runs/%ff", "", "", 400, "malformed"),
        ("GET /v1/runs?what=1", "", "", 400, "unknown_parameter"),
        ("GET /v1/runs?state=nice", "", "", 400, "malformed"),
        ("GET /v1/runs", "Rejoin-Namespace: no name\r\n", "", 400, "malformed"),
        (&missing, "", "", 404, "not_found"),
        ("GET /v1/workflows/none", "", "", 404, "not_found"),
        ("POST /v1/workflows/none/runs", "", "{}", 404, "not_found"),
        (start, "", "{\"input\":", 400, "malformed_json"),
        (start, "", "[1]", 400, "malformed"),
        (
            start,
            "Content-Type: text/csv\r\n",
            "a,b",
            415,
            "unsupported_media_type",
        ),
        (start, "", r#"{"input":{}}"#, 422, "invalid_input"),
        (start, "", r#"{"input":{"n":1},"at":"soon"}"#, 422, "invalid_request"),
        (start, "", r#"{"input":{"n":1},"what":1}"#, 422, "invalid_request"),
        (
            start,
            "",
            r#"{"input":{"n":12345678901234567890}}"#,
            422,
            "invalid_request",
        ),
        (start, "", "{\"input\":{\"n\":\"\\u0000\"}}", 422, "invalid_request"),
        (start, "", &deep, 422, "invalid_request"),
        (start, "", &big, 413, "too_large"),
        ("PUT /v1/workflows", "", "{\"workflow\":", 400, "malformed"),
        (
            "PUT /v1/workflows",
            "",
            "workflow: x\nstepps: []\n",
            422,
            "invalid_definition",
        ),
        ("PUT /v1/workflows", "", &big, 413, "too_large"),
        (&delete, "", "", 409, "conflict"),
        (&path, "", "", 404, "not_found"),
    ];
    for (line, headers, body, status, code) in table {
        let reply = server.call(line, headers, body).await;
        assert_eq!(
            (reply.status, reply.text("code").as_str()),
            (status, code),
            "{line} {}",
            reply.body
        );
        assert!(reply.head.contains("application/problem+json"), "{line}");
        assert_eq!(reply.text("type"), format!("/docs/errors#{code}"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_starts_one_run() {
    let server = Server::start().await;
    server.started().await;
    let line = "POST /v1/workflows/w/runs";
    let first = server
        .call(line, "Idempotency-Key: k\r\n", r#"{"input":{"n":1}}"#)
        .await;
    let again = server
        .call(line, "", r#"{"input":{"n":1},"idempotency_key":"k"}"#)
        .await;
    let other = server
        .call(line, "Idempotency-Key: k\r\n", r#"{"input":{"n":2}}"#)
        .await;
    assert_eq!(
        (first.status, again.status, other.status),
        (201, 200, 422),
        "{}",
        again.body
    );
    assert_eq!(first.text("id"), again.text("id"));
    assert_eq!(other.text("code"), "idempotency_mismatch");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_nobody_serves_is_explained_and_the_run_can_be_cancelled_once() {
    let server = Server::start().await;
    let run = server.started().await;
    let why = server.call(&format!("GET /v1/runs/{run}/why"), "", "").await;
    assert!(
        why.body.contains("no worker serves handler nobody on queue default"),
        "{}",
        why.body
    );
    let suffix = &run[run.len() - 12..];
    let steps = server.call(&format!("GET /v1/runs/{suffix}/steps"), "", "").await;
    assert!(
        steps
            .body
            .contains(r#""path":"/a","handler":"nobody","queue":"default","state":"pending""#),
        "{}",
        steps.body
    );
    let cancel = format!("POST /v1/runs/{run}/cancel");
    assert_eq!(
        server.call(&cancel, "", r#"{"reason":"enough"}"#).await.text("state"),
        "cancelled"
    );
    assert_eq!(server.call(&cancel, "", "").await.status, 200);
    assert_eq!(
        server.call(&format!("POST /v1/runs/{run}/pause"), "", "").await.status,
        409
    );
    let steps = server
        .call(&format!("GET /v1/runs/{run}/steps?state=cancelled"), "", "")
        .await;
    assert!(steps.body.contains(r#""state":"cancelled""#), "{}", steps.body);
    let watch = server
        .call(&format!("GET /v1/runs/{run}/watch"), "Last-Event-ID: 1\r\n", "")
        .await;
    assert!(
        watch.body.contains("event: run_finished") && watch.body.contains("event: end"),
        "{}",
        watch.body
    );
    assert_eq!(server.call(&format!("DELETE /v1/runs/{run}"), "", "").await.status, 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_run_that_goes_on_answers_202_in_time() {
    let server = Server::start().await;
    server.started().await;
    let line = "POST /v1/workflows/w/runs?wait=200ms";
    let call = server.call(line, "", r#"{"input":{"n":1}}"#);
    let reply = tokio::time::timeout(Duration::from_secs(20), call)
        .await
        .expect("cut at the wait");
    assert_eq!((reply.status, reply.text("state").as_str()), (202, "running"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_that_were_dispatched_without_a_record_are_missing_too() {
    let server = Server::start().await;
    let document =
        "workflow: fan\nsteps:\n  - foreach: each\n    items: '5'\n    concurrency: 3\n    steps: [ { step: s } ]\n";
    let run = server.begun(document, "fan", "{}").await;
    let why = server.call(&format!("GET /v1/runs/{run}/why"), "", "").await;
    let missing = why.json().get("missing").and_then(Json::as_list).unwrap_or_default()[0].clone();
    assert_eq!(missing.get("branches"), Some(&Json::str("0-2")), "{}", why.body);
    assert!(why.body.contains(r#""missing":"0-4""#), "{}", why.body);
    let steps = server
        .call(&format!("GET /v1/runs/{run}/steps?state=pending"), "", "")
        .await;
    let items = steps.json().get("items").and_then(Json::as_list).map(<[Json]>::len);
    assert_eq!(items, Some(3), "{}", steps.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_is_listed_and_answered_once_with_what_fits() {
    let server = Server::start().await;
    let document = "workflow: ask\nsteps:\n  - parallel: p\n    branches:\n      one: [ { wait: pick, input: { type: choice, \
                    choices: [a, b], prompt: Which? }, into: one } ]\n      two: [ { wait: pick, input: { type: form, schema: \
                    { type: object, required: [n] } }, into: two } ]\n";
    let run = server.begun(document, "ask", "{}").await;
    let listed = server.call("GET /v1/inputs", "", "").await;
    let items = listed
        .json()
        .get("items")
        .and_then(Json::as_list)
        .unwrap_or_default()
        .to_vec();
    assert_eq!(items.len(), 2, "{}", listed.body);
    assert_eq!(items[0].get("prompt"), Some(&Json::str("Which?")), "{}", listed.body);
    let answer = format!("POST /v1/runs/{run}/inputs/pick");
    let say = async |body: &str| server.call(&answer, "", body).await;
    let refused = say(r#"{"value":"a"}"#).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("/p/one/pick, /p/two/pick"), "{}", refused.body);
    assert_eq!(
        say(r#"{"value":"c","path":"/p/one/pick"}"#).await.text("code"),
        "invalid_input"
    );
    assert_eq!(
        say(r#"{"value":{"m":1},"path":"/p/two/pick"}"#).await.text("code"),
        "invalid_input"
    );
    assert_eq!(say(r#"{"value":"b","path":"/p/one/pick"}"#).await.status, 200);
    assert_eq!(say(r#"{"value":"b","path":"/p/one/pick"}"#).await.status, 409);
    assert_eq!(say(r#"{"value":{"n":1}}"#).await.text("state"), "completed");
    assert_eq!(say(r#"{"value":{"n":1}}"#).await.status, 409);
    let other = format!("POST /v1/runs/{run}/inputs/other");
    assert_eq!(server.call(&other, "", r#"{"value":1}"#).await.status, 404);
    let listed = server.call("GET /v1/inputs", "", "").await;
    assert!(listed.body.contains(r#""items":[]"#), "{}", listed.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_the_run_they_name_or_all_that_wait() {
    let server = Server::start().await;
    let document = "workflow: hear\nsteps: [ { wait: a, event: a, into: a }, { wait: b, event: b, into: b } ]\n";
    let (one, two) = (
        server.begun(document, "hear", "{}").await,
        server.begun(document, "hear", "{}").await,
    );
    let to_one = format!("POST /v1/runs/{one}/events");
    let kept = server
        .call(&to_one, "", r#"{"event":"b","payload":1.0,"id":"x"}"#)
        .await;
    assert_eq!(kept.status, 202);
    let all = server
        .call("POST /v1/events", "", r#"{"event":"a","payload":{"n":2}}"#)
        .await;
    assert_eq!(
        (all.status, all.json().get("runs").and_then(Json::as_int)),
        (202, Some(2))
    );
    let nobody = server
        .call("POST /v1/events", "Rejoin-Namespace: other\r\n", r#"{"event":"a"}"#)
        .await;
    assert_eq!(nobody.json().get("runs").and_then(Json::as_int), Some(0));
    server.reaches(&one, "completed").await;
    let shown = server.call(&format!("GET /v1/runs/{one}"), "", "").await;
    assert!(
        shown.body.contains(r#""context":{"a":{"n":2},"b":1.0}"#),
        "{}",
        shown.body
    );
    let shown = server.call(&format!("GET /v1/runs/{two}"), "", "").await;
    assert!(
        shown
            .body
            .contains(r#""type":"event","path":"/b","until":null,"events":["b"]"#),
        "{}",
        shown.body
    );
    assert_eq!(
        server
            .call(&format!("POST /v1/runs/{one}/events"), "", r#"{"event":"a"}"#)
            .await
            .status,
        409
    );
    assert_eq!(server.call("POST /v1/events", "", r#"{"payload":1}"#).await.status, 422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_on_steps_name_them_and_say_what_they_cannot_do() {
    let server = Server::start().await;
    let run = server.started().await;
    let say = async |what: &str, body: &str| {
        server
            .call(&format!("POST /v1/runs/{run}/steps/{what}"), "", body)
            .await
    };
    assert_eq!(say("retry", r#"{"path":"/nowhere"}"#).await.status, 404);
    assert_eq!(say("retry", r#"{"path":"/a"}"#).await.status, 409);
    assert_eq!(say("skip", r#"{"paths":["/a"],"value":1}"#).await.status, 409);
    assert_eq!(
        say("fail", r#"{"all":true,"error_type":"app.bad","error":{"type":"x"}}"#)
            .await
            .status,
        409
    );
    for body in [
        "{}",
        r#"{"path":"/a","paths":["/a"]}"#,
        r#"{"paths":[]}"#,
        r#"{"paths":[1]}"#,
        r#"{"all":true}"#,
        r#"{"path":"/a","other":1}"#,
    ] {
        let refused = say("retry", body).await;
        assert_eq!(refused.status, 422, "{body}: {}", refused.body);
    }
    assert_eq!(say("fail", r#"{"path":"/a","error":"text"}"#).await.status, 422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_found_by_a_part_of_their_parents_id() {
    let server = Server::start().await;
    let child = "workflow: child\nsteps: [ { set: s, values: { x: 1 } } ]\n";
    assert_eq!(server.call("PUT /v1/workflows", "", child).await.status, 201);
    let document = "workflow: up\nsteps: [ { call: c, workflow: child } ]\n";
    let parent = server.begun(document, "up", "{}").await;
    server.reaches(&parent, "completed").await;
    for part in [&*parent, &parent[24..]] {
        let listed = server.call(&format!("GET /v1/runs?parent={part}"), "", "").await;
        let items = listed.json().get("items").and_then(Json::as_list).map(<[Json]>::len);
        assert_eq!(items, Some(1), "{part}: {}", listed.body);
    }
    let unknown = server.call("GET /v1/runs?parent=ffffffff", "", "").await;
    assert_eq!((unknown.status, &*unknown.text("code")), (404, "not_found"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_a_paused_run_changes_nothing() {
    let server = Server::start().await;
    let run = server.started().await;
    let pause = format!("POST /v1/runs/{run}/pause");
    for _ in 0..2 {
        let paused = server.call(&pause, "", "").await;
        assert_eq!(
            (paused.status, &*paused.text("state")),
            (200, "paused"),
            "{}",
            paused.body
        );
    }
    let journal = server.call(&format!("GET /v1/runs/{run}/journal"), "", "").await;
    assert_eq!(journal.body.matches("run_paused").count(), 1, "{}", journal.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_later_is_scheduled_until_then() {
    let server = Server::start().await;
    let document = "workflow: later\nsteps: [ { set: s, values: { x: 1 } } ]\n";
    server.begun(document, "later", "{}").await;
    let start = async |at: &str| {
        let body = format!(r#"{{"input":{{}},"at":"{at}"}}"#);
        server.call("POST /v1/workflows/later/runs", "", &body).await
    };
    let in_time =
        |ms: i64| rejoin_shared::time::Timestamp(rejoin_shared::time::Timestamp::now().0 + ms * 1000).to_string();
    let soon = start(&in_time(400)).await;
    assert_eq!(
        (soon.status, soon.text("state")),
        (201, "scheduled".to_owned()),
        "{}",
        soon.body
    );
    assert!(soon.body.contains(r#""started_at":null"#), "{}", soon.body);
    server.reaches(&soon.text("id"), "completed").await;
    let past = start("2020-01-01T00:00:00Z").await;
    server.reaches(&past.text("id"), "completed").await;
    let far = start(&in_time(3_600_000)).await.text("id");
    let why = server.call(&format!("GET /v1/runs/{far}/why"), "", "").await;
    assert!(why.text("summary").starts_with("the run begins at 20"), "{}", why.body);
    assert_eq!(
        server.call(&format!("POST /v1/runs/{far}/pause"), "", "").await.status,
        409
    );
    let cancelled = server.call(&format!("POST /v1/runs/{far}/cancel"), "", "").await;
    assert_eq!(cancelled.text("state"), "cancelled");
    assert_eq!(start("tomorrow").await.status, 422);
    server.stop().await;
}
