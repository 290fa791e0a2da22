//! The link of a simulated process, with the faults of a broker and of the way to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rejoin_shared::ids::AttemptKey;
use rejoin_shared::link::{
    Address, Consumer, Delivery, Depth, Link, LinkError, LinkState, Message, Published, QueueSpec, Receipt, Settle,
};
use rejoin_shared::wire::{Completions, kind};
use tokio::sync::watch;

use super::shell_database::Database;
use super::shell_process::{Fuse, Planted, SimDice};

/// The longest wait for the answer to a subscription; more than a worker's patience.
const SUBSCRIBED_LATE_MS: usize = 15_000;

/// Passes calls on while the fuse holds; publishes meet faults until `healed`.
pub struct FaultyLink {
    /// Of the process.
    pub name: String,
    /// Where early acks are noted.
    pub database: Arc<Database>,
    /// A bug.
    pub planted: Option<Planted>,
    /// Completions delivered and not settled.
    pub open: Arc<Mutex<HashMap<Receipt, Vec<AttemptKey>>>>,
    /// The last report that went out.
    pub reported: Arc<Mutex<String>>,
    /// The real one.
    pub inner: Arc<dyn Link>,
    /// Of the process.
    pub fuse: Arc<Fuse>,
    /// What decides.
    pub dice: Arc<SimDice>,
    /// No more faults.
    pub healed: Arc<AtomicBool>,
}

#[async_trait]
impl Link for FaultyLink {
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        self.fuse.pass().await;
        self.inner.declare(queue).await
    }

    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
        self.fuse.pass().await;
        let told = self.news_of(to, &message);
        let faults = !self.healed.load(Ordering::SeqCst);
        let is_probe = message.kind == kind::PACK && String::from_utf8_lossy(&message.body).contains("\"probe\":");
        let published = match self.dice.below(100) {
            _ if is_probe && self.planted == Some(Planted::NoReconcile) => Ok(Published::Accepted),
            // The broker loses it after its confirm: it is disposable (G7).
            0..=2 if faults => Ok(Published::Accepted),
            3 if faults => Ok(Published::Refused),
            4 if faults => Ok(Published::Unroutable),
            5..=6 if faults => {
                self.inner.publish(to, message).await?;
                Err(LinkError::TimedOut(1))
            }
            // Not of packs: nobody publishes one twice without asking for a check.
            7..=9 if faults && message.kind != kind::PACK => {
                self.inner.publish(to, message.clone()).await?;
                self.inner.publish(to, message).await
            }
            _ => self.inner.publish(to, message).await,
        };
        if let Some(told) = told {
            let what = format_args!("publishes {told}: {published:?}");
            self.database.tell(&self.name, what);
        }
        self.fuse.pass().await;
        published
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        self.fuse.pass().await;
        let inner = self.inner.consume(queue, prefetch).await?;
        if !self.healed.load(Ordering::SeqCst) && self.dice.chance(10) {
            // After a restart a broker may take this long to answer; it delivers meanwhile to whom it has subscribed.
            let late = u64::try_from(self.dice.below(SUBSCRIBED_LATE_MS)).unwrap_or(0);
            self.database.tell(
                &self.name,
                format_args!("is told of its subscription to {queue} after {late} ms"),
            );
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
        Ok(Box::new(FusedConsumer {
            inner,
            fuse: self.fuse.clone(),
            name: self.name.clone(),
            database: self.database.clone(),
            planted: self.planted,
            open: self.open.clone(),
        }))
    }

    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        self.fuse.pass().await;
        let is_lost = !self.healed.load(Ordering::SeqCst) && self.dice.chance(3);
        if is_lost || how != Settle::Ack {
            let what = format_args!("settles {receipt:?} {how:?}, lost: {is_lost}");
            self.database.tell(&self.name, what);
        }
        if is_lost {
            // The ack is lost: the broker keeps the message until the connection ends.
            return Ok(true);
        }
        let completions = self.open.lock().expect("the deliveries").remove(&receipt);
        if how == Settle::Ack {
            self.database.acked(&self.name, &completions.unwrap_or_default());
        }
        self.inner.settle(receipt, how).await
    }

    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError> {
        self.fuse.pass().await;
        self.inner.depth(queue).await
    }

    fn state(&self) -> watch::Receiver<LinkState> {
        self.inner.state()
    }

    async fn close(&self) {
        self.fuse.pass().await;
        self.inner.close().await;
    }
}

impl FaultyLink {
    /// For the history: a report only if it says something new.
    fn news_of(&self, to: &Address, message: &Message) -> Option<String> {
        let mut body = String::from_utf8_lossy(&message.body).into_owned();
        if message.kind == kind::REPORT {
            let mut report: serde_json::Value = serde_json::from_str(&body).ok()?;
            report.as_object_mut()?.remove("number");
            body = report.to_string();
            let mut last = self.reported.lock().expect("the last report");
            if std::mem::replace(&mut *last, body.clone()) == body {
                return None;
            }
        }
        Some(format!("{} to {to:?}: {body}", message.kind))
    }
}

struct FusedConsumer {
    inner: Box<dyn Consumer>,
    fuse: Arc<Fuse>,
    name: String,
    database: Arc<Database>,
    planted: Option<Planted>,
    open: Arc<Mutex<HashMap<Receipt, Vec<AttemptKey>>>>,
}

impl FusedConsumer {
    fn arrive(&self, mut delivery: Delivery) -> Delivery {
        self.plant(&mut delivery);
        let Delivery {
            message,
            receipt,
            redelivered,
            death: _,
        } = &delivery;
        if message.kind != kind::REPORT {
            let body = String::from_utf8_lossy(&message.body);
            let what = format_args!("gets {} {receipt:?}, redelivered {redelivered}: {body}", message.kind);
            self.database.tell(&self.name, what);
        }
        if delivery.message.kind == kind::COMPLETIONS
            && let Ok(completions) = serde_json::from_slice::<Completions>(&delivery.message.body)
        {
            let key = |item: &rejoin_shared::wire::Completion| AttemptKey {
                run: item.run,
                step: item.step,
                attempt: item.attempt,
            };
            let keys: Vec<AttemptKey> = completions.items.iter().map(key).collect();
            self.database.delivered(&self.name, &keys);
            if self.planted == Some(Planted::AckBeforeCommit) {
                self.database.acked(&self.name, &keys);
            }
            self.open.lock().expect("the deliveries").insert(delivery.receipt, keys);
        }
        delivery
    }

    fn plant(&self, delivery: &mut Delivery) {
        let (from, to) = match (self.planted, delivery.message.kind.as_str()) {
            (Some(Planted::UncheckedTwin), kind::PACK) => {
                delivery.redelivered = false;
                ("\"check\":true", "\"check\":false")
            }
            (Some(Planted::RedeliveredRunsAgain), kind::PACK) => {
                delivery.redelivered = false;
                return;
            }
            (Some(Planted::WrongVerdict), kind::VERDICTS) => ("\"drop\"", "\"run\""),
            (Some(Planted::UnclaimedStart), kind::PACK) if !delivery.redelivered => {
                ("\"check\":true,\"claim\":true", "\"check\":false")
            }
            _ => return,
        };
        let text = String::from_utf8_lossy(&delivery.message.body).replace(from, to);
        let text = text.replace("\"held_elsewhere\"", to);
        delivery.message.body = text.into_bytes().into();
    }
}

#[async_trait]
impl Consumer for FusedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let next = self.inner.next().await;
        self.fuse.pass().await;
        next.map(|delivery| self.arrive(delivery))
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.fuse.is_blown() {
            return None;
        }
        self.inner.try_next().map(|delivery| self.arrive(delivery))
    }
}
