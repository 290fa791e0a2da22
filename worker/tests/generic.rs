//! The generic worker with real programs and a real HTTP server.

mod support;

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::StreamExt;
use rejoin_shared::config::SecretUrl;
use rejoin_shared::trace::TraceParent;
use rejoin_worker::generic::builder;
use rejoin_worker::{GenericWorkerConfig, StepContext, StepError, Tracer, Tracing, WorkerBuilder};
use serde_json::{Value, json};
use support::{Owner, Running, soon, until};
use tempfile::TempDir;

/// A folder with a handlers file of the given handlers.
fn folder(handlers: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("handlers.yaml"), format!("handlers:\n{handlers}")).expect("written");
    folder
}

fn worker(folder: &Path) -> WorkerBuilder {
    let config = GenericWorkerConfig {
        handlers: folder.join("handlers.yaml"),
        concurrency: Some(4),
        drain: Some(Duration::from_secs(5)),
        ..GenericWorkerConfig::default()
    };
    builder(&config).expect("a good file")
}

async fn started(handlers: &str) -> (Owner, Running, TempDir) {
    let owner = Owner::new().await;
    let folder = folder(handlers);
    let running = owner.start(worker(folder.path()));
    (owner, running, folder)
}

async fn run(owner: &mut Owner, handler: &str, input: &str) -> Value {
    let order = owner.order(1, handler, input);
    owner.dispatch(vec![order]).await;
    owner.completions(1).await.remove(0)
}

#[tokio::test]
async fn a_handler_that_does_without_the_context_gets_null_in_its_place() {
    let program = "import json,sys\nfor line in sys.stdin:\n  r=json.loads(line)\n  print(json.dumps([r['context'],r['input']]),flush=True)";
    let handlers =
        "  a: { exec: [python3, a.py], mode: stream, context: false }\n  b: { exec: [python3, a.py], mode: stream }";
    let (mut owner, running, folder) = started(handlers).await;
    std::fs::write(folder.path().join("a.py"), program).expect("written");
    assert_eq!(run(&mut owner, "a", "7").await["output"], json!([null, 7]));
    assert_eq!(run(&mut owner, "b", "7").await["output"], json!([{"a": {"b": 1.5}}, 7]));
    running.stop().await;
}

#[tokio::test]
async fn a_program_gets_the_request_and_the_environment_and_answers_one_value() {
    let script = r#"  a: { exec: [python3, a.py] }"#;
    let (mut owner, running, folder) = started(script).await;
    let program = "import json,os,sys\nr=json.load(sys.stdin)\nprint('seen',file=sys.stderr)\n\
                   print(json.dumps({'request':r,'env':{k:v for k,v in os.environ.items() \
                   if k in ('REJOIN_HANDLER','REJOIN_RUN','REJOIN_PATH','REJOIN_ATTEMPT','REJOIN_IDEMPOTENCY_KEY','TRACEPARENT')}}))";
    std::fs::write(folder.path().join("a.py"), program).expect("written");
    let item = run(&mut owner, "a", r#"{"n":9007199254740993,"d":1.0}"#).await;
    assert_eq!(item["outcome"], "ok", "{item}");
    let id = owner.run.to_string();
    let request = json!({
        "handler": "a", "run": id, "workflow": "w", "path": "/s#1", "attempt": 1, "idempotency_key": "k1",
        "input": {"n": 9_007_199_254_740_993_u64, "d": 1.0}, "context": {"a": {"b": 1.5}},
        "item": null, "index": null, "checkpoint": null
    });
    assert_eq!(item["output"]["request"], request);
    let env = json!({
        "REJOIN_HANDLER": "a", "REJOIN_RUN": id, "REJOIN_PATH": "/s#1", "REJOIN_ATTEMPT": "1",
        "REJOIN_IDEMPOTENCY_KEY": "k1",
        "TRACEPARENT": TraceParent::of_attempt(owner.run, "/s#1", 1, false).to_string()
    });
    assert_eq!(item["output"]["env"], env);
    assert_eq!(item["logs"], json!(["seen"]));
    running.stop().await;
}

#[tokio::test]
async fn exit_codes_signals_and_outputs_are_told_apart() {
    let handlers = "  temp: { exec: [sh, -c, 'echo busy >&2; exit 75'] }\n  three: { exec: [sh, -c, 'exit 3'] }\n  \
                    killed: { exec: [sh, -c, 'kill -9 $$'] }\n  words: { exec: [sh, -c, 'echo hello'] }\n  \
                    none: { exec: [/no/such/program] }\n  endless: { exec: [sh, -c, 'exec yes'] }\n  \
                    result: { exec: [sh, -c, 'echo ''{\"$result\":{\"output\":2.50,\"set\":{\"a.b\":1}}}'''] }\n";
    let (mut owner, running, _folder) = started(handlers).await;
    for (handler, kind) in [
        ("temp", "exec.tempfail"),
        ("three", "exec.exit_3"),
        ("killed", "exec.signal_9"),
        ("words", "rejoin.invalid_output"),
        ("none", "exec.not_started"),
        ("endless", "rejoin.too_large"),
    ] {
        let item = run(&mut owner, handler, "1").await;
        assert_eq!(
            (&item["type"], &item["retryable"]),
            (&json!(kind), &json!(true)),
            "{item}"
        );
    }
    let item = run(&mut owner, "result", "1").await;
    assert_eq!(
        (item["output"].to_string().as_str(), &item["set"]),
        ("2.5", &json!({"a.b": 1}))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_program_beats_and_stores_a_checkpoint_on_descriptor_3() {
    let handlers = "  a: { exec: [sh, -c, 'for i in 1 2 3 4; do sleep 0.1; echo ''{\"$heartbeat\":true}'' >&3; done; \
                    echo ''{\"$checkpoint\":[4]}'' >&3; echo 1'] }\n  silent: { exec: [sh, -c, 'sleep 60'] }\n";
    let (mut owner, running, _folder) = started(handlers).await;
    let mut order = owner.order(1, "a", "1");
    order.heartbeat_ms = Some(350);
    let mut silent = owner.order(2, "silent", "1");
    silent.heartbeat_ms = Some(100);
    let mut late = owner.order(3, "silent", "1");
    late.timeout_ms = Some(100);
    owner.dispatch(vec![order, silent, late]).await;
    let mut items = owner.completions(3).await;
    items.sort_by_key(|item| item["step"]["pos"].as_u64());
    assert_eq!(
        (&items[0]["outcome"], &items[0]["checkpoint"]),
        (&json!("ok"), &json!([4])),
        "{items:?}"
    );
    assert_eq!(items[1]["type"], "rejoin.heartbeat_lost");
    assert_eq!(items[2]["type"], "rejoin.timeout");
    running.stop().await;
}

#[tokio::test]
async fn a_cancelled_program_dies_with_all_it_started() {
    let handlers = "  a: { exec: [sh, -c, 'sleep 300 & echo $! > child; wait'] }\n";
    let (mut owner, running, folder) = started(handlers).await;
    let report = owner.report(|_| true).await;
    let order = owner.order(1, "a", "1");
    owner.dispatch(vec![order]).await;
    let file = folder.path().join("child");
    let read = || {
        std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
    };
    until("the program's start", || read().is_some()).await;
    let child = read().expect("just seen");
    owner.cancel(&report.worker, vec![owner.key(1)]).await;
    until("its child's end", || !is_alive(child)).await;
    running.stop().await;
    assert!(!owner.has_event());
}

/// Whether a process runs; one that only waits to be buried does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

const STREAM: &str = r#"import json, os, sys
for line in sys.stdin:
    r = json.loads(line)
    i = r["input"]
    if i == "die": os._exit(4)
    if i == "hang":
        import time; time.sleep(300)
    if i == "garbage": print("not json", flush=True); continue
    print("handled", i, file=sys.stderr, flush=True)
    print(json.dumps({"$heartbeat": True}), flush=True)
    print(json.dumps({"$checkpoint": {"i": i}}), flush=True)
    print(json.dumps({"pid": os.getpid(), "handler": r["handler"]}), flush=True)
"#;

#[tokio::test]
async fn a_stream_process_serves_many_attempts_and_handlers_and_is_started_again_when_it_ends() {
    let handlers = "  a: { exec: [python3, s.py], mode: stream }\n  b: { exec: [python3, s.py], mode: stream }\n";
    let (mut owner, running, folder) = started(handlers).await;
    std::fs::write(folder.path().join("s.py"), STREAM).expect("written");
    let first = run(&mut owner, "a", r#""x""#).await;
    assert_eq!(first["logs"], json!(["handled x"]), "{first}");
    assert_eq!(first["checkpoint"], json!({"i": "x"}));
    let second = run(&mut owner, "b", "2").await;
    assert_eq!(second["output"]["pid"], first["output"]["pid"]);
    assert_eq!(second["output"]["handler"], "b");
    assert_eq!(run(&mut owner, "a", r#""die""#).await["type"], "exec.exit_4");
    let third = run(&mut owner, "a", "3").await;
    assert_ne!(third["output"]["pid"], first["output"]["pid"]);
    assert_eq!(
        run(&mut owner, "a", r#""garbage""#).await["type"],
        "rejoin.invalid_output"
    );
    assert_eq!(run(&mut owner, "a", "4").await["outcome"], "ok");
    let mut order = owner.order(9, "a", r#""hang""#);
    order.timeout_ms = Some(200);
    owner.dispatch(vec![order]).await;
    assert_eq!(owner.completions(1).await[0]["type"], "rejoin.timeout");
    running.stop().await;
}

#[tokio::test]
async fn a_second_response_of_a_stream_process_is_not_taken_for_the_next_attempts() {
    let (mut owner, running, folder) = started("  a: { exec: [python3, s.py], mode: stream }\n").await;
    let program = r#"
import json, sys
for line in sys.stdin:
    value = json.loads(line)["input"]
    sys.stdout.write(f"{value}\n-{value}\n")
    sys.stdout.flush()
"#;
    std::fs::write(folder.path().join("s.py"), program).expect("written");
    for value in [1, 2, 3] {
        assert_eq!(run(&mut owner, "a", &value.to_string()).await["output"], value);
    }
    running.stop().await;
}

#[tokio::test]
async fn an_attempt_is_not_lost_to_a_stream_process_that_ends_before_it_reads_the_request() {
    // Alive when it is asked again, and gone before it reads; one never reads at all.
    let handlers = "  once: { exec: [sh, -c, 'read request; echo 1; sleep 0.1'], mode: stream }\n  \
                    deaf: { exec: [sh, -c, 'echo 1; sleep 0.1'], mode: stream }\n";
    let (mut owner, running, _folder) = started(handlers).await;
    let large = format!("\"{}\"", "x".repeat(300_000));
    for (handler, input) in [("once", "1"), ("deaf", "1"), ("once", &large)] {
        for _ in 0..3 {
            let item = run(&mut owner, handler, input).await;
            assert_eq!(item["outcome"], "ok", "{handler}: {}", item["message"]);
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_stream_process_that_read_the_request_or_is_new_fails_its_attempt_when_it_ends() {
    let handlers = "  second: { exec: [sh, -c, 'read a; echo 1; read b; exit 3'], mode: stream }\n  \
                    none: { exec: [sh, -c, 'exit 0'], mode: stream }\n";
    let (mut owner, running, _folder) = started(handlers).await;
    for outcome in ["ok", "error", "ok"] {
        let item = run(&mut owner, "second", "1").await;
        assert_eq!(item["outcome"], outcome, "{item}");
        assert!(item["type"].is_null() || item["type"] == "exec.exit_3", "{item}");
    }
    assert_eq!(run(&mut owner, "none", "1").await["type"], "exec.exit_0");
    running.stop().await;
}

#[tokio::test]
async fn errors_show_nothing_of_the_handlers_file_that_may_be_secret() {
    let base = serve().await;
    let secret = |path: &str| base.replace("http://", "http://api:S3cr3t@") + path + "?token=S3cr3t";
    let handlers = format!(
        "  gone: {{ http: {{ url: \"http://api:S3cr3t@127.0.0.1:1/S3cr3t?token=S3cr3t\" }} }}\n  \
         slow: {{ http: {{ url: \"{}\", timeout: 100ms }} }}\n  down: {{ http: {{ url: \"{}\" }} }}\n  \
         begun: {{ http: {{ url: \"{}\", timeout: 100ms }} }}\n  none: {{ exec: [/no/such/program, --token, S3cr3t] }}\n",
        secret("/slow"),
        secret("/down"),
        secret("/begun")
    );
    let (mut owner, running, _folder) = started(&handlers).await;
    for (handler, kind, shown) in [
        (
            "gone",
            "http.unreachable",
            "POST http://127.0.0.1:1: error sending request",
        ),
        ("slow", "http.timeout", &format!("POST {base}: error sending request")),
        ("down", "http.status_502", &format!("POST {base}: 502 Bad Gateway")),
        (
            "begun",
            "http.timeout",
            &format!("POST {base}: error decoding response body"),
        ),
        (
            "none",
            "exec.not_started",
            "cannot start `/no/such/program`: No such file",
        ),
    ] {
        let item = run(&mut owner, handler, "1").await;
        assert_eq!(item["type"], kind, "{item}");
        let message = item["message"].as_str().expect("a message");
        assert!(
            message.starts_with(shown) && !item.to_string().contains("S3cr3t"),
            "{item}"
        );
    }
    running.stop().await;
}

async fn serve() -> String {
    let app = Router::new()
        .route(
            "/ok",
            post(|headers: HeaderMap, body: String| async move {
                let request: Value = serde_json::from_str(&body).expect("a request");
                assert_eq!(headers["idempotency-key"], "k1");
                request["input"].to_string()
            }),
        )
        .route(
            "/busy",
            post(|| async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "busy") }),
        )
        .route(
            "/trace",
            post(|headers: HeaderMap| async move { format!("{:?}", headers["traceparent"]) }),
        )
        .route(
            "/past",
            post(|| async {
                let past = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
                (StatusCode::SERVICE_UNAVAILABLE, past)
            }),
        )
        .route(
            "/begun",
            post(|| async {
                let begun = futures_util::stream::iter([Ok::<_, std::io::Error>("1")]);
                axum::body::Body::from_stream(begun.chain(futures_util::stream::pending()))
            }),
        )
        .route("/down", post(|| async { StatusCode::BAD_GATEWAY }))
        .route("/bad", post(|| async { (StatusCode::BAD_REQUEST, "no") }))
        .route("/empty", post(|| async { StatusCode::NO_CONTENT }))
        .route("/slow", post(|| async { std::future::pending::<()>().await }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_status_says_how_a_post_went() {
    let base = serve().await;
    let mut handlers: String = ["ok", "busy", "past", "down", "bad", "empty"]
        .map(|name| format!("  {name}: {{ http: {{ url: \"{base}/{name}\" }} }}\n"))
        .concat();
    handlers += &format!("  slow: {{ http: {{ url: \"{base}/slow\", timeout: 100ms }} }}\n");
    handlers += "  gone: { http: { url: \"http://127.0.0.1:1/\" } }\n";
    let (mut owner, running, _folder) = started(&handlers).await;
    let item = run(&mut owner, "ok", r#"{"a":[1,2.5]}"#).await;
    assert_eq!(item["output"], json!({"a": [1, 2.5]}), "{item}");
    assert_eq!(run(&mut owner, "empty", "1").await["outcome"], "ok");
    for (handler, kind, retryable, retry_after_ms) in [
        ("busy", "http.status_429", true, json!(7000)),
        ("past", "http.status_503", true, json!(0)),
        ("down", "http.status_502", true, Value::Null),
        ("bad", "http.status_400", false, Value::Null),
        ("slow", "http.timeout", true, Value::Null),
        ("gone", "http.unreachable", true, Value::Null),
    ] {
        let item = run(&mut owner, handler, "1").await;
        let seen = (&item["type"], &item["retryable"], &item["retry_after_ms"]);
        assert_eq!(seen, (&json!(kind), &json!(retryable), &retry_after_ms), "{item}");
    }
    soon("the end", running.stop()).await;
}

/// A tracer that exports a share of the runs, to nobody.
fn tracer(sample_ratio: f64) -> Tracer {
    let settings = Tracing {
        otlp_endpoint: SecretUrl::new("http://127.0.0.1:1"),
        sample_ratio,
        ..Tracing::default()
    };
    Tracer::start(&settings, "test").expect("a tracer")
}

#[tokio::test]
async fn every_handler_is_told_the_attempts_span_and_whether_it_is_kept() {
    let base = serve().await;
    let handlers = format!(
        "  http: {{ http: {{ url: \"{base}/trace\" }} }}\n  exec: {{ exec: [sh, -c, 'echo \"\\\"$TRACEPARENT\\\"\"'] }}\n"
    );
    // Who exports spans says it; who does not believes the message.
    for (tracer, is_told, is_sampled) in [
        (Tracer::off(), true, true),
        (Tracer::off(), false, false),
        (tracer(1.0), false, true),
        (tracer(0.0), true, false),
    ] {
        let (mut owner, folder) = (Owner::new().await, folder(&handlers));
        let typed = |ctx: StepContext, _: Value| async move { Ok::<_, StepError>(ctx.traceparent().to_string()) };
        let running = owner.start(worker(folder.path()).tracer(tracer).handler("typed", typed));
        for handler in ["http", "exec", "typed"] {
            let mut order = owner.order(1, handler, "1");
            order.attempt = 2;
            let pack = owner.pack(vec![order]);
            owner.publish_traced(&pack, is_told).await;
            let item = owner.completions(1).await.remove(0);
            let span = TraceParent::of_attempt(owner.run, "/s#1", 2, is_sampled);
            assert_eq!(item["output"], span.to_string(), "{item}");
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn completions_name_their_runs_span_where_spans_are_exported() {
    for (tracer, header) in [
        (Tracer::off(), None),
        (tracer(1.0), Some(true)),
        (tracer(0.0), Some(false)),
    ] {
        let mut owner = Owner::new().await;
        let running = owner.start(support::builder().tracer(tracer));
        let order = owner.order(1, "rejoin.noop", "1");
        owner.dispatch(vec![order]).await;
        let header = header.map(|is_sampled| TraceParent::of_run(owner.run, is_sampled).to_string());
        assert_eq!(owner.next_message().await.traceparent, header);
        running.stop().await;
    }
}
