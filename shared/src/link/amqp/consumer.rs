//! Subscriptions: each has a channel of its own, so that its end gives back what it had not settled, and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::convert::{death, message, short};
use super::failure::{judge, timed_out, within};
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
    subscription: Subscription,
    silence: Silence,
}

impl AmqpConsumer {
    pub(super) async fn subscribe(
        session: Arc<Session>,
        vanished: Arc<Vanished>,
        queue: &str,
        prefetch: u16,
    ) -> Result<AmqpConsumer, LinkError> {
        let subscription = subscription(&session, queue, prefetch).await?;
        Ok(AmqpConsumer {
            session,
            vanished,
            queue: queue.to_owned(),
            prefetch,
            subscription,
            silence: Silence::begin(),
        })
    }

    /// Looks at a silent subscription; `false`: it cannot go on.
    async fn look(&mut self) -> bool {
        let unsettled = self.session.consumers.unsettled(self.subscription.id);
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
            Ok(anew) => {
                tracing::debug!(queue = self.queue, "a silent subscription was made again");
                self.subscription = anew;
                true
            }
            Err(error) => {
                tracing::warn!(queue = self.queue, %error, "a silent subscription could not be made again");
                false
            }
        }
    }

    fn end(&mut self) {
        self.subscription.deliveries = None;
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
            consumer: self.subscription.id,
            tag: delivery.delivery_tag,
        };
        self.silence = Silence::begin();
        self.session.consumers.note(receipt.consumer, receipt.tag);
        Some(Delivery {
            redelivered: delivery.redelivered,
            death: death(&delivery),
            message: message(delivery),
            receipt,
        })
    }
}

/// A channel with a subscription of its own, which ends with it.
struct Subscription {
    session: Arc<Session>,
    /// Names the channel among the connection's.
    id: u64,
    /// `None` once it ended: the library's stream must not be asked again then.
    deliveries: Option<lapin::Consumer>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.session.consumers.forget(self.id);
    }
}

/// Subscribes in a task of its own. The library keeps a subscription whose answer nobody waits for any more: the broker would go
/// on sending to it, up to its prefetch, and nobody would ever settle that. So the answer is always awaited, and what came too
/// late ends as it comes.
async fn subscription(session: &Arc<Session>, queue: &str, prefetch: u16) -> Result<Subscription, LinkError> {
    let (tell, told) = oneshot::channel();
    let (of, queue) = (session.clone(), queue.to_owned());
    tokio::spawn(async move {
        let ended = of.ended.clone();
        if let Some(subscribed) = ended.run_until_cancelled(subscribed(of, &queue, prefetch)).await {
            tell.send(subscribed).ok();
        }
    });
    match tokio::time::timeout(session.call_timeout, told).await {
        Ok(Ok(subscribed)) => subscribed,
        Ok(Err(_)) => Err(LinkError::Down),
        Err(_) => Err(timed_out(session.call_timeout)),
    }
}

async fn subscribed(session: Arc<Session>, queue: &str, prefetch: u16) -> Result<Subscription, LinkError> {
    let limit = session.call_timeout;
    let channel = within(limit, queue, session.consuming.create_channel()).await?;
    // Before the subscription: without it the client's buffer is unbounded.
    let bounded = channel.basic_qos(prefetch, BasicQosOptions::default());
    within(limit, queue, bounded).await?;
    let options = BasicConsumeOptions::default();
    let asked = channel.basic_consume(short(queue)?, "".into(), options, FieldTable::default());
    let deliveries = asked.await.map_err(|error| judge(&error, queue))?;
    let id = session.consumers.add(channel);
    Ok(Subscription {
        session,
        id,
        deliveries: Some(deliveries),
    })
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let (session, deliveries) = (self.session.clone(), self.subscription.deliveries.as_mut()?);
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
            self.subscription.deliveries = None;
        }
        let item = self.subscription.deliveries.as_mut()?.next().now_or_never()?;
        self.take(item)
    }
}
