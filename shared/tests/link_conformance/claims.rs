//! What holds of every link.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rejoin_shared::link::{Address, Death, Link, LinkError, LinkState, Message, Published, Settle};

use crate::fixture::{Fixture, LONG, message, next, put, text, texts, until_ready, up_after};

pub async fn a_confirmed_message_is_delivered_with_all_its_properties(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let mut sent = message("{\"a\":1}");
    sent.reply_to = Some("answers".to_owned());
    sent.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    let outcome = link.publish(&Address::Queue(queue.name.clone()), sent.clone()).await;
    assert_eq!(outcome.expect("published"), Published::Accepted);
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed");
    let got = next(&mut *consumer).await;
    assert!(!got.redelivered);
    let Message {
        kind,
        id,
        reply_to,
        traceparent,
        protocol,
        persistent,
        user,
        body,
    } = got.message;
    assert_eq!((kind, id, reply_to), (sent.kind, sent.id, sent.reply_to));
    assert_eq!((traceparent, protocol), (sent.traceparent, sent.protocol));
    assert_eq!((persistent, body, user), (true, sent.body, None));
    assert!(link.settle(got.receipt, Settle::Ack).await.expect("acked"));
}

pub async fn a_queue_keeps_the_order_of_the_calls(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    join_all(expected.iter().map(|body| put(&*link, &queue, body))).await;
    let mut consumer = link.consume(&queue.name, 1000).await.expect("subscribed");
    assert_eq!(texts(&mut *consumer, expected.len()).await, expected);
}

pub async fn a_message_to_no_queue_is_unroutable(broker: &Fixture) {
    let link = broker.link("a").await;
    let nowhere = Address::Queue(broker.name("nowhere"));
    let outcome = link.publish(&nowhere, message("lost")).await;
    assert_eq!(outcome.expect("answered"), Published::Unroutable);
}

pub async fn a_message_to_a_fanout_exchange_without_queues_is_accepted(broker: &Fixture) {
    let link = broker.link("a").await;
    let nobody = Address::Fanout(broker.name("nobody"));
    let outcome = link.publish(&nobody, message("unheard")).await;
    assert_eq!(outcome.expect("answered"), Published::Accepted);
}

pub async fn a_requeued_message_comes_again_first_and_redelivered(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    for body in ["1", "2", "3"] {
        put(&*link, &queue, body).await;
    }
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    let first = next(&mut *consumer).await;
    assert!(link.settle(first.receipt, Settle::Requeue).await.expect("requeued"));
    let again = next(&mut *consumer).await;
    assert_eq!((text(&again).as_str(), again.redelivered), ("1", true));
    assert!(link.settle(again.receipt, Settle::Ack).await.expect("acked"));
    let second = next(&mut *consumer).await;
    assert_eq!((text(&second).as_str(), second.redelivered), ("2", false));
}

pub async fn a_dropped_consumer_gives_back_what_it_had_not_settled_in_order(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    for body in ["1", "2", "3", "4", "5"] {
        put(&*link, &queue, body).await;
    }
    let mut consumer = link.consume(&queue.name, 4).await.expect("subscribed");
    let first = next(&mut *consumer).await;
    assert_eq!(texts(&mut *consumer, 3).await, ["2", "3", "4"]);
    assert!(link.settle(first.receipt, Settle::Ack).await.expect("acked"));
    assert_eq!(text(&next(&mut *consumer).await), "5");
    drop(consumer);
    until_ready(&*link, &queue, 4).await;
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed again");
    for expected in ["2", "3", "4", "5"] {
        let again = next(&mut *consumer).await;
        assert_eq!((text(&again).as_str(), again.redelivered), (expected, true));
    }
}

pub async fn prefetch_bounds_what_is_unsettled(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    for body in ["1", "2", "3", "4", "5"] {
        put(&*link, &queue, body).await;
    }
    let mut consumer = link.consume(&queue.name, 2).await.expect("subscribed");
    let first = next(&mut *consumer).await;
    next(&mut *consumer).await;
    until_ready(&*link, &queue, 3).await;
    assert!(consumer.try_next().is_none(), "a third one came");
    assert!(link.settle(first.receipt, Settle::Ack).await.expect("acked"));
    assert_eq!(text(&next(&mut *consumer).await), "3");
}

pub async fn two_consumers_share_a_queue(broker: &Fixture) {
    let link = broker.link("a").await;
    let other = broker.link("b").await;
    let queue = broker.queue(&*link, "q").await;
    let mut one = link.consume(&queue.name, 1).await.expect("subscribed");
    let mut two = other.consume(&queue.name, 1).await.expect("subscribed");
    put(&*link, &queue, "1").await;
    put(&*link, &queue, "2").await;
    let mut got = [text(&next(&mut *one).await), text(&next(&mut *two).await)];
    got.sort();
    assert_eq!(got, ["1", "2"]);
}

pub async fn a_dead_lettered_message_moves_to_the_dead_letters(broker: &Fixture) {
    let link = broker.link("a").await;
    let dead = broker.queue(&*link, "dead").await;
    let queue = broker.durable("q", 1000, Some(&dead));
    link.declare(&queue).await.expect("declared");
    put(&*link, &queue, "bad").await;
    put(&*link, &queue, "good").await;
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    let bad = next(&mut *consumer).await;
    assert!(link.settle(bad.receipt, Settle::DeadLetter).await.expect("given up"));
    assert_eq!(text(&next(&mut *consumer).await), "good");
    let mut buried = link.consume(&dead.name, 1).await.expect("subscribed");
    let found = next(&mut *buried).await;
    assert_eq!((text(&found), found.message.id), (text(&bad), bad.message.id));
    let death = Death {
        queue: queue.name.clone(),
        reason: "rejected".to_owned(),
    };
    assert_eq!((bad.death, found.death), (None, Some(death)));
}

pub async fn a_message_beyond_its_delivery_limit_moves_to_the_dead_letters(broker: &Fixture) {
    let link = broker.link("a").await;
    let dead = broker.queue(&*link, "dead").await;
    let queue = broker.durable("q", 2, Some(&dead));
    link.declare(&queue).await.expect("declared");
    put(&*link, &queue, "poison").await;
    let mut buried = link.consume(&dead.name, 1).await.expect("subscribed");
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    let mut deliveries = 0;
    loop {
        tokio::select! {
            delivery = next(&mut *consumer) => {
                deliveries += 1;
                assert_eq!(delivery.redelivered, deliveries > 1);
                assert!(link.settle(delivery.receipt, Settle::Requeue).await.expect("requeued"));
            }
            found = next(&mut *buried) => {
                assert_eq!(text(&found), "poison");
                assert_eq!(found.death.expect("told").reason, "delivery_limit");
                break;
            }
        }
    }
    // The limit counts returns: with 2 of them a message is delivered three times.
    assert_eq!(deliveries, 3);
}

pub async fn an_exclusive_queue_gets_what_its_exchange_gets(broker: &Fixture) {
    let (sender, one, two) = (broker.link("s").await, broker.link("a").await, broker.link("b").await);
    let exchange = broker.name("news");
    let (first, second) = (
        broker.exclusive("x1", Some(&exchange)),
        broker.exclusive("x2", Some(&exchange)),
    );
    one.declare(&first).await.expect("declared");
    two.declare(&second).await.expect("declared");
    let mut hears = one.consume(&first.name, 10).await.expect("subscribed");
    let mut hears_too = two.consume(&second.name, 10).await.expect("subscribed");
    let outcome = sender.publish(&Address::Fanout(exchange), message("to all")).await;
    assert_eq!(outcome.expect("published"), Published::Accepted);
    put(&*sender, &first, "to one").await;
    assert_eq!(texts(&mut *hears, 2).await, ["to all", "to one"]);
    assert_eq!(text(&next(&mut *hears_too).await), "to all");
    assert!(hears_too.try_next().is_none());
}

pub async fn an_exclusive_queue_goes_with_its_link(broker: &Fixture) {
    let (owner, other) = (broker.link("a").await, broker.link("b").await);
    let queue = broker.exclusive("x", None);
    owner.declare(&queue).await.expect("declared");
    put(&*other, &queue, "while it lives").await;
    owner.close().await;
    assert_eq!(*owner.state().borrow(), LinkState::Down);
    let to = Address::Queue(queue.name.clone());
    let gone = async {
        while other.publish(&to, message("too late")).await.expect("answered") != Published::Unroutable {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("gone in time");
    assert_eq!(other.depth(&queue.name).await.expect("answered"), None);
}

pub async fn an_exclusive_queue_goes_with_its_last_reader_and_may_be_declared_anew(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.exclusive("x", Some(&broker.name("news")));
    for round in ["first", "second"] {
        link.declare(&queue).await.expect("declared");
        let mut reader = link.consume(&queue.name, 10).await.expect("subscribed");
        put(&*link, &queue, round).await;
        assert_eq!(text(&next(&mut *reader).await), round);
        drop(reader);
        let gone = async {
            while link.depth(&queue.name).await.expect("answered").is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, gone).await.expect("gone in time");
    }
}

pub async fn an_exclusive_queue_is_closed_to_other_links(broker: &Fixture) {
    let (owner, other) = (broker.link("a").await, broker.link("b").await);
    let queue = broker.exclusive("x", None);
    owner.declare(&queue).await.expect("declared");
    let declared = other.declare(&queue).await;
    assert!(matches!(declared, Err(LinkError::Refused { .. })), "{declared:?}");
    let Err(refused) = other.consume(&queue.name, 1).await else {
        panic!("another link may read it");
    };
    assert!(matches!(refused, LinkError::Refused { .. }), "{refused:?}");
    owner.consume(&queue.name, 1).await.expect("its owner may");
}

pub async fn a_receipt_settles_once_and_not_after_its_consumer(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    put(&*link, &queue, "1").await;
    put(&*link, &queue, "2").await;
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed");
    let (one, two) = (next(&mut *consumer).await, next(&mut *consumer).await);
    assert!(link.settle(one.receipt, Settle::Ack).await.expect("acked"));
    assert!(!link.settle(one.receipt, Settle::Ack).await.expect("nothing sent"));
    drop(consumer);
    assert!(!link.settle(two.receipt, Settle::Ack).await.expect("nothing sent"));
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed");
    let again = next(&mut *consumer).await;
    assert_eq!((text(&again).as_str(), again.redelivered), ("2", true));
}

pub async fn acks_in_any_order_settle_what_they_name_and_nothing_else(broker: &Fixture) {
    let link = broker.link("a").await;
    let dead = broker.queue(&*link, "dead").await;
    let queue = broker.durable("q", 1000, Some(&dead));
    link.declare(&queue).await.expect("declared");
    join_all((0..300).map(|n| {
        let (link, queue) = (&link, &queue);
        async move { put(&**link, queue, &n.to_string()).await }
    }))
    .await;
    let mut consumer = link.consume(&queue.name, 300).await.expect("subscribed");
    let mut receipts = Vec::new();
    for _ in 0..300 {
        receipts.push(next(&mut *consumer).await.receipt);
    }
    // Of three deliveries the last is acked first, the first is kept or given up, and the middle one acked.
    let mut kept = Vec::new();
    for (n, three) in receipts.chunks(3).enumerate() {
        assert!(link.settle(three[2], Settle::Ack).await.expect("acked"));
        match n % 2 {
            0 => kept.push((n * 3).to_string()),
            _ => assert!(link.settle(three[0], Settle::DeadLetter).await.expect("given up")),
        }
        assert!(link.settle(three[1], Settle::Ack).await.expect("acked"));
    }
    drop(consumer);
    until_ready(&*link, &queue, 50).await;
    until_ready(&*link, &dead, 50).await;
    let mut consumer = link.consume(&queue.name, 300).await.expect("subscribed again");
    assert_eq!(texts(&mut *consumer, 50).await, kept);
}

pub async fn a_lost_connection_comes_back_and_its_messages_with_it(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let generation = up_after(&*link, 0).await;
    put(&*link, &queue, "1").await;
    put(&*link, &queue, "2").await;
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed");
    let held = next(&mut *consumer).await;
    next(&mut *consumer).await;
    assert_eq!(held.receipt.generation, generation);
    broker.cut("a");
    let ended = tokio::time::timeout(LONG, consumer.next()).await;
    assert!(ended.expect("it ends in time").is_none());
    assert!(consumer.next().await.is_none(), "and stays ended");
    assert!(consumer.try_next().is_none());
    assert!(up_after(&*link, generation).await > generation);
    assert!(!link.settle(held.receipt, Settle::Ack).await.expect("nothing sent"));
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed again");
    for expected in ["1", "2"] {
        let again = next(&mut *consumer).await;
        assert_eq!((text(&again).as_str(), again.redelivered), (expected, true));
        assert!(link.settle(again.receipt, Settle::Ack).await.expect("acked"));
    }
    put(&*link, &queue, "3").await;
    assert_eq!(text(&next(&mut *consumer).await), "3");
}

pub async fn declaring_again_is_harmless(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let exclusive = broker.exclusive("x", Some(&broker.name("news")));
    put(&*link, &queue, "stays").await;
    for _ in 0..2 {
        link.declare(&queue).await.expect("declared again");
        link.declare(&exclusive).await.expect("declared again");
    }
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    assert_eq!(text(&next(&mut *consumer).await), "stays");
}

pub async fn declaring_with_other_arguments_is_refused_and_the_link_goes_on(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    let generation = up_after(&*link, 0).await;
    let refused = link.declare(&broker.durable("q", 7, None)).await;
    assert!(matches!(refused, Err(LinkError::Refused { .. })), "{refused:?}");
    put(&*link, &queue, "goes on").await;
    assert_eq!(text(&next(&mut *consumer).await), "goes on");
    broker.queue(&*link, "another").await;
    assert_eq!(*link.state().borrow(), LinkState::Up(generation));
}

pub async fn consuming_a_missing_queue_fails_and_the_link_goes_on(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    match link.consume(&broker.name("nowhere"), 1).await {
        Err(LinkError::NoQueue(name)) => assert_eq!(name, broker.name("nowhere")),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("subscribed to nothing"),
    }
    put(&*link, &queue, "goes on").await;
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    assert_eq!(text(&next(&mut *consumer).await), "goes on");
}

pub async fn depth_counts_messages_and_consumers(broker: &Fixture) {
    let link = broker.link("a").await;
    assert_eq!(link.depth(&broker.name("nowhere")).await.expect("answered"), None);
    let queue = broker.queue(&*link, "q").await;
    for body in ["1", "2", "3"] {
        put(&*link, &queue, body).await;
    }
    until_ready(&*link, &queue, 3).await;
    let _consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    until_ready(&*link, &queue, 2).await;
    let depth = link.depth(&queue.name).await.expect("answered").expect("exists");
    assert_eq!(depth.consumers, 1);
}

pub async fn a_deleted_queue_ends_its_consumers_and_can_be_declared_again(broker: &Fixture) {
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    broker.delete(&queue.name).await;
    let ended = tokio::time::timeout(LONG, consumer.next()).await;
    assert!(ended.expect("it ends in time").is_none());
    let outcome = link.publish(&Address::Queue(queue.name.clone()), message("lost")).await;
    assert_eq!(outcome.expect("answered"), Published::Unroutable);
    link.declare(&queue).await.expect("declared again");
    put(&*link, &queue, "found").await;
    let mut consumer = link.consume(&queue.name, 1).await.expect("subscribed");
    assert_eq!(text(&next(&mut *consumer).await), "found");
}

pub async fn each_of_many_pipelined_publishes_gets_its_own_outcome(broker: &Fixture) {
    const TASKS: usize = 5;
    const EACH: usize = 1000;
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let nowhere = broker.name("nowhere");
    let publish = |task: usize| {
        let (link, queue, nowhere) = (link.clone(), queue.name.clone(), nowhere.clone());
        tokio::spawn(async move { publish_mixed(link, queue, nowhere, task, EACH).await })
    };
    let tasks: Vec<_> = (0..TASKS).map(publish).collect();
    let mut routed = 0;
    for task in tasks {
        routed += task.await.expect("each outcome was right");
    }
    until_ready(&*link, &queue, routed).await;
}

/// Publishes `count` messages at once, by a pattern that differs by task to a queue or to nowhere; returns how many were routed.
async fn publish_mixed(link: Arc<dyn Link>, queue: String, nowhere: String, task: usize, count: usize) -> u64 {
    let routable = |n: usize| !(n * 7 + task * 3).is_multiple_of(task + 2);
    let publishes = (0..count).map(|n| {
        let to = Address::Queue(if routable(n) { queue.clone() } else { nowhere.clone() });
        let link = &link;
        async move { link.publish(&to, message(&format!("{task}.{n}"))).await }
    });
    let outcomes = join_all(publishes).await;
    let mut routed = 0;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let (expected, counts) = match routable(n) {
            true => (Published::Accepted, 1),
            false => (Published::Unroutable, 0),
        };
        assert_eq!(outcome.expect("answered"), expected, "message {n} of task {task}");
        routed += counts;
    }
    routed
}

pub async fn a_closed_link_has_confirmed_what_was_published(broker: &Fixture) {
    let (link, other) = (broker.link("a").await, broker.link("b").await);
    let queue = broker.queue(&*link, "q").await;
    let publishes = join_all((0..200).map(|n| {
        let (link, queue) = (link.clone(), queue.clone());
        async move { put(&*link, &queue, &n.to_string()).await }
    }));
    // In this order: the publishes are on their way when the link is told to close.
    tokio::join!(publishes, link.close());
    let refused = link.publish(&Address::Queue(queue.name.clone()), message("late")).await;
    assert!(matches!(refused, Err(LinkError::Down)), "{refused:?}");
    assert!(matches!(link.declare(&queue).await, Err(LinkError::Down)));
    until_ready(&*other, &queue, 200).await;
}
