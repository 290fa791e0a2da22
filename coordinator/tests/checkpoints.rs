//! What a step stores outlives the worker that ran it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_worker::{StepContext, StepError, Worker};
use support::{World, soon, start};

const DOCUMENT: &str = "
workflow: w
steps:
  - step: long
";

/// The first worker stores, is seen to have stored, and vanishes; the same attempt goes on with that on the second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_goes_on_from_its_checkpoint_when_its_worker_has_vanished() {
    let world = World::new(DOCUMENT).await;
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, "{}").await;
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let long = move |ctx: StepContext, _: Json| {
        let starts = counted.clone();
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            if let Some(stored) = ctx.last_checkpoint::<Json>()? {
                return Ok::<_, StepError>(Json::from_entries([
                    ("stored", stored),
                    ("attempt", Json::Int(i64::from(ctx.attempt()))),
                ]));
            }
            ctx.checkpoint([1, 2, 3])?;
            std::future::pending().await
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    {
        let _in = runtime.enter();
        let worker = Worker::builder().name("w").handler("long", long.clone());
        let worker = worker.build(world.broker.link("w1")).expect("a worker");
        drop(tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new())));
    }
    let stored = async || {
        let journal = world.store.journal(run, 0, 1_000).await.expect("the journal");
        journal.iter().any(|stored| stored.row.kind == "checkpoint_stored")
    };
    let seen = async {
        while !stored().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon("the record of the checkpoint", seen).await;
    runtime.shutdown_background();
    world.broker.cut("w1");
    let _second = world.work("w2", Worker::builder().name("w").handler("long", long));
    let row = world.reaches(run, RunStatus::Completed).await;
    let context = String::from_utf8(row.context.expect("a context").to_vec()).expect("text");
    assert_eq!(context, r#"{"attempt":1,"stored":[1,2,3]}"#);
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}
