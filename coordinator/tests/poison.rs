//! A step that kills its worker again and again is told from its neighbours.

mod support;

use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_worker::{StepContext, StepError, Worker};
use support::{Log, World, start, until};

const DOCUMENT: &str = "
workflow: w
steps:
  - step: count
    with: { i: '= \"poison\"' }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_workers_vanish_again_and_again_is_poison() {
    let (world, log) = (World::new(DOCUMENT).await, Log::new(0));
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, "{}").await;
    for life in 1..=10 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let name = format!("w{life}");
        {
            let _in = runtime.enter();
            let builder = log.builder();
            let worker = builder.name("w").build(world.broker.link(&name)).expect("a worker");
            drop(tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new())));
        }
        let seen = async {
            while log.starts() < life && world.row(run).await.status != RunStatus::Failed {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        support::soon("another start, or the end", seen).await;
        runtime.shutdown_background();
        world.broker.cut(&name);
        if world.row(run).await.status == RunStatus::Failed {
            break;
        }
    }
    let row = world.reaches(run, RunStatus::Failed).await;
    let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
    assert!(error.contains("rejoin.poison"), "{error}");
    assert_eq!(log.starts(), 5);
    until("a dead letter", || world.broker.peek("rejoin.dead").len() == 1).await;
}

/// One branch kills whatever worker it runs on; three others are near it each time, and take a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_were_merely_near_a_killer_are_not_blamed() {
    let document = "
workflow: w
steps:
  - foreach: each
    items: '4'
    concurrency: unbounded
    tolerate: 1
    steps: [ { step: work, with: { i: '= index' } } ]
";
    let world = World::new(document).await;
    let coordinator = world.coordinator("a");
    let run = start(&coordinator, "{}").await;
    for life in 1..=20 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let (kill, killed) = tokio::sync::watch::channel(false);
        let work = move |_: StepContext, input: Json| {
            let kill = kill.clone();
            async move {
                if input.get("i") == Some(&Json::Int(0)) {
                    // The others have begun by now, as far as they will.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    kill.send_replace(true);
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok::<_, StepError>(input)
            }
        };
        let name = format!("w{life}");
        {
            let _in = runtime.enter();
            let builder = Worker::builder().name("w").concurrency(8).handler("work", work);
            let worker = builder.build(world.broker.link(&name)).expect("a worker");
            drop(tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new())));
        }
        let seen = async {
            while !*killed.borrow() && !world.row(run).await.status.is_terminal() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        support::soon("a killed worker, or the end", seen).await;
        runtime.shutdown_background();
        world.broker.cut(&name);
        if world.row(run).await.status.is_terminal() {
            break;
        }
    }
    let row = world.reaches(run, RunStatus::Completed).await;
    assert_eq!((row.progress.done, row.progress.failed), (3, 1), "{:?}", row.progress);
    let journal = world.store.journal(run, 0, 1_000).await.expect("the journal");
    let failed: Vec<&str> = journal
        .iter()
        .filter(|stored| stored.row.kind == "step_failed")
        .filter_map(|stored| stored.row.path.as_deref())
        .collect();
    assert_eq!(failed, ["/each[0]/work"]);
}
