//! Workers' questions, asked by workers that are played here: what no real one does at will.

mod support;

use std::time::Duration;

use rejoin_shared::run::RunStatus;
use support::played::{Played, lose_the_only_pack, only_attempt};
use support::{Log, World, soon, start};
use uuid::Uuid;

const DOCUMENT: &str = "
workflow: w
steps:
  - step: count
    with: { i: '= \"only\"' }
";

/// The attempt's message is lost; the one who asked about it has ended before it could be answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_a_worker_that_ended_meanwhile_holds_nothing_up() {
    let world = World::new(DOCUMENT).await;
    let coordinator = world.coordinator("a");
    let mut asker = Played::new(&world, "asker").await;
    let mut bystander = Played::new(&world, "bystander").await;
    soon("ownership", coordinator.owns(64)).await;
    asker.report(false).await;
    bystander.report(false).await;
    let run = start(&coordinator, "{}").await;
    let reply_to = lose_the_only_pack(&world).await;
    // Unanswered as long as the bystander, who may hold it, has not reported twice.
    asker.ask(&reply_to, only_attempt(run), Uuid::now_v7(), true).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    asker.report(true).await;
    bystander.report(true).await;

    let log = Log::new(1);
    let _worker = world.work("real", log.builder());
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 1);
}
