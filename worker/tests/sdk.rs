//! What typed handlers can do and say.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_worker::{StepContext, StepError, log_layer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{Owner, builder, raw};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Deserialize)]
struct In {
    n: i64,
}

#[derive(Serialize)]
struct Out {
    double: f64,
    run: String,
}

async fn work(ctx: StepContext, input: In) -> Result<Out, StepError> {
    ctx.set("a.c", input.n)?;
    ctx.unset("a.b")?;
    ctx.log("by hand");
    tracing::info!(n = input.n, "by tracing");
    ctx.checkpoint(BTreeMap::from([("at", 1)]))?;
    assert_eq!((ctx.attempt(), &*ctx.idempotency_key(), ctx.path()), (1, "k1", "/s#1"));
    assert_eq!(ctx.get::<f64>("a.b")?, Some(1.5));
    assert_eq!(ctx.item::<String>()?.as_deref(), Some("it"));
    assert_eq!(ctx.index::<u32>()?, Some(3));
    assert_eq!(ctx.last_checkpoint::<Vec<i64>>()?, Some(vec![1]));
    Ok(Out {
        double: 1.0,
        run: ctx.run().to_string(),
    })
}

#[tokio::test]
async fn a_typed_handler_reads_writes_logs_and_stores_a_checkpoint() {
    let subscriber = tracing_subscriber::registry().with(log_layer());
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut owner = Owner::new().await;
    let running = owner.start(builder().handler("work", work));
    let mut order = owner.order(1, "work", r#"{"n":9007199254740993}"#);
    order.payload.item = Some(raw(r#""it""#));
    order.payload.index = Some(raw("3"));
    order.payload.checkpoint = Some(raw("[1]"));
    owner.dispatch(vec![order]).await;
    let item = owner.completions(1).await.remove(0);
    assert_eq!(
        item["output"],
        json!({"double": 1.0, "run": owner.run.to_string()}),
        "{item}"
    );
    assert_eq!(
        (&item["set"], &item["unset"]),
        (&json!({"a.c": 9_007_199_254_740_993_u64}), &json!(["a.b"]))
    );
    assert_eq!(item["logs"], json!(["by hand", "INFO by tracing n=9007199254740993"]));
    assert_eq!(item["checkpoint"], json!({"at": 1}));
    running.stop().await;
}

/// Lines that a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the lines").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn log_twice(_: StepContext, _: Json) -> Result<(), StepError> {
    tracing::info!("in the handler");
    let task = async { tracing::info!("in a task of it") };
    Ok(tokio::spawn(task.in_current_span()).await?)
}

#[tokio::test]
async fn what_a_handler_logs_by_tracing_carries_run_path_and_attempt() {
    let lines = Lines::default();
    let writer = lines.clone();
    let format = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(log_layer()).with(format);
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut owner = Owner::new().await;
    let running = owner.start(builder().handler("work", log_twice));
    let order = owner.order(1, "work", "null");
    owner.dispatch(vec![order]).await;
    let item = owner.completions(1).await.remove(0);
    assert_eq!(
        item["logs"],
        json!(["INFO in the handler", "INFO in a task of it"]),
        "{item}"
    );
    running.stop().await;
    let text = String::from_utf8(lines.0.lock().expect("the lines").clone()).expect("text");
    let read = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let told: Vec<Value> = read
        .filter(|line| {
            line["fields"]["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("in "))
        })
        .map(|line| line["span"].clone())
        .collect();
    let span = json!({"name": "attempt", "run": owner.run.to_string(), "path": "/s#1", "attempt": 1});
    assert_eq!(told, [span.clone(), span]);
}

#[tokio::test]
async fn errors_say_what_the_step_may_do_next() {
    let mut owner = Owner::new().await;
    let failing = |_: StepContext, how: String| async move {
        match how.as_str() {
            "fatal" => Err::<(), _>(StepError::fatal("no").with_type("x.y").with_details(Json::object())),
            "later" => Err(StepError::retry_after(Duration::from_secs(2), "wait")),
            "panic" => panic!("oh {how}"),
            _ => Err(std::io::Error::other("broken").into()),
        }
    };
    let running = owner.start(builder().handler("fail", failing));
    for (how, kind, retryable, after) in [
        (r#""fatal""#, "x.y", false, Value::Null),
        (r#""later""#, "handler.error", true, json!(2000)),
        (r#""panic""#, "handler.panic", true, Value::Null),
        (r#""other""#, "handler.error", true, Value::Null),
        ("5", "handler.error", false, Value::Null),
    ] {
        let order = owner.order(1, "fail", how);
        owner.dispatch(vec![order]).await;
        let item = owner.completions(1).await.remove(0);
        let seen = (&item["type"], &item["retryable"], &item["retry_after_ms"]);
        assert_eq!(seen, (&json!(kind), &json!(retryable), &after), "{item}");
    }
    running.stop().await;
}

#[tokio::test]
async fn changes_are_laid_on_the_base_and_the_context_is_the_default_input() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    let mut order = owner.order(1, "rejoin.echo", "0");
    order.payload.input = None;
    order.payload.changes = Some(serde_json::from_str(r#"{"a":{"c":[2.0]},"z":[null]}"#).expect("changes"));
    owner.dispatch(vec![order]).await;
    let item = owner.completions(1).await.remove(0);
    assert_eq!(item["output"].to_string(), r#"{"a":{"b":1.5,"c":2.0},"z":null}"#);
    running.stop().await;
}

#[tokio::test]
async fn the_built_in_failure_fails_so_many_times() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder());
    for (attempt, outcome) in [(1, "error"), (2, "error"), (3, "ok")] {
        let mut order = owner.order(1, "rejoin.fail", r#"{"type":"a.b","times":2,"retryable":false}"#);
        order.attempt = attempt;
        owner.dispatch(vec![order]).await;
        let item = owner.completions(1).await.remove(0);
        assert_eq!(item["outcome"], outcome, "{item}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_owner_reads_completions_by_the_wire_contracts_type() {
    let mut owner = Owner::new().await;
    let running = owner.start(builder().handler("work", work));
    let order = owner.order(1, "rejoin.echo", "1.0");
    owner.dispatch(vec![order]).await;
    let (_, text) = owner.next_event_text().await;
    let read: rejoin_shared::wire::Completions = serde_json::from_str(&text).expect("the contract's JSON");
    let rejoin_shared::wire::AttemptEnd::Ok { output, .. } = &read.items[0].end else {
        panic!("{text}")
    };
    assert_eq!(output.as_ref().map(|output| output.get()), Some("1.0"));
    running.stop().await;
}
