//! The one place that publishes for the owner: in the order it was asked for each queue, with many confirms under way.
//!
//! A queue that has to be declared first may take a while (one that vanished is declared only after a moment): what is for it
//! waits in its line, and everything else goes past.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use prometheus::Counter;
use rejoin_shared::link::{Address, Link, LinkError, Message, Published, QueueSpec};
use rejoin_shared::map::HashMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::{Metrics, as_f64};
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
    /// It was never handed to the publisher: the batch that made it ready is not durable.
    Withheld,
    /// It may be there or not.
    Unknown,
}

type Sending = Pin<Box<dyn Future<Output = (Purpose, Fate)> + Send>>;
type Declaring = Pin<Box<dyn Future<Output = (String, Result<(), LinkError>)> + Send>>;

/// Everything that is under way.
struct Publisher {
    link: Arc<dyn Link>,
    told: mpsc::UnboundedSender<Inbound>,
    /// Bytes of bodies.
    sent: Counter,
    sending: FuturesUnordered<Sending>,
    declaring: FuturesUnordered<Declaring>,
    /// What waits for the declaration of its queue, in order; the first of each is being declared for.
    lines: HashMap<String, VecDeque<Outgoing>>,
}

/// Publishes what comes until the token is cancelled or the sender is gone.
pub async fn run(
    link: Arc<dyn Link>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    told: mpsc::UnboundedSender<Inbound>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut publisher = Publisher {
        link,
        told,
        sent: metrics.broker_bytes.with_label_values(&["sent"]),
        sending: FuturesUnordered::new(),
        declaring: FuturesUnordered::new(),
        lines: HashMap::default(),
    };
    let mut is_open = true;
    while is_open || !publisher.is_idle() {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((purpose, fate)) = publisher.sending.next(), if !publisher.sending.is_empty() => {
                tell(&publisher.told, purpose, fate);
            }
            Some((queue, declared)) = publisher.declaring.next(), if !publisher.declaring.is_empty() => {
                publisher.declared(&queue, declared).await;
            }
            next = outgoing.recv(), if is_open => match next {
                Some(next) => publisher.take(next).await,
                None => is_open = false,
            }
        }
    }
}

impl Publisher {
    fn is_idle(&self) -> bool {
        self.sending.is_empty() && self.declaring.is_empty()
    }

    /// Sends a message at once, or puts it into the line of its queue.
    async fn take(&mut self, next: Outgoing) {
        if let Address::Queue(queue) = &next.to
            && let Some(line) = self.lines.get_mut(queue)
        {
            return line.push_back(next);
        }
        match &next.declare {
            None => self.send(next).await,
            Some(queue) => {
                self.declare(queue.clone());
                self.lines.insert(queue.name.clone(), VecDeque::from([next]));
            }
        }
    }

    fn declare(&self, queue: QueueSpec) {
        let link = self.link.clone();
        self.declaring.push(Box::pin(async move {
            let declared = link.declare(&queue).await;
            (queue.name, declared)
        }));
    }

    /// The queue is there, or could not be declared: its line moves on, up to the next that has to declare it anew.
    async fn declared(&mut self, queue: &str, declared: Result<(), LinkError>) {
        let Some(mut line) = self.lines.remove(queue) else {
            return;
        };
        let Some(first) = line.pop_front() else { return };
        match declared {
            Ok(()) => self.send(first).await,
            Err(error) => {
                tracing::warn!(queue, %error, "queue could not be declared");
                tell(&self.told, first.purpose, Fate::NotSent);
            }
        }
        while let Some(next) = line.pop_front() {
            if let Some(again) = next.declare.clone() {
                self.declare(again);
                line.push_front(next);
                self.lines.insert(queue.to_owned(), line);
                return;
            }
            self.send(next).await;
        }
    }

    /// Hands one message to the link at once, so that messages keep their order.
    async fn send(&mut self, next: Outgoing) {
        let (link, purpose) = (self.link.clone(), next.purpose);
        self.sent.inc_by(as_f64(next.message.body.len()));
        let mut sending: Sending = Box::pin(async move {
            let outcome = link.publish(&next.to, next.message).await;
            (purpose, fate_of(&outcome))
        });
        match poll!(&mut sending) {
            std::task::Poll::Ready((purpose, fate)) => tell(&self.told, purpose, fate),
            std::task::Poll::Pending => self.sending.push(sending),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use rejoin_shared::link::{Consumer, Depth, LinkState, Receipt, Settle};
    use rejoin_shared::topology::Topology;
    use tokio::sync::{Semaphore, watch};

    use super::*;

    /// A link whose declarations wait for permits; it notes what is published where.
    struct Slow {
        declarations: Semaphore,
        published: Mutex<Vec<(String, Vec<u8>)>>,
        state: watch::Sender<LinkState>,
    }

    #[async_trait]
    impl Link for Slow {
        async fn declare(&self, _: &QueueSpec) -> Result<(), LinkError> {
            let permit = self.declarations.acquire().await;
            permit.map_err(|_| LinkError::Down)?.forget();
            Ok(())
        }
        async fn publish(&self, to: &Address, message: Message) -> Result<Published, LinkError> {
            if let Address::Queue(queue) = to {
                let told = (queue.clone(), message.body.to_vec());
                self.published.lock().expect("the log").push(told);
            }
            Ok(Published::Accepted)
        }
        async fn consume(&self, queue: &str, _: u16) -> Result<Box<dyn Consumer>, LinkError> {
            Err(LinkError::NoQueue(queue.to_owned()))
        }
        async fn settle(&self, _: Receipt, _: Settle) -> Result<bool, LinkError> {
            Ok(true)
        }
        async fn depth(&self, _: &str) -> Result<Option<Depth>, LinkError> {
            Ok(None)
        }
        fn state(&self) -> watch::Receiver<LinkState> {
            self.state.subscribe()
        }
        async fn close(&self) {}
    }

    fn to(queue: &QueueSpec, text: &str, declares: bool) -> Outgoing {
        Outgoing {
            purpose: Purpose::Pack(1),
            to: Address::Queue(queue.name.clone()),
            message: Message::new("test", true, text.as_bytes().to_vec()),
            declare: declares.then(|| queue.clone()),
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_still_being_declared_holds_up_nothing_but_what_is_for_it() {
        let link = Arc::new(Slow {
            declarations: Semaphore::new(0),
            published: Mutex::default(),
            state: watch::channel(LinkState::Up(1)).0,
        });
        let topology = Topology::default();
        let (slow, other) = (topology.event_queue(1), topology.event_queue(2));
        let (out, outgoing) = mpsc::unbounded_channel();
        let (told, mut fates) = mpsc::unbounded_channel();
        let messages = [
            to(&slow, "first", true),
            to(&slow, "second", false),
            to(&other, "past them", false),
            to(&slow, "third", true),
            to(&slow, "fourth", false),
        ];
        messages
            .into_iter()
            .for_each(|message| out.send(message).expect("it runs"));
        drop(out);
        let running = tokio::spawn(run(
            link.clone(),
            outgoing,
            told,
            Metrics::new(),
            CancellationToken::new(),
        ));
        fates.recv().await.expect("the fate of what goes past");
        let published = || -> Vec<String> {
            let log = link.published.lock().expect("the log");
            log.iter()
                .map(|(_, body)| String::from_utf8_lossy(body).into_owned())
                .collect()
        };
        assert_eq!(published(), ["past them"]);
        link.declarations.add_permits(1);
        for _ in 0..2 {
            fates.recv().await.expect("a fate");
        }
        assert_eq!(published(), ["past them", "first", "second"]);
        link.declarations.add_permits(1);
        running.await.expect("it ends when all is sent");
        assert_eq!(published()[3..], ["third", "fourth"]);
    }
}
