//! Subscriptions: each has a channel of its own, so that its end gives back what it had not settled, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::convert::{message, short};
use super::failure::within;
use super::session::Session;
use super::unsettled::Unsettled;
use crate::link::{Consumer, Delivery, LinkError, Receipt, Settle};

/// The subscriptions of one connection, and what they have not settled.
pub(super) struct Consumers {
    generation: u64,
    open: Mutex<HashMap<u64, Unsettled>>,
    /// Acks wait to be sent.
    acked: Notify,
    call_timeout: Duration,
    /// The connection's end.
    ended: CancellationToken,
}

impl Consumers {
    pub(super) fn new(generation: u64, call_timeout: Duration, ended: CancellationToken) -> Consumers {
        Consumers {
            generation,
            open: Mutex::default(),
            acked: Notify::new(),
            call_timeout,
            ended,
        }
    }

    /// Subscribes as number `id`.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        session: Arc<Session>,
        id: u64,
        queue: &str,
        prefetch: u16,
    ) -> Result<AmqpConsumer, LinkError> {
        let limit = self.call_timeout;
        let channel = within(limit, queue, session.consuming.create_channel()).await?;
        // Before the subscription: without it the client's buffer is unbounded.
        let bounded = channel.basic_qos(prefetch, BasicQosOptions::default());
        within(limit, queue, bounded).await?;
        let options = BasicConsumeOptions::default();
        let asked = channel.basic_consume(short(queue)?, "".into(), options, FieldTable::default());
        let deliveries = within(limit, queue, asked).await?;
        self.lock().insert(id, Unsettled::new(channel));
        Ok(AmqpConsumer {
            id,
            queue: queue.to_owned(),
            session,
            look_at: Instant::now() + SILENCE,
            consumers: self.clone(),
            deliveries: Some(deliveries),
        })
    }

    /// Settles a delivery; acks are sent by [`Self::send_acks`], with those that come in the meantime.
    pub(super) fn settle(&self, receipt: Receipt, how: Settle) -> bool {
        if receipt.generation != self.generation || self.ended.is_cancelled() {
            return false;
        }
        let mut open = self.lock();
        let Some(unsettled) = open.get_mut(&receipt.consumer) else {
            return false;
        };
        let settled = unsettled.settle(receipt.tag, how);
        if settled && how == Settle::Ack {
            self.acked.notify_one();
        }
        settled
    }

    /// Sends acks as they come: while it sends some, others gather, and go as one frame.
    pub(super) async fn send_acks(self: Arc<Self>) {
        let work = async {
            loop {
                self.acked.notified().await;
                self.flush();
            }
        };
        self.ended.run_until_cancelled(work).await;
    }

    /// Sends the acks that wait.
    pub(super) fn flush(&self) {
        for unsettled in self.lock().values_mut() {
            unsettled.flush();
        }
    }

    fn note(&self, id: u64, tag: u64) {
        if let Some(unsettled) = self.lock().get_mut(&id) {
            unsettled.note(tag);
        }
    }

    /// Sends the acks that wait and lets go of the channel.
    fn forget(&self, id: u64) {
        let gone = self.lock().remove(&id);
        if let Some(mut unsettled) = gone {
            unsettled.flush();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Unsettled>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription that was silent for so long is looked at: the broker may have forgotten it without a word, as when its
/// queue was deleted and declared again by another at once.
const SILENCE: Duration = Duration::from_secs(3);

/// A subscription; its drop closes the channel.
pub(super) struct AmqpConsumer {
    id: u64,
    queue: String,
    session: Arc<Session>,
    /// When it is looked at next, unless something comes before.
    look_at: Instant,
    consumers: Arc<Consumers>,
    /// `None` once it ended: the library's stream must not be asked again then.
    deliveries: Option<lapin::Consumer>,
}

impl AmqpConsumer {
    /// Whether its queue is gone, or has no consumer, so not this one either.
    async fn is_deaf(&self) -> bool {
        match self.session.admin.depth(&self.session.consuming, &self.queue).await {
            Ok(depth) => depth.is_none_or(|depth| depth.consumers == 0),
            Err(_) => false, // the connection's own supervision decides
        }
    }

    fn take(&mut self, item: Option<lapin::Result<lapin::message::Delivery>>) -> Option<Delivery> {
        let Some(Ok(delivery)) = item else {
            self.deliveries = None;
            return None;
        };
        let receipt = Receipt {
            generation: self.consumers.generation,
            consumer: self.id,
            tag: delivery.delivery_tag,
        };
        self.look_at = Instant::now() + SILENCE;
        self.consumers.note(self.id, receipt.tag);
        Some(Delivery {
            redelivered: delivery.redelivered,
            message: message(delivery),
            receipt,
        })
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let deliveries = self.deliveries.as_mut()?;
            tokio::select! {
                biased;
                () = self.consumers.ended.cancelled() => return self.take(None),
                item = deliveries.next() => return self.take(item),
                () = sleep_until(self.look_at) => {}
            }
            if self.is_deaf().await {
                tracing::warn!(queue = self.queue, "the broker forgot a subscription; it is made again");
                return self.take(None);
            }
            self.look_at = Instant::now() + SILENCE;
        }
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.consumers.ended.is_cancelled() {
            self.deliveries = None;
        }
        let item = self.deliveries.as_mut()?.next().now_or_never()?;
        self.take(item)
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.consumers.forget(self.id);
    }
}
