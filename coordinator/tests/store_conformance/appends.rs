//! The append: all or nothing, by the owner only, and read back as it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use rejoin_coordinator::store::{
    Batch, Claim, Epoch, HEAD_BYTES_MAX, HEAD_ROWS, JOURNAL_FORMAT, JournalRow, NewestVersion, RunRow, StoreError,
};
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::run::{Counts, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use crate::subject::{
    Subject, change, eventually, is_not_owner, is_refused, json, member, namespace, new_run, record, records,
};

on_every_store!(
    a_record_is_read_back_as_it_was_appended,
    a_run_is_read_back_as_it_was_created,
    a_kind_nobody_has_heard_of_is_kept,
    a_megabyte_in_a_row_is_fine,
    a_journal_comes_in_pages_in_order,
    a_page_ends_after_four_megabytes_but_holds_one_row_at_least,
    several_runs_are_read_at_once_with_the_beginnings_of_their_journals,
    a_wrong_batch_number_writes_nothing,
    a_wrong_epoch_writes_nothing,
    one_claim_of_many_that_does_not_match_writes_nothing,
    a_record_that_is_there_already_writes_nothing,
    a_change_of_an_unknown_run_writes_nothing,
    a_takeover_ends_the_appends_of_the_former_owner,
    one_batch_spans_many_partitions,
    runs_that_begin_with_the_newest_version_do_not_begin_with_an_older_one,
);

async fn a_record_is_read_back_as_it_was_appended(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let full = JournalRow {
        run,
        seq: 1,
        kind: "step_failed".into(),
        path: Some("a/b[3]/c[\"ä\u{1F600}\"]#2".to_owned()),
        attempt: Some(u32::try_from(i32::MAX).expect("positive")),
        outcome: Some(Outcome::Timeout),
        worker: Some("worker ü".into()),
        body: json("{\"n\":1.0,\"big\":9223372036854775807,\"zero\":\"\\u0000\"}"),
        output: Some(json("[1.0,1e400,-0.0]")),
        snapshot: Some(json("{\"x\":{}}")),
        logs: Some(json("[\"line\"]")),
    };
    let bare = JournalRow {
        run,
        seq: 2,
        kind: "run_paused".into(),
        path: None,
        attempt: None,
        outcome: None,
        worker: None,
        body: Bytes::new(),
        output: None,
        snapshot: None,
        logs: None,
    };
    let before = s.store.now().await.expect("time is told");
    let at = s
        .append(
            &mut claim,
            Batch {
                rows: vec![full.clone(), bare.clone()],
                ..Batch::default()
            },
        )
        .await;
    assert!(at >= before, "the time of the append is the store's own");
    let read = s.whole_journal(run).await;
    assert_eq!(read.iter().map(|r| r.row.clone()).collect::<Vec<_>>(), vec![full, bare]);
    assert!(read.iter().all(|r| r.at == at && r.format == JOURNAL_FORMAT));
}

async fn a_run_is_read_back_as_it_was_created(s: &Subject) {
    let mut claim = s.own(Partition(63)).await;
    let run = RunRow {
        namespace: namespace("team-a"),
        workflow: "Bestellung".to_owned(),
        version: 7,
        status: RunStatus::Scheduled,
        priority: Priority::High,
        input: json("{\"amount\":1.0}"),
        tags: BTreeMap::from([
            ("k".to_owned(), "v \"quoted\" \\ ü".to_owned()),
            ("l".to_owned(), String::new()),
        ]),
        idempotency_key: Some("key-1".to_owned()),
        parent: Some(RunId::new_in(Partition(63))),
        progress: Progress {
            total: 1,
            done: 2,
            failed: 3,
            running: 4,
            waiting: 5,
        },
        counts: Counts {
            dispatched: 6,
            redelivered: 7,
            duplicate: 8,
            late: 9,
        },
        wake_at: Some(Timestamp(1_900_000_000_123_456)),
        ..new_run(Partition(63))
    };
    s.append(
        &mut claim,
        Batch {
            created: vec![run.clone()],
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(s.store.run(run.id).await.expect("read"), Some(run));
    assert_eq!(s.store.run(RunId::new_in(Partition(0))).await.expect("read"), None);
}

async fn a_kind_nobody_has_heard_of_is_kept(s: &Subject) {
    let mut claim = s.own(Partition(0)).await;
    let run = s.started(&mut claim).await;
    for seq in 1..=2 {
        let row = JournalRow {
            kind: "brand_new".into(),
            ..record(run, seq)
        };
        s.append(
            &mut claim,
            Batch {
                rows: vec![row],
                ..Batch::default()
            },
        )
        .await;
    }
    assert!(s.whole_journal(run).await.iter().all(|r| r.row.kind == "brand_new"));
}

fn big(run: RunId, seq: u64) -> JournalRow {
    let text = format!("\"{}\"", "x".repeat(1024 * 1024));
    JournalRow {
        output: Some(Bytes::from(text)),
        ..record(run, seq)
    }
}

async fn a_megabyte_in_a_row_is_fine(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let run = s.started(&mut claim).await;
    let row = JournalRow {
        snapshot: big(run, 1).output,
        ..big(run, 1)
    };
    s.append(
        &mut claim,
        Batch {
            rows: vec![row.clone()],
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(s.whole_journal(run).await[0].row, row);
}

async fn a_journal_comes_in_pages_in_order(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let (run, neighbour) = (s.started(&mut claim).await, s.started(&mut claim).await);
    let mut rows = records(neighbour, 1..=5);
    rows.extend(records(run, 1..=25));
    s.append(
        &mut claim,
        Batch {
            rows,
            ..Batch::default()
        },
    )
    .await;
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = s.store.journal(run, after, 10).await.expect("read");
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = last.row.seq;
        seen.extend(page.iter().map(|r| r.row.seq));
    }
    assert_eq!(seen, (1..=25).collect::<Vec<u64>>());
    assert!(s.store.journal(run, u64::MAX, 10).await.expect("read").is_empty());
}

async fn a_page_ends_after_four_megabytes_but_holds_one_row_at_least(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let run = s.started(&mut claim).await;
    let rows = (1..=6).map(|seq| big(run, seq)).collect();
    s.append(
        &mut claim,
        Batch {
            rows,
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(s.store.journal(run, 0, 100).await.expect("read").len(), 4);
    assert_eq!(s.store.journal(run, 4, 100).await.expect("read").len(), 2);
    let huge = JournalRow {
        body: Bytes::from(vec![b' '; 5 * 1024 * 1024]),
        ..record(run, 7)
    };
    s.append(
        &mut claim,
        Batch {
            rows: vec![huge, record(run, 8)],
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(s.store.journal(run, 6, 100).await.expect("read").len(), 1);
}

async fn several_runs_are_read_at_once_with_the_beginnings_of_their_journals(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(s.started(&mut claim).await);
    }
    let [short, full, long, heavy, empty] = runs[..] else {
        panic!("five runs");
    };
    let rows_max = u64::try_from(HEAD_ROWS).expect("few");
    let mut rows = records(short, 1..=2);
    rows.extend(records(full, 1..=rows_max));
    rows.extend(records(long, 1..=rows_max + 5));
    let body = Bytes::from(vec![b' '; HEAD_BYTES_MAX / 2]);
    rows.extend((1..=3).map(|seq| JournalRow {
        body: body.clone(),
        ..record(heavy, seq)
    }));
    let batch = Batch {
        rows,
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    let unknown = new_run(Partition(1)).id;
    let heads = s
        .store
        .heads(&[long, unknown, heavy, short, empty, full])
        .await
        .expect("read");
    assert_eq!(heads.len(), 5);
    for head in &heads {
        let run = head.row.id;
        assert_eq!(s.store.run(run).await.expect("read").as_ref(), Some(&head.row));
        let whole = s.whole_journal(run).await;
        assert_eq!(head.journal[..], whole[..head.journal.len()], "{run}");
        assert_eq!(head.journal.is_empty(), run == empty);
        assert!(head.journal.len() <= HEAD_ROWS);
        // A store need not know that there are no more.
        assert!(!head.is_whole || head.journal.len() == whole.len(), "{run}");
    }
    let of = |run| heads.iter().find(|head| head.row.id == run).expect("it is there");
    assert!(!of(long).is_whole);
    assert_eq!((of(short).journal.len(), of(full).journal.len()), (2, HEAD_ROWS));
    assert!(s.store.heads(&[]).await.expect("read").is_empty());
}

async fn assert_writes_nothing_as_not_owner(s: &Subject, right: Claim, wrong: Claim) {
    let run = new_run(right.partition);
    let batch = Batch {
        claims: vec![wrong],
        rows: records(run.id, 1..=3),
        created: vec![run.clone()],
        ..Batch::default()
    };
    assert!(is_not_owner(&s.store.append(&batch).await));
    assert_eq!(s.store.run(run.id).await.expect("read"), None);
    assert!(s.whole_journal(run.id).await.is_empty());
    s.store
        .append(&Batch {
            claims: vec![right],
            ..batch
        })
        .await
        .expect("the chain did not move");
}

async fn a_wrong_batch_number_writes_nothing(s: &Subject) {
    let mut claim = s.own(Partition(5)).await;
    s.started(&mut claim).await;
    let ahead = Claim {
        batch: claim.batch + 1,
        ..claim
    };
    assert_writes_nothing_as_not_owner(s, claim, ahead).await;
    claim.batch += 1;
    let behind = Claim {
        batch: claim.batch - 1,
        ..claim
    };
    assert_writes_nothing_as_not_owner(s, claim, behind).await;
}

async fn a_wrong_epoch_writes_nothing(s: &Subject) {
    let mut claim = s.own(Partition(5)).await;
    let other_token = Epoch {
        token: claim.epoch.token.wrapping_add(1),
        ..claim.epoch
    };
    assert_writes_nothing_as_not_owner(
        s,
        claim,
        Claim {
            epoch: other_token,
            ..claim
        },
    )
    .await;
    claim.batch += 1;
    let other_count = Epoch {
        count: claim.epoch.count + 1,
        ..claim.epoch
    };
    assert_writes_nothing_as_not_owner(
        s,
        claim,
        Claim {
            epoch: other_count,
            ..claim
        },
    )
    .await;
}

async fn one_claim_of_many_that_does_not_match_writes_nothing(s: &Subject) {
    let (mut first, mut second) = (s.own(Partition(5)).await, s.own(Partition(6)).await);
    let (a, b) = (s.started(&mut first).await, s.started(&mut second).await);
    let wrong = Claim { batch: 9, ..second };
    let mut rows = records(a, 1..=2);
    rows.extend(records(b, 1..=2));
    let batch = Batch {
        claims: vec![first, wrong],
        rows,
        ..Batch::default()
    };
    let outcome = s.store.append(&batch).await;
    let named = |e: &_| matches!(e, rejoin_coordinator::store::StoreError::NotOwner(Some(p)) if *p == Partition(6));
    assert!(outcome.is_err_and(|e| named(&e)), "the partition is named");
    assert!(s.whole_journal(a).await.is_empty());
    s.store
        .append(&Batch {
            claims: vec![first, second],
            ..batch
        })
        .await
        .expect("neither chain moved");
}

async fn a_record_that_is_there_already_writes_nothing(s: &Subject) {
    let mut claim = s.own(Partition(5)).await;
    let run = s.started(&mut claim).await;
    s.append(
        &mut claim,
        Batch {
            rows: records(run, 1..=1),
            ..Batch::default()
        },
    )
    .await;
    let batch = Batch {
        claims: vec![claim],
        rows: vec![record(run, 2), record(run, 1)],
        ..Batch::default()
    };
    assert!(is_refused(&s.store.append(&batch).await));
    assert_eq!(s.whole_journal(run).await.len(), 1);
    s.append(
        &mut claim,
        Batch {
            rows: records(run, 2..=2),
            ..Batch::default()
        },
    )
    .await;
}

async fn a_change_of_an_unknown_run_writes_nothing(s: &Subject) {
    let mut claim = s.own(Partition(5)).await;
    let run = s.started(&mut claim).await;
    let unknown = change(RunId::new_in(Partition(5)), RunStatus::Paused);
    let changed = vec![change(run, RunStatus::Paused), unknown];
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        changed,
        ..Batch::default()
    };
    assert!(is_refused(&s.store.append(&batch).await));
    assert!(s.whole_journal(run).await.is_empty());
    let row = s.store.run(run).await.expect("read").expect("there");
    assert_eq!(row.status, RunStatus::Running);
}

async fn a_takeover_ends_the_appends_of_the_former_owner(s: &Subject) {
    let (old, new) = (member("old"), member("new"));
    s.store.renew(&old, 1).await.expect("joins");
    let mut claim = s.store.claim(&old, &[Partition(9)], None).await.expect("claims")[0];
    let run = s.started(&mut claim).await;
    s.other.renew(&new, 60_000).await.expect("joins");
    eventually("the lease runs out", || async {
        !s.other.partitions().await.expect("read")[9].is_live
    })
    .await;
    let taken = s.other.claim(&new, &[Partition(9)], None).await.expect("claims")[0];
    assert_eq!((taken.epoch.count, taken.batch), (claim.epoch.count + 1, 0));
    let batch = Batch {
        claims: vec![claim],
        rows: records(run, 1..=1),
        ..Batch::default()
    };
    assert!(is_not_owner(&s.store.append(&batch).await));
    s.other
        .append(&Batch {
            claims: vec![taken],
            ..batch
        })
        .await
        .expect("the new owner appends");
    assert_eq!(s.whole_journal(run).await.len(), 1);
}

async fn one_batch_spans_many_partitions(s: &Subject) {
    let owner = member("owner");
    s.store.renew(&owner, 60_000).await.expect("joins");
    let all: Vec<Partition> = (0..64).map(Partition).collect();
    let claims = s.store.claim(&owner, &all, None).await.expect("claims");
    assert_eq!(claims.iter().map(|c| c.partition).collect::<Vec<_>>(), all);
    let created: Vec<RunRow> = all.iter().map(|p| new_run(*p)).collect();
    let rows = created.iter().flat_map(|run| records(run.id, 1..=2)).collect();
    s.store
        .append(&Batch {
            claims,
            rows,
            created: created.clone(),
            ..Batch::default()
        })
        .await
        .expect("appends");
    for run in created {
        assert_eq!(s.whole_journal(run.id).await.len(), 2);
    }
}

async fn runs_that_begin_with_the_newest_version_do_not_begin_with_an_older_one(s: &Subject) {
    let mut claim = s.own(Partition(5)).await;
    let default = Namespace::default_name();
    let register = async |of: &Namespace, name: &str, digest: &str| {
        let put = s.store.put_workflow(of, name, digest, b"{}").await;
        put.expect("registered");
    };
    for (name, digest) in [("a", "d1"), ("b", "d1"), ("b", "d2"), ("c", "d1")] {
        register(&default, name, digest).await;
    }
    register(&namespace("other"), "c", "d1").await;
    register(&namespace("other"), "c", "d2").await;
    let newest = |workflow: &str, version| NewestVersion {
        namespace: default.clone(),
        workflow: workflow.to_owned(),
        version,
    };
    let beginning = |newest: Vec<NewestVersion>| {
        let run = RunRow {
            id: RunId::new_in(Partition(5)),
            ..new_run(Partition(5))
        };
        let rows = records(run.id, 1..=1);
        Batch {
            created: vec![run],
            rows,
            newest,
            ..Batch::default()
        }
    };
    // What another namespace has of that name does not count.
    s.append(
        &mut claim,
        beginning(vec![newest("a", 1), newest("b", 2), newest("c", 1)]),
    )
    .await;
    for (outdated, place) in [
        (vec![newest("b", 1)], 0),
        (vec![newest("a", 1), newest("b", 1), newest("c", 1)], 1),
    ] {
        let mut refused = beginning(outdated);
        refused.claims = vec![claim];
        let outcome = s.store.append(&refused).await;
        assert!(
            matches!(outcome, Err(StoreError::Superseded(at)) if at == place),
            "{outcome:?}"
        );
        let run = refused.created[0].id;
        assert!(s.store.run(run).await.expect("read").is_none() && s.whole_journal(run).await.is_empty());
    }
    // The chain did not move: the next one fits.
    register(&default, "a", "d2").await;
    s.append(&mut claim, beginning(vec![newest("a", 2)])).await;
}
