//! What only a link over a network can show.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Address, Link, LinkError, LinkState};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, LONG, amqp_url, message, put, target_of, through, up_after};
use crate::proxy::Proxy;

#[tokio::test]
async fn a_link_is_there_at_once_and_connects_as_soon_as_there_is_a_broker() {
    let Some(url) = amqp_url() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let mut config = AmqpConfig::new(&through(&url, port), "late");
    config.reconnect_pause_max = Duration::from_millis(200);
    let link = AmqpLink::connect(config);
    assert_eq!(*link.state().borrow(), LinkState::Down);
    let refused = link.publish(&Address::Queue("q".to_owned()), message("early")).await;
    assert!(matches!(refused, Err(LinkError::Down)), "{refused:?}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("still free");
    let _proxy = Proxy::serve(listener, target_of(&url));
    assert_eq!(up_after(&*link, 0).await, 1);
    link.close().await;
    assert_eq!(*link.state().borrow(), LinkState::Down);
}

#[tokio::test]
async fn a_cut_shows_as_down_before_it_is_up_again() {
    let Some(broker) = Fixture::rabbitmq() else { return };
    let link = broker.link("a").await;
    let generation = up_after(&*link, 0).await;
    let mut state = link.state();
    broker.cut("a");
    let down = state.wait_for(|state| *state == LinkState::Down);
    let down = tokio::time::timeout(LONG, down).await.expect("in time");
    drop(down.expect("the link is alive"));
    assert_eq!(up_after(&*link, generation).await, generation + 1);
}

#[tokio::test]
async fn publishes_under_way_when_the_connection_is_cut_fail_or_arrive_and_none_hangs() {
    let Some(broker) = Fixture::rabbitmq() else { return };
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let generation = up_after(&*link, 0).await;
    let to = Address::Queue(queue.name.clone());
    let publishes = futures_util::future::join_all((0..2000).map(|n| {
        let (link, to) = (link.clone(), to.clone());
        async move { link.publish(&to, message(&n.to_string())).await }
    }));
    let cut = async { broker.cut("a") };
    let (outcomes, ()) = tokio::join!(tokio::time::timeout(LONG, publishes), cut);
    let accepted = outcomes.expect("none hangs").into_iter().filter(Result::is_ok).count();
    up_after(&*link, generation).await;
    let depth = link.depth(&queue.name).await.expect("answered").expect("exists");
    assert!(
        depth.messages >= accepted as u64,
        "{accepted} were confirmed, {depth:?}"
    );
    put(&*link, &queue, "after").await;
    broker.clean().await;
}

#[tokio::test]
async fn a_subscription_that_nobody_waits_for_any_more_takes_no_messages() {
    let Some(broker) = Fixture::rabbitmq() else { return };
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    // Given up after so many steps of it, each of which an answer of the broker begins.
    for steps in 0..12 {
        let mut subscribing = link.consume(&queue.name, 10);
        let mut left = steps;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            subscribing.as_mut().poll(context).map(drop)
        })
        .await;
    }
    let alone = async {
        while link
            .depth(&queue.name)
            .await
            .expect("answered")
            .expect("exists")
            .consumers
            > 0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, alone).await.expect("no consumer is left");
    broker.clean().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_takes_nothing_along() {
    let Some(broker) = Fixture::rabbitmq() else { return };
    let link = broker.link("a").await;
    let queue = broker.queue(&*link, "q").await;
    let mut large = message("");
    large.body = vec![b' '; 16 * 1024 * 1024 + 1].into();
    let refused = link.publish(&Address::Queue(queue.name.clone()), large).await;
    assert!(matches!(refused, Err(LinkError::Refused { .. })), "{refused:?}");
    put(&*link, &queue, "small").await;
    broker.clean().await;
}

#[tokio::test]
async fn a_silent_broker_is_noticed_by_its_missing_heartbeats() {
    let Some(url) = amqp_url() else { return };
    let proxy = Proxy::start(target_of(&url)).await;
    let mut config = AmqpConfig::new(&through(&url, proxy.address().port()), "silent");
    config.heartbeat = Duration::from_secs(1);
    config.connect_timeout = Duration::from_millis(500);
    config.call_timeout = Duration::from_millis(500);
    let link = AmqpLink::connect(config);
    up_after(&*link, 0).await;
    proxy.stall(true);
    let asked = link.depth("q").await;
    assert!(matches!(asked, Err(LinkError::TimedOut(500))), "{asked:?}");
    let mut state = link.state();
    let down = tokio::time::timeout(LONG, state.wait_for(|state| *state == LinkState::Down)).await;
    drop(down.expect("noticed in time").expect("the link is alive"));
    assert!(matches!(link.depth("q").await, Err(LinkError::Down)));
    proxy.stall(false);
    up_after(&*link, 1).await;
    link.close().await;
}

#[tokio::test]
async fn an_exchange_that_was_deleted_is_declared_again_and_the_link_goes_on() {
    let Some(broker) = Fixture::rabbitmq() else { return };
    let link = broker.link("a").await;
    let generation = up_after(&*link, 0).await;
    let exchange = broker.name("news");
    let news = Address::Fanout(exchange.clone());
    assert!(link.publish(&news, message("1")).await.is_ok());
    broker.delete_exchange(&exchange).await;
    let unknown = link.publish(&news, message("2")).await;
    assert!(matches!(unknown, Err(LinkError::Down)), "{unknown:?}");
    assert!(link.publish(&news, message("3")).await.is_ok());
    assert_eq!(*link.state().borrow(), LinkState::Up(generation));
    broker.delete_exchange(&exchange).await;
}
