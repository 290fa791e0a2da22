//! A scripted owner over the link inside one process, and a link whose confirms can be held back.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rejoin_shared::ids::{AttemptKey, Namespace, Partition, RunId, StepKey};
use rejoin_shared::link::memory::MemoryBroker;
use rejoin_shared::link::{
    Address, Consumer, Delivery, Depth, Link, LinkError, LinkState, Message, Published, QueueSpec, Receipt, Settle,
};
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::TraceParent;
use rejoin_shared::wire::{BaseContext, Cancel, Order, OrderPayload, Pack, Report, Verdict, Verdicts, WorkerId, kind};
use rejoin_worker::{Worker, WorkerBuilder};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Name of the workers' link, for cutting it.
pub const WORKER_LINK: &str = "worker";

pub fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("test JSON")
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Polls until `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub struct Owner {
    pub broker: MemoryBroker,
    pub link: Arc<dyn Link>,
    pub topology: Topology,
    pub run: RunId,
    events: Box<dyn Consumer>,
    reports: Box<dyn Consumer>,
    published: u64,
}

impl Owner {
    pub async fn new() -> Owner {
        let broker = MemoryBroker::new();
        let link = broker.link("owner");
        let topology = Topology::default();
        let own = topology.coordinator_queue(uuid::Uuid::now_v7());
        let tasks = topology.task_queue(&Namespace::default_name(), "default");
        for queue in [&topology.event_queue(0), &own, &topology.dead_queue(), &tasks] {
            link.declare(queue).await.expect("the queue");
        }
        Owner {
            events: link.consume(&topology.events(0), 100).await.expect("events"),
            reports: link.consume(&own.name, 100).await.expect("reports"),
            broker,
            link,
            topology,
            run: RunId::new_in(Partition(0)),
            published: 0,
        }
    }

    pub fn tasks(&self) -> String {
        self.topology.tasks(&Namespace::default_name(), "default")
    }

    pub fn key(&self, pos: u32) -> AttemptKey {
        AttemptKey {
            run: self.run,
            step: StepKey {
                scope: 0,
                branch: 0,
                pos,
            },
            attempt: 1,
        }
    }

    pub fn order(&self, pos: u32, handler: &str, input: &str) -> Order {
        Order {
            run: self.run,
            step: self.key(pos).step,
            attempt: 1,
            workflow: "w".into(),
            path: format!("/s#{pos}"),
            handler: handler.into(),
            idempotency_key: Some(format!("k{pos}")),
            timeout_ms: None,
            heartbeat_ms: None,
            token: None,
            payload_encoding: "json".into(),
            payload: OrderPayload {
                base: 0,
                changes: None,
                input: Some(raw(input)),
                item: None,
                index: None,
                checkpoint: None,
            },
        }
    }

    pub fn pack(&mut self, attempts: Vec<Order>) -> Pack {
        self.published += 1;
        Pack {
            owner: "owner".into(),
            publish: self.published,
            check: false,
            suspect: false,
            until: None,
            claim: false,
            probe: None,
            namespace: Namespace::default_name(),
            queue: "default".into(),
            contexts: vec![BaseContext::Inline(raw(r#"{"a":{"b":1.50}}"#))],
            attempts,
        }
    }

    pub async fn publish(&self, pack: &Pack) {
        let mut message = Message::new(kind::PACK, true, serde_json::to_vec(pack).expect("a pack"));
        message.reply_to = Some(self.topology.events(0));
        self.publish_message(message).await;
    }

    /// Publishes a pack whose sender keeps, or does not keep, the run's span.
    pub async fn publish_traced(&self, pack: &Pack, is_sampled: bool) {
        let mut message = Message::new(kind::PACK, true, serde_json::to_vec(pack).expect("a pack"));
        message.reply_to = Some(self.topology.events(0));
        message.traceparent = Some(TraceParent::of_run(self.run, is_sampled).to_string());
        self.publish_message(message).await;
    }

    pub async fn publish_message(&self, message: Message) {
        let to = Address::Queue(self.tasks());
        let published = self.link.publish(&to, message).await.expect("published");
        assert_eq!(published, Published::Accepted);
    }

    pub async fn dispatch(&mut self, attempts: Vec<Order>) {
        let pack = self.pack(attempts);
        self.publish(&pack).await;
    }

    pub async fn next_message(&mut self) -> Message {
        let delivery = soon("an event", self.events.next()).await.expect("the event queue");
        self.link.settle(delivery.receipt, Settle::Ack).await.expect("acked");
        delivery.message
    }

    pub async fn next_event_text(&mut self) -> (String, String) {
        let message = self.next_message().await;
        let body = String::from_utf8(message.body.to_vec()).expect("text");
        (message.kind, body)
    }

    pub async fn next_event(&mut self) -> (String, Value) {
        let (kind, body) = self.next_event_text().await;
        (kind, serde_json::from_str(&body).expect("JSON"))
    }

    pub async fn event(&mut self, kind: &str) -> Value {
        let (came, body) = self.next_event().await;
        assert_eq!(came, kind, "{body}");
        body
    }

    /// The items of as many completions as asked for.
    pub async fn completions(&mut self, count: usize) -> Vec<Value> {
        let mut items = Vec::new();
        while items.len() < count {
            let body = self.event(kind::COMPLETIONS).await;
            // What an item lacks stands beside the items.
            let common = body["common"].as_object().cloned().unwrap_or_default();
            for item in body["items"].as_array().expect("items") {
                let mut whole = common.clone();
                whole.extend(item.as_object().expect("an item").clone());
                items.push(Value::Object(whole));
            }
        }
        assert_eq!(items.len(), count);
        items
    }

    pub fn has_event(&mut self) -> bool {
        self.events.try_next().is_some()
    }

    /// Subscribes to the event queue again, after it was deleted.
    pub async fn resubscribe(&mut self) {
        soon("the event queue's return", async {
            loop {
                match self.link.consume(&self.topology.events(0), 100).await {
                    Ok(events) => return self.events = events,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
    }

    pub async fn report(&mut self, mut fits: impl FnMut(&Report) -> bool) -> Report {
        soon("such a report", async {
            loop {
                let delivery = self.reports.next().await.expect("the reports queue");
                self.link.settle(delivery.receipt, Settle::Ack).await.expect("acked");
                let report: Report = serde_json::from_slice(&delivery.message.body).expect("a report");
                if fits(&report) {
                    return report;
                }
            }
        })
        .await
    }

    pub async fn send_own(&self, worker: &WorkerId, kind: &str, body: &impl serde::Serialize) {
        let to = Address::Queue(self.topology.worker(worker.incarnation));
        let message = Message::new(kind, false, serde_json::to_vec(body).expect("JSON"));
        self.link.publish(&to, message).await.expect("published");
    }

    pub async fn cancel(&self, worker: &WorkerId, attempts: Vec<AttemptKey>) {
        self.send_own(worker, kind::CANCEL, &Cancel { attempts }).await;
    }

    /// Answers a check.
    pub async fn answer(&self, check: &Value, verdict: impl Fn(&AttemptKey) -> Verdict) {
        let check: rejoin_shared::wire::Check = serde_json::from_value(check.clone()).expect("a check");
        let verdicts = check.attempts.iter().map(|key| (*key, verdict(key))).collect();
        let (id, checkpoints) = (check.id, Vec::new());
        let answer = Verdicts {
            id,
            verdicts,
            checkpoints,
        };
        self.send_own(&check.worker, kind::VERDICTS, &answer).await;
    }

    pub async fn waiting(&self) -> u64 {
        self.link
            .depth(&self.tasks())
            .await
            .expect("depth")
            .expect("the queue")
            .messages
    }

    pub fn start(&self, builder: WorkerBuilder) -> Running {
        self.start_over(builder, self.broker.link(WORKER_LINK))
    }

    pub fn start_over(&self, builder: WorkerBuilder, link: Arc<dyn Link>) -> Running {
        let link = Arc::new(Gate::new(link));
        let worker = builder.name("w").build(link.clone()).expect("a worker");
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running { stop, link, task }
    }
}

pub struct Running {
    pub stop: CancellationToken,
    pub link: Arc<Gate>,
    task: JoinHandle<Result<(), rejoin_worker::WorkerError>>,
}

impl Running {
    pub async fn ended(self) {
        soon("the worker's end", self.task)
            .await
            .expect("no panic")
            .expect("no error");
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.ended().await;
    }
}

pub fn builder() -> WorkerBuilder {
    Worker::builder().concurrency(4).drain(Duration::from_secs(5))
}

/// A link that can hold back what is published to event queues, and subscriptions, and tells what was settled.
pub struct Gate {
    inner: Arc<dyn Link>,
    pub open: watch::Sender<bool>,
    pub subscribes: watch::Sender<bool>,
    pub held: watch::Sender<usize>,
    pub settled: Mutex<Vec<Settle>>,
}

impl Gate {
    fn new(inner: Arc<dyn Link>) -> Gate {
        Gate {
            inner,
            open: watch::channel(true).0,
            subscribes: watch::channel(true).0,
            held: watch::channel(0).0,
            settled: Mutex::default(),
        }
    }

    pub fn settled(&self) -> Vec<Settle> {
        self.settled.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Link for Gate {
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        self.inner.declare(queue).await
    }
    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
        if matches!(to, Address::Through { queue, .. } if queue.starts_with("rejoin.events")) {
            self.held.send_modify(|held| *held += 1);
            self.open
                .subscribe()
                .wait_for(|open| *open)
                .await
                .expect("the gate lives");
        }
        self.inner.publish(to, message).await
    }
    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        let mut subscribes = self.subscribes.subscribe();
        subscribes.wait_for(|may| *may).await.expect("the gate lives");
        self.inner.consume(queue, prefetch).await
    }
    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        let settled = self.inner.settle(receipt, how).await?;
        self.settled.lock().expect("no panic").push(how);
        Ok(settled)
    }
    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError> {
        self.inner.depth(queue).await
    }
    fn state(&self) -> watch::Receiver<LinkState> {
        self.inner.state()
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Takes one waiting message and puts it back, so that it counts as redelivered.
pub async fn redeliver(owner: &Owner) {
    let mut consumer = owner.link.consume(&owner.tasks(), 1).await.expect("tasks");
    let delivery: Delivery = soon("the pack", consumer.next()).await.expect("a pack");
    owner
        .link
        .settle(delivery.receipt, Settle::Requeue)
        .await
        .expect("requeued");
    drop(consumer);
    soon("its return", async {
        while owner.waiting().await == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
