//! The link of a simulated process, with the faults of a broker and of the way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rejoin_shared::link::{
    Address, Consumer, Delivery, Depth, Link, LinkError, LinkState, Message, Published, QueueSpec, Receipt, Settle,
};
use tokio::sync::watch;

use super::shell_process::{Fuse, SimDice};

/// Passes calls on while the fuse holds; publishes meet faults until `healed`.
pub struct FaultyLink {
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
        let faults = !self.healed.load(Ordering::SeqCst);
        let published = match self.dice.below(100) {
            // The broker loses it after its confirm: it is disposable (G7).
            0..=2 if faults => Ok(Published::Accepted),
            3 if faults => Ok(Published::Refused),
            4 if faults => Ok(Published::Unroutable),
            5..=6 if faults => {
                self.inner.publish(to, message).await?;
                Err(LinkError::TimedOut(1))
            }
            7..=9 if faults => {
                self.inner.publish(to, message.clone()).await?;
                self.inner.publish(to, message).await
            }
            _ => self.inner.publish(to, message).await,
        };
        self.fuse.pass().await;
        published
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        self.fuse.pass().await;
        let inner = self.inner.consume(queue, prefetch).await?;
        let fuse = self.fuse.clone();
        Ok(Box::new(FusedConsumer { inner, fuse }))
    }

    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        self.fuse.pass().await;
        if !self.healed.load(Ordering::SeqCst) && self.dice.chance(3) {
            // The ack is lost: the broker keeps the message until the connection ends.
            return Ok(true);
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

struct FusedConsumer {
    inner: Box<dyn Consumer>,
    fuse: Arc<Fuse>,
}

#[async_trait]
impl Consumer for FusedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let next = self.inner.next().await;
        self.fuse.pass().await;
        next
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.fuse.is_blown() {
            return None;
        }
        self.inner.try_next()
    }
}
