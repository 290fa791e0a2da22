//! What only the broker in memory offers: tests of others build on it.

use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::link::{Address, LinkError, LinkState, Published, QueueKind, QueueSpec, Settle};

use crate::fixture::{message, next, put, text, up_after};

fn queue(name: &str) -> QueueSpec {
    QueueSpec {
        name: name.to_owned(),
        kind: QueueKind::Durable {
            delivery_limit: 10,
            dead_letters: None,
            exchange: None,
        },
    }
}

#[tokio::test]
async fn calls_over_a_cut_link_fail_until_it_is_connected_again() {
    let broker = MemoryBroker::new();
    let (link, other) = (broker.link("a"), broker.link("b"));
    link.declare(&queue("q")).await.expect("declared");
    broker.cut("a");
    assert_eq!(*link.state().borrow(), LinkState::Down);
    let to = Address::Queue("q".to_owned());
    assert!(matches!(link.publish(&to, message("1")).await, Err(LinkError::Down)));
    assert!(matches!(link.depth("q").await, Err(LinkError::Down)));
    assert!(matches!(link.consume("q", 1).await, Err(LinkError::Down)));
    put(&*other, &queue("q"), "2").await;
    broker.connect("a");
    assert_eq!(up_after(&*link, 1).await, 2);
    let mut consumer = link.consume("q", 1).await.expect("subscribed");
    assert_eq!(text(&next(&mut *consumer).await), "2");
}

#[tokio::test]
async fn durable_queues_survive_their_links_and_can_be_read_and_purged() {
    let broker = MemoryBroker::new();
    let link = broker.link("a");
    link.declare(&queue("q")).await.expect("declared");
    put(&*link, &queue("q"), "1").await;
    put(&*link, &queue("q"), "2").await;
    drop(link);
    let bodies: Vec<_> = broker.peek("q").into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["1", "2"]);
    assert_eq!(broker.purge("q"), 2);
    assert!(broker.peek("q").is_empty());
    let outcome = broker
        .link("b")
        .publish(&Address::Queue("q".to_owned()), message("3"))
        .await;
    assert_eq!(outcome.expect("published"), Published::Accepted);
    assert_eq!(broker.peek("q").len(), 1);
}

#[tokio::test]
async fn a_closed_link_stays_closed() {
    let broker = MemoryBroker::new();
    let link = broker.link("a");
    link.close().await;
    broker.connect("a");
    assert_eq!(*link.state().borrow(), LinkState::Down);
    assert!(matches!(link.depth("q").await, Err(LinkError::Down)));
}

#[tokio::test]
async fn a_queue_holds_what_was_delivered_until_it_is_settled() {
    let broker = MemoryBroker::new();
    let link = broker.link("a");
    link.declare(&queue("q")).await.expect("declared");
    put(&*link, &queue("q"), "1").await;
    put(&*link, &queue("q"), "2").await;
    let mut consumer = link.consume("q", 1).await.expect("subscribed");
    let first = next(&mut *consumer).await;
    assert_eq!(broker.held("q"), 2);
    link.settle(first.receipt, Settle::Ack).await.expect("settled");
    let second = next(&mut *consumer).await;
    assert_eq!(broker.held("q"), 1);
    link.settle(second.receipt, Settle::Ack).await.expect("settled");
    assert_eq!((broker.held("q"), broker.held("other")), (0, 0));
}
