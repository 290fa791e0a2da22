//! Subscriptions that outlive connections: one for each event queue, one for the coordinator's own queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Counter;
use rejoin_shared::ids::Partition;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::{Address, Consumer, Delivery, Link, LinkError, LinkState, Message, Receipt, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{Completions, Survey};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::decode::{self, EventBody, Notice, Unfit};
use super::gate::Gate;
use crate::metrics::{Metrics, as_f64};
use crate::owner::inbound::{Inbound, Incoming};
use crate::survey::Surveys;

/// Unsettled messages of one event queue.
const EVENT_PREFETCH: u16 = 512;
/// Unsettled messages of the own queue; reports are acknowledged as they are read.
const NOTICE_PREFETCH: u16 = 256;
/// Wait after a failed subscription.
const RETRY: Duration = Duration::from_millis(500);

/// Stops one subscription in two steps, so that what was read is settled in between.
struct Subscription {
    no_more: CancellationToken,
    close: CancellationToken,
}

/// The gate, and the count of those who were turned away.
#[derive(Clone)]
pub struct Entrance {
    /// Whose messages are taken in.
    pub gate: Arc<Gate>,
    /// Of the process.
    pub metrics: Metrics,
}

impl Entrance {
    fn admits(&self, message: &Message) -> bool {
        let admitted = self.gate.admits(message);
        if !admitted {
            self.metrics.messages_rejected.with_label_values(&["user"]).inc();
            let (id, kind, user) = (message.id, &message.kind, &message.user);
            tracing::warn!(%id, kind, ?user, "a message of a user who may not send such is turned away");
        }
        admitted
    }
}

/// The event queues that are read.
pub struct Consumers {
    link: Arc<dyn Link>,
    topology: Topology,
    limits: Limits,
    events: mpsc::Sender<Incoming>,
    entrance: Entrance,
    tasks: TaskTracker,
    open: BTreeMap<Partition, Subscription>,
}

impl Consumers {
    /// Reads none yet; deliveries go to `events`.
    #[must_use]
    pub fn new(
        link: Arc<dyn Link>,
        topology: Topology,
        limits: Limits,
        events: mpsc::Sender<Incoming>,
        entrance: Entrance,
        tasks: TaskTracker,
    ) -> Consumers {
        Consumers {
            link,
            topology,
            limits,
            events,
            entrance,
            tasks,
            open: BTreeMap::new(),
        }
    }

    /// Begins to read the event queue of `partition`, unless it is read already.
    pub fn open(&mut self, partition: Partition) {
        if self.open.contains_key(&partition) {
            return;
        }
        let subscription = Subscription {
            no_more: CancellationToken::new(),
            close: CancellationToken::new(),
        };
        let reader = EventReader {
            link: self.link.clone(),
            topology: self.topology.clone(),
            limits: self.limits.clone(),
            events: self.events.clone(),
            entrance: self.entrance.clone(),
            received: self.entrance.metrics.broker_bytes.with_label_values(&["received"]),
            partition,
            no_more: subscription.no_more.clone(),
            close: subscription.close.clone(),
        };
        self.tasks.spawn(reader.run());
        self.open.insert(partition, subscription);
    }

    /// Whether the event queue of `partition` is read here.
    #[must_use]
    pub fn reads(&self, partition: Partition) -> bool {
        self.open.contains_key(&partition)
    }

    /// Reads no more of it; what was read can still be settled.
    pub fn stop(&self, partition: Partition) {
        if let Some(subscription) = self.open.get(&partition) {
            subscription.no_more.cancel();
        }
    }

    /// Ends the subscription: what is not settled is delivered to the next owner.
    pub fn close(&mut self, partition: Partition) {
        if let Some(subscription) = self.open.remove(&partition) {
            subscription.no_more.cancel();
            subscription.close.cancel();
        }
    }

    /// Ends all of them.
    pub fn close_all(&mut self) {
        let all: Vec<Partition> = self.open.keys().copied().collect();
        all.into_iter().for_each(|partition| self.close(partition));
    }
}

struct EventReader {
    link: Arc<dyn Link>,
    topology: Topology,
    limits: Limits,
    events: mpsc::Sender<Incoming>,
    entrance: Entrance,
    /// Bytes of bodies.
    received: Counter,
    partition: Partition,
    no_more: CancellationToken,
    close: CancellationToken,
}

impl EventReader {
    async fn run(self) {
        let queue = self.topology.event_queue(self.partition.0);
        loop {
            let subscribed = async {
                // What the broker cannot put to the dead letters it forgets.
                self.link.declare(&self.topology.dead_queue()).await?;
                self.link.declare(&queue).await?;
                self.link.consume(&queue.name, EVENT_PREFETCH).await
            };
            let subscribed = tokio::select! {
                biased;
                () = self.no_more.cancelled() => return,
                subscribed = subscribed => subscribed,
            };
            let ended = match subscribed {
                Ok(mut consumer) => self.read(consumer.as_mut()).await,
                Err(error) => {
                    tracing::debug!(queue = queue.name, %error, "event queue cannot be read yet");
                    false
                }
            };
            if ended || wait_for_link(&self.link, &self.no_more).await {
                return;
            }
        }
    }

    /// Reads until the subscription ends; `true`: for good.
    async fn read(&self, consumer: &mut dyn Consumer) -> bool {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.no_more.cancelled() => {
                    self.close.cancelled().await;
                    return true;
                }
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { return false };
            if self.pass_on(delivery).await {
                return true;
            }
        }
    }

    async fn pass_on(&self, delivery: Delivery) -> bool {
        if !self.entrance.admits(&delivery.message) {
            self.link.settle(delivery.receipt, Settle::DeadLetter).await.ok();
            return false;
        }
        let (receipt, message) = (delivery.receipt, delivery.message);
        self.received.inc_by(as_f64(message.body.len()));
        match decode::event(&message, &self.limits, &self.entrance.gate) {
            Ok(body) => self.take_in(receipt, message, body).await,
            Err(Unfit::Unreadable(reason)) => {
                tracing::warn!(message = %message.id, reason, "unreadable event, to the dead letters");
                self.link.settle(receipt, Settle::DeadLetter).await.ok();
                false
            }
            Err(Unfit::Strange(body)) => self.take_apart(receipt, &message, *body).await,
        }
    }

    async fn take_in(&self, receipt: Receipt, message: Message, body: EventBody) -> bool {
        let incoming = Incoming {
            queue: self.partition,
            receipt,
            message,
            body,
        };
        self.events.send(incoming).await.is_err()
    }

    /// Completions of what was never dispatched go to the dead letters; those beside them in the message are taken in.
    async fn take_apart(&self, receipt: Receipt, message: &Message, body: Completions) -> bool {
        let gate = &self.entrance.gate;
        let strange = body.items.iter().filter(|item| !gate.believes(item)).count();
        let rejected = self.entrance.metrics.messages_rejected.with_label_values(&["token"]);
        rejected.inc_by(as_f64(strange));
        tracing::warn!(message = %message.id, worker = body.worker.name, strange, "completions of what was never dispatched");
        let (believed, strange) = gate.sift(message, body);
        let Some(believed) = believed else {
            self.link.settle(receipt, Settle::DeadLetter).await.ok();
            return false;
        };
        if let Some(strange) = strange {
            let to = Address::Queue(self.topology.dead());
            // They are counted and logged; the letter is for whoever wants to see more.
            if let Err(error) = self.link.publish(&to, strange).await {
                tracing::warn!(%error, "they could not be put to the dead letters");
            }
        }
        match decode::event(&believed, &self.limits, gate) {
            Ok(body) => self.take_in(receipt, believed, body).await,
            // It was read before it was sifted, so this is not to be; and nothing may lie here unsettled for ever.
            Err(_) => {
                self.link.settle(receipt, Settle::DeadLetter).await.ok();
                false
            }
        }
    }
}

/// Waits a moment, and for the connection; `true`: stopped.
async fn wait_for_link(link: &Arc<dyn Link>, stop: &CancellationToken) -> bool {
    let mut state = link.state();
    let up = async {
        tokio::time::sleep(RETRY).await;
        state.wait_for(|state| *state != LinkState::Down).await.is_ok()
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        up = up => !up,
    }
}

/// Who is told what the coordinator's own queue brings.
pub struct Listeners {
    /// From whom something is taken at all.
    pub entrance: Entrance,
    /// The owner.
    pub notices: mpsc::Sender<Inbound>,
    /// Who answers other coordinators; a question that finds no room is not answered.
    pub questions: mpsc::Sender<Survey>,
    /// Who waits for their answers.
    pub surveys: Surveys,
}

/// Reads reports, nudges and surveys for ever. Declares the dead letter queue on the way, so that it is there before
/// anything can be rejected: the broker drops a dead letter that has no queue.
pub async fn read_notices(
    link: Arc<dyn Link>,
    topology: Topology,
    incarnation: Uuid,
    listeners: Listeners,
    stop: CancellationToken,
) {
    let notices = &listeners.notices;
    let queue = topology.coordinator_queue(incarnation);
    loop {
        let subscribed: Result<Box<dyn Consumer>, LinkError> = async {
            link.declare(&topology.dead_queue()).await?;
            link.declare(&queue).await?;
            link.consume(&queue.name, NOTICE_PREFETCH).await
        }
        .await;
        if let Ok(mut consumer) = subscribed {
            if notices.send(Inbound::Listening).await.is_err() {
                return;
            }
            while let Some(delivery) = next_or_stop(consumer.as_mut(), &stop).await {
                link.settle(delivery.receipt, Settle::Ack).await.ok();
                if !listeners.entrance.admits(&delivery.message) {
                    continue;
                }
                let inbound = match decode::notice(&delivery.message) {
                    Some(Notice::Report(report)) => Inbound::Report(report),
                    Some(Notice::Nudge) => Inbound::Nudge,
                    Some(Notice::Survey(survey)) => {
                        listeners.questions.try_send(survey).ok();
                        continue;
                    }
                    Some(Notice::Surveyed(answer)) => {
                        listeners.surveys.deliver(answer);
                        continue;
                    }
                    None => continue,
                };
                if notices.send(inbound).await.is_err() {
                    return;
                }
            }
            if notices.send(Inbound::Deaf).await.is_err() {
                return;
            }
        }
        if wait_for_link(&link, &stop).await {
            return;
        }
    }
}

async fn next_or_stop(consumer: &mut dyn Consumer, stop: &CancellationToken) -> Option<Delivery> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        delivery = consumer.next() => delivery,
    }
}
