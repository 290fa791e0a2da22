//! Declares and questions, on a channel of their own: a refused one closes its channel, and takes nothing else along.

use std::time::Duration;

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use tokio::sync::Mutex;

use super::convert::short;
use super::failure::{timed_out, within};
use crate::link::{Depth, LinkError, QueueKind, QueueSpec};

/// The channel for what is asked now and then; opened at need and again after each refusal.
pub(super) struct Admin {
    channel: Mutex<Option<Channel>>,
    call_timeout: Duration,
}

impl Admin {
    pub(super) fn new(call_timeout: Duration) -> Admin {
        Admin {
            channel: Mutex::new(None),
            call_timeout,
        }
    }

    pub(super) async fn declare(&self, connection: &Connection, queue: &QueueSpec) -> Result<(), LinkError> {
        if let QueueKind::Exclusive { fanout: Some(exchange) } = &queue.kind {
            self.declare_fanout(connection, exchange).await?;
        }
        self.call(connection, &queue.name, async |channel| {
            declare_on(channel, queue, self.call_timeout).await
        })
        .await
    }

    pub(super) async fn declare_fanout(&self, connection: &Connection, exchange: &str) -> Result<(), LinkError> {
        let limit = self.call_timeout;
        // Only who has to make it needs the right to.
        let asked = self.call(connection, exchange, async |channel| {
            exists(channel, exchange, ExchangeKind::Fanout, limit).await
        });
        match asked.await {
            Err(LinkError::NoQueue(_)) => {
                self.call(connection, exchange, async |channel| {
                    exchange_on(channel, exchange, ExchangeKind::Fanout, limit).await
                })
                .await
            }
            other => other,
        }
    }

    /// Whether there is an exchange of this name; asking takes no right.
    pub(super) async fn has_exchange(&self, connection: &Connection, exchange: &str) -> Result<bool, LinkError> {
        let asked = self.call(connection, exchange, async |channel| {
            exists(channel, exchange, ExchangeKind::Direct, self.call_timeout).await
        });
        match asked.await {
            Ok(()) => Ok(true),
            Err(LinkError::NoQueue(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn depth(&self, connection: &Connection, queue: &str) -> Result<Option<Depth>, LinkError> {
        let answer = self
            .call(connection, queue, async |channel| {
                let options = QueueDeclareOptions::default().passive();
                let asked = channel.queue_declare(short(queue)?, options, FieldTable::default());
                within(self.call_timeout, queue, asked).await
            })
            .await;
        match answer {
            Ok(found) => Ok(Some(Depth {
                messages: u64::from(found.message_count()),
                consumers: u64::from(found.consumer_count()),
            })),
            Err(LinkError::NoQueue(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Deletes a queue with all that is in it; one that is not there is no failure.
    pub(super) async fn delete_queue(&self, connection: &Connection, queue: &str) -> Result<(), LinkError> {
        self.call(connection, queue, async |channel| {
            let deleted = channel.queue_delete(short(queue)?, QueueDeleteOptions::default());
            within(self.call_timeout, queue, deleted).await.map(drop)
        })
        .await
    }

    /// Deletes an exchange; one that is not there is no failure.
    pub(super) async fn delete_exchange(&self, connection: &Connection, exchange: &str) -> Result<(), LinkError> {
        self.call(connection, exchange, async |channel| {
            let deleted = channel.exchange_delete(short(exchange)?, ExchangeDeleteOptions::default());
            within(self.call_timeout, exchange, deleted).await
        })
        .await
    }

    /// Runs `op` on the channel, which is kept only if it went well.
    async fn call<T>(
        &self,
        connection: &Connection,
        what: &str,
        op: impl AsyncFnOnce(&Channel) -> Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        let mut kept = tokio::time::timeout(self.call_timeout, self.channel.lock())
            .await
            .map_err(|_| timed_out(self.call_timeout))?;
        let channel = match kept.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => within(self.call_timeout, what, connection.create_channel()).await?,
        };
        let answer = op(&channel).await?;
        *kept = Some(channel);
        Ok(answer)
    }
}

async fn declare_on(channel: &Channel, queue: &QueueSpec, limit: Duration) -> Result<(), LinkError> {
    let name = short(&queue.name)?;
    match &queue.kind {
        QueueKind::Durable {
            delivery_limit,
            dead_letters,
            exchange,
        } => {
            let arguments = quorum_arguments(*delivery_limit, dead_letters.as_deref());
            let declared = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
            within(limit, &queue.name, declared).await?;
            if let Some(exchange) = exchange {
                exchange_on(channel, exchange, ExchangeKind::Direct, limit).await?;
                let (options, none) = (QueueBindOptions::default(), FieldTable::default());
                let bound = channel.queue_bind(name.clone(), short(exchange)?, name, options, none);
                within(limit, &queue.name, bound).await?;
            }
        }
        QueueKind::Exclusive { fanout } => {
            let options = QueueDeclareOptions {
                auto_delete: true,
                ..QueueDeclareOptions::exclusive()
            };
            let declared = channel.queue_declare(name.clone(), options, FieldTable::default());
            within(limit, &queue.name, declared).await?;
            if let Some(exchange) = fanout {
                let options = QueueBindOptions::default();
                let bound = channel.queue_bind(name, short(exchange)?, "".into(), options, FieldTable::default());
                within(limit, &queue.name, bound).await?;
            }
        }
    }
    Ok(())
}

async fn exchange_on(channel: &Channel, exchange: &str, kind: ExchangeKind, limit: Duration) -> Result<(), LinkError> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = channel.exchange_declare(short(exchange)?, kind, options, FieldTable::default());
    within(limit, exchange, declared).await
}

/// [`LinkError::NoQueue`] where there is none.
async fn exists(channel: &Channel, exchange: &str, kind: ExchangeKind, limit: Duration) -> Result<(), LinkError> {
    let options = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    let asked = channel.exchange_declare(short(exchange)?, kind, options, FieldTable::default());
    within(limit, exchange, asked).await
}

/// The delivery limit always stands: its default differs by version (none, then 20).
fn quorum_arguments(delivery_limit: u32, dead_letters: Option<&str>) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(i64::from(delivery_limit)),
    );
    if let Some(target) = dead_letters {
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(target));
    }
    arguments
}
