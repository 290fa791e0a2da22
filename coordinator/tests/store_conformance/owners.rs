//! Members, leases and claims.

use rejoin_coordinator::store::{Batch, Claim, Member, PartitionRow};
use rejoin_shared::ids::Partition;

use crate::subject::{Subject, eventually, is_not_owner, member};

on_every_store!(
    all_partitions_are_free_at_first,
    a_claimed_partition_shows_its_owner,
    a_live_lease_keeps_others_out,
    a_lease_that_ran_out_lets_another_in,
    leaving_frees_what_the_member_held,
    releasing_frees_only_what_is_held_under_that_epoch,
    an_owner_may_claim_its_own_again,
    a_restarted_process_takes_its_own_back_when_told_to,
    of_two_claims_at_once_one_wins,
    a_renewal_keeps_the_time_of_joining,
    the_mark_of_an_event_queue_stays,
);

async fn partition(s: &Subject, number: u8) -> PartitionRow {
    let rows = s.store.partitions().await.expect("read");
    rows.into_iter()
        .find(|row| row.partition == Partition(number))
        .expect("there are 64")
}

async fn joined(s: &Subject, name: &str, lease_ms: u64) -> Member {
    let member = member(name);
    s.store.renew(&member, lease_ms).await.expect("joins");
    member
}

async fn claim(s: &Subject, member: &Member, number: u8) -> Option<Claim> {
    let claims = s
        .store
        .claim(member, &[Partition(number)], None)
        .await
        .expect("answered");
    claims.first().copied()
}

async fn appends(s: &Subject, claim: Claim) -> bool {
    let outcome = s
        .store
        .append(&Batch {
            claims: vec![claim],
            ..Batch::default()
        })
        .await;
    assert!(outcome.is_ok() || is_not_owner(&outcome));
    outcome.is_ok()
}

async fn all_partitions_are_free_at_first(s: &Subject) {
    let rows = s.store.partitions().await.expect("read");
    assert_eq!(
        rows.iter().map(|row| row.partition.0).collect::<Vec<_>>(),
        (0..64).collect::<Vec<u8>>()
    );
    assert!(
        rows.iter()
            .all(|row| row.owner.is_none() && !row.is_live && !row.has_events)
    );
}

async fn a_claimed_partition_shows_its_owner(s: &Subject) {
    let a = joined(s, "a", 60_000).await;
    let got = claim(s, &a, 7).await.expect("free");
    let row = partition(s, 7).await;
    assert_eq!((row.owner, row.is_live, row.epoch), (Some(a.clone()), true, got.epoch));
    let members = s.store.members().await.expect("read");
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].member, a);
    assert!(members[0].lease_left_ms > 30_000 && members[0].lease_left_ms <= 60_000);
}

async fn a_live_lease_keeps_others_out(s: &Subject) {
    let (a, b) = (joined(s, "a", 60_000).await, joined(s, "b", 60_000).await);
    let mine = claim(s, &a, 7).await.expect("free");
    let both = s
        .store
        .claim(&b, &[Partition(8), Partition(7)], None)
        .await
        .expect("answered");
    assert_eq!(both.iter().map(|c| c.partition).collect::<Vec<_>>(), [Partition(8)]);
    assert!(appends(s, mine).await);
}

async fn a_lease_that_ran_out_lets_another_in(s: &Subject) {
    let (a, b) = (joined(s, "a", 1).await, joined(s, "b", 60_000).await);
    let old = claim(s, &a, 7).await.expect("free");
    eventually("the lease runs out", || async { !partition(s, 7).await.is_live }).await;
    let left = s
        .store
        .members()
        .await
        .expect("read")
        .into_iter()
        .find(|m| m.member == a)
        .expect("listed for a day");
    assert!(left.lease_left_ms <= 0);
    let new = claim(s, &b, 7).await.expect("its lease ran out");
    assert_eq!((new.epoch.count, new.batch), (old.epoch.count + 1, 0));
    assert_ne!(new.epoch.token, old.epoch.token);
    assert!(!appends(s, old).await && appends(s, new).await);
}

async fn leaving_frees_what_the_member_held(s: &Subject) {
    let (a, b) = (joined(s, "a", 60_000).await, joined(s, "b", 60_000).await);
    let old = claim(s, &a, 7).await.expect("free");
    let kept = claim(s, &b, 8).await.expect("free");
    s.store.leave(&a).await.expect("leaves");
    assert_eq!(partition(s, 7).await.owner, None);
    assert!(!appends(s, old).await, "nothing is appended after leaving");
    assert!(appends(s, kept).await);
    let left = s
        .store
        .members()
        .await
        .expect("read")
        .into_iter()
        .find(|m| m.member == a)
        .expect("listed for a day");
    assert!(left.lease_left_ms <= 0);
    assert!(claim(s, &b, 7).await.expect("free").epoch.count > old.epoch.count);
}

async fn releasing_frees_only_what_is_held_under_that_epoch(s: &Subject) {
    let (a, b) = (joined(s, "a", 60_000).await, joined(s, "b", 60_000).await);
    let first = claim(s, &a, 7).await.expect("free");
    let second = claim(s, &a, 7).await.expect("its own");
    s.store.release(&a, &[first]).await.expect("answered");
    s.store.release(&b, &[second]).await.expect("answered");
    assert!(appends(s, second).await, "an old epoch and a stranger release nothing");
    s.store
        .release(&a, &[Claim { batch: 1, ..second }])
        .await
        .expect("answered");
    assert_eq!(partition(s, 7).await.owner, None);
    assert!(!appends(s, Claim { batch: 1, ..second }).await);
    assert!(claim(s, &b, 7).await.is_some());
}

async fn an_owner_may_claim_its_own_again(s: &Subject) {
    let a = joined(s, "a", 60_000).await;
    let first = claim(s, &a, 7).await.expect("free");
    assert!(appends(s, first).await);
    let second = claim(s, &a, 7).await.expect("its own");
    assert_eq!((second.epoch.count, second.batch), (first.epoch.count + 1, 0));
    assert!(!appends(s, Claim { batch: 1, ..first }).await && appends(s, second).await);
}

async fn a_restarted_process_takes_its_own_back_when_told_to(s: &Subject) {
    let (earlier, again, stranger) = (
        joined(s, "a", 60_000).await,
        joined(s, "a", 60_000).await,
        joined(s, "b", 60_000).await,
    );
    let old = claim(s, &earlier, 7).await.expect("free");
    assert_eq!(claim(s, &again, 7).await, None, "the name alone is not enough");
    let restart = Some(earlier.incarnation);
    assert!(
        s.store
            .claim(&stranger, &[Partition(7)], restart)
            .await
            .expect("answered")
            .is_empty()
    );
    let taken = s.store.claim(&again, &[Partition(7)], restart).await.expect("answered");
    assert_eq!(taken.len(), 1);
    assert!(!appends(s, old).await && appends(s, taken[0]).await);
}

async fn of_two_claims_at_once_one_wins(s: &Subject) {
    let all: Vec<Partition> = (0..64).map(Partition).collect();
    let (a, b) = (joined(s, "a", 60_000).await, joined(s, "b", 60_000).await);
    let (of_a, of_b) = tokio::join!(s.store.claim(&a, &all, None), s.other.claim(&b, &all, None));
    let (of_a, of_b) = (of_a.expect("answered"), of_b.expect("answered"));
    assert_eq!(of_a.len() + of_b.len(), 64);
    for claim in of_a.iter().chain(&of_b) {
        assert!(appends(s, *claim).await);
    }
}

async fn a_renewal_keeps_the_time_of_joining(s: &Subject) {
    let a = joined(s, "a", 1).await;
    let before = s.store.members().await.expect("read")[0].joined_at;
    let moved = Member {
        address: "http://elsewhere:2".to_owned(),
        ..a
    };
    s.store.renew(&moved, 60_000).await.expect("renews");
    let members = s.store.members().await.expect("read");
    assert_eq!(
        (members.len(), members[0].joined_at, &members[0].member),
        (1, before, &moved)
    );
    assert!(members[0].lease_left_ms > 0);
}

async fn the_mark_of_an_event_queue_stays(s: &Subject) {
    let a = joined(s, "a", 60_000).await;
    let got = claim(s, &a, 7).await.expect("free");
    s.store.mark_events(Partition(7)).await.expect("marked");
    s.store.mark_events(Partition(7)).await.expect("marked again");
    assert!(appends(s, got).await, "the chain is not touched");
    s.store.release(&a, &[got]).await.expect("released");
    assert!(partition(s, 7).await.has_events && !partition(s, 8).await.has_events);
}
