//! What goes back to owners: completions and hand-backs, packed by event queue, kept until confirmed.
//!
//! There is no timer: a message carries what is there when a publish slot of its queue is free. A lane with at most one message
//! under way sends at once, so that what ends meanwhile does not wait for a whole confirm; further messages overlap only when
//! they are full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::dice::Dice;
use rejoin_shared::ids::{AttemptKey, ClaimId};
use rejoin_shared::link::{LinkError, Message, Published};
use rejoin_shared::map::HashMap;
use rejoin_shared::trace::export::Tracer;
use rejoin_shared::wire::{AttemptEnd, Completion, HandBack, PACK_ATTEMPTS_MAX, WorkerId, completions_text, kind};
use tokio::time::Instant;

use super::{Runner, Sent};

/// Messages of one event queue that may be under way at once.
const IN_FLIGHT_MAX: usize = 4;
/// Of these, those that leave with whatever is there. With one alone a completion waits for half a confirm, beside a large
/// fan-out as long as the database takes to record it.
const OPEN_MAX: usize = 2;
/// Bytes of completions in one message, unless a single one is larger.
pub(super) const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// What a completion weighs beside its output and logs.
const COMPLETION_BYTES: usize = 256;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// One message on its way.
pub(crate) struct Batch {
    to: Arc<str>,
    content: Content,
}

enum Content {
    Completions(Vec<Completion>),
    HandBack(Vec<Back>),
}

/// An attempt that goes back, with the claim that was asked for.
type Back = (AttemptKey, Option<ClaimId>);

#[derive(Default)]
struct Lane {
    completions: VecDeque<Completion>,
    hand_backs: Vec<Back>,
    in_flight: usize,
    failures: u32,
    retry_at: Option<Instant>,
}

/// What waits to be sent, by event queue.
#[derive(Default)]
pub(super) struct Outbox(HashMap<Arc<str>, Lane>);

impl Outbox {
    pub fn add_completion(&mut self, to: &Arc<str>, finished: Completion) {
        self.lane(to).completions.push_back(finished);
    }

    pub fn add_hand_back(&mut self, to: &Arc<str>, key: AttemptKey, claim: Option<ClaimId>) {
        self.lane(to).hand_backs.push((key, claim));
    }

    pub fn is_empty(&self) -> bool {
        self.0.values().all(|lane| lane.is_idle() && lane.in_flight == 0)
    }

    /// When a lane may try again. What cannot leave at all now is due by an event, never by the clock: a due that nobody
    /// can act on would keep the loop spinning.
    pub fn due(&self, with_hand_backs: bool) -> Option<Instant> {
        let waiting = self.0.values().filter(|lane| lane.in_flight == 0);
        let waiting = waiting.filter(|lane| lane.has_something(with_hand_backs));
        waiting.filter_map(|lane| lane.retry_at).min()
    }

    /// The connection is back: no lane waits any longer.
    pub fn retry_now(&mut self) {
        for lane in self.0.values_mut() {
            lane.retry_at = None;
        }
    }

    fn lane(&mut self, to: &Arc<str>) -> &mut Lane {
        self.0.entry(to.clone()).or_default()
    }

    fn take(&mut self, now: Instant, with_hand_backs: bool) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (to, lane) in &mut self.0 {
            while let Some(content) = lane.take(now, with_hand_backs) {
                lane.in_flight += 1;
                batches.push(Batch {
                    to: to.clone(),
                    content,
                });
            }
        }
        batches
    }

    fn note_accepted(&mut self, to: &Arc<str>) {
        let lane = self.lane(to);
        lane.in_flight -= 1;
        lane.failures = 0;
        lane.retry_at = None;
        if lane.is_idle() && lane.in_flight == 0 {
            self.0.remove(to);
        }
    }

    fn note_failed(&mut self, batch: Batch, now: Instant, dice: &dyn Dice) {
        let lane = self.lane(&batch.to);
        lane.in_flight -= 1;
        lane.retry_at = Some(now + dice.shorten(retry_delay(lane.failures)));
        lane.failures = lane.failures.saturating_add(1);
        match batch.content {
            Content::HandBack(backs) => lane.hand_backs.extend(backs),
            Content::Completions(items) => {
                for finished in items.into_iter().rev() {
                    lane.completions.push_front(finished);
                }
            }
        }
    }
}

fn retry_delay(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.min(10)).min(RETRY_MAX)
}

impl Lane {
    fn is_idle(&self) -> bool {
        !self.has_something(true)
    }

    fn has_something(&self, with_hand_backs: bool) -> bool {
        !self.completions.is_empty() || (with_hand_backs && !self.hand_backs.is_empty())
    }

    fn take(&mut self, now: Instant, with_hand_backs: bool) -> Option<Content> {
        if self.retry_at.is_some_and(|at| at > now) || self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        if with_hand_backs && !self.hand_backs.is_empty() {
            return Some(Content::HandBack(std::mem::take(&mut self.hand_backs)));
        }
        let full = self.completions.len() >= PACK_ATTEMPTS_MAX;
        if self.completions.is_empty() || (self.in_flight >= OPEN_MAX && !full) {
            return None;
        }
        Some(Content::Completions(self.take_completions()))
    }

    fn take_completions(&mut self) -> Vec<Completion> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.completions.front() {
            bytes += weight(next);
            if items.len() >= PACK_ATTEMPTS_MAX || (!items.is_empty() && bytes > BATCH_BYTES_MAX) {
                break;
            }
            items.extend(self.completions.pop_front());
        }
        items
    }
}

fn weight(completion: &Completion) -> usize {
    let logs: usize = completion.logs.iter().map(String::len).sum();
    let end = match &completion.end {
        AttemptEnd::Ok { output, set, .. } => {
            let texts = [output, set].into_iter().flatten();
            texts.map(|text| text.get().len()).sum()
        }
        AttemptEnd::Error(failed) => failed.message.len(),
    };
    let checkpoint = completion.checkpoint.as_ref().map_or(0, |stored| stored.get().len());
    COMPLETION_BYTES + logs + end + checkpoint
}

impl Batch {
    fn message(&self, worker: WorkerId, tracer: &Tracer) -> Message {
        let (kind, body) = match &self.content {
            Content::Completions(items) => (kind::COMPLETIONS, completions_text(&worker, items)),
            Content::HandBack(backs) => {
                let claims = backs.iter().filter_map(|(key, claim)| Some((*key, (*claim)?)));
                let back = HandBack {
                    worker,
                    attempts: backs.iter().map(|(key, _)| *key).collect(),
                    claims: claims.collect(),
                };
                (kind::HAND_BACK, serde_json::to_vec(&back))
            }
        };
        let mut message = Message::new(kind, true, body.expect("completions are plain data"));
        if let Content::Completions(items) = &self.content {
            message.traceparent = items.first().and_then(|first| tracer.header(first.run));
        }
        message
    }

    fn keys(&self) -> Vec<AttemptKey> {
        match &self.content {
            Content::HandBack(backs) => backs.iter().map(|(key, _)| *key).collect(),
            Content::Completions(items) => items.iter().map(key_of).collect(),
        }
    }
}

fn key_of(completion: &Completion) -> AttemptKey {
    AttemptKey {
        run: completion.run,
        step: completion.step,
        attempt: completion.attempt,
    }
}

impl Runner {
    /// Publishes what is there, as far as the lanes are free. While the link is down it is kept.
    ///
    /// Completions leave as soon as the link is up. Subscribing again may take the broker seconds, and whoever is not heard of
    /// meanwhile is given up: what it had completed would then run again elsewhere. What goes back waits for the session, as
    /// that is who holds it.
    pub(super) fn send_outbox(&mut self, now: Instant) {
        let Some(worker) = self.sender() else { return };
        let has_session = self.worker_id().is_some();
        for batch in self.outbox.take(now, has_session) {
            let (link, to) = (self.link.clone(), self.setup.topology.to_events(&batch.to));
            let message = batch.message(worker.clone(), &self.setup.tracer);
            self.io.push(Box::pin(async move {
                let sent = link.publish(&to, message).await;
                Sent::Batch(batch, sent)
            }));
        }
    }

    /// In whose name messages can leave now, if they can.
    fn sender(&self) -> Option<WorkerId> {
        self.teller().filter(|_| self.is_linked())
    }

    /// When the outbox has to be looked at again.
    pub(super) fn outbox_due(&self) -> Option<Instant> {
        self.sender()?;
        self.outbox.due(self.worker_id().is_some())
    }

    /// Only a confirmed message lets go of what it tells; anything else is sent again.
    pub(super) fn note_batch(&mut self, batch: Batch, result: Result<Published, LinkError>) {
        match result {
            Ok(Published::Accepted) => {
                self.outbox.note_accepted(&batch.to);
                for key in batch.keys() {
                    let settled = self.ledger.confirm(key);
                    self.settle(settled);
                }
                return;
            }
            Ok(Published::Unroutable) => {
                tracing::warn!(queue = &*batch.to, "event queue is not there; it is declared again");
                self.declare_events(&batch.to);
            }
            Ok(Published::Refused) => tracing::warn!(queue = &*batch.to, "the broker refused completions"),
            Err(e) => tracing::debug!(queue = &*batch.to, error = %e, "completions are sent again"),
        }
        self.outbox.note_failed(batch, Instant::now(), &*self.setup.dice);
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, RunId, StepKey};
    use rejoin_shared::time::Timestamp;

    use super::*;

    fn completion(branch: u32) -> Completion {
        Completion {
            run: RunId::new_in(Partition(1)),
            step: StepKey {
                scope: 2,
                branch,
                pos: 0,
            },
            attempt: 1,
            token: None,
            end: AttemptEnd::Ok {
                output: None,
                set: None,
                unset: Vec::new(),
            },
            started_at: Timestamp(0),
            finished_at: Timestamp(0),
            logs: Vec::new(),
            checkpoint: None,
        }
    }

    /// How many completions leave in each message, once so many more have ended.
    fn sent(outbox: &mut Outbox, to: &Arc<str>, ended: usize) -> Vec<usize> {
        (0..ended).for_each(|_| outbox.add_completion(to, completion(0)));
        let batches = outbox.take(Instant::now(), true);
        batches.iter().map(|batch| batch.keys().len()).collect()
    }

    #[test]
    fn two_messages_leave_with_what_is_there_and_more_only_when_they_are_full() {
        let (mut outbox, to): (Outbox, Arc<str>) = (Outbox::default(), "events".into());
        assert_eq!(sent(&mut outbox, &to, 1), [1]);
        assert_eq!(sent(&mut outbox, &to, 3), [3]);
        assert!(sent(&mut outbox, &to, 5).is_empty());
        assert_eq!(sent(&mut outbox, &to, PACK_ATTEMPTS_MAX), [PACK_ATTEMPTS_MAX]);
        outbox.note_accepted(&to);
        assert!(sent(&mut outbox, &to, 0).is_empty(), "two are still under way");
        outbox.note_accepted(&to);
        assert_eq!(sent(&mut outbox, &to, 0), [5]);
        // Whatever is there, no more than so many.
        assert_eq!(sent(&mut outbox, &to, 5 * PACK_ATTEMPTS_MAX), [PACK_ATTEMPTS_MAX; 2]);
    }
}
