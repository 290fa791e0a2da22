//! Waits: rows that come and go with the records of the same batch, found by event and as inputs.

use rejoin_coordinator::store::{Batch, Broadcast, Claim, InboxMessage, RunFilter, RunRow, WaitKind, WaitRow};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use crate::subject::{Subject, end, is_not_owner, json, namespace, new_run};

on_every_store!(
    a_wait_comes_and_goes_with_its_batch,
    inputs_come_in_pages_of_their_namespace,
    an_event_for_all_reaches_each_run_that_waits_for_it_once,
    what_a_batch_broadcasts_is_there_with_it,
    an_append_that_fails_leaves_waits_alone,
    a_deleted_run_leaves_no_wait,
    runs_are_found_by_the_kind_of_their_waits,
);

fn wait(run: RunId, seq: u64, events: &[&str]) -> WaitRow {
    WaitRow {
        run,
        seq,
        namespace: namespace("default"),
        workflow: "order".to_owned(),
        name: "ask".to_owned(),
        path: format!("/ask#{seq}"),
        kind: match events.is_empty() {
            true => WaitKind::Input,
            false => WaitKind::Event,
        },
        events: events.iter().map(ToString::to_string).collect(),
        body: json(r#"{"type":"approval"}"#),
        opened_at: Timestamp(0),
        until: Some(Timestamp(1_900_000_000_000_000)),
    }
}

fn sleep(run: RunId, seq: u64) -> WaitRow {
    WaitRow {
        kind: WaitKind::Timer,
        ..wait(run, seq, &[])
    }
}

fn cast(event: &str, key: Option<&str>) -> Broadcast {
    Broadcast {
        namespace: namespace("default"),
        event: event.to_owned(),
        kind: "event".to_owned(),
        body: json(r#"{"n":1.0}"#),
        dedupe_key: key.map(str::to_owned),
    }
}

fn opens(waits: Vec<WaitRow>) -> Batch {
    Batch {
        waits,
        ..Batch::default()
    }
}

async fn asked(s: &Subject) -> Vec<(RunId, u64)> {
    let rows = s.store.inputs(&namespace("default"), None, 100).await.expect("read");
    rows.into_iter().map(|row| (row.run, row.seq)).collect()
}

async fn inbox(s: &Subject, partition: u8) -> Vec<InboxMessage> {
    let rows = s.store.inbox(&[Partition(partition)], 0, 100).await.expect("read").rows;
    rows.into_iter().map(|row| row.message).collect()
}

async fn a_wait_comes_and_goes_with_its_batch(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let at = s.append(&mut claim, opens(vec![wait(run, 2, &[])])).await;
    let rows = s.store.inputs(&namespace("default"), None, 100).await.expect("read");
    let expected = WaitRow {
        opened_at: at,
        ..wait(run, 2, &[])
    };
    assert_eq!(rows, [expected]);
    // What is over goes before what opens: the same wait may open again.
    let again = Batch {
        waits_over: vec![(run, 2)],
        waits: vec![wait(run, 2, &[]), wait(run, 5, &[])],
        ..Batch::default()
    };
    s.append(&mut claim, again).await;
    assert_eq!(asked(s).await, [(run, 2), (run, 5)]);
    let over = Batch {
        waits_over: vec![(run, 5), (run, 2), (run, 9)],
        ..Batch::default()
    };
    s.append(&mut claim, over).await;
    assert_eq!(asked(s).await, []);
}

async fn inputs_come_in_pages_of_their_namespace(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let mut runs = [s.started(&mut claim).await, s.started(&mut claim).await];
    runs.sort();
    let other = WaitRow {
        namespace: namespace("other"),
        ..wait(runs[0], 4, &[])
    };
    let all = vec![
        wait(runs[1], 2, &[]),
        wait(runs[0], 2, &[]),
        wait(runs[0], 3, &["e"]),
        sleep(runs[0], 5),
        other,
    ];
    s.append(&mut claim, opens(all)).await;
    let page = s.store.inputs(&namespace("default"), None, 1).await.expect("read");
    assert_eq!((page.len(), page[0].run), (1, runs[0]));
    let next = s.store.inputs(&namespace("default"), Some((runs[0], 2)), 10).await;
    assert_eq!(
        next.expect("read").iter().map(|row| row.run).collect::<Vec<_>>(),
        [runs[1]]
    );
}

async fn an_event_for_all_reaches_each_run_that_waits_for_it_once(s: &Subject) {
    let (mut one, mut two) = (s.own(Partition(3)).await, s.own(Partition(4)).await);
    let (first, second) = (s.started(&mut one).await, s.started(&mut two).await);
    s.append(
        &mut one,
        opens(vec![wait(first, 2, &["a", "b"]), wait(first, 3, &["a"])]),
    )
    .await;
    s.append(&mut two, opens(vec![wait(second, 2, &["b"])])).await;
    assert_eq!(s.store.broadcast(&cast("a", None)).await.expect("put"), 1);
    assert_eq!(s.store.broadcast(&cast("c", None)).await.expect("put"), 0);
    let elsewhere = Broadcast {
        namespace: namespace("other"),
        ..cast("a", None)
    };
    assert_eq!(s.store.broadcast(&elsewhere).await.expect("put"), 0);
    let message = InboxMessage {
        partition: Partition(3),
        run: first,
        kind: "event".to_owned(),
        body: json(r#"{"n":1.0}"#),
        dedupe_key: None,
        wants_verdict: false,
    };
    assert_eq!(inbox(s, 3).await, [message]);
    s.store.broadcast(&cast("b", Some("k"))).await.expect("put");
    s.store.broadcast(&cast("b", Some("k"))).await.expect("put");
    assert_eq!((inbox(s, 3).await.len(), inbox(s, 4).await.len()), (2, 1));
}

async fn what_a_batch_broadcasts_is_there_with_it(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    let batch = Batch {
        waits: vec![wait(run, 2, &["a"])],
        broadcasts: vec![cast("a", Some("x"))],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    assert_eq!(inbox(s, 3).await.len(), 1);
}

async fn an_append_that_fails_leaves_waits_alone(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run = s.started(&mut claim).await;
    s.append(&mut claim, opens(vec![wait(run, 2, &["a"]), wait(run, 3, &[])]))
        .await;
    let stale = Batch {
        claims: vec![Claim { batch: 0, ..claim }],
        waits_over: vec![(run, 2), (run, 3)],
        broadcasts: vec![cast("a", None)],
        ..Batch::default()
    };
    assert!(is_not_owner(&s.store.append(&stale).await));
    assert_eq!((asked(s).await.len(), inbox(s, 3).await.len()), (1, 0));
}

async fn a_deleted_run_leaves_no_wait(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let run: RunRow = new_run(Partition(3));
    let id = run.id;
    let batch = Batch {
        created: vec![run],
        waits: vec![wait(id, 2, &[]), wait(id, 3, &["a"])],
        changed: vec![end(id, RunStatus::Failed)],
        ..Batch::default()
    };
    s.append(&mut claim, batch).await;
    assert!(s.store.delete_run(id).await.expect("deleted"));
    assert_eq!(asked(s).await, []);
    assert_eq!(s.store.broadcast(&cast("a", None)).await.expect("put"), 0);
}

async fn runs_are_found_by_the_kind_of_their_waits(s: &Subject) {
    let mut claim = s.own(Partition(3)).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(s.started(&mut claim).await);
    }
    runs.sort();
    let waits = vec![
        sleep(runs[0], 2),
        sleep(runs[1], 2),
        sleep(runs[1], 3),
        wait(runs[1], 4, &["a", "b"]),
        wait(runs[2], 2, &[]),
    ];
    s.append(&mut claim, opens(waits)).await;
    let found = async |filter: RunFilter| {
        let rows = s
            .store
            .runs(&namespace("default"), &filter, None, 10)
            .await
            .expect("read");
        rows.into_iter().map(|row| row.id).collect::<Vec<RunId>>()
    };
    let of = |kind: WaitKind| RunFilter {
        waiting: Some(kind),
        ..RunFilter::default()
    };
    assert_eq!(found(of(WaitKind::Timer)).await, [runs[1], runs[0]]);
    assert_eq!(found(of(WaitKind::Event)).await, [runs[1]]);
    assert_eq!(found(of(WaitKind::Input)).await, [runs[2]]);
    let among = RunFilter {
        among: Some(vec![runs[3], runs[1]]),
        ..RunFilter::default()
    };
    assert_eq!(found(among.clone()).await, [runs[3], runs[1]]);
    let both = RunFilter {
        waiting: Some(WaitKind::Timer),
        tags: vec![("no".to_owned(), "such".to_owned())],
        ..among
    };
    assert_eq!(found(both.clone()).await, []);
    let both = RunFilter {
        tags: Vec::new(),
        ..both
    };
    assert_eq!(found(both).await, [runs[1]]);
    let none = RunFilter {
        among: Some(Vec::new()),
        ..RunFilter::default()
    };
    assert_eq!(found(none).await, []);
    let over = Batch {
        waits_over: vec![(runs[1], 2), (runs[0], 2)],
        ..Batch::default()
    };
    s.append(&mut claim, over).await;
    assert_eq!(found(of(WaitKind::Timer)).await, [runs[1]]);
    assert_eq!(s.store.broadcast(&cast("b", None)).await.expect("put"), 1);
    let over = Batch {
        waits_over: vec![(runs[1], 3), (runs[1], 4)],
        ..Batch::default()
    };
    s.append(&mut claim, over).await;
    assert_eq!(found(of(WaitKind::Timer)).await, []);
    assert_eq!(s.store.broadcast(&cast("a", None)).await.expect("put"), 0);
}
