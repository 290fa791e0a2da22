//! Queues that take nothing and give nothing.
//!
//! A quorum queue that was declared less than about a second before its broker was killed can come back as a follower with an empty
//! log, which no election ever makes a leader (RabbitMQ 3.10: its log says `leader not known` for ever). The broker answers
//! questions about it, `0` messages and `0` consumers; publishes to it are never confirmed, and who subscribes waits for ever. Nothing
//! helps but its deletion. There is nothing in it that could be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::link::{Depth, LinkError};

/// A second publish that is not confirmed, or subscription that is not answered, so much later than the first, and none between
/// them that was, raises suspicion.
const AGAIN: Duration = Duration::from_secs(2);

/// Queues that did not answer in time, since when.
#[derive(Default)]
pub(super) struct Stuck(Mutex<HashMap<String, Instant>>);

impl Stuck {
    /// The queue did not answer in time. `true`: not for the first time, it should be looked at.
    pub(super) fn note(&self, queue: &str) -> bool {
        let now = Instant::now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *noted.entry(queue.to_owned()).or_insert(now);
        let is_again = now.duration_since(since) >= AGAIN;
        if is_again {
            noted.remove(queue);
        }
        is_again
    }

    /// The queue answered, or is not there.
    pub(super) fn clear(&self, queue: &str) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !noted.is_empty() {
            noted.remove(queue);
        }
    }
}

/// Deletes the queue if it is stuck: whoever needs it finds it missing, and declares it again.
pub(super) async fn mend(shared: Arc<Shared>, queue: String) {
    match is_deleted(&shared, &queue).await {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(
                queue,
                "the broker had a queue that took nothing and gave nothing: it was deleted, to be declared again"
            );
            shared.vanished.note(&queue);
        }
        Err(error) => tracing::warn!(queue, %error, "a queue confirms nothing, and could not be deleted"),
    }
}

async fn is_deleted(shared: &Shared, queue: &str) -> Result<bool, LinkError> {
    let session = shared.session()?;
    // A blocked connection gets no confirms, whatever the queue.
    if session.publishing.status().blocked() {
        return Ok(false);
    }
    let empty = Depth::default();
    if session.admin.depth(&session.consuming, queue).await? != Some(empty) {
        return Ok(false);
    }
    session.admin.delete_queue(&session.consuming, queue).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_suspicious_when_it_answers_nothing_for_long() {
        let stuck = Stuck::default();
        assert!(!stuck.note("a"));
        tokio::time::advance(AGAIN / 2).await;
        assert!(!stuck.note("a") && !stuck.note("b"));
        tokio::time::advance(AGAIN / 2).await;
        assert!(stuck.note("a") && !stuck.note("b"));
        stuck.clear("b");
        tokio::time::advance(AGAIN).await;
        assert!(!stuck.note("b"));
    }
}
