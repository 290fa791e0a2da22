//! What the broker knows, under one lock; nothing in here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::queue::{Queue, Stored};
use crate::link::{
    Address, Death, Delivery, Depth, LinkError, LinkState, Message, Published, QueueKind, QueueSpec, Receipt, Settle,
};
use crate::map::HashMap;

#[derive(Debug)]
pub(super) struct LinkEntry {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) state: watch::Sender<LinkState>,
}

#[derive(Debug)]
pub(super) struct ConsumerEntry {
    link: u64,
    generation: u64,
    queue: String,
    /// 0: no bound, as in AMQP.
    prefetch: usize,
    unsettled: BTreeMap<u64, Stored>,
    delivered: u64,
    sender: mpsc::UnboundedSender<Delivery>,
    /// Tells the consumer that what still lies in its buffer is not its any more.
    ended: Arc<AtomicBool>,
}

/// What a new consumer holds.
pub(super) struct Subscription {
    pub(super) id: u64,
    pub(super) deliveries: mpsc::UnboundedReceiver<Delivery>,
    pub(super) ended: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queues: HashMap<String, Queue>,
    /// Fanout exchange → names of the queues bound to it.
    exchanges: HashMap<String, BTreeSet<String>>,
    pub(super) links: HashMap<u64, LinkEntry>,
    consumers: HashMap<u64, ConsumerEntry>,
    ids: u64,
}

impl State {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// The link's generation, if it is connected.
    pub(super) fn generation(&self, link: u64) -> Result<u64, LinkError> {
        let entry = self.links.get(&link).ok_or(LinkError::Down)?;
        match *entry.state.borrow() {
            LinkState::Up(generation) | LinkState::Blocked(generation) => Ok(generation),
            LinkState::Down => Err(LinkError::Down),
        }
    }

    /// Tells the watchers.
    pub(super) fn set_state(&mut self, link: u64, to: LinkState) {
        if let Some(entry) = self.links.get(&link) {
            entry.state.send_replace(to);
        }
    }

    /// Up again, under a new generation.
    pub(super) fn reconnect(&mut self, link: u64) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.generation += 1;
            entry.state.send_replace(LinkState::Up(entry.generation));
        }
    }

    pub(super) fn declare(&mut self, link: u64, spec: &QueueSpec) -> Result<(), LinkError> {
        self.generation(link)?;
        if let Some(queue) = self.queues.get(&spec.name) {
            refuse_unless(owned(queue, link), &spec.name, "it belongs to another connection")?;
            refuse_unless(queue.spec == *spec, &spec.name, "it exists with other arguments")?;
        }
        let owner = match &spec.kind {
            QueueKind::Durable { .. } => None,
            QueueKind::Exclusive { fanout } => {
                self.bind(fanout.as_deref(), &spec.name);
                Some(link)
            }
        };
        self.queues
            .entry(spec.name.clone())
            .or_insert_with(|| Queue::new(spec.clone(), owner));
        Ok(())
    }

    fn bind(&mut self, fanout: Option<&str>, queue: &str) {
        if let Some(exchange) = fanout {
            self.exchanges
                .entry(exchange.to_owned())
                .or_default()
                .insert(queue.to_owned());
        }
    }

    pub(super) fn publish(&mut self, to: &Address, message: Message) -> Published {
        match to {
            Address::Queue(name) | Address::Through { queue: name, .. } if !self.queues.contains_key(name) => {
                Published::Unroutable
            }
            Address::Queue(name) | Address::Through { queue: name, .. } => {
                self.enter(name, message, None);
                Published::Accepted
            }
            Address::Fanout(exchange) => {
                for name in self.exchanges.get(exchange).cloned().unwrap_or_default() {
                    self.enter(&name, message.clone(), None);
                }
                Published::Accepted
            }
        }
    }

    fn enter(&mut self, name: &str, message: Message, death: Option<Death>) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.push(message, death);
            self.serve(name);
        }
    }

    pub(super) fn consume(&mut self, link: u64, name: &str, prefetch: u16) -> Result<Subscription, LinkError> {
        let generation = self.generation(link)?;
        let id = self.next_id();
        let queue = self
            .queues
            .get_mut(name)
            .ok_or_else(|| LinkError::NoQueue(name.to_owned()))?;
        refuse_unless(owned(queue, link), name, "it belongs to another connection")?;
        queue.consumers.push_back(id);
        let (sender, deliveries) = mpsc::unbounded_channel();
        let ended = Arc::new(AtomicBool::new(false));
        let entry = ConsumerEntry {
            link,
            generation,
            queue: name.to_owned(),
            prefetch: usize::from(prefetch),
            unsettled: BTreeMap::new(),
            delivered: 0,
            sender,
            ended: ended.clone(),
        };
        self.consumers.insert(id, entry);
        self.serve(name);
        Ok(Subscription { id, deliveries, ended })
    }

    /// Delivers what is ready, in turn, to consumers that have room.
    fn serve(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        while !queue.ready.is_empty() {
            let consumers = &self.consumers;
            let Some(turn) = queue.consumers.iter().position(|id| consumers[id].has_room()) else {
                return;
            };
            queue.consumers.rotate_left(turn);
            let id = *queue.consumers.front().expect("position found one");
            queue.consumers.rotate_left(1);
            let stored = queue.ready.pop_front().expect("ready is not empty");
            self.consumers
                .get_mut(&id)
                .expect("queues list live consumers only")
                .deliver(id, stored);
        }
    }

    pub(super) fn settle(&mut self, link: u64, receipt: Receipt, how: Settle) -> bool {
        let Some(consumer) = self.consumers.get_mut(&receipt.consumer) else {
            return false;
        };
        if consumer.link != link || consumer.generation != receipt.generation {
            return false;
        }
        let Some(stored) = consumer.unsettled.remove(&receipt.tag) else {
            return false;
        };
        let name = consumer.queue.clone();
        match how {
            Settle::Ack => {}
            Settle::Requeue => self.give_back(&name, stored),
            Settle::DeadLetter => self.bury(&name, stored.message, "rejected"),
        }
        self.serve(&name);
        true
    }

    /// Back to its place in the queue, or to the dead letters when it came back too often.
    ///
    /// As a quorum queue does it, a message may come back `delivery_limit` times: the next return buries it.
    fn give_back(&mut self, name: &str, mut stored: Stored) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        stored.returns += 1;
        match &queue.spec.kind {
            QueueKind::Durable { delivery_limit, .. } if stored.returns > *delivery_limit => {
                self.bury(name, stored.message, "delivery_limit");
            }
            QueueKind::Durable { .. } | QueueKind::Exclusive { .. } => queue.put_back(stored),
        }
    }

    fn bury(&mut self, name: &str, message: Message, reason: &str) {
        let target = match self.queues.get(name).map(|queue| &queue.spec.kind) {
            Some(QueueKind::Durable { dead_letters, .. }) => dead_letters.clone(),
            Some(QueueKind::Exclusive { .. }) | None => None,
        };
        if let Some(target) = target {
            let death = Death {
                queue: name.to_owned(),
                reason: reason.to_owned(),
            };
            self.enter(&target, message, Some(death));
        }
    }

    pub(super) fn depth(&self, link: u64, name: &str) -> Result<Option<Depth>, LinkError> {
        self.generation(link)?;
        let Some(queue) = self.queues.get(name) else {
            return Ok(None);
        };
        refuse_unless(owned(queue, link), name, "it belongs to another connection")?;
        Ok(Some(Depth {
            messages: queue.ready.len() as u64,
            consumers: queue.consumers.len() as u64,
        }))
    }

    pub(super) fn held(&self, name: &str) -> usize {
        let ready = self.queues.get(name).map_or(0, |queue| queue.ready.len());
        let consumers = self.consumers.values().filter(|consumer| consumer.queue == name);
        ready + consumers.map(|consumer| consumer.unsettled.len()).sum::<usize>()
    }

    /// Ends a consumer; what it had not settled goes back.
    pub(super) fn end_consumer(&mut self, id: u64) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        consumer.ended.store(true, Ordering::Release);
        if let Some(queue) = self.queues.get_mut(&consumer.queue) {
            queue.consumers.retain(|other| *other != id);
            // One that nobody reads any more would only fill.
            if queue.owner.is_some() && queue.consumers.is_empty() {
                self.delete(&consumer.queue);
                return;
            }
        }
        for stored in consumer.unsettled.into_values() {
            self.give_back(&consumer.queue, stored);
        }
        self.serve(&consumer.queue);
    }

    /// Ends what belongs to a link's connection: its exclusive queues and its consumers.
    pub(super) fn end_connection(&mut self, link: u64) {
        let exclusive: Vec<String> = self.names(|queue| queue.owner == Some(link));
        for name in exclusive {
            self.delete(&name);
        }
        let consumers: Vec<u64> = self.consumer_ids(|consumer| consumer.link == link);
        // First none of them may take any more, or they would be served what the others give back.
        for id in &consumers {
            self.withdraw(*id);
        }
        for id in consumers {
            self.end_consumer(id);
        }
    }

    fn withdraw(&mut self, id: u64) {
        let name = self.consumers.get(&id).map(|consumer| consumer.queue.clone());
        if let Some(queue) = name.and_then(|name| self.queues.get_mut(&name)) {
            queue.consumers.retain(|other| *other != id);
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        if self.queues.remove(name).is_none() {
            return;
        }
        for bound in self.exchanges.values_mut() {
            bound.remove(name);
        }
        for id in self.consumer_ids(|consumer| consumer.queue == name) {
            self.end_consumer(id);
        }
    }

    fn names(&self, wanted: impl Fn(&Queue) -> bool) -> Vec<String> {
        let found = self.queues.iter().filter(|(_, queue)| wanted(queue));
        found.map(|(name, _)| name.clone()).collect()
    }

    fn consumer_ids(&self, wanted: impl Fn(&ConsumerEntry) -> bool) -> Vec<u64> {
        let found = self.consumers.iter().filter(|(_, consumer)| wanted(consumer));
        found.map(|(id, _)| *id).collect()
    }
}

impl ConsumerEntry {
    fn has_room(&self) -> bool {
        self.prefetch == 0 || self.unsettled.len() < self.prefetch
    }

    fn deliver(&mut self, id: u64, stored: Stored) {
        self.delivered += 1;
        let delivery = Delivery {
            message: stored.message.clone(),
            redelivered: stored.returns > 0,
            death: stored.death.clone(),
            receipt: Receipt {
                generation: self.generation,
                consumer: id,
                tag: self.delivered,
            },
        };
        self.unsettled.insert(self.delivered, stored);
        // A receiver that is gone is about to be ended, and what is unsettled then goes back.
        drop(self.sender.send(delivery));
    }
}

fn owned(queue: &Queue, link: u64) -> bool {
    queue.owner.is_none_or(|owner| owner == link)
}

fn refuse_unless(holds: bool, queue: &str, reason: &str) -> Result<(), LinkError> {
    if holds {
        return Ok(());
    }
    Err(LinkError::Refused {
        what: format!("queue {queue}"),
        reason: reason.to_owned(),
    })
}
