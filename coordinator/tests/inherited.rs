//! What an owner takes for its predecessor's, and what cannot be: whatever an earlier owner may have sent goes out with a question.

mod support;

use std::time::Duration;

use rejoin_shared::ids::RunId;
use rejoin_shared::run::RunStatus;
use rejoin_shared::wire::Pack;
use support::played::{Played, TASKS, only_attempt, packs};
use support::{Log, World, soon, start};

const TWO: &str = "
workflow: w
steps: [ { step: count, into: null }, { step: second, uses: count, into: null } ]
";

/// The completion of the first step is recorded, and comes again to the next owner: it says nothing of the second step, which the
/// one before had sent, and which somebody may have run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_comes_again_does_not_make_what_follows_it_new() {
    let world = World::new(TWO).await;
    let owner = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let owner = owner.expect("a runtime");
    let first = {
        let _in = owner.enter();
        world.coordinator("a")
    };
    let mut worker = Played::new(&world, "w").await;
    soon("ownership", first.owns(64)).await;
    worker.report(false).await;
    let run = start(&first, "{}").await;
    let (_, reply_to) = packs(&world, 1).await.pop().expect("the first step");
    world.broker.purge(TASKS);
    worker.complete(&reply_to, only_attempt(run)).await;
    let (sent, _) = packs(&world, 1).await.pop().expect("the second step");
    assert_eq!((sent.check, pos_of(run, &sent)), (false, 1));
    owner.shutdown_background();
    world.broker.cut("a");
    world.broker.purge(TASKS);
    worker.complete(&reply_to, only_attempt(run)).await;
    let next = world.coordinator("b");
    soon("the takeover", next.owns(64)).await;
    // Nobody has said yet that nobody has it: nothing goes out, least of all as new.
    for _ in 0..10 {
        worker.report(false).await;
        let seen = packs(&world, 0).await;
        let new = seen.iter().find(|(pack, _)| !pack.attempts.is_empty() && !pack.check);
        assert!(new.is_none(), "{new:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.report(true).await;
    let log = Log::new(10);
    let _worker = world.work("real", log.builder());
    world.reaches(run, RunStatus::Completed).await;
    assert_eq!(log.starts(), 1);
}

fn pos_of(run: RunId, pack: &Pack) -> u32 {
    let only = &pack.attempts[0];
    assert_eq!(only.run, run);
    only.step.pos
}
