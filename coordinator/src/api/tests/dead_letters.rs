//! What the broker has given up.

use std::sync::Arc;

use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::link::{Address, Link, LinkState, Message, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{Pack, kind};

use super::{Reply, Server};
use crate::api::rules::Rules;
use crate::coordinator::CoordinatorConfig;
use crate::store::embedded::EmbeddedStore;

fn items(reply: &Reply) -> Vec<Json> {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
        .json()
        .get("items")
        .and_then(Json::as_list)
        .unwrap_or_default()
        .to_vec()
}

fn text(item: &Json, key: &str) -> String {
    item.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

async fn listed(server: &Server) -> Vec<Json> {
    items(&server.call("GET /v1/dead-letters", "", "").await)
}

/// Gives up messages with these bodies on a task queue of their own.
async fn give_up(link: &dyn Link, bodies: &[&str]) {
    give_up_in(link, &Topology::default(), bodies).await;
}

async fn give_up_in(link: &dyn Link, topology: &Topology, bodies: &[&str]) {
    let queue = topology.task_queue(&rejoin_shared::ids::Namespace::default_name(), "odd");
    link.declare(&topology.dead_queue()).await.expect("declared");
    link.declare(&queue).await.expect("declared");
    let mut consumer = link.consume(&queue.name, 10).await.expect("subscribed");
    for body in bodies {
        let message = Message::new(kind::PACK, true, body.as_bytes().to_vec());
        link.publish(&Address::Queue(queue.name.clone()), message)
            .await
            .expect("sent");
        let delivery = consumer.next().await.expect("a delivery");
        link.settle(delivery.receipt, Settle::DeadLetter)
            .await
            .expect("settled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_in_order_as_often_as_one_likes_and_dropped_by_their_ids() {
    let server = Server::start().await;
    assert!(listed(&server).await.is_empty(), "there is no queue yet");
    let link = server.broker.link("test");
    give_up(&*link, &["{\"n\":1}", "no JSON", "{\"n\":3}"]).await;
    let first = listed(&server).await;
    assert_eq!(first.len(), 3);
    assert_eq!(listed(&server).await, first);
    let page = server.call("GET /v1/dead-letters?limit=2", "", "").await;
    assert_eq!(items(&page), first[..2]);
    let rest = format!("GET /v1/dead-letters?limit=2&after={}", page.text("next"));
    let rest = server.call(&rest, "", "").await;
    assert_eq!(
        (items(&rest), rest.json().get("next")),
        (first[2..].to_vec(), Some(&Json::Null))
    );
    assert_eq!(
        (&*text(&first[0], "reason"), &*text(&first[0], "queue")),
        ("rejected", "rejoin.tasks.odd")
    );
    assert_eq!(first[0].get("body"), Some(&Json::parse(b"{\"n\":1}").expect("JSON")));
    assert!(text(&first[0], "at").starts_with("20"), "{}", first[0]);
    let delete = format!("DELETE /v1/dead-letters/{}", text(&first[1], "id"));
    assert_eq!(server.call(&delete, "", "").await.status, 204);
    assert_eq!(server.call(&delete, "", "").await.status, 404);
    assert_eq!(server.call("DELETE /v1/dead-letters/x", "", "").await.status, 404);
    assert_eq!(listed(&server).await, [first[0].clone(), first[2].clone()]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_can_read_is_listed_on_a_broker_that_was_empty() {
    let server = Server::start().await;
    let link = server.broker.link("test");
    let events = Topology::default().event_queue(0);
    link.declare(&events).await.expect("declared");
    let unreadable = Message::new(kind::COMPLETIONS, true, b"{".to_vec());
    link.publish(&Address::Queue(events.name), unreadable)
        .await
        .expect("sent");
    let listed_once = async {
        while listed(&server).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), listed_once)
        .await
        .expect("a dead letter: the queue for them is there from the start");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_sent_again_to_where_it_came_from() {
    let server = Server::start().await;
    let link = server.broker.link("test");
    give_up(&*link, &["{\"n\":1}", "{\"n\":2}"]).await;
    let letters = listed(&server).await;
    let replay = |letter: &Json| format!("POST /v1/dead-letters/{}:replay", text(letter, "id"));
    assert_eq!(server.call(&replay(&letters[0]), "", "").await.status, 200);
    assert_eq!(server.call(&replay(&letters[0]), "", "").await.status, 404);
    assert_eq!(listed(&server).await, letters[1..]);
    let mut consumer = link.consume("rejoin.tasks.odd", 10).await.expect("subscribed");
    let again = consumer.next().await.expect("a delivery");
    assert_eq!(
        (&*again.message.body, again.message.id.to_string()),
        (&b"{\"n\":1}"[..], text(&letters[0], "id"))
    );
    let nothing = format!("POST /v1/dead-letters/{}", text(&letters[1], "id"));
    assert_eq!(server.call(&nothing, "", "").await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_one_namespace_are_nobody_elses() {
    let server = Server::start().await;
    let link = server.broker.link("test");
    give_up(&*link, &["{\"n\":1}", "{\"namespace\":\"shop\"}"]).await;
    let shop = "Rejoin-Namespace: shop\r\n";
    let own = listed(&server).await;
    let others = items(&server.call("GET /v1/dead-letters", shop, "").await);
    assert_eq!((own.len(), others.len()), (1, 1));
    assert_ne!(own, others);
    let (drop, replay) = (
        format!("DELETE /v1/dead-letters/{}", text(&others[0], "id")),
        format!("POST /v1/dead-letters/{}:replay", text(&others[0], "id")),
    );
    assert_eq!(server.call(&drop, "", "").await.status, 404);
    assert_eq!(server.call(&replay, "", "").await.status, 404);
    assert_eq!(items(&server.call("GET /v1/dead-letters", shop, "").await), others);
    assert_eq!(server.call(&replay, shop, "").await.status, 200);
    server.stop().await;
}

/// Its attempts may have been sent again long ago, and have completed.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_are_sent_again_are_asked_about_before_they_run() {
    let server = Server::start().await;
    let link = server.broker.link("test");
    let pack = Pack {
        owner: "c".to_owned(),
        publish: 1,
        check: false,
        suspect: false,
        until: None,
        claim: false,
        probe: None,
        namespace: Namespace::default_name(),
        queue: "odd".to_owned(),
        contexts: Vec::new(),
        attempts: Vec::new(),
    };
    let body = serde_json::to_string(&pack).expect("a pack");
    give_up(&*link, &[&body]).await;
    let letters = listed(&server).await;
    let line = format!("POST /v1/dead-letters/{}:replay", text(&letters[0], "id"));
    assert_eq!(server.call(&line, "", "").await.status, 200);
    let queue = Topology::default().tasks(&Namespace::default_name(), "odd");
    let mut consumer = link.consume(&queue, 1).await.expect("subscribed");
    let again = consumer.next().await.expect("the letter");
    let again: Pack = serde_json::from_slice(&again.message.body).expect("still a pack");
    assert!(again.check);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_step_is_retried_by_resuming_its_run_where_that_can_be() {
    let server = Server::start().await;
    let link = server.broker.link("test");
    let topology = Topology::default();
    link.declare(&topology.dead_queue()).await.expect("declared");
    let document = "workflow: bad\nsteps: [ { fail: stop, error: { type: x, message: no } } ]\n";
    let failed = server.begun(document, "bad", "{}").await;
    server.reaches(&failed, "failed").await;
    let running = server.started().await;
    let gone = "01920000-0000-7000-8000-000000000000".to_owned();
    for run in [&failed, &running, &gone] {
        let body = format!(
            r#"{{"reason":"rejoin.poison","attempt":{{"run":"{run}"}},"path":"/a","handler":"h","input":{{"k":1}}}}"#
        );
        let message = Message::new(kind::PACK, true, body.into_bytes());
        link.publish(&Address::Queue(topology.dead()), message)
            .await
            .expect("sent");
    }
    let letters = listed(&server).await;
    assert_eq!(
        (&*text(&letters[0], "reason"), text(&letters[0], "run")),
        ("rejoin.poison", failed)
    );
    assert_eq!(
        (&*text(&letters[0], "path"), &*text(&letters[0], "handler")),
        ("/a", "h")
    );
    let replay = async |letter: &Json| {
        let line = format!("POST /v1/dead-letters/{}:replay", text(letter, "id"));
        server.call(&line, "", "").await.status
    };
    assert_eq!(replay(&letters[0]).await, 200);
    assert_eq!((replay(&letters[1]).await, replay(&letters[2]).await), (409, 409));
    assert_eq!(listed(&server).await, letters[1..], "what cannot be sent again stays");
    server.stop().await;
}

/// Where `REJOIN_TEST_AMQP_URL` names a server.
#[tokio::test(flavor = "multi_thread")]
async fn on_rabbitmq_letters_are_listed_again_and_again_paged_dropped_and_replayed() {
    let Ok(url) = std::env::var("REJOIN_TEST_AMQP_URL") else {
        assert!(
            std::env::var("REJOIN_TEST_REQUIRE_SERVERS").is_err(),
            "servers are required"
        );
        return;
    };
    let topology = Topology {
        prefix: format!("letters-{}.", uuid::Uuid::new_v4().simple()),
    };
    let link = AmqpLink::connect(AmqpConfig::new(&url, "test"));
    let config = CoordinatorConfig {
        topology: topology.clone(),
        ..CoordinatorConfig::new("c")
    };
    let store = Arc::new(EmbeddedStore::in_memory().expect("a store in memory"));
    let server = Server::linked(store, &MemoryBroker::new(), link.clone(), config, Rules::default()).await;
    link.state()
        .wait_for(|state| matches!(state, LinkState::Up(_)))
        .await
        .expect("connected");
    let bodies = ["{\"n\":1}", "no JSON", "{\"namespace\":\"shop\"}", "{\"n\":4}"];
    give_up_in(&*link, &topology, &bodies).await;
    // The broker moves what was rejected by itself, after the rejection was taken.
    let all_there = async {
        while listed(&server).await.len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), all_there)
        .await
        .expect("three letters");
    let first = listed(&server).await;
    assert_eq!(
        listed(&server).await,
        first,
        "a look takes nothing away, and keeps the order"
    );
    assert_eq!(text(&first[0], "reason"), "rejected");
    let page = server.call("GET /v1/dead-letters?limit=2", "", "").await;
    let rest = format!("GET /v1/dead-letters?after={}", page.text("next"));
    assert_eq!(items(&server.call(&rest, "", "").await), first[2..]);
    let line =
        |method: &str, letter: &Json, end: &str| format!("{method} /v1/dead-letters/{}{end}", text(letter, "id"));
    assert_eq!(server.call(&line("DELETE", &first[1], ""), "", "").await.status, 204);
    assert_eq!(server.call(&line("DELETE", &first[1], ""), "", "").await.status, 404);
    assert_eq!(
        server.call(&line("POST", &first[0], ":replay"), "", "").await.status,
        200
    );
    assert_eq!(listed(&server).await, first[2..]);
    let odd = topology.tasks(&Namespace::default_name(), "odd");
    let mut consumer = link.consume(&odd, 10).await.expect("subscribed");
    let again = consumer.next().await.expect("the letter");
    let body = Json::parse(&again.message.body).unwrap_or_default();
    assert_eq!(
        Some(&body),
        first[0].get("body"),
        "the letter that was asked for, whichever the broker moved first"
    );
    drop(consumer);
    server.stop().await;
    let deleted = link.delete_all(&topology, &["odd"]).await;
    assert!(deleted.is_ok(), "{deleted:?} {:?}", link.failure());
    link.close().await;
}
