//! Forks: the past of one run becomes that of another.

use std::pin::pin;
use std::time::Duration;

use futures_util::poll;
use rejoin_coordinator::store::{Batch, COPY_PORTION, ForkedFrom, RunFilter, RunRow};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::RunStatus;

use crate::subject::{Subject, change, end, is_refused, new_run, record, records};

on_every_store!(
    a_copied_past_is_that_of_the_source_and_seen_once_the_run_is_there,
    a_past_that_is_not_all_there_is_not_copied,
    a_run_without_its_copied_past_is_refused,
    a_fork_outlives_its_source,
    a_long_past_is_copied_in_portions,
    a_copy_that_is_cut_between_portions_is_nobody_s_past,
);

async fn source(s: &Subject, claim: &mut rejoin_coordinator::store::Claim, length: u64) -> RunId {
    let run = s.started(claim).await;
    let batch = Batch {
        rows: records(run, 1..=length),
        ..Batch::default()
    };
    s.append(claim, batch).await;
    run
}

fn fork_of(run: RunId, seq: u64) -> RunRow {
    RunRow {
        forked_from: Some(ForkedFrom { run, seq }),
        ..new_run(Partition(9))
    }
}

/// The batch with which a fork begins.
fn begin(fork: &RunRow) -> Batch {
    let next = fork.forked_from.map_or(1, |from| from.seq + 1);
    Batch {
        created: vec![fork.clone()],
        rows: vec![record(fork.id, next)],
        ..Batch::default()
    }
}

async fn a_copied_past_is_that_of_the_source_and_seen_once_the_run_is_there(s: &Subject) {
    let (mut theirs, mut own) = (s.own(Partition(3)).await, s.own(Partition(9)).await);
    let run = source(s, &mut theirs, 5).await;
    let fork = fork_of(run, 3);
    let from = fork.forked_from.expect("a fork");
    assert!(s.store.copy_past(fork.id, from).await.expect("copied"));
    assert_eq!(s.store.run(fork.id).await.expect("read"), None);
    s.append(&mut own, begin(&fork)).await;
    let (past, whole) = (s.whole_journal(run).await, s.whole_journal(fork.id).await);
    assert_eq!(whole.len(), 4);
    for (copy, row) in whole.iter().zip(&past).take(3) {
        let mut of_fork = row.clone();
        of_fork.row.run = fork.id;
        assert_eq!(*copy, of_fork, "time and format are those of the source too");
    }
    let read = s.other.run(fork.id).await.expect("read").expect("there");
    assert_eq!(read.forked_from, Some(from));
    let of_source = s.store.run(run).await.expect("read").expect("there");
    assert_eq!((of_source.forked_from, past.len()), (None, 5));
}

async fn a_past_that_is_not_all_there_is_not_copied(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run = source(s, &mut claim, 5).await;
    let fork = RunId::new_in(Partition(9));
    let copied = s.store.copy_past(fork, ForkedFrom { run, seq: 6 }).await;
    assert!(!copied.expect("answered"));
    s.store.sweep().await.expect("swept");
    assert_eq!(s.whole_journal(fork).await, vec![]);
    assert_eq!(s.whole_journal(run).await.len(), 5);
}

async fn a_run_without_its_copied_past_is_refused(s: &Subject) {
    let (mut theirs, mut own) = (s.own(Partition(3)).await, s.own(Partition(9)).await);
    let run = source(s, &mut theirs, 2).await;
    let fork = fork_of(run, 2);
    let batch = Batch {
        claims: vec![own],
        ..begin(&fork)
    };
    assert!(is_refused(&s.store.append(&batch).await));
    assert_eq!(s.store.run(fork.id).await.expect("read"), None);
    assert!(
        s.store
            .copy_past(fork.id, ForkedFrom { run, seq: 2 })
            .await
            .expect("copied")
    );
    s.append(&mut own, begin(&fork)).await;
}

async fn a_fork_outlives_its_source(s: &Subject) {
    let (mut theirs, mut own) = (s.own(Partition(3)).await, s.own(Partition(9)).await);
    let run = source(s, &mut theirs, 2).await;
    let fork = fork_of(run, 2);
    assert!(
        s.store
            .copy_past(fork.id, ForkedFrom { run, seq: 2 })
            .await
            .expect("copied")
    );
    s.append(&mut own, begin(&fork)).await;
    let ends = |run| Batch {
        changed: vec![end(run, RunStatus::Completed)],
        ..Batch::default()
    };
    s.append(&mut theirs, ends(run)).await;
    assert!(s.store.delete_run(run).await.expect("deleted"));
    assert_eq!(s.whole_journal(fork.id).await.len(), 3);
    s.append(&mut own, ends(fork.id)).await;
    assert!(s.store.delete_run(fork.id).await.expect("deleted"));
    s.store.sweep().await.expect("swept");
    assert_eq!(s.whole_journal(fork.id).await, vec![]);
}

async fn a_long_past_is_copied_in_portions(s: &Subject) {
    let (mut theirs, mut own) = (s.own(Partition(3)).await, s.own(Partition(9)).await);
    let length = COPY_PORTION + 7;
    let run = source(s, &mut theirs, length).await;
    let fork = fork_of(run, length);
    let from = fork.forked_from.expect("a fork");
    assert!(s.store.copy_past(fork.id, from).await.expect("copied"));
    let batch = Batch {
        changed: vec![change(fork.id, RunStatus::Waiting)],
        ..begin(&fork)
    };
    s.append(&mut own, batch).await;
    let seqs: Vec<u64> = s.whole_journal(fork.id).await.iter().map(|row| row.row.seq).collect();
    assert!(seqs.iter().copied().eq(1..=length + 1), "{} rows", seqs.len());
}

/// Whoever copies dies between two portions: what it has copied is nobody's past, and the source can be forked anew.
async fn a_copy_that_is_cut_between_portions_is_nobody_s_past(s: &Subject) {
    let (mut theirs, mut own) = (s.own(Partition(3)).await, s.own(Partition(9)).await);
    let length = 2 * COPY_PORTION + 7;
    let run = source(s, &mut theirs, length).await;
    let cut = fork_of(run, length);
    {
        let mut copying = pin!(s.store.copy_past(cut.id, cut.forked_from.expect("a fork")));
        // It goes on only when it is polled.
        while s.store.journal(cut.id, 0, 1).await.expect("read").is_empty() {
            assert!(poll!(&mut copying).is_pending(), "the copy was whole before it was cut");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(s.whole_journal(cut.id).await.len() as u64, COPY_PORTION);
    assert_eq!(s.store.run(cut.id).await.expect("read"), None);
    let listed = s
        .store
        .runs(&cut.namespace, &RunFilter::default(), None, 100)
        .await
        .expect("read");
    assert!(listed.iter().all(|row| row.id != cut.id));

    let fork = fork_of(run, length);
    let from = fork.forked_from.expect("a fork");
    assert!(s.store.copy_past(fork.id, from).await.expect("copied"));
    s.append(&mut own, begin(&fork)).await;
    assert_eq!(s.whole_journal(fork.id).await.len() as u64, length + 1);
}
