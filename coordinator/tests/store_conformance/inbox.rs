//! The inbox: once, in order, until its effect is recorded; verdicts until they are read.

use rejoin_coordinator::store::{Batch, Claim, InboxMessage};
use rejoin_shared::ids::{Partition, RunId};

use crate::subject::{Subject, is_not_owner, json};

on_every_store!(
    messages_come_in_order_to_their_partition,
    a_second_message_with_the_same_key_is_dropped,
    what_a_batch_received_is_gone_with_it,
    what_a_batch_sent_is_there_with_it,
    an_append_that_fails_touches_no_message,
    a_verdict_is_read_once,
);

fn message(partition: u8, body: &'static str, dedupe_key: Option<&str>) -> InboxMessage {
    InboxMessage {
        partition: Partition(partition),
        run: RunId::new_in(Partition(partition)),
        kind: "cancel".to_owned(),
        body: json(body),
        dedupe_key: dedupe_key.map(str::to_owned),
        wants_verdict: true,
    }
}

async fn waiting(s: &Subject, partition: u8) -> Vec<u64> {
    let rows = s.store.inbox(&[Partition(partition)], 0, 100).await.expect("read").rows;
    rows.into_iter().map(|row| row.id).collect()
}

async fn messages_come_in_order_to_their_partition(s: &Subject) {
    let first = message(1, "{\"n\":1.0}", None);
    let one = s.store.inbox_put(&first).await.expect("put");
    let two = s.store.inbox_put(&message(2, "2", None)).await.expect("put");
    let three = s.store.inbox_put(&message(1, "3", None)).await.expect("put");
    assert!(one < two && two < three);
    let rows = s.store.inbox(&[Partition(1)], 0, 100).await.expect("read").rows;
    assert_eq!(rows[0].message, first);
    assert_eq!(waiting(s, 1).await, [one, three]);
    let both = [Partition(1), Partition(2)];
    let page = s.store.inbox(&both, one, 1).await.expect("read");
    assert_eq!((page.rows[0].id, page.next), (two, Some(two)), "it is full");
    let page = s.store.inbox(&both, two, 2).await.expect("read");
    assert_eq!(
        (page.rows[0].id, page.next),
        (three, None),
        "there is nothing behind it"
    );
    assert!(
        s.store
            .inbox(&[Partition(3)], 0, 100)
            .await
            .expect("read")
            .rows
            .is_empty()
    );
}

async fn a_second_message_with_the_same_key_is_dropped(s: &Subject) {
    let first = message(1, "1", Some("k"));
    let id = s.store.inbox_put(&first).await.expect("put");
    let second = InboxMessage {
        body: json("2"),
        ..first.clone()
    };
    assert_eq!(s.store.inbox_put(&second).await.expect("put"), id);
    let of_another_run = InboxMessage {
        run: RunId::new_in(Partition(1)),
        ..second.clone()
    };
    assert_ne!(s.store.inbox_put(&of_another_run).await.expect("put"), id);
    let mut claim = s.own(Partition(1)).await;
    s.append(
        &mut claim,
        Batch {
            sent: vec![second],
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(waiting(s, 1).await.len(), 2);
    assert_eq!(
        s.store.inbox(&[Partition(1)], 0, 1).await.expect("read").rows[0]
            .message
            .body,
        json("1")
    );
    s.append(
        &mut claim,
        Batch {
            received: vec![id],
            ..Batch::default()
        },
    )
    .await;
    assert_ne!(
        s.store.inbox_put(&first).await.expect("put"),
        id,
        "a key is free once its message is gone"
    );
}

async fn what_a_batch_received_is_gone_with_it(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let (a, b) = (message(1, "1", None), message(1, "2", None));
    let a = s.store.inbox_put(&a).await.expect("put");
    let b = s.store.inbox_put(&b).await.expect("put");
    s.append(
        &mut claim,
        Batch {
            received: vec![a],
            ..Batch::default()
        },
    )
    .await;
    assert_eq!(waiting(s, 1).await, [b]);
}

async fn what_a_batch_sent_is_there_with_it(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let sent: Vec<InboxMessage> = ["1", "2", "3"].map(|body| message(2, body, None)).to_vec();
    let to_one_run: Vec<InboxMessage> = sent
        .iter()
        .map(|m| InboxMessage {
            run: sent[0].run,
            ..m.clone()
        })
        .collect();
    s.append(
        &mut claim,
        Batch {
            sent: to_one_run.clone(),
            ..Batch::default()
        },
    )
    .await;
    let rows = s.store.inbox(&[Partition(2)], 0, 100).await.expect("read").rows;
    assert_eq!(rows.into_iter().map(|row| row.message).collect::<Vec<_>>(), to_one_run);
}

async fn an_append_that_fails_touches_no_message(s: &Subject) {
    let claim = s.own(Partition(1)).await;
    let id = s.store.inbox_put(&message(1, "1", None)).await.expect("put");
    let batch = Batch {
        claims: vec![Claim { batch: 5, ..claim }],
        sent: vec![message(1, "2", None)],
        received: vec![id],
        ..Batch::default()
    };
    assert!(is_not_owner(&s.store.append(&batch).await));
    assert_eq!(waiting(s, 1).await, [id]);
}

async fn a_verdict_is_read_once(s: &Subject) {
    let mut claim = s.own(Partition(1)).await;
    let id = s.store.inbox_put(&message(1, "1", Some("k"))).await.expect("put");
    assert_eq!(s.store.take_verdict(id).await.expect("read"), None);
    let answered = vec![(id, json("{\"status\":409}")), (id + 1_000, json("{}"))];
    s.append(
        &mut claim,
        Batch {
            answered,
            ..Batch::default()
        },
    )
    .await;
    assert!(
        waiting(s, 1).await.is_empty(),
        "an answered command does not wait any more"
    );
    assert_eq!(s.store.sweep().await.expect("swept"), 0, "a fresh verdict stays");
    assert_eq!(
        s.other.take_verdict(id).await.expect("read"),
        Some(json("{\"status\":409}"))
    );
    assert_eq!(s.store.take_verdict(id).await.expect("read"), None);
}
