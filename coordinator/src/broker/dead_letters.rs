//! What stands in the dead letter queue: read without taking it away, sent again, or dropped.
//!
//! Reading is a subscription that settles nothing and ends: the broker puts everything back, in order. Meanwhile nobody else
//! sees it, so one reads at a time.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::link::{Address, Consumer, Death, Delivery, Link, LinkError, Message, Published, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{Pack, kind};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::decode::to_bytes;

/// Letters that are looked at: those behind come into sight as these go.
pub const LETTERS_MAX: u16 = 1_000;
/// The broker sends what is there at once; one that does not has lost the subscription.
const NEXT_MAX: Duration = Duration::from_secs(2);

/// A dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Names it.
    pub id: Uuid,
    /// As it was sent.
    pub message: Message,
    /// Which queue gave it up; `None` if it was written for the dead letters.
    pub death: Option<Death>,
}

impl Letter {
    fn of(delivery: &Delivery) -> Letter {
        let message = delivery.message.clone();
        Letter {
            id: id_of(&message),
            message,
            death: delivery.death.clone(),
        }
    }
}

/// The message's own id; of one that came without, a hash of its body.
fn id_of(message: &Message) -> Uuid {
    if !message.id.is_nil() {
        return message.id;
    }
    let digest = Sha256::digest(&message.body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// The dead letters.
#[derive(Clone)]
pub struct DeadLetters {
    link: Arc<dyn Link>,
    queue: String,
    turn: Arc<Mutex<()>>,
}

impl DeadLetters {
    /// Those of an installation.
    #[must_use]
    pub fn new(link: Arc<dyn Link>, topology: &Topology) -> DeadLetters {
        DeadLetters {
            link,
            queue: topology.dead(),
            turn: Arc::default(),
        }
    }

    /// The oldest ones, in order.
    ///
    /// # Errors
    /// The link's.
    pub async fn list(&self, limit: usize) -> Result<Vec<Letter>, LinkError> {
        let _turn = self.turn.lock().await;
        let mut letters = Vec::new();
        let Some((mut consumer, count)) = self.subscribe().await? else {
            return Ok(letters);
        };
        while letters.len() < count.min(limit) {
            let Some(delivery) = next(&mut *consumer).await else {
                break;
            };
            letters.push(Letter::of(&delivery));
        }
        Ok(letters)
    }

    /// Removes a letter; `None` if it is not there.
    ///
    /// # Errors
    /// The link's.
    pub async fn remove(&self, id: Uuid) -> Result<Option<Letter>, LinkError> {
        let _turn = self.turn.lock().await;
        let Some((mut consumer, count)) = self.subscribe().await? else {
            return Ok(None);
        };
        for _ in 0..count {
            let Some(delivery) = next(&mut *consumer).await else {
                break;
            };
            if id_of(&delivery.message) == id {
                self.link.settle(delivery.receipt, Settle::Ack).await?;
                return Ok(Some(Letter::of(&delivery)));
            }
        }
        Ok(None)
    }

    /// A letter; `None` if it is not there.
    ///
    /// # Errors
    /// The link's.
    pub async fn find(&self, id: Uuid) -> Result<Option<Letter>, LinkError> {
        let letters = self.list(usize::from(LETTERS_MAX)).await?;
        Ok(letters.into_iter().find(|letter| letter.id == id))
    }

    /// Publishes a letter's message once more. What follows it is as if the broker had delivered it late, which is harmless:
    /// completions that are recorded count once, and a worker asks which attempts are still wanted before it runs any.
    ///
    /// # Errors
    /// The link's.
    pub async fn send_again(&self, letter: &Letter, queue: &str) -> Result<Published, LinkError> {
        let to = Address::Queue(queue.to_owned());
        self.link.publish(&to, asking_first(letter.message.clone())).await
    }

    /// A subscription with how many letters it will bring; `None` if there is no such queue.
    async fn subscribe(&self) -> Result<Option<(Box<dyn Consumer>, usize)>, LinkError> {
        let Some(depth) = self.link.depth(&self.queue).await? else {
            return Ok(None);
        };
        let count = usize::try_from(depth.messages).unwrap_or(usize::MAX);
        let consumer = self.link.consume(&self.queue, LETTERS_MAX).await?;
        Ok(Some((consumer, count.min(usize::from(LETTERS_MAX)))))
    }
}

/// The same message; a pack of attempts as one that may have been published before. What is none is left as it is: a worker
/// that cannot read it gives it up again.
fn asking_first(mut message: Message) -> Message {
    if message.kind == kind::PACK
        && let Ok(mut pack) = serde_json::from_slice::<Pack>(&message.body)
    {
        pack.check = true;
        message.body = to_bytes(&pack).into();
    }
    message
}

async fn next(consumer: &mut dyn Consumer) -> Option<Delivery> {
    tokio::time::timeout(NEXT_MAX, consumer.next()).await.ok().flatten()
}
