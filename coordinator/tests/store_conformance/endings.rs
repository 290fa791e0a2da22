//! A run's row over its life: begins, goes on, ends, goes on again, is deleted.

use rejoin_coordinator::store::{Batch, InboxMessage, Reserved, RunChange, RunFilter, RunRow};
use rejoin_shared::ids::{Namespace, Partition};
use rejoin_shared::run::{Counts, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use crate::subject::{Subject, change, end, json, new_run, record, records};

on_every_store!(
    a_change_writes_what_it_holds_and_leaves_the_rest,
    a_scheduled_run_starts_when_it_first_leaves_that_state,
    an_end_is_written_and_a_reopening_clears_it,
    a_run_may_be_created_changed_and_ended_in_one_batch,
    an_output_that_is_the_context_of_a_completed_run_is_read_from_there,
    a_run_that_has_not_ended_cannot_be_deleted,
    a_deleted_run_is_gone_with_all_that_belongs_to_it,
    the_key_of_a_deleted_run_stays_bound_for_a_day,
);

/// The row after these changes: the store's, which is what they make of it in memory.
async fn changed(s: &Subject, claim: &mut rejoin_coordinator::store::Claim, changes: Vec<RunChange>) -> RunRow {
    let run = changes[0].run;
    let mut in_memory = s.store.run(run).await.expect("read").expect("there");
    let batch = Batch {
        changed: changes.clone(),
        ..Batch::default()
    };
    let at = s.append(claim, batch).await;
    changes.iter().for_each(|change| in_memory.change(change, at));
    let stored = s.store.run(run).await.expect("read").expect("there");
    assert_eq!(in_memory, stored);
    stored
}

async fn a_change_writes_what_it_holds_and_leaves_the_rest(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    let before = s.store.run(run).await.expect("read").expect("there");
    let new = RunChange {
        progress: Progress {
            total: 10,
            done: 3,
            failed: 1,
            running: 4,
            waiting: 2,
        },
        counts: Counts {
            dispatched: 9,
            redelivered: 1,
            duplicate: 2,
            late: 3,
        },
        wake_at: Some(Timestamp(1_850_000_000_000_001)),
        ..change(run, RunStatus::Waiting)
    };
    let after = changed(s, &mut claim, vec![new.clone()]).await;
    let expected = RunRow {
        status: RunStatus::Waiting,
        progress: new.progress,
        counts: new.counts,
        wake_at: new.wake_at,
        ..before
    };
    assert_eq!(after, expected);
}

async fn a_scheduled_run_starts_when_it_first_leaves_that_state(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = RunRow {
        status: RunStatus::Scheduled,
        ..new_run(Partition(2))
    };
    s.append(
        &mut claim,
        Batch {
            created: vec![run.clone()],
            ..Batch::default()
        },
    )
    .await;
    let still = changed(s, &mut claim, vec![change(run.id, RunStatus::Scheduled)]).await;
    assert_eq!(still.started_at, None);
    let started = changed(s, &mut claim, vec![change(run.id, RunStatus::Running)]).await;
    assert!(started.started_at.is_some());
    let later = changed(s, &mut claim, vec![change(run.id, RunStatus::Paused)]).await;
    assert_eq!(later.started_at, started.started_at);
}

async fn an_end_is_written_and_a_reopening_clears_it(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    let ended = changed(s, &mut claim, vec![end(run, RunStatus::Failed)]).await;
    assert_eq!(ended.status, RunStatus::Failed);
    assert_eq!(
        (ended.context, ended.output),
        (Some(json("{\"a\":1.0}")), Some(json("7")))
    );
    assert!(ended.error.is_some() && ended.compensated && ended.finished_at.is_some());
    let kept = changed(s, &mut claim, vec![change(run, RunStatus::Failed)]).await;
    assert_eq!(kept.finished_at, ended.finished_at);
    assert!(kept.error.is_some());
    let again = changed(
        s,
        &mut claim,
        vec![RunChange {
            reopened: true,
            ..change(run, RunStatus::Running)
        }],
    )
    .await;
    assert_eq!(
        (again.context, again.output, again.error, again.finished_at),
        (None, None, None, None)
    );
    assert!(!again.compensated);
}

async fn a_run_may_be_created_changed_and_ended_in_one_batch(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = new_run(Partition(2));
    let progress = Progress {
        total: 1,
        done: 1,
        ..Progress::default()
    };
    let changes = vec![
        change(run.id, RunStatus::Waiting),
        end(run.id, RunStatus::Completed),
        RunChange {
            progress,
            ..change(run.id, RunStatus::Completed)
        },
    ];
    let batch = Batch {
        rows: records(run.id, 1..=2),
        created: vec![run.clone()],
        changed: changes.clone(),
        ..Batch::default()
    };
    let at = s.append(&mut claim, batch).await;
    let row = s.store.run(run.id).await.expect("read").expect("there");
    let mut in_memory = run.clone();
    changes.iter().for_each(|change| in_memory.change(change, at));
    assert_eq!(in_memory, row);
    assert_eq!(
        (row.status, row.progress, row.output),
        (RunStatus::Completed, progress, Some(json("7")))
    );
    assert!(row.finished_at.is_some());
}

async fn a_run_that_has_not_ended_cannot_be_deleted(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let run = s.started(&mut claim).await;
    assert!(!s.store.delete_run(run).await.expect("answered"));
    assert!(s.store.run(run).await.expect("read").is_some());
    assert!(!s.store.delete_run(new_run(Partition(2)).id).await.expect("answered"));
}

async fn a_deleted_run_is_gone_with_all_that_belongs_to_it(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let neighbour = s.started(&mut claim).await;
    s.append(
        &mut claim,
        Batch {
            rows: records(neighbour, 1..=3),
            ..Batch::default()
        },
    )
    .await;
    let run = RunRow {
        tags: [("a".to_owned(), "b".to_owned())].into(),
        ..new_run(Partition(2))
    };
    let message = InboxMessage {
        partition: Partition(2),
        run: run.id,
        kind: "event".to_owned(),
        body: json("{}"),
        dedupe_key: Some("once".to_owned()),
        wants_verdict: false,
    };
    let batch = Batch {
        rows: records(run.id, 1..=3),
        created: vec![run.clone()],
        changed: vec![end(run.id, RunStatus::Completed)],
        sent: vec![message],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    assert!(s.store.delete_run(run.id).await.expect("answered"));
    assert_eq!(s.store.run(run.id).await.expect("read"), None);
    assert!(s.whole_journal(run.id).await.is_empty());
    assert!(
        s.store
            .inbox(&[Partition(2)], 0, 10)
            .await
            .expect("read")
            .rows
            .is_empty()
    );
    assert!(
        !s.store.delete_run(run.id).await.expect("answered"),
        "it is not there twice"
    );
    assert_eq!(s.whole_journal(neighbour).await.len(), 3);
    s.append(
        &mut claim,
        Batch {
            rows: vec![record(neighbour, 4)],
            ..Batch::default()
        },
    )
    .await;
}

async fn the_key_of_a_deleted_run_stays_bound_for_a_day(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    let namespace = Namespace::default_name();
    let run = RunRow {
        idempotency_key: Some("k".to_owned()),
        ..new_run(Partition(2))
    };
    let won = s
        .store
        .reserve_key(&namespace, "k", "hash", run.id)
        .await
        .expect("answered");
    assert_eq!(won, Reserved::Won);
    let changed = vec![end(run.id, RunStatus::Completed)];
    s.append(
        &mut claim,
        Batch {
            created: vec![run.clone()],
            changed,
            ..Batch::default()
        },
    )
    .await;
    assert!(s.store.delete_run(run.id).await.expect("answered"));
    s.store.sweep().await.expect("swept");
    let again = s
        .store
        .reserve_key(&namespace, "k", "other", new_run(Partition(2)).id)
        .await
        .expect("answered");
    assert_eq!(
        again,
        Reserved::Bound {
            run: run.id,
            request_hash: "hash".to_owned(),
            is_deleted: true,
        }
    );
}

async fn an_output_that_is_the_context_of_a_completed_run_is_read_from_there(s: &Subject) {
    let mut claim = s.own(Partition(2)).await;
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
        let run = s.started(&mut claim).await;
        let mut ended = end(run, status);
        ended.ended.as_mut().expect("it ends").output = None;
        let after = changed(s, &mut claim, vec![ended]).await;
        assert_eq!(after.context, Some(json("{\"a\":1.0}")));
        let expected = after.context.clone().filter(|_| status == RunStatus::Completed);
        assert_eq!(after.output, expected, "{status:?}");
        let listed = s
            .store
            .runs(&Namespace::default_name(), &RunFilter::default(), None, 10)
            .await;
        let listed = listed.expect("read").into_iter().find(|row| row.id == run);
        assert_eq!(listed.expect("listed").output, expected);
    }
}
