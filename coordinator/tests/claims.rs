//! Claims on attempts that may begin once only (SPEC 5.2), each interleaving of question, grant, death and return.

mod support;

use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimId, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::wire::Verdict;
use support::played::{Played, lose_the_only_pack, only_attempt, packs};
use support::{Log, World, soon, start};
use tokio::runtime::Runtime;
use uuid::Uuid;

const ONCE: &str = "
workflow: w
steps: [ { step: count, idempotent: false, with: { i: '= \"only\"' }, into: null, retry: { max_attempts: 3 } } ]
";

/// A run whose only attempt was sent and is in nobody's hands but the test's.
struct Scene {
    world: World,
    /// Where the owner lives.
    owner: Option<Runtime>,
    run: RunId,
    attempt: AttemptKey,
    reply_to: String,
    first: Played,
    second: Played,
}

impl Scene {
    async fn new() -> Scene {
        let world = World::new(ONCE).await;
        let owner = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let owner = owner.expect("a runtime");
        let coordinator = {
            let _in = owner.enter();
            world.coordinator("a")
        };
        let mut first = Played::new(&world, "first").await;
        let mut second = Played::new(&world, "second").await;
        soon("ownership", coordinator.owns(64)).await;
        first.report(false).await;
        second.report(false).await;
        let run = start(&coordinator, "{}").await;
        let reply_to = lose_the_only_pack(&world).await;
        Scene {
            attempt: only_attempt(run),
            world,
            owner: Some(owner),
            run,
            reply_to,
            first,
            second,
        }
    }

    /// The owner dies between two effects.
    fn kill_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.shutdown_background();
        }
        self.world.broker.cut("a");
    }

    async fn kinds(&self) -> Vec<String> {
        let journal = self.world.store.journal(self.run, 0, 100).await.expect("the journal");
        journal.into_iter().map(|stored| stored.row.kind.into_owned()).collect()
    }

    async fn claims_recorded(&self) -> usize {
        self.kinds().await.iter().filter(|kind| *kind == "step_claimed").count()
    }

    /// The run fails with an unknown outcome, though a worker is there that would run it.
    async fn ends_unknown(&self) {
        let log = Log::new(1);
        let _worker = self.world.work("real", log.builder());
        let row = self.world.reaches(self.run, RunStatus::Failed).await;
        let error = String::from_utf8(row.error.expect("an error").to_vec()).expect("text");
        assert!(error.contains("rejoin.outcome_unknown"), "{error}");
        assert_eq!(log.starts(), 0);
    }

    /// A real worker runs the step, once.
    async fn is_run_by_another(&self) {
        let log = Log::new(1);
        let _worker = self.world.work("real", log.builder());
        self.world.reaches(self.run, RunStatus::Completed).await;
        assert_eq!(log.starts(), 1);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_owner();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_given_again_and_nobody_else_gets_it() {
    let mut s = Scene::new().await;
    let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    let refused = s.second.claim(&s.reply_to, s.attempt, other, false).await;
    assert_eq!(refused, Verdict::HeldElsewhere);
    // The same worker by another delivery of it is another asker.
    let again = s.first.claim(&s.reply_to, s.attempt, Uuid::now_v7(), false).await;
    assert_eq!((again, s.claims_recorded().await), (Verdict::HeldElsewhere, 1));
    s.first.complete(&s.reply_to, s.attempt).await;
    s.world.reaches(s.run, RunStatus::Completed).await;
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Drop);
}

/// The owner dies after its commit, before or after the grant has left: its successor gives the same answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_owner_gives_the_same_grant_and_takes_the_completion() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    (s.first.held, s.first.claims) = (vec![s.attempt], vec![ClaimId(id)]);
    s.kill_owner();
    let next = s.world.coordinator("b");
    soon("the takeover", next.owns(64)).await;
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    let refused = s.second.claim(&s.reply_to, s.attempt, Uuid::now_v7(), true).await;
    assert_eq!(refused, Verdict::HeldElsewhere);
    s.first.complete(&s.reply_to, s.attempt).await;
    s.world.reaches(s.run, RunStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_ends_with_its_claim_leaves_the_outcome_unknown() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    s.first.claims = vec![ClaimId(id)];
    s.first.report(false).await;
    s.first.report(true).await;
    s.second.report(true).await;
    s.ends_unknown().await;
}

/// It completed, its completion was confirmed, and the broker lost it: whether it ran is not known here, and it may not again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_its_living_worker_lists_no_more_is_lost() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    (s.first.held, s.first.claims) = (vec![s.attempt], vec![ClaimId(id)]);
    for _ in 0..3 {
        s.first.report(false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(s.world.row(s.run).await.status, RunStatus::Running);
    s.first.held.clear();
    s.first.claims.clear();
    s.second.report(true).await;
    let reports = async {
        loop {
            s.first.report(false).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            if s.world.row(s.run).await.status == RunStatus::Failed {
                return;
            }
        }
    };
    soon("the loss", reports).await;
    s.ends_unknown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_ends_before_it_asked_has_run_nothing() {
    let mut s = Scene::new().await;
    s.first.held = vec![s.attempt];
    s.first.report(false).await;
    s.first.report(true).await;
    s.second.report(true).await;
    s.is_run_by_another().await;
    assert_eq!(s.claims_recorded().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_comes_back_unused_lets_another_worker_run_it() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    s.first.hand_back(&s.reply_to, s.attempt, Some(id)).await;
    s.first.report(true).await;
    s.second.report(true).await;
    s.is_run_by_another().await;
    let kinds = s.kinds().await;
    let of_claims = kinds.iter().filter(|kind| kind.contains("claim"));
    assert_eq!(
        of_claims.collect::<Vec<_>>(),
        ["step_claimed", "claim_returned", "step_claimed"]
    );
}

/// The hand-back is read before the question that it takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_taken_back_gets_no_claim() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    s.first.hand_back(&s.reply_to, s.attempt, Some(id)).await;
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Drop);
    s.first.report(true).await;
    s.second.report(true).await;
    s.is_run_by_another().await;
}

/// A copy of the pack is given back by somebody who has no claim: that takes nothing from who has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_handed_back_frees_no_claim() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    s.first.claims = vec![ClaimId(id)];
    s.first.report(false).await;
    s.second.hand_back(&s.reply_to, s.attempt, None).await;
    s.second.hand_back(&s.reply_to, s.attempt, Some(Uuid::now_v7())).await;
    let refused = s.second.claim(&s.reply_to, s.attempt, Uuid::now_v7(), false).await;
    assert_eq!(
        (refused, s.world.broker.peek("rejoin.tasks.default").len()),
        (Verdict::HeldElsewhere, 0)
    );
    s.first.complete(&s.reply_to, s.attempt).await;
    s.world.reaches(s.run, RunStatus::Completed).await;
}

/// Its process lost the connection and came back as another incarnation: it runs on, and its completion counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_goes_with_its_process_into_its_next_incarnation() {
    let mut s = Scene::new().await;
    let id = Uuid::now_v7();
    assert_eq!(s.first.claim(&s.reply_to, s.attempt, id, false).await, Verdict::Run);
    let mut again = Played::new(&s.world, "first").await;
    (again.held, again.claims) = (vec![s.attempt], vec![ClaimId(id)]);
    again.report(false).await;
    s.first.report(true).await;
    for _ in 0..10 {
        again.report(false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(s.world.row(s.run).await.status, RunStatus::Running);
    again.complete(&s.reply_to, s.attempt).await;
    s.world.reaches(s.run, RunStatus::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_are_claimed_travel_alone() {
    let world = World::new(
        "
workflow: w
steps:
  - foreach: each
    items: '40'
    concurrency: unbounded
    steps: [ { step: count, idempotent: false, into: null } ]
",
    )
    .await;
    let coordinator = world.coordinator("a");
    let mut worker = Played::new(&world, "w").await;
    soon("ownership", coordinator.owns(64)).await;
    worker.report(false).await;
    start(&coordinator, "{}").await;
    let packs = packs(&world, 40).await;
    assert_eq!(packs.len(), 40);
    assert!(packs.iter().all(|(pack, _)| pack.claim && pack.check && !pack.suspect));
}
