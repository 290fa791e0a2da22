//! Spans of runs and attempts, as a collector gets them.

mod support;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Code;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message as _;
use rejoin_coordinator::coordinator::{Coordinator, CoordinatorConfig};
use rejoin_coordinator::owner::command::{Command, StartRun};
use rejoin_shared::config::{SecretUrl, Tracing};
use rejoin_shared::ids::PARTITIONS;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_shared::trace::TraceParent;
use rejoin_shared::trace::export::Tracer;
use rejoin_worker::{StepContext, StepError, Worker, WorkerBuilder};
use support::{World, config_of, soon, start, start_of};

const DOCUMENT: &str = "
workflow: w
steps:
  - foreach: orders
    items: ctx.n
    concurrency: 4
    steps:
      - step: pick
        with: { i: '= index' }
        retry: { max_attempts: 2, initial: 10ms }
";

/// A span with the service that sent it.
#[derive(Clone, Debug)]
struct Got {
    service: String,
    span: Span,
}

impl Got {
    fn text(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }

    fn status(&self) -> Status {
        self.span.status.clone().unwrap_or_default()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.clone());
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    }
}

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Got>>>);

impl Collector {
    /// Its address.
    async fn serve(&self) -> String {
        let app = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn got(&self) -> Vec<Got> {
        self.0.lock().expect("no panic").clone()
    }

    /// The one span of a run, and those of attempts by path and attempt.
    fn trace(&self, run: RunId) -> (Got, Vec<Got>) {
        let of_run = self.got().into_iter();
        let of_run = of_run.filter(|got| got.span.trace_id == run.0.as_bytes());
        let (mut roots, mut attempts): (Vec<Got>, Vec<Got>) =
            of_run.partition(|got| got.span.parent_span_id.is_empty());
        attempts.sort_by_key(|got| (got.text("rejoin.path"), got.text("rejoin.attempt")));
        assert_eq!(roots.len(), 1, "{roots:?}");
        (roots.remove(0), attempts)
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.expect("a resource");
        let service = text(&resource.attributes, "service.name");
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        let got = spans.map(|span| Got {
            service: service.clone(),
            span,
        });
        collector.0.lock().expect("no panic").extend(got);
    }
    StatusCode::OK
}

fn tracer(address: &str, sample_ratio: f64, service: &'static str) -> Tracer {
    let settings = Tracing {
        otlp_endpoint: SecretUrl::new(address),
        sample_ratio,
        ..Tracing::default()
    };
    Tracer::start(&settings, service).expect("a tracer")
}

fn traced(world: &World, tracer: &Tracer) -> Coordinator {
    world.coordinator_of(CoordinatorConfig {
        tracer: tracer.clone(),
        ..config_of("a")
    })
}

/// A worker whose `pick` fails the first attempt of item 1, and every attempt of item 9.
fn worker() -> WorkerBuilder {
    Worker::builder().handler("pick", |ctx: StepContext, input: Json| async move {
        match (input.get("i").and_then(Json::as_int), ctx.attempt()) {
            (Some(1), 1) => Err(StepError::retryable("not now").with_type("shop.busy")),
            (Some(9), _) => Err(StepError::fatal("never").with_type("shop.closed")),
            _ => Ok(ctx.traceparent().to_string()),
        }
    })
}

/// An attempt's span: what it is called by, whose child it is, and when it was.
fn assert_hangs_under(got: &Got, root: &Got, run: RunId) {
    let (path, attempt) = (got.text("rejoin.path"), got.text("rejoin.attempt"));
    let own = TraceParent::of_attempt(run, &path, attempt.parse().expect("a number"), true);
    assert_eq!(got.span.span_id, own.span_id(), "the id that the handler was told");
    assert_eq!(got.span.parent_span_id, root.span.span_id);
    assert_eq!(
        (got.service.as_str(), got.span.kind()),
        ("rejoin-worker", SpanKind::Consumer)
    );
    assert_eq!(
        (got.span.name.as_str(), got.text("rejoin.queue").as_str()),
        ("pick", "default")
    );
    let within = root.span.start_time_unix_nano <= got.span.start_time_unix_nano
        && got.span.start_time_unix_nano <= got.span.end_time_unix_nano
        && got.span.end_time_unix_nano <= root.span.end_time_unix_nano;
    assert!(within, "{got:?} within {root:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_trace_with_a_span_for_each_attempt() {
    let collector = Collector::default();
    let address = collector.serve().await;
    let (of_coordinator, of_worker) = (
        tracer(&address, 1.0, "rejoin-coordinator"),
        tracer(&address, 1.0, "rejoin-worker"),
    );
    let world = World::new(DOCUMENT).await;
    let coordinator = traced(&world, &of_coordinator);
    let _worker = world.work("w1", worker().tracer(of_worker.clone()));
    let run = start(&coordinator, r#"{"n": 3}"#).await;
    world.reaches(run, RunStatus::Completed).await;
    let other = start(&coordinator, r#"{"n": 1}"#).await;
    world.reaches(other, RunStatus::Completed).await;
    coordinator.shutdown().await;
    of_worker.close().await;
    of_coordinator.close().await;

    let (root, attempts) = collector.trace(run);
    assert_eq!(
        (root.service.as_str(), root.span.name.as_str()),
        ("rejoin-coordinator", "w")
    );
    assert_eq!(root.span.span_id, TraceParent::of_run(run, true).span_id());
    assert_eq!(
        (root.span.kind(), root.status()),
        (SpanKind::Internal, Status::default())
    );
    assert_eq!(
        ["run", "namespace", "state", "version"].map(|key| root.text(&format!("rejoin.{key}"))),
        [run.to_string().as_str(), "default", "completed", "1"]
    );
    let seen: Vec<_> = attempts
        .iter()
        .map(|got| {
            let key = ["path", "attempt", "outcome"].map(|key| got.text(&format!("rejoin.{key}")));
            (key.join(" "), got.status().code(), got.status().message)
        })
        .collect();
    let ok = |key: &str| (key.to_owned(), Code::Unset, String::new());
    assert_eq!(
        seen,
        [
            ok("/orders[0]/pick 1 ok"),
            (
                "/orders[1]/pick 1 error".to_owned(),
                Code::Error,
                "shop.busy".to_owned()
            ),
            ok("/orders[1]/pick 2 ok"),
            ok("/orders[2]/pick 1 ok"),
        ]
    );
    attempts.iter().for_each(|got| assert_hangs_under(got, &root, run));
    assert_eq!(collector.trace(other).1.len(), 1, "another run, another trace");
    assert_eq!(collector.got().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_of_a_failed_run_names_its_error_and_that_of_a_called_one_its_caller() {
    let collector = Collector::default();
    let tracer = tracer(&collector.serve().await, 1.0, "rejoin-coordinator");
    let parent = "workflow: w\nsteps: [ { call: c, workflow: child } ]\n";
    let world = World::new(parent).await;
    let child = "workflow: child\nsteps: [ { step: pick, with: { i: 9 } } ]\n";
    world.put("child", child).await;
    let coordinator = traced(&world, &tracer);
    let _worker = world.work("w1", worker());
    let run = start(&coordinator, "{}").await;
    world.reaches(run, RunStatus::Failed).await;
    coordinator.shutdown().await;
    tracer.close().await;

    let got = collector.got();
    let named = |name: &str| got.iter().find(|got| got.span.name == name).expect("the run's span");
    let (caller, called) = (named("w"), named("child"));
    assert_eq!(got.len(), 2, "the worker exports nothing");
    assert_eq!(
        (called.status().code(), called.status().message.as_str()),
        (Code::Error, "shop.closed")
    );
    assert_eq!(
        (caller.status().code(), caller.text("rejoin.state").as_str()),
        (Code::Error, "failed")
    );
    assert_ne!(called.span.trace_id, caller.span.trace_id);
    let links: Vec<_> = called
        .span
        .links
        .iter()
        .map(|link| (&link.trace_id, &link.span_id))
        .collect();
    assert_eq!(links, [(&caller.span.trace_id, &caller.span.span_id)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_links_to_the_request_that_started_the_run_whoever_ends_it() {
    let collector = Collector::default();
    let tracer = tracer(&collector.serve().await, 1.0, "rejoin-coordinator");
    let world = World::new("workflow: w\nsteps: [ { wait: go, event: go } ]\n").await;
    let first = traced(&world, &tracer);
    soon("ownership", first.owns(1)).await;
    let callers = [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    ];
    let mut runs = Vec::new();
    for caller in callers {
        let run = first.new_run_id();
        let begin = StartRun {
            traceparent: Some(caller.parse().expect("a span")),
            ..start_of("{}")
        };
        first.submit(run, Command::Start(Box::new(begin))).await.expect("begun");
        world.reaches(run, RunStatus::Waiting).await;
        runs.push(run);
    }
    first.shutdown().await;

    let second = world.coordinator_of(CoordinatorConfig {
        tracer: tracer.clone(),
        ..config_of("b")
    });
    soon("ownership", second.owns(usize::from(PARTITIONS))).await;
    for run in &runs {
        let go = Command::Cancel {
            reason: None,
            compensate: false,
        };
        second.submit(*run, go).await.expect("cancelled");
        world.reaches(*run, RunStatus::Cancelled).await;
    }
    second.shutdown().await;
    tracer.close().await;
    for (run, caller) in runs.iter().zip(callers) {
        let (root, _) = collector.trace(*run);
        assert_eq!(root.span.trace_id, run.0.as_bytes(), "the trace is the run's");
        let links: Vec<String> = root
            .span
            .links
            .iter()
            .map(|link| {
                let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                format!(
                    "00-{}-{}-{:02x}",
                    hex(&link.trace_id),
                    hex(&link.span_id),
                    link.flags & 1
                )
            })
            .collect();
        assert_eq!(links, [caller]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatches_say_whether_the_run_is_traced() {
    for (address, ratio, is_sampled) in [
        ("", 1.0, false),
        ("http://127.0.0.1:1", 0.0, false),
        // Nobody listens there: runs do not wait for a collector.
        ("http://127.0.0.1:1", 1.0, true),
    ] {
        let world = World::new("workflow: w\nsteps: [ { step: pick, with: { i: 0 }, into: span } ]\n").await;
        let tracer = tracer(address, ratio, "rejoin-coordinator");
        let coordinator = traced(&world, &tracer);
        let _worker = world.work("w1", worker());
        let run = start(&coordinator, "{}").await;
        let row = world.reaches(run, RunStatus::Completed).await;
        let context = Json::parse(&row.context.expect("a context")).expect("JSON");
        let told = context
            .get("span")
            .and_then(Json::as_str)
            .expect("what the handler was told");
        assert_eq!(told, TraceParent::of_attempt(run, "/pick", 1, is_sampled).to_string());
        coordinator.shutdown().await;
        tracer.close().await;
    }
}
