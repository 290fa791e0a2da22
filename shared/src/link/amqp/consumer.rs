//! Subscriptions: each has a channel of its own, so that its end gives back what it had not settled, and nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio_util::sync::CancellationToken;

use super::convert::{message, short};
use super::failure::{judge, within};
use crate::link::{Consumer, Delivery, LinkError, Receipt, Settle};

/// The subscriptions of one connection, and what they have not settled.
pub(super) struct Consumers {
    generation: u64,
    open: Mutex<HashMap<u64, Subscription>>,
    call_timeout: std::time::Duration,
    /// The connection's end.
    ended: CancellationToken,
}

struct Subscription {
    channel: Channel,
    unsettled: HashSet<u64>,
}

impl Consumers {
    pub(super) fn new(generation: u64, call_timeout: std::time::Duration, ended: CancellationToken) -> Consumers {
        Consumers {
            generation,
            open: Mutex::default(),
            call_timeout,
            ended,
        }
    }

    /// Subscribes as number `id`.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        connection: &Connection,
        id: u64,
        queue: &str,
        prefetch: u16,
    ) -> Result<AmqpConsumer, LinkError> {
        let limit = self.call_timeout;
        let channel = within(limit, queue, connection.create_channel()).await?;
        // Before the subscription: without it the client's buffer is unbounded.
        let bounded = channel.basic_qos(prefetch, BasicQosOptions::default());
        within(limit, queue, bounded).await?;
        let options = BasicConsumeOptions::default();
        let asked = channel.basic_consume(short(queue)?, "".into(), options, FieldTable::default());
        let deliveries = within(limit, queue, asked).await?;
        let subscription = Subscription {
            channel,
            unsettled: HashSet::new(),
        };
        self.lock().insert(id, subscription);
        Ok(AmqpConsumer {
            id,
            consumers: self.clone(),
            deliveries: Some(deliveries),
        })
    }

    /// The one function that settles. It does not wait until the frame is on the wire: the broker answers none, and a
    /// connection that fails now has the message delivered again, as it would have without the call.
    pub(super) fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        let mut open = self.lock();
        let Some(subscription) = open.get_mut(&receipt.consumer) else {
            return Ok(false);
        };
        let known = receipt.generation == self.generation && subscription.unsettled.remove(&receipt.tag);
        if !known || self.ended.is_cancelled() {
            return Ok(false);
        }
        let (channel, tag) = (&subscription.channel, receipt.tag);
        let sent = match how {
            Settle::Ack => channel.basic_ack(tag, BasicAckOptions::default()).now_or_never(),
            Settle::Requeue => channel.basic_nack(tag, nack(true)).now_or_never(),
            Settle::DeadLetter => channel.basic_nack(tag, nack(false)).now_or_never(),
        };
        match sent {
            // Queued to be written, or written already.
            None | Some(Ok(())) => Ok(true),
            // The channel is gone, and the delivery with it.
            Some(Err(error)) if !channel.status().connected() => {
                tracing::debug!(%error, "a delivery ended with its channel before it was settled");
                Ok(false)
            }
            Some(Err(error)) => Err(judge(&error, "a delivery")),
        }
    }

    fn note(&self, id: u64, tag: u64) {
        if let Some(subscription) = self.lock().get_mut(&id) {
            subscription.unsettled.insert(tag);
        }
    }

    /// Closes the channel, once nobody else holds it.
    fn forget(&self, id: u64) {
        let gone = self.lock().remove(&id);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Subscription>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nack(requeue: bool) -> BasicNackOptions {
    BasicNackOptions {
        requeue,
        multiple: false,
    }
}

/// A subscription; its drop closes the channel.
pub(super) struct AmqpConsumer {
    id: u64,
    consumers: Arc<Consumers>,
    /// `None` once it ended: the library's stream must not be asked again then.
    deliveries: Option<lapin::Consumer>,
}

impl AmqpConsumer {
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
        let deliveries = self.deliveries.as_mut()?;
        let item = tokio::select! {
            biased;
            () = self.consumers.ended.cancelled() => None,
            item = deliveries.next() => item,
        };
        self.take(item)
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
