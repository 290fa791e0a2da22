//! The one task that publishes: it owns the confirm channel and pipelines.
//!
//! ```text
//! callers ── Outgoing ─▶ incoming ─▶ publish_one (numbers it, hands it to the library) ─▶ in_flight ─▶ settle_batch ─▶ answers
//! ```
//!
//! The library attaches a returned message to whichever confirm is resolved next, and resolves the confirms of one frame
//! one after the other on a thread of its own. So what came back is known by its number (`correlation_id`), never by the
//! confirm it hangs on, and nothing is judged before the whole frame has been resolved ([`Publisher::fence`]).

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::convert::{number_of, properties, short};
use super::failure::within;
use super::session::Session;
use crate::link::{Address, LinkError, Message, Published};

/// Publishes without a confirm at one time.
const IN_FLIGHT_MAX: usize = 4096;
/// Taken from the callers at one go.
const TAKE_MAX: usize = 256;
/// RabbitMQ 4 takes no larger message, and closes the channel when it gets one.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = oneshot::Sender<Result<Published, LinkError>>;
type Resolved = (u64, lapin::Result<Confirmation>);
type Confirm = Pin<Box<dyn Future<Output = Resolved> + Send>>;

/// A message on its way to the task.
pub(super) struct Outgoing {
    pub(super) to: Address,
    pub(super) message: Message,
    pub(super) answer: Answer,
}

struct Waiting {
    answer: Answer,
    since: Instant,
}

pub(super) struct Publisher {
    session: Arc<Session>,
    channel: Channel,
    incoming: mpsc::UnboundedReceiver<Outgoing>,
    in_flight: FuturesUnordered<Confirm>,
    /// By number, so the oldest is first.
    waiting: BTreeMap<u64, Waiting>,
    /// Numbers that came back and whose confirms have not been judged yet.
    returned: HashSet<u64>,
    /// Exchanges that exist: a publish to one that does not would close the channel.
    exchanges: HashSet<String>,
    /// Direct exchanges that were not there when this connection first asked: queues are reached by the default one then.
    missing: HashSet<String>,
    /// Put into every message; the broker refuses another one than the connection's.
    user: Option<ShortString>,
    number: u64,
    call_timeout: Duration,
    stuck_after: Duration,
    /// When the broker was last seen to block publishers.
    blocked_at: Instant,
}

/// Opens a channel in confirm mode.
pub(super) async fn confirm_channel(connection: &Connection, limit: Duration) -> Result<Channel, LinkError> {
    let what = "a channel to publish on";
    let channel = within(limit, what, connection.create_channel()).await?;
    let confirming = channel.confirm_select(ConfirmSelectOptions::default());
    within(limit, what, confirming).await?;
    Ok(channel)
}

impl Publisher {
    pub(super) fn new(
        session: Arc<Session>,
        channel: Channel,
        incoming: mpsc::UnboundedReceiver<Outgoing>,
        call_timeout: Duration,
        publish_timeout: Duration,
        user: Option<ShortString>,
    ) -> Publisher {
        Publisher {
            session,
            channel,
            incoming,
            in_flight: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            returned: HashSet::new(),
            exchanges: HashSet::new(),
            missing: HashSet::new(),
            user,
            number: 0,
            call_timeout,
            stuck_after: publish_timeout * 2,
            blocked_at: Instant::now(),
        }
    }

    /// Runs until the session ends, or it is told to drain and has drained.
    pub(super) async fn run(mut self) {
        let mut watchdog = tokio::time::interval(Duration::from_secs(1));
        let mut taken = Vec::with_capacity(TAKE_MAX);
        let mut open = true;
        while open || !self.waiting.is_empty() {
            let room = IN_FLIGHT_MAX.saturating_sub(self.waiting.len()).min(TAKE_MAX);
            tokio::select! {
                () = self.session.ended.cancelled() => break,
                () = self.session.draining.cancelled(), if !self.incoming.is_closed() => self.incoming.close(),
                Some(first) = self.in_flight.next() => self.settle_batch(first),
                count = self.incoming.recv_many(&mut taken, room), if open && room > 0 => {
                    open = count > 0;
                    for outgoing in taken.drain(..) {
                        self.publish_one(outgoing).await;
                    }
                }
                _ = watchdog.tick() => self.end_if_stuck(),
            }
        }
        // What is left in `waiting` and `incoming` is dropped, and its callers learn from that that the link is down.
    }

    async fn publish_one(&mut self, outgoing: Outgoing) {
        // The caller gave up before anything was sent.
        if outgoing.answer.is_closed() {
            return;
        }
        let Outgoing { to, message, answer } = outgoing;
        match self.prepare(&to, message).await {
            Ok(mut confirm) => {
                let since = Instant::now();
                self.waiting.insert(self.number, Waiting { answer, since });
                // The first poll numbers the publish in the library and queues its frames: in this order.
                match futures_util::poll!(&mut confirm) {
                    std::task::Poll::Ready(resolved) => self.settle_batch(resolved),
                    std::task::Poll::Pending => self.in_flight.push(confirm),
                }
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    async fn prepare(&mut self, to: &Address, message: Message) -> Result<Confirm, LinkError> {
        if message.body.len() > BODY_BYTES_MAX {
            return Err(LinkError::Refused {
                what: format!("a message of {} bytes", message.body.len()),
                reason: format!("{BODY_BYTES_MAX} are allowed"),
            });
        }
        self.ensure_channel().await?;
        let (exchange, key, mandatory) = match to {
            Address::Queue(queue) => ("", queue.as_str(), true),
            Address::Through { exchange, queue } => match self.has_exchange(exchange).await? {
                true => (exchange.as_str(), queue.as_str(), true),
                false => ("", queue.as_str(), true),
            },
            Address::Fanout(exchange) => {
                self.ensure_exchange(exchange).await?;
                (exchange.as_str(), "", false)
            }
        };
        let (exchange, key) = (short(exchange)?, short(key)?);
        self.number += 1;
        let number = self.number;
        let properties = properties(&message, number, self.user.as_ref())?;
        let options = BasicPublishOptions {
            mandatory,
            immediate: false,
        };
        let channel = self.channel.clone();
        Ok(Box::pin(async move {
            let sent = channel
                .basic_publish(exchange, key, options, &message.body, properties)
                .await;
            let confirmed = match sent {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            (number, confirmed)
        }))
    }

    /// Opens the channel again if the broker closed it (an exchange was deleted, a message too large for its settings).
    async fn ensure_channel(&mut self) -> Result<(), LinkError> {
        if self.channel.status().connected() {
            return Ok(());
        }
        tracing::warn!("the channel for publishing was closed, opening another");
        match confirm_channel(&self.session.publishing, self.call_timeout).await {
            Ok(channel) => {
                self.channel = channel;
                self.exchanges.clear();
                self.missing.clear();
                Ok(())
            }
            Err(error) => {
                self.session.ended.cancel();
                Err(error)
            }
        }
    }

    async fn ensure_exchange(&mut self, exchange: &str) -> Result<(), LinkError> {
        if !self.exchanges.contains(exchange) {
            // On the other connection: this one may be blocked.
            let admin = &self.session.admin;
            admin.declare_fanout(&self.session.consuming, exchange).await?;
            self.exchanges.insert(exchange.to_owned());
        }
        Ok(())
    }

    async fn has_exchange(&mut self, exchange: &str) -> Result<bool, LinkError> {
        if self.exchanges.contains(exchange) || self.missing.contains(exchange) {
            return Ok(self.exchanges.contains(exchange));
        }
        let admin = &self.session.admin;
        let found = admin.has_exchange(&self.session.consuming, exchange).await?;
        let known = if found { &mut self.exchanges } else { &mut self.missing };
        known.insert(exchange.to_owned());
        Ok(found)
    }

    /// Answers the callers of all confirms that are there.
    fn settle_batch(&mut self, first: Resolved) {
        self.note_returned(&first.1);
        let mut batch = vec![first];
        self.drain_into(&mut batch);
        while !batch.is_empty() {
            self.fence();
            // These may be of a frame that is being resolved just now: what came back is noted, they are judged next.
            let mut late = Vec::new();
            self.drain_into(&mut late);
            self.answer_all(batch);
            batch = late;
        }
    }

    fn drain_into(&mut self, batch: &mut Vec<Resolved>) {
        while let Some(Some(resolved)) = self.in_flight.next().now_or_never() {
            self.note_returned(&resolved.1);
            batch.push(resolved);
        }
    }

    /// Waits until the library has resolved all confirms of the frame it is at.
    ///
    /// It holds the lock of its pending confirms for as long, and this call takes that lock first. Its result means
    /// nothing (it returns while confirms are pending) and is not used.
    fn fence(&self) {
        drop(self.channel.wait_for_confirms().now_or_never());
    }

    fn note_returned(&mut self, confirmed: &lapin::Result<Confirmation>) {
        let (Ok(Confirmation::Ack(Some(returned))) | Ok(Confirmation::Nack(Some(returned)))) = confirmed else {
            return;
        };
        match number_of(&returned.delivery.properties) {
            Some(number) if self.waiting.contains_key(&number) => {
                self.returned.insert(number);
            }
            number => tracing::error!(?number, "a message came back after its publish was judged"),
        }
    }

    fn answer_all(&mut self, batch: Vec<Resolved>) {
        for (number, confirmed) in batch {
            let came_back = self.returned.remove(&number);
            let outcome = match confirmed {
                Ok(Confirmation::Ack(_)) if came_back => Ok(Published::Unroutable),
                Ok(Confirmation::Ack(_)) => Ok(Published::Accepted),
                Ok(Confirmation::Nack(_)) => Ok(Published::Refused),
                // Not in confirm mode: cannot be, and proves nothing.
                Ok(Confirmation::NotRequested) | Err(_) => Err(LinkError::Down),
            };
            if let Some(waiting) = self.waiting.remove(&number) {
                drop(waiting.answer.send(outcome));
            }
        }
    }

    /// A broker that does not confirm for so long, without saying that it is blocked, is not going to.
    fn end_if_stuck(&mut self) {
        if self.session.publishing.status().blocked() {
            self.blocked_at = Instant::now();
        }
        let oldest = self.waiting.values().next();
        let stuck = oldest.is_some_and(|waiting| waiting.since.max(self.blocked_at).elapsed() > self.stuck_after);
        if stuck {
            tracing::warn!("the broker has stopped confirming, connecting again");
            self.session.ended.cancel();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.session.drained.cancel();
    }
}
