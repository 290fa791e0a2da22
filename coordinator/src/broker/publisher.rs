//! The one place that publishes for the owner: in the order it was asked, with many confirms under way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use rejoin_shared::link::{Address, Link, LinkError, Message, Published, QueueSpec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::owner::inbound::Inbound;

/// What a message is for, hence who wants to know its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A pack or a probe, by its publish number.
    Pack(u64),
    /// Something for the worker of this incarnation.
    Worker(Uuid),
    /// Nobody asks.
    Notice,
    /// An event for another owner: when it is there, this forwarding is done.
    Forward(u64),
}

/// A message to be published.
#[derive(Debug)]
pub struct Outgoing {
    /// What for.
    pub purpose: Purpose,
    /// Where to.
    pub to: Address,
    /// The message.
    pub message: Message,
    /// A queue to declare first.
    pub declare: Option<QueueSpec>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Confirmed.
    Accepted,
    /// It came back: no such queue.
    CameBack,
    /// It never left.
    NotSent,
    /// It may be there or not.
    Unknown,
}

type Sending = Pin<Box<dyn Future<Output = (Purpose, Fate)> + Send>>;

/// Publishes what comes until the token is cancelled or the sender is gone.
pub async fn run(
    link: Arc<dyn Link>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    told: mpsc::UnboundedSender<Inbound>,
    stop: CancellationToken,
) {
    let mut under_way: FuturesUnordered<Sending> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((purpose, fate)) = under_way.next(), if !under_way.is_empty() => tell(&told, purpose, fate),
            next = outgoing.recv() => {
                let Some(next) = next else { break };
                if let Some(sending) = begin(&link, next, &told).await {
                    under_way.push(sending);
                }
            }
        }
    }
    while let Some((purpose, fate)) = under_way.next().await {
        tell(&told, purpose, fate);
    }
}

/// Hands one message to the link at once, so that messages keep their order.
async fn begin(link: &Arc<dyn Link>, next: Outgoing, told: &mpsc::UnboundedSender<Inbound>) -> Option<Sending> {
    let purpose = next.purpose;
    if let Some(queue) = &next.declare
        && let Err(error) = link.declare(queue).await
    {
        tracing::warn!(queue = queue.name, %error, "queue could not be declared");
        tell(told, purpose, Fate::NotSent);
        return None;
    }
    let link = link.clone();
    let mut sending: Sending = Box::pin(async move {
        let outcome = link.publish(&next.to, next.message).await;
        (purpose, fate_of(&outcome))
    });
    match poll!(&mut sending) {
        std::task::Poll::Ready((purpose, fate)) => {
            tell(told, purpose, fate);
            None
        }
        std::task::Poll::Pending => Some(sending),
    }
}

fn fate_of(outcome: &Result<Published, LinkError>) -> Fate {
    match outcome {
        Ok(Published::Accepted) => Fate::Accepted,
        Ok(Published::Unroutable) => Fate::CameBack,
        Ok(Published::Refused) | Err(_) => Fate::Unknown,
    }
}

fn tell(told: &mpsc::UnboundedSender<Inbound>, purpose: Purpose, fate: Fate) {
    match purpose {
        Purpose::Notice => {}
        Purpose::Pack(_) | Purpose::Worker(_) | Purpose::Forward(_) => {
            // The owner may be gone at shutdown; then nobody needs to know.
            told.send(Inbound::Published(purpose, fate)).ok();
        }
    }
}
