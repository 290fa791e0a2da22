//! Subscriptions: each has a channel of its own, so that its end gives back what it had not settled, and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::convert::{death, message, short};
use super::failure::within;
use super::session::Session;
use super::silence::{Judgement, Silence};
use super::unsettled::Unsettled;
use super::vanished::Vanished;
use crate::link::{Consumer, Delivery, LinkError, Receipt, Settle};

/// The subscriptions of one connection, and what they have not settled.
pub(super) struct Consumers {
    generation: u64,
    number: AtomicU64,
    open: Mutex<HashMap<u64, Unsettled>>,
    /// Acks wait to be sent.
    acked: Notify,
    /// The connection's end.
    ended: CancellationToken,
}

impl Consumers {
    pub(super) fn new(generation: u64, ended: CancellationToken) -> Consumers {
        Consumers {
            generation,
            number: AtomicU64::new(0),
            open: Mutex::default(),
            acked: Notify::new(),
            ended,
        }
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

    fn add(&self, channel: Channel) -> u64 {
        let id = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(id, Unsettled::new(channel));
        id
    }

    /// Deliveries of a subscription that are not settled.
    fn unsettled(&self, id: u64) -> usize {
        self.lock().get(&id).map_or(0, Unsettled::count)
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

/// A subscription; its drop closes the channel.
///
/// One that stays silent is looked at, and made again beside itself: the broker may have lost it without a word (see
/// [`super::vanished`]), and then counts what it never sends as delivered.
pub(super) struct AmqpConsumer {
    session: Arc<Session>,
    vanished: Arc<Vanished>,
    queue: String,
    prefetch: u16,
    /// Names the channel among the connection's.
    id: u64,
    /// `None` once it ended: the library's stream must not be asked again then.
    deliveries: Option<lapin::Consumer>,
    silence: Silence,
}

impl AmqpConsumer {
    pub(super) async fn subscribe(
        session: Arc<Session>,
        vanished: Arc<Vanished>,
        queue: &str,
        prefetch: u16,
    ) -> Result<AmqpConsumer, LinkError> {
        let (id, deliveries) = subscription(&session, queue, prefetch).await?;
        Ok(AmqpConsumer {
            session,
            vanished,
            queue: queue.to_owned(),
            prefetch,
            id,
            deliveries: Some(deliveries),
            silence: Silence::begin(),
        })
    }

    /// Looks at a silent subscription; `false`: it cannot go on.
    async fn look(&mut self) -> bool {
        let unsettled = self.session.consumers.unsettled(self.id);
        let depth = self.session.admin.depth(&self.session.consuming, &self.queue).await;
        match self.silence.judge(depth, unsettled, usize::from(self.prefetch)) {
            Judgement::GoesOn => true,
            Judgement::Ends => false,
            Judgement::Renew => self.renew().await,
        }
    }

    /// Subscribes on a new channel and lets go of the old one; what lies there unread is delivered again.
    async fn renew(&mut self) -> bool {
        match subscription(&self.session, &self.queue, self.prefetch).await {
            Ok((id, deliveries)) => {
                tracing::debug!(queue = self.queue, "a silent subscription was made again");
                self.session.consumers.forget(std::mem::replace(&mut self.id, id));
                self.deliveries = Some(deliveries);
                true
            }
            Err(error) => {
                tracing::warn!(queue = self.queue, %error, "a silent subscription could not be made again");
                false
            }
        }
    }

    fn end(&mut self) {
        self.deliveries = None;
        // A subscription that ends alone ends with its queue.
        if !self.session.ended.is_cancelled() {
            self.vanished.note(&self.queue);
        }
    }

    fn take(&mut self, item: Option<lapin::Result<lapin::message::Delivery>>) -> Option<Delivery> {
        let Some(Ok(delivery)) = item else {
            self.end();
            return None;
        };
        let receipt = Receipt {
            generation: self.session.generation,
            consumer: self.id,
            tag: delivery.delivery_tag,
        };
        self.silence = Silence::begin();
        self.session.consumers.note(self.id, receipt.tag);
        Some(Delivery {
            redelivered: delivery.redelivered,
            death: death(&delivery),
            message: message(delivery),
            receipt,
        })
    }
}

/// A channel with a subscription of its own.
async fn subscription(session: &Session, queue: &str, prefetch: u16) -> Result<(u64, lapin::Consumer), LinkError> {
    let limit = session.call_timeout;
    let channel = within(limit, queue, session.consuming.create_channel()).await?;
    // Before the subscription: without it the client's buffer is unbounded.
    let bounded = channel.basic_qos(prefetch, BasicQosOptions::default());
    within(limit, queue, bounded).await?;
    let options = BasicConsumeOptions::default();
    let asked = channel.basic_consume(short(queue)?, "".into(), options, FieldTable::default());
    let deliveries = within(limit, queue, asked).await?;
    Ok((session.consumers.add(channel), deliveries))
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let (session, deliveries) = (self.session.clone(), self.deliveries.as_mut()?);
            tokio::select! {
                biased;
                () = session.ended.cancelled() => return self.take(None),
                item = deliveries.next() => return self.take(item),
                () = sleep_until(self.silence.look_at) => {}
            }
            if !self.look().await {
                return self.take(None);
            }
        }
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.session.ended.is_cancelled() {
            self.deliveries = None;
        }
        let item = self.deliveries.as_mut()?.next().now_or_never()?;
        self.take(item)
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.session.consumers.forget(self.id);
    }
}
