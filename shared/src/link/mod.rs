//! The link to the broker: what coordinator and workers need of AMQP 0-9-1, as a trait with two implementations.
//!
//! `amqp` speaks to RabbitMQ, `memory` passes the same envelopes inside one process; one conformance suite runs on both.
//! A link outlives its connections: while the connection is down, calls fail at once with [`LinkError::Down`] and
//! consumers end; whoever waits watches [`Link::state`] and subscribes again.

pub mod amqp;
pub mod memory;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// A message with the properties Rejoin uses.
#[derive(Clone, Debug)]
pub struct Message {
    /// AMQP `type`: one of [`crate::wire::kind`].
    pub kind: String,
    /// AMQP `message-id`.
    pub id: uuid::Uuid,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// W3C trace context, if any.
    pub traceparent: Option<String>,
    /// Major version of the contract, from header `rejoin-protocol`; 0 if it was missing.
    pub protocol: u32,
    /// Survives a broker restart.
    pub persistent: bool,
    /// Of a delivery: the broker's user who published it, where that said so; the broker checks it (AMQP `user-id`).
    pub user: Option<String>,
    /// JSON.
    pub body: Bytes,
}

impl Message {
    /// A message of `kind` with a new id.
    #[must_use]
    pub fn new(kind: &str, persistent: bool, body: Vec<u8>) -> Message {
        Message {
            kind: kind.to_owned(),
            id: uuid::Uuid::now_v7(),
            reply_to: None,
            traceparent: None,
            protocol: crate::wire::PROTOCOL,
            persistent,
            user: None,
            body: body.into(),
        }
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The queue of this name, through the default exchange.
    Queue(String),
    /// The same through a direct exchange, where the broker has one of that name: whoever may publish to that exchange only, which
    /// is how a worker's rights are kept small, reaches no other queue.
    Through {
        /// The exchange.
        exchange: String,
        /// The queue's name, under which it is bound.
        queue: String,
    },
    /// All queues bound to this fanout exchange; none is no failure.
    Fanout(String),
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Confirmed, and routed if it had to be.
    Accepted,
    /// No queue of that name: it came back.
    Unroutable,
    /// The broker refused it (nack).
    Refused,
}

/// A queue to be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Full name.
    pub name: String,
    /// Its kind.
    pub kind: QueueKind,
}

/// The kinds of queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// A durable quorum queue; after `delivery_limit` deliveries a message goes to `dead_letters`.
    Durable {
        /// `x-delivery-limit`
        delivery_limit: u32,
        /// Name of the queue for what is given up; `None` for the dead letters themselves.
        dead_letters: Option<String>,
        /// The direct exchange through which it is reached too, declared with it.
        exchange: Option<String>,
    },
    /// Belongs to this connection, and goes with it or with its last consumer; bound to a fanout exchange if one is named.
    Exclusive {
        /// The exchange, declared with it.
        fanout: Option<String>,
    },
}

/// The connection's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Connected; the number rises with each new connection.
    Up(u64),
    /// Connected, but the broker blocks publishers (memory or disk alarm).
    Blocked(u64),
    /// Not connected.
    Down,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not connected, or the connection was lost under way: the outcome of a publish is unknown.
    #[error("the broker is not connected")]
    Down,
    /// The broker did not answer in time: the outcome of a publish is unknown.
    #[error("the broker did not answer within {0} ms")]
    TimedOut(u64),
    /// The broker's user has no right to it (403).
    #[error("the broker does not allow {what}: {reason}")]
    Forbidden {
        /// What was asked.
        what: String,
        /// The broker's words.
        reason: String,
    },
    /// The queue exists with other arguments (406), or cannot be used otherwise.
    #[error("the broker refuses {what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// The broker's words.
        reason: String,
    },
    /// No queue of that name.
    #[error("there is no queue {0}")]
    NoQueue(String),
}

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Done.
    Ack,
    /// To be delivered again.
    Requeue,
    /// To the queue's dead letters.
    DeadLetter,
}

/// Length of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages ready for delivery.
    pub messages: u64,
    /// Consumers.
    pub consumers: u64,
}

/// One delivered message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether the broker delivered it before.
    pub redelivered: bool,
    /// Settles it, once; dropped without, it stays unacknowledged until its consumer or connection ends.
    pub receipt: Receipt,
    /// Where it was given up last, if it stands among dead letters.
    pub death: Option<Death>,
}

/// How a message came to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The queue that gave it up.
    pub queue: String,
    /// The broker's word for why: `rejected`, `delivery_limit`, …
    pub reason: String,
}

/// Names a delivery of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Which connection it came over: a receipt of an earlier one settles nothing.
    pub generation: u64,
    /// Which consumer of that connection.
    pub consumer: u64,
    /// The delivery tag.
    pub tag: u64,
}

/// A subscription. Dropped, it ends, and what it had not settled is delivered again.
#[async_trait]
pub trait Consumer: Send {
    /// The next message; `None` when the subscription ended (connection lost, cancelled by the broker, queue deleted).
    async fn next(&mut self) -> Option<Delivery>;
    /// A message that is there already, without waiting.
    fn try_next(&mut self) -> Option<Delivery>;
}

/// A connection to a broker, for ever.
#[async_trait]
pub trait Link: Send + Sync {
    /// Declares a queue (and its fanout exchange); again is harmless.
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError>;
    /// Publishes and awaits the confirm. Many calls may be under way at once: they are pipelined, in the order of the calls
    /// (an implementation assigns the order before its first await point).
    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError>;
    /// Subscribes to an existing queue with at most `prefetch` unsettled messages.
    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError>;
    /// Settles a delivery. `false`: it was of an earlier connection or consumer, nothing was sent.
    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError>;
    /// Length of a queue; `None` if there is none of that name.
    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError>;
    /// Watches the connection.
    fn state(&self) -> watch::Receiver<LinkState>;
    /// Ends the connection, after what was published has been confirmed or 2 s have passed.
    async fn close(&self);
}
