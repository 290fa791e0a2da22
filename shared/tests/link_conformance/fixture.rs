//! A broker to test against, with names of its own for each test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::link::{Address, Consumer, Delivery, Link, LinkState, Message, Published, QueueKind, QueueSpec};

use crate::proxy::Proxy;

pub const LONG: Duration = Duration::from_secs(20);

pub struct Fixture {
    broker: Broker,
    prefix: String,
    declared: Mutex<Vec<String>>,
}

enum Broker {
    Memory(MemoryBroker),
    RabbitMq {
        url: String,
        proxies: Mutex<HashMap<String, Proxy>>,
    },
}

/// The address of a RabbitMQ for tests; `None` after saying so.
pub fn amqp_url() -> Option<String> {
    let url = std::env::var("REJOIN_TEST_AMQP_URL").ok();
    if url.is_none() {
        let required = std::env::var("REJOIN_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "REJOIN_TEST_AMQP_URL is not set, and servers are required");
        eprintln!("SKIPPED on RabbitMQ: REJOIN_TEST_AMQP_URL is not set");
    }
    url
}

/// Host and port behind a URL.
pub fn target_of(url: &str) -> String {
    let uri: AMQPUri = url.parse().expect("a valid REJOIN_TEST_AMQP_URL");
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

/// The same URL with another port of this host.
pub fn through(url: &str, port: u16) -> String {
    let uri: AMQPUri = url.parse().expect("a valid REJOIN_TEST_AMQP_URL");
    let user = &uri.authority.userinfo;
    let vhost = uri.vhost.replace('%', "%25").replace('/', "%2f");
    format!("amqp://{}:{}@127.0.0.1:{port}/{vhost}", user.username, user.password)
}

impl Fixture {
    pub fn memory() -> Fixture {
        Fixture::new(Broker::Memory(MemoryBroker::new()))
    }

    pub fn rabbitmq() -> Option<Fixture> {
        let proxies = Mutex::default();
        amqp_url().map(|url| Fixture::new(Broker::RabbitMq { url, proxies }))
    }

    fn new(broker: Broker) -> Fixture {
        Fixture {
            broker,
            prefix: format!("link-test.{}.", uuid::Uuid::now_v7()),
            declared: Mutex::default(),
        }
    }

    /// A connected link of this name.
    pub async fn link(&self, name: &str) -> Arc<dyn Link> {
        let link: Arc<dyn Link> = match &self.broker {
            Broker::Memory(broker) => broker.link(name),
            Broker::RabbitMq { url, proxies } => {
                let proxy = Proxy::start(target_of(url)).await;
                let url = through(url, proxy.address().port());
                proxies.lock().expect("no poison").insert(name.to_owned(), proxy);
                AmqpLink::connect(AmqpConfig::new(&url, name))
            }
        };
        up_after(&*link, 0).await;
        link
    }

    /// Cuts the connection of the link of this name, which then connects again.
    pub fn cut(&self, name: &str) {
        match &self.broker {
            Broker::Memory(broker) => broker.disconnect(name),
            Broker::RabbitMq { proxies, .. } => {
                let cut = proxies.lock().expect("no poison")[name].cut();
                assert_eq!(cut, 2, "both connections were there to be cut");
            }
        }
    }

    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A durable queue, to be deleted at the end.
    pub fn durable(&self, name: &str, delivery_limit: u32, dead_letters: Option<&QueueSpec>) -> QueueSpec {
        let name = self.name(name);
        self.declared.lock().expect("no poison").push(name.clone());
        let dead_letters = dead_letters.map(|queue| queue.name.clone());
        QueueSpec {
            name,
            kind: QueueKind::Durable {
                delivery_limit,
                dead_letters,
                exchange: None,
            },
        }
    }

    pub fn exclusive(&self, name: &str, fanout: Option<&str>) -> QueueSpec {
        QueueSpec {
            name: self.name(name),
            kind: QueueKind::Exclusive {
                fanout: fanout.map(str::to_owned),
            },
        }
    }

    /// Declares a durable queue without dead letters.
    pub async fn queue(&self, link: &dyn Link, name: &str) -> QueueSpec {
        let queue = self.durable(name, 1000, None);
        link.declare(&queue).await.expect("declared");
        queue
    }

    pub async fn delete(&self, queue: &str) {
        match &self.broker {
            Broker::Memory(broker) => broker.delete(queue),
            Broker::RabbitMq { url, .. } => delete_all(url, vec![queue.to_owned()]).await,
        }
    }

    pub async fn delete_exchange(&self, exchange: &str) {
        if let Broker::RabbitMq { url, .. } = &self.broker {
            let connection = Connection::connect(url, ConnectionProperties::default());
            let connection = connection.await.expect("the test's server");
            let channel = connection.create_channel().await.expect("a channel");
            let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
            deleted.await.expect("deleted");
        }
    }

    /// Leaves nothing behind on the server but empty exchanges.
    pub async fn clean(&self) {
        if let Broker::RabbitMq { url, .. } = &self.broker {
            let declared = std::mem::take(&mut *self.declared.lock().expect("no poison"));
            delete_all(url, declared).await;
        }
    }
}

async fn delete_all(url: &str, queues: Vec<String>) {
    let connection = Connection::connect(url, ConnectionProperties::default());
    let connection = connection.await.expect("the test's server");
    let channel = connection.create_channel().await.expect("a channel");
    for queue in queues {
        let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.expect("deleted");
    }
}

/// Waits for a connection later than this one; returns its generation.
pub async fn up_after(link: &dyn Link, generation: u64) -> u64 {
    let mut state = link.state();
    let later = |state: &LinkState| matches!(state, LinkState::Up(now) if *now > generation);
    let shown = tokio::time::timeout(LONG, state.wait_for(later)).await;
    match *shown.expect("up in time").expect("the link is alive") {
        LinkState::Up(now) => now,
        LinkState::Blocked(_) | LinkState::Down => unreachable!("waited for up"),
    }
}

pub fn message(text: &str) -> Message {
    Message::new("test.kind", true, text.as_bytes().to_vec())
}

pub fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).expect("the tests' bodies are text")
}

/// Publishes to a queue, which must take it.
pub async fn put(link: &dyn Link, queue: &QueueSpec, body: &str) {
    let outcome = link.publish(&Address::Queue(queue.name.clone()), message(body)).await;
    assert_eq!(outcome.expect("published"), Published::Accepted);
}

pub async fn next(consumer: &mut dyn Consumer) -> Delivery {
    let delivery = tokio::time::timeout(LONG, consumer.next()).await;
    delivery.expect("a delivery in time").expect("the subscription lives")
}

pub async fn texts(consumer: &mut dyn Consumer, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(text(&next(consumer).await));
    }
    all
}

/// Waits until the queue has so many messages ready.
pub async fn until_ready(link: &dyn Link, queue: &QueueSpec, messages: u64) {
    let reached = async {
        while link
            .depth(&queue.name)
            .await
            .expect("answered")
            .expect("exists")
            .messages
            != messages
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let what = format!("{messages} messages ready in time");
    tokio::time::timeout(LONG, reached).await.expect(&what);
}
