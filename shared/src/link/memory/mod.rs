//! The link inside one process: queues in memory, with the broker's rules.
//!
//! ```text
//! MemoryBroker ── one lock ── State { queues, exchanges, links, consumers }
//!      └─ link(name) ─▶ MemoryLink ── consume ─▶ MemoryConsumer ◀── deliveries are pushed as prefetch allows
//! ```
//!
//! Nothing is polled: whatever makes a delivery possible (a publish, a settled message, a new consumer) hands it out at
//! once, under the lock. Queues grow with what is published, as a broker's do.

mod queue;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use self::state::{LinkEntry, State};
use super::{
    Address, Consumer, Delivery, Depth, Link, LinkError, LinkState, Message, Published, QueueSpec, Receipt, Settle,
};

/// The broker of one process; clones are handles to the same queues.
#[derive(Clone, Debug, Default)]
pub struct MemoryBroker {
    state: Arc<Mutex<State>>,
}

impl MemoryBroker {
    /// A broker without queues.
    #[must_use]
    pub fn new() -> MemoryBroker {
        MemoryBroker::default()
    }

    /// A connected link. Its consumers and exclusive queues go with it.
    #[must_use]
    pub fn link(&self, name: &str) -> Arc<dyn Link> {
        let mut state = self.lock();
        let id = state.next_id();
        let entry = LinkEntry {
            name: name.to_owned(),
            generation: 1,
            state: watch::channel(LinkState::Up(1)).0,
        };
        let state_of_link = entry.state.clone();
        state.links.insert(id, entry);
        drop(state);
        Arc::new(MemoryLink {
            id,
            broker: self.clone(),
            state: state_of_link,
        })
    }

    /// Forgets the messages that wait in a queue; returns how many there were.
    pub fn purge(&self, queue: &str) -> usize {
        let mut state = self.lock();
        let ready = state
            .queues
            .get_mut(queue)
            .map(|queue| std::mem::take(&mut queue.ready));
        ready.map_or(0, |ready| ready.len())
    }

    /// Deletes a queue with all that is in it; its consumers end.
    pub fn delete(&self, queue: &str) {
        self.lock().delete(queue);
    }

    /// The messages that wait in a queue, in order.
    #[must_use]
    pub fn peek(&self, queue: &str) -> Vec<Message> {
        let state = self.lock();
        let ready = state.queues.get(queue).map(|queue| queue.ready.iter());
        ready.map_or_else(Vec::new, |ready| ready.map(|stored| stored.message.clone()).collect())
    }

    /// How many messages a queue holds: those that wait in it, and those that were delivered and are not settled.
    #[must_use]
    pub fn held(&self, queue: &str) -> usize {
        self.lock().held(queue)
    }

    /// Cuts the connection of the links of this name: consumers and exclusive queues end, calls fail until [`Self::connect`].
    pub fn cut(&self, link: &str) {
        let mut state = self.lock();
        for id in ids_of(&state, link) {
            state.set_state(id, LinkState::Down);
            state.end_connection(id);
        }
    }

    /// Connects the links of this name again, under a new generation.
    pub fn connect(&self, link: &str) {
        let mut state = self.lock();
        for id in ids_of(&state, link) {
            state.reconnect(id);
        }
    }

    /// The connection of the links of this name is lost and made anew.
    pub fn disconnect(&self, link: &str) {
        self.cut(link);
        self.connect(link);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ids_of(state: &State, name: &str) -> Vec<u64> {
    let found = state.links.iter().filter(|(_, link)| link.name == name);
    found.map(|(id, _)| *id).collect()
}

struct MemoryLink {
    id: u64,
    broker: MemoryBroker,
    /// Lives as long as the link, so that watchers of a closed one see `Down` and not an error.
    state: watch::Sender<LinkState>,
}

#[async_trait]
impl Link for MemoryLink {
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        self.broker.lock().declare(self.id, queue)
    }

    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
        let mut state = self.broker.lock();
        state.generation(self.id)?;
        Ok(state.publish(to, message))
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        let subscription = self.broker.lock().consume(self.id, queue, prefetch)?;
        Ok(Box::new(MemoryConsumer {
            id: subscription.id,
            broker: self.broker.clone(),
            deliveries: subscription.deliveries,
            ended: subscription.ended,
        }))
    }

    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        Ok(self.broker.lock().settle(self.id, receipt, how))
    }

    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError> {
        self.broker.lock().depth(self.id, queue)
    }

    fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        self.leave();
    }
}

impl MemoryLink {
    fn leave(&self) {
        let mut state = self.broker.lock();
        state.set_state(self.id, LinkState::Down);
        state.end_connection(self.id);
        state.links.remove(&self.id);
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.leave();
    }
}

struct MemoryConsumer {
    id: u64,
    broker: MemoryBroker,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    ended: Arc<AtomicBool>,
}

impl MemoryConsumer {
    fn still_ours(&self, delivery: Delivery) -> Option<Delivery> {
        (!self.ended.load(Ordering::Acquire)).then_some(delivery)
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.recv().await?;
        self.still_ours(delivery)
    }

    fn try_next(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.try_recv().ok()?;
        self.still_ours(delivery)
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.broker.lock().end_consumer(self.id);
    }
}
