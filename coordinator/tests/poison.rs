//! A step that kills its worker again and again is told from its neighbours.

mod support;

use std::time::Duration;

use rejoin_shared::run::RunStatus;
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
    assert!((5..=8).contains(&log.starts()), "{}", log.starts());
    until("a dead letter", || world.broker.peek("rejoin.dead").len() == 1).await;
}
