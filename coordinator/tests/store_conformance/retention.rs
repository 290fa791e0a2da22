//! Ended runs whose time is over: they go, and nothing else does.

use std::time::Duration;

use rejoin_coordinator::store::{Batch, Claim, JournalRow, Reserved, RunRow};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::subject::{Subject, change, end, json, new_run, record, records};

on_every_store!(
    a_run_whose_retention_is_over_is_deleted_with_all_that_belongs_to_it,
    a_run_whose_row_does_not_say_how_long_is_kept_as_its_state_is,
    a_run_that_has_not_ended_or_goes_on_again_is_kept,
    a_run_is_kept_as_long_as_a_child_that_it_waits_for_goes_on,
    no_more_runs_go_at_once_than_asked_for_and_none_twice,
    the_key_of_an_expired_run_stays_bound_for_a_day,
);

const PAST: Timestamp = Timestamp(1_700_000_000_000_000);
const FUTURE: Timestamp = Timestamp(4_000_000_000_000_000);

/// A run of partition 2 that has ended; `until` is the end of its retention.
async fn ended(s: &Subject, claim: &mut Claim, status: RunStatus, until: Option<Timestamp>) -> RunId {
    let run = new_run(Partition(2));
    ended_run(s, claim, run, status, until).await
}

async fn ended_run(s: &Subject, claim: &mut Claim, run: RunRow, status: RunStatus, until: Option<Timestamp>) -> RunId {
    let id = run.id;
    let mut change = end(id, status);
    change.wake_at = until;
    let batch = Batch {
        created: vec![run],
        rows: records(id, 1..=3),
        changed: vec![change],
        ..Batch::default()
    };
    s.append(claim, batch).await;
    id
}

/// A child of `parent` that goes on; its first record says whether it is waited for.
async fn child(s: &Subject, claim: &mut Claim, parent: RunId, is_awaited: bool) -> RunId {
    let run = RunRow {
        parent: Some(parent),
        ..new_run(Partition(2))
    };
    let id = run.id;
    let body = if is_awaited {
        "{\"is_awaited\":true}"
    } else {
        "{\"is_awaited\":false}"
    };
    let first = JournalRow {
        kind: "run_started".into(),
        body: json(body),
        ..record(id, 1)
    };
    let batch = Batch {
        created: vec![run],
        rows: vec![first],
        ..Batch::default()
    };
    s.append(claim, batch).await;
    id
}

async fn is_there(s: &Subject, run: RunId) -> bool {
    s.store.run(run).await.expect("read").is_some()
}

type Counts = Vec<(RunStatus, u64)>;

/// What would go, and what went: the same.
async fn delete(s: &Subject, keep: &[(RunStatus, Duration)]) -> Counts {
    let sorted = |mut counts: Counts| {
        counts.sort_by_key(|(status, _)| status.as_str());
        counts
    };
    let due = sorted(s.store.expired(keep).await.expect("counted"));
    let gone = sorted(s.store.delete_expired(keep, 100).await.expect("deleted"));
    assert_eq!(gone, due, "a dry run tells what goes");
    assert!(s.store.expired(keep).await.expect("counted").is_empty());
    gone
}

async fn a_run_whose_retention_is_over_is_deleted_with_all_that_belongs_to_it(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let over = ended(s, &mut claim, RunStatus::Completed, Some(PAST)).await;
    let kept = ended(s, &mut claim, RunStatus::Completed, Some(FUTURE)).await;
    let for_ever = ended(s, &mut claim, RunStatus::Failed, None).await;
    assert_eq!(delete(s, &[]).await, [(RunStatus::Completed, 1)]);
    s.store.sweep().await.expect("swept");
    assert!(!is_there(s, over).await && s.whole_journal(over).await.is_empty());
    for run in [kept, for_ever] {
        assert!(is_there(s, run).await && s.whole_journal(run).await.len() == 3);
    }
}

async fn a_run_whose_row_does_not_say_how_long_is_kept_as_its_state_is(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let failed = ended(s, &mut claim, RunStatus::Failed, None).await;
    let completed = ended(s, &mut claim, RunStatus::Completed, None).await;
    let own = ended(s, &mut claim, RunStatus::Failed, Some(FUTURE)).await;
    let long = Duration::from_secs(3600);
    let (none, some) = (Duration::ZERO, Duration::from_secs(3600));
    assert!(
        delete(s, &[(RunStatus::Failed, some), (RunStatus::Completed, long)])
            .await
            .is_empty()
    );
    let keep = [(RunStatus::Failed, none), (RunStatus::Completed, long)];
    assert_eq!(delete(s, &keep).await, [(RunStatus::Failed, 1)]);
    assert!(!is_there(s, failed).await && is_there(s, completed).await);
    assert!(is_there(s, own).await, "what a workflow says comes first");
}

async fn a_run_that_has_not_ended_or_goes_on_again_is_kept(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let running = s.started(&mut claim).await;
    let resumed = ended(s, &mut claim, RunStatus::Failed, Some(PAST)).await;
    let mut goes_on = change(resumed, RunStatus::Waiting);
    (goes_on.reopened, goes_on.wake_at) = (true, Some(PAST));
    let batch = Batch {
        changed: vec![goes_on],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    let keep = RunStatus::ALL.map(|status| (status, Duration::ZERO));
    assert!(delete(s, &keep).await.is_empty());
    assert!(is_there(s, running).await && is_there(s, resumed).await);
}

async fn a_run_is_kept_as_long_as_a_child_that_it_waits_for_goes_on(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let parent = ended(s, &mut claim, RunStatus::Completed, Some(PAST)).await;
    let attached = child(s, &mut claim, parent, true).await;
    let lets_go = ended(s, &mut claim, RunStatus::Completed, Some(PAST)).await;
    child(s, &mut claim, lets_go, false).await;
    assert_eq!(delete(s, &[]).await, [(RunStatus::Completed, 1)]);
    assert!(is_there(s, parent).await && !is_there(s, lets_go).await);
    let later = s.store.run(parent).await.expect("read").expect("there").wake_at;
    assert!(later > Some(PAST), "others come first until it is looked at again");
    let mut over = end(parent, RunStatus::Completed);
    over.wake_at = Some(PAST);
    let batch = Batch {
        changed: vec![end(attached, RunStatus::Failed), over],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    assert_eq!(delete(s, &[]).await, [(RunStatus::Completed, 1)]);
    assert!(!is_there(s, parent).await && is_there(s, attached).await);
}

async fn no_more_runs_go_at_once_than_asked_for_and_none_twice(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    for _ in 0..30 {
        ended(s, &mut claim, RunStatus::Cancelled, Some(PAST)).await;
    }
    let first = s.store.delete_expired(&[], 4).await.expect("deleted");
    assert_eq!(first, [(RunStatus::Cancelled, 4)]);
    let delete = |n: usize| {
        let store = if n.is_multiple_of(2) {
            s.store.clone()
        } else {
            s.other.clone()
        };
        async move {
            let mut mine = 0;
            loop {
                let gone = store.delete_expired(&[], 3).await.expect("deleted");
                match gone.first() {
                    Some((_, count)) => mine += count,
                    None => return mine,
                }
            }
        }
    };
    let gone: Vec<u64> = futures_util::future::join_all((0..4).map(delete)).await;
    assert!(gone.iter().sum::<u64>() <= 26, "{gone:?}");
    // Whoever found all of the rest in others' hands went home early.
    let rest: u64 = s
        .store
        .delete_expired(&[], 100)
        .await
        .expect("deleted")
        .iter()
        .map(|(_, n)| n)
        .sum();
    assert_eq!(gone.iter().sum::<u64>() + rest, 26);
}

async fn the_key_of_an_expired_run_stays_bound_for_a_day(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let namespace = Namespace::default_name();
    let run = RunRow {
        idempotency_key: Some("k".to_owned()),
        ..new_run(Partition(2))
    };
    let won = s.store.reserve_key(&namespace, "k", "hash", run.id).await;
    assert_eq!(won.expect("answered"), Reserved::Won);
    let run = ended_run(s, &mut claim, run, RunStatus::Completed, Some(PAST)).await;
    assert_eq!(delete(s, &[]).await, [(RunStatus::Completed, 1)]);
    s.store.sweep().await.expect("swept");
    let again = s
        .store
        .reserve_key(&namespace, "k", "hash", RunId::new_in(Partition(2)))
        .await;
    let bound = Reserved::Bound {
        run,
        request_hash: "hash".to_owned(),
        is_deleted: true,
    };
    assert_eq!(again.expect("answered"), bound);
}
