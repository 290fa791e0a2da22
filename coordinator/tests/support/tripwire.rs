//! A link that stops at the first message of a kind: its process has died just before it.

use std::sync::Arc;

use async_trait::async_trait;
use rejoin_shared::link::{
    Address, Consumer, Depth, Link, LinkError, LinkState, Message, Published, QueueSpec, Receipt, Settle,
};
use tokio::sync::watch;

/// Passes everything on, until somebody publishes a message of this kind.
pub struct Tripwire {
    inner: Arc<dyn Link>,
    kind: &'static str,
    pub is_tripped: watch::Sender<bool>,
}

impl Tripwire {
    pub fn new(inner: Arc<dyn Link>, kind: &'static str) -> Arc<Tripwire> {
        Arc::new(Tripwire {
            inner,
            kind,
            is_tripped: watch::channel(false).0,
        })
    }

    async fn pass(&self) {
        if *self.is_tripped.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Link for Tripwire {
    async fn declare(&self, queue: &QueueSpec) -> Result<(), LinkError> {
        self.pass().await;
        self.inner.declare(queue).await
    }
    async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
        if message.kind == self.kind {
            self.is_tripped.send_replace(true);
        }
        self.pass().await;
        self.inner.publish(to, message).await
    }
    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, LinkError> {
        self.pass().await;
        self.inner.consume(queue, prefetch).await
    }
    async fn settle(&self, receipt: Receipt, how: Settle) -> Result<bool, LinkError> {
        self.pass().await;
        self.inner.settle(receipt, how).await
    }
    async fn depth(&self, queue: &str) -> Result<Option<Depth>, LinkError> {
        self.pass().await;
        self.inner.depth(queue).await
    }
    fn state(&self) -> watch::Receiver<LinkState> {
        self.inner.state()
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
