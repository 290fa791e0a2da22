//! Workers' questions, asked by workers that are played here: what no real one does at will.

mod support;

use std::time::Duration;

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::run::RunStatus;
use rejoin_shared::wire::{Verdict, kind};
use support::played::{Played, lose_the_only_pack, only_attempt};
use support::tripwire::Tripwire;
use support::{Log, World, config_of, soon, start};
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

/// A verdict on what was delivered before needs a fence of its own. The owner dies when that is back, before it has answered:
/// the next one proves it anew, and answers the same question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_dies_between_a_returned_fence_and_its_verdict_leaves_the_question_to_the_next() {
    let world = World::new(DOCUMENT).await;
    let dying = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let dying = dying.expect("a runtime");
    let link = Tripwire::new(world.broker.link("a"), kind::VERDICTS);
    let coordinator = {
        let _in = dying.enter();
        world.coordinator_over(config_of("a"), link.clone())
    };
    let mut asker = Played::new(&world, "asker").await;
    soon("ownership", coordinator.owns(64)).await;
    asker.report(false).await;
    let run = start(&coordinator, "{}").await;
    let reply_to = lose_the_only_pack(&world).await;
    let (attempt, question) = (only_attempt(run), Uuid::now_v7());
    asker.ask(&reply_to, attempt, question, true).await;
    let mut tripped = link.is_tripped.subscribe();
    soon("the verdict", tripped.wait_for(|is_tripped| *is_tripped))
        .await
        .expect("the link lives");
    dying.shutdown_background();
    world.broker.cut("a");

    let next = world.coordinator("b");
    soon("the takeover", next.owns(64)).await;
    assert_eq!(asker.claim(&reply_to, attempt, question, true).await, Verdict::Run);
    let log = Log::new(1);
    let _worker = world.work("real", log.builder());
    asker.complete(&reply_to, attempt).await;
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 0);
}

/// A worker that lives on was allowed to run the attempt; another one runs it in the end.
async fn goes_out_again_after(heard: impl AsyncFn(&mut Played, AttemptKey)) {
    let world = World::new(DOCUMENT).await;
    let coordinator = world.coordinator("a");
    let mut asker = Played::new(&world, "asker").await;
    soon("ownership", coordinator.owns(64)).await;
    asker.report(false).await;
    let run = start(&coordinator, "{}").await;
    let reply_to = lose_the_only_pack(&world).await;
    let attempt = only_attempt(run);
    let verdict = asker.claim(&reply_to, attempt, Uuid::now_v7(), false).await;
    assert_eq!(verdict, Verdict::Run);
    heard(&mut asker, attempt).await;
    let log = Log::new(1);
    let _worker = world.work("real", log.builder());
    let reports = async {
        while log.starts() == 0 {
            asker.report(false).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reports)
        .await
        .expect("it went out again");
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 1);
}

/// It has forgotten what it asked for, or the answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_was_allowed_to_run_and_never_lists_goes_out_again() {
    goes_out_again_after(async |_, _| {}).await;
}

/// It has run it, its completion was confirmed, and the broker lost that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_was_allowed_to_run_and_lists_no_more_goes_out_again() {
    goes_out_again_after(async |asker, attempt| {
        asker.held = vec![attempt];
        asker.report(false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        asker.held.clear();
    })
    .await;
}
