//! What stands in the dead letter queue: read without taking it away, sent again, or dropped.
//!
//! Reading is a subscription that settles nothing and ends: the broker puts everything back, in order. Meanwhile nobody else
//! sees it, so one reads at a time.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::link::{Address, Consumer, Death, Delivery, Link, LinkError, Message, Published, Settle};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::{Pack, kind};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::decode::to_bytes;

/// Letters that are looked at: those behind come into sight as these go.
pub const LETTERS_MAX: u16 = 1_000;
/// Between two looks whether letters are back.
const LOOK_EVERY: Duration = Duration::from_millis(10);
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
    /// Whose it is; that of installations, `default`, where it does not say.
    pub namespace: Namespace,
}

impl Letter {
    fn of(delivery: &Delivery) -> Letter {
        let message = delivery.message.clone();
        Letter {
            id: id_of(&message, delivery.death.as_ref()),
            message,
            death: delivery.death.clone(),
            namespace: namespace_of(&delivery.message),
        }
    }
}

/// Packs, and the letters that owners write, name their namespace.
fn namespace_of(message: &Message) -> Namespace {
    let body = Json::parse(&message.body).unwrap_or_default();
    let named = body.get("namespace").and_then(Json::as_str);
    let valid = named.filter(|name| Namespace::is_valid(name));
    valid.map_or_else(Namespace::default_name, |name| Namespace(name.into()))
}

/// The message's own id; of one that came without, a hash of its body and of the queue that gave it up.
fn id_of(message: &Message, death: Option<&Death>) -> Uuid {
    if !message.id.is_nil() {
        return message.id;
    }
    let queue = death.map_or("", |death| &death.queue);
    let digest = Sha256::new()
        .chain_update(queue)
        .chain_update([0])
        .chain_update(&message.body);
    let digest = digest.finalize();
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

    /// The oldest [`LETTERS_MAX`] of all namespaces, in order: those of `namespace` among them.
    ///
    /// # Errors
    /// The link's.
    pub async fn list(&self, namespace: &Namespace) -> Result<Vec<Letter>, LinkError> {
        let _turn = self.turn.lock().await;
        let mut letters = Vec::new();
        let Some((mut consumer, count)) = self.subscribe().await? else {
            return Ok(letters);
        };
        for _ in 0..count {
            let Some(delivery) = next(&mut *consumer).await else {
                break;
            };
            letters.push(Letter::of(&delivery));
        }
        drop(consumer);
        self.are_back(count).await;
        letters.retain(|letter| letter.namespace == *namespace);
        Ok(letters)
    }

    /// Removes a letter of `namespace`; `None` if it is not there.
    ///
    /// # Errors
    /// The link's.
    pub async fn remove(&self, namespace: &Namespace, id: Uuid) -> Result<Option<Letter>, LinkError> {
        let _turn = self.turn.lock().await;
        let Some((mut consumer, count)) = self.subscribe().await? else {
            return Ok(None);
        };
        let mut removed = None;
        for _ in 0..count {
            let Some(delivery) = next(&mut *consumer).await else {
                break;
            };
            let letter = Letter::of(&delivery);
            if letter.id == id && letter.namespace == *namespace {
                self.link.settle(delivery.receipt, Settle::Ack).await?;
                removed = Some(letter);
                break;
            }
        }
        drop(consumer);
        self.are_back(count - usize::from(removed.is_some())).await;
        Ok(removed)
    }

    /// How many wait, of all namespaces; those that somebody just looks at are not among them.
    ///
    /// # Errors
    /// The link's.
    pub async fn count(&self) -> Result<usize, LinkError> {
        let depth = self.link.depth(&self.queue).await?;
        Ok(depth.map_or(0, |depth| usize::try_from(depth.messages).unwrap_or(usize::MAX)))
    }

    /// A letter of `namespace`; `None` if it is not there.
    ///
    /// # Errors
    /// The link's.
    pub async fn find(&self, namespace: &Namespace, id: Uuid) -> Result<Option<Letter>, LinkError> {
        let letters = self.list(namespace).await?;
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

    /// Waits until the broker has put so many letters back, which it does after the subscription's end: the next look would not
    /// see them. It gives up where somebody else took some meanwhile.
    async fn are_back(&self, count: usize) {
        let wait = async {
            while let Ok(Some(depth)) = self.link.depth(&self.queue).await
                && usize::try_from(depth.messages).is_ok_and(|there| there < count)
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(NEXT_MAX, wait).await.is_err() {
            tracing::debug!(queue = self.queue, count, "not all letters are back");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_without_an_id_are_told_apart_by_their_queues() {
        let mut message = Message::new("x", true, b"{}".to_vec());
        let death = |queue: &str| Death {
            queue: queue.to_owned(),
            reason: "rejected".to_owned(),
        };
        message.id = Uuid::nil();
        let ids = [None, Some(death("a")), Some(death("b"))].map(|death| id_of(&message, death.as_ref()));
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert_eq!(id_of(&message, Some(&death("a"))), ids[1]);
        message.id = Uuid::from_u128(7);
        assert_eq!(id_of(&message, Some(&death("a"))), message.id);
    }
}
