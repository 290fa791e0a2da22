//! Attempts that may begin once only: claimed just before they begin, begun only when granted, given back otherwise.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rejoin_shared::ids::ClaimId;
use rejoin_shared::json::Json;
use rejoin_shared::link::Settle;
use rejoin_shared::wire::{Check, HandBack, Verdict, kind};
use rejoin_worker::{StepContext, StepError, WorkerBuilder};
use support::{Owner, Running, builder, redeliver, until};
use tokio::sync::Semaphore;

/// A handler `count` that counts its starts and waits for a permit.
struct Counted {
    starts: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

fn counted() -> (Counted, WorkerBuilder) {
    let counted = Counted {
        starts: Arc::default(),
        permits: Arc::new(Semaphore::new(0)),
    };
    let (starts, permits) = (counted.starts.clone(), counted.permits.clone());
    let builder = builder()
        .concurrency(1)
        .handler("count", move |_: StepContext, _: Json| {
            let (starts, permits) = (starts.clone(), permits.clone());
            async move {
                starts.fetch_add(1, Ordering::SeqCst);
                permits.acquire().await?.forget();
                Ok::<_, StepError>(Json::Int(7))
            }
        });
    (counted, builder)
}

impl Counted {
    fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }
    async fn started(&self, count: usize) {
        until("the handler's start", || self.starts() == count).await;
    }
}

/// Sends an attempt that has to be claimed.
async fn dispatch_claimed(owner: &mut Owner, pos: u32) {
    let orders = vec![owner.order(pos, "count", "1")];
    let mut pack = owner.pack(orders);
    (pack.check, pack.claim) = (true, true);
    owner.publish(&pack).await;
}

async fn question(owner: &mut Owner) -> (Check, serde_json::Value) {
    let asked = owner.event(kind::CHECK).await;
    (serde_json::from_value(asked.clone()).expect("a check"), asked)
}

async fn handed_back(owner: &mut Owner) -> HandBack {
    let back = owner.event(kind::HAND_BACK).await;
    serde_json::from_value(back).expect("a hand-back")
}

async fn acks(running: &Running, count: usize) {
    let acked = || running.link.settled().iter().filter(|how| **how == Settle::Ack).count();
    until("the acks", || acked() >= count).await;
}

#[tokio::test]
async fn a_claim_is_asked_for_when_a_slot_is_free_and_listed_until_its_completion_is_confirmed() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let plain = owner.order(1, "count", "1");
    owner.dispatch(vec![plain]).await;
    counted.started(1).await;
    dispatch_claimed(&mut owner, 2).await;
    let key = owner.key(2);
    let waiting = owner.report(|report| report.held.contains(&key)).await;
    assert_eq!((waiting.claims, owner.has_event()), (vec![], false));

    counted.permits.add_permits(1);
    // The slot is free before the completion is on its way: which of the two comes first is open.
    let events = [owner.next_event().await, owner.next_event().await];
    let body_of = |kind: &str| events.iter().find(|(came, _)| came == kind).expect(kind).1.clone();
    assert_eq!(body_of(kind::COMPLETIONS)["items"][0]["step"]["pos"], 1);
    let asked = body_of(kind::CHECK);
    let check: Check = serde_json::from_value(asked.clone()).expect("a check");
    assert_eq!((&check.attempts[..], check.redelivered), (&[key][..], false));
    assert_eq!(counted.starts(), 1);
    owner.answer(&asked, |_| Verdict::Run).await;
    counted.started(2).await;
    let claim = ClaimId(check.id);
    owner
        .report(|report| report.claims == [claim] && report.busy == 1)
        .await;
    counted.permits.add_permits(1);
    assert_eq!(owner.completions(1).await[0]["step"]["pos"], 2);
    owner
        .report(|report| report.claims.is_empty() && report.held.is_empty())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_refused_does_not_run_and_is_done_with() {
    let mut owner = Owner::new().await;
    dispatch_claimed(&mut owner, 1).await;
    redeliver(&owner).await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    let (check, asked) = question(&mut owner).await;
    assert!(check.redelivered);
    owner.answer(&asked, |_| Verdict::HeldElsewhere).await;
    acks(&running, 1).await;
    owner
        .report(|report| report.claims.is_empty() && report.held.is_empty())
        .await;
    assert_eq!(counted.starts(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_question_without_an_answer_is_asked_again_under_its_id_and_keeps_no_slot_meanwhile() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (first, _) = question(&mut owner).await;
    let plain = owner.order(2, "count", "1");
    owner.dispatch(vec![plain]).await;
    let (again, asked) = question(&mut owner).await;
    assert_eq!(first.id, again.id);
    // The other one has the slot now; the grant is next.
    counted.started(1).await;
    owner.answer(&asked, |_| Verdict::Run).await;
    counted.permits.add_permits(2);
    assert_eq!(owner.completions(2).await[1]["step"]["pos"], 1);
    running.stop().await;
}

#[tokio::test]
async fn a_drain_hands_the_claim_back_that_was_asked_for() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (check, asked) = question(&mut owner).await;
    running.stop.cancel();
    let back = handed_back(&mut owner).await;
    assert_eq!(back.claims, [(owner.key(1), ClaimId(check.id))]);
    // A grant that comes now begins nothing.
    owner.answer(&asked, |_| Verdict::Run).await;
    running.ended().await;
    assert_eq!(counted.starts(), 0);
}

#[tokio::test]
async fn a_lost_connection_hands_the_claim_back_that_was_not_used() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (check, _) = question(&mut owner).await;
    owner.broker.disconnect(support::WORKER_LINK);
    // The broker delivers it again too, and it may be asked about anew: which comes first is open.
    let back = loop {
        let (came, body) = owner.next_event().await;
        if came == kind::HAND_BACK {
            break serde_json::from_value::<HandBack>(body).expect("a hand-back");
        }
    };
    assert_eq!(back.claims, [(owner.key(1), ClaimId(check.id))]);
    assert_ne!(back.worker.incarnation, check.worker.incarnation);
    assert_eq!(counted.starts(), 0);
    running.stop().await;
}

#[tokio::test]
async fn what_runs_by_a_claim_keeps_it_over_a_lost_connection() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (check, asked) = question(&mut owner).await;
    owner.answer(&asked, |_| Verdict::Run).await;
    counted.started(1).await;
    owner.broker.disconnect(support::WORKER_LINK);
    let (old, claim) = (check.worker.incarnation, ClaimId(check.id));
    owner
        .report(|report| report.worker.incarnation != old && report.claims == [claim])
        .await;
    counted.permits.add_permits(1);
    assert_eq!(owner.completions(1).await[0]["output"], 7);
    assert_eq!(counted.starts(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_cancelled_attempt_gives_the_claim_back_that_it_asked_for() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (check, asked) = question(&mut owner).await;
    owner.cancel(&check.worker, vec![owner.key(1)]).await;
    let back = handed_back(&mut owner).await;
    assert_eq!(back.claims, [(owner.key(1), ClaimId(check.id))]);
    owner.answer(&asked, |_| Verdict::Run).await;
    acks(&running, 1).await;
    assert_eq!(counted.starts(), 0);
    running.stop().await;
}

/// A grant for one delivery of it is none for another.
#[tokio::test]
async fn an_answer_fits_its_own_question_only() {
    let mut owner = Owner::new().await;
    let (counted, builder) = counted();
    let running = owner.start(builder);
    dispatch_claimed(&mut owner, 1).await;
    let (first, asked_first) = question(&mut owner).await;
    owner.cancel(&first.worker, vec![owner.key(1)]).await;
    handed_back(&mut owner).await;
    acks(&running, 1).await;
    dispatch_claimed(&mut owner, 1).await;
    let (second, asked_second) = question(&mut owner).await;
    assert_ne!(first.id, second.id);
    owner.answer(&asked_first, |_| Verdict::Run).await;
    owner.send_own(&second.worker, kind::REPORT_NOW, &()).await;
    owner.report(|report| report.claims == [ClaimId(second.id)]).await;
    assert_eq!(counted.starts(), 0);
    owner.answer(&asked_second, |_| Verdict::Run).await;
    counted.started(1).await;
    counted.permits.add_permits(1);
    owner.completions(1).await;
    running.stop().await;
}
