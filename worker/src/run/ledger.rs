//! What the worker holds: attempts, and the messages that brought them. Pure bookkeeping; nothing here waits or sends.
//!
//! An attempt may have come by several messages (redelivered, published again): it is held once, and settled for all of
//! them. A message is settled when nothing that it brought is left open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimId, RunId};
use rejoin_shared::link::{Receipt, Settle};
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::wire::Order;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::span::Origin;
use crate::attempt::{Base, Control};

/// How long an attempt that nobody here serves is kept before it goes back, so that it does not fly in circles.
pub(super) const UNSERVED_DELAY: Duration = Duration::from_secs(1);
/// A message held for so long is acknowledged once a report that lists it was confirmed.
pub(super) const HELD_LONG: Duration = Duration::from_secs(300);

/// An attempt that waits for its slot.
#[derive(Debug)]
pub(super) struct Job {
    pub order: Order,
    pub base: BaseRef,
    /// Its owner has to grant a claim before it begins.
    pub wants_claim: Option<WantsClaim>,
    pub origin: Arc<Origin>,
}

/// What the question for a claim tells of the delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantsClaim {
    pub redelivered: bool,
}

/// An attempt whose turn it is.
pub(super) struct Next {
    pub key: AttemptKey,
    pub reply_to: Arc<str>,
    pub job: Box<Job>,
    /// It may begin: it needs no claim, or has it.
    pub is_free: bool,
}

/// An attempt that goes back to its owner, with the claim that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Returned {
    pub key: AttemptKey,
    pub reply_to: Arc<str>,
    pub claim: Option<ClaimId>,
}

/// What a cancellation came to.
#[derive(Debug)]
pub(super) enum Cancelled {
    /// It is not held any more; these messages are settled.
    Forgotten(Vec<(Receipt, Settle)>),
    /// A claim was asked for: its owner is told that it is not used.
    Returned(Returned),
    /// Its handler was told, or there is nothing to do.
    Told,
}

/// Where an attempt's base context is.
#[derive(Clone, Debug)]
pub(super) enum BaseRef {
    Here(Arc<Base>),
    Stored { run: RunId, seq: u64 },
}

/// Where an attempt stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its owner has been asked whether it may run.
    Asking(Box<Job>),
    /// Its owner has been asked for the claim.
    Claiming(Box<Job>),
    /// Its context has been asked for.
    Fetching(Box<Job>),
    /// It waits for a slot.
    Ready(Box<Job>),
    /// No handler of that name is here; it goes back in a moment.
    Unserved,
    /// It runs.
    Running { control: Arc<Control>, cancelled: bool },
    /// It ended; its completion is on its way to the owner.
    Leaving,
    /// It is on its way back to the owner, so many times.
    HandingBack(usize),
}

/// What a message brought once more.
#[derive(Debug)]
pub(super) enum Attached {
    /// Nothing: the attempt is not held.
    New,
    /// An attempt that is held, and now for this message too.
    Held,
    /// An attempt that is being handed back, to be handed back to this queue once more.
    Leaving(Arc<str>),
}

#[derive(Debug)]
struct Held {
    reply_to: Arc<str>,
    phase: Phase,
    messages: Vec<u64>,
    /// Asked for while it is claiming; afterwards it is its.
    claim: Option<ClaimId>,
}

#[derive(Debug)]
struct OpenMessage {
    receipt: Receipt,
    left: usize,
    since: Instant,
    settled: bool,
    requeue: bool,
}

/// All attempts and messages held.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: HashMap<AttemptKey, Held>,
    ready: VecDeque<AttemptKey>,
    unserved: VecDeque<(Instant, AttemptKey)>,
    messages: HashMap<u64, OpenMessage>,
    last_message: u64,
    running: usize,
    /// Attempts whose claim was asked for a moment ago: a slot waits for each.
    slots_kept: HashSet<AttemptKey>,
}

impl Ledger {
    /// Notes a delivery. It stays open until [`Self::close_part`] and all attempts attached to it are settled.
    pub fn open_message(&mut self, receipt: Receipt, now: Instant) -> u64 {
        self.last_message += 1;
        let message = OpenMessage {
            receipt,
            left: 1,
            since: now,
            settled: false,
            requeue: false,
        };
        self.messages.insert(self.last_message, message);
        self.last_message
    }

    /// Closes the part that [`Self::open_message`] opened; returns the receipt if nothing is left.
    pub fn close_part(&mut self, message: u64) -> Vec<(Receipt, Settle)> {
        self.release(message).into_iter().collect()
    }

    /// If the attempt is held already, `message` is settled with it: it does not run twice.
    pub fn attach(&mut self, key: AttemptKey, message: u64) -> Attached {
        let (Some(held), Some(open)) = (self.held.get_mut(&key), self.messages.get_mut(&message)) else {
            return Attached::New;
        };
        held.messages.push(message);
        open.left += 1;
        match &mut held.phase {
            Phase::HandingBack(times) => {
                *times += 1;
                Attached::Leaving(held.reply_to.clone())
            }
            Phase::Asking(_)
            | Phase::Claiming(_)
            | Phase::Fetching(_)
            | Phase::Ready(_)
            | Phase::Unserved
            | Phase::Running { .. }
            | Phase::Leaving => Attached::Held,
        }
    }

    /// Takes an attempt that is not held yet.
    pub fn admit(&mut self, key: AttemptKey, message: u64, reply_to: Arc<str>, phase: Phase, now: Instant) {
        match &phase {
            Phase::Ready(_) => self.ready.push_back(key),
            Phase::Unserved => self.unserved.push_back((now + UNSERVED_DELAY, key)),
            Phase::Asking(_)
            | Phase::Claiming(_)
            | Phase::Fetching(_)
            | Phase::Running { .. }
            | Phase::Leaving
            | Phase::HandingBack(_) => {}
        }
        if let Some(open) = self.messages.get_mut(&message) {
            open.left += 1;
        }
        let held = Held {
            reply_to,
            phase,
            messages: vec![message],
            claim: None,
        };
        self.held.insert(key, held);
    }

    /// The owner lets it run.
    pub fn allow(&mut self, key: AttemptKey, stored: Option<Box<RawValue>>) {
        if let Some(Phase::Asking(job) | Phase::Claiming(job)) = self.held.get_mut(&key).map(|held| &mut held.phase)
            && stored.is_some()
        {
            job.order.payload.checkpoint = stored;
        }
        self.make_ready(key, None);
    }

    /// Whether an attempt runs, and is the one that this belongs to.
    pub fn runs(&self, key: &AttemptKey, of: &Arc<Control>) -> bool {
        let phase = self.held.get(key).map(|held| &held.phase);
        matches!(phase, Some(Phase::Running { control, .. }) if Arc::ptr_eq(control, of))
    }

    /// Where its owner hears of an attempt that is held.
    pub fn reply_to(&self, key: &AttemptKey) -> Option<Arc<str>> {
        self.held.get(key).map(|held| held.reply_to.clone())
    }

    /// Its context has come.
    pub fn supply(&mut self, key: AttemptKey, base: Arc<Base>) {
        self.make_ready(key, Some(base));
    }

    fn make_ready(&mut self, key: AttemptKey, base: Option<Arc<Base>>) {
        self.slots_kept.remove(&key);
        let Some(held) = self.held.get_mut(&key) else { return };
        match std::mem::replace(&mut held.phase, Phase::Leaving) {
            Phase::Claiming(job) => {
                held.phase = Phase::Ready(job);
                // Next of all: what is claimed and not begun would be lost with this worker.
                self.ready.push_front(key);
            }
            Phase::Asking(mut job) | Phase::Fetching(mut job) => {
                if let Some(base) = base {
                    job.base = BaseRef::Here(base);
                }
                held.phase = Phase::Ready(job);
                self.ready.push_back(key);
            }
            other @ (Phase::Ready(_)
            | Phase::Unserved
            | Phase::Running { .. }
            | Phase::Leaving
            | Phase::HandingBack(_)) => held.phase = other,
        }
    }

    /// The next attempt that waits for a slot; the caller starts it, or puts it back by [`Self::set_fetching`].
    pub fn pop_ready(&mut self) -> Option<Next> {
        while let Some(key) = self.ready.pop_front() {
            let Some(held) = self.held.get_mut(&key) else { continue };
            match std::mem::replace(&mut held.phase, Phase::Leaving) {
                Phase::Ready(job) => {
                    return Some(Next {
                        key,
                        reply_to: held.reply_to.clone(),
                        is_free: job.wants_claim.is_none() || held.claim.is_some(),
                        job,
                    });
                }
                other @ (Phase::Asking(_)
                | Phase::Claiming(_)
                | Phase::Fetching(_)
                | Phase::Unserved
                | Phase::Running { .. }
                | Phase::Leaving
                | Phase::HandingBack(_)) => held.phase = other,
            }
        }
        None
    }

    /// Its context is asked for first.
    pub fn set_fetching(&mut self, key: AttemptKey, job: Box<Job>) {
        if let Some(held) = self.held.get_mut(&key) {
            held.phase = Phase::Fetching(job);
        }
    }

    /// Its claim is asked for; a slot is kept for it.
    pub fn set_claiming(&mut self, key: AttemptKey, job: Box<Job>, claim: ClaimId) {
        if let Some(held) = self.held.get_mut(&key) {
            held.phase = Phase::Claiming(job);
            held.claim = Some(claim);
            self.slots_kept.insert(key);
        }
    }

    /// The slot that was kept for it serves others meanwhile.
    pub fn let_slot_go(&mut self, key: &AttemptKey) {
        self.slots_kept.remove(key);
    }

    /// It runs now.
    pub fn set_running(&mut self, key: AttemptKey, control: Arc<Control>) {
        if let Some(held) = self.held.get_mut(&key) {
            held.phase = Phase::Running {
                control,
                cancelled: false,
            };
            self.running += 1;
        }
    }

    /// It ran to an end. Returns where its completion goes, if one is owed: not for a cancelled one.
    pub fn set_ended(&mut self, key: AttemptKey) -> Option<Arc<str>> {
        let held = self.held.get_mut(&key)?;
        let Phase::Running { cancelled, .. } = std::mem::replace(&mut held.phase, Phase::Leaving) else {
            return None;
        };
        self.running -= 1;
        (!cancelled).then(|| held.reply_to.clone())
    }

    /// Nobody waits for it any more. A running one cannot be forgotten at once.
    pub fn cancel(&mut self, key: AttemptKey) -> Cancelled {
        let Some(held) = self.held.get_mut(&key) else {
            return Cancelled::Told;
        };
        match &mut held.phase {
            Phase::Running { control, cancelled } => {
                *cancelled = true;
                control.cancel();
                Cancelled::Told
            }
            Phase::Leaving | Phase::HandingBack(_) => Cancelled::Told,
            Phase::Asking(_) | Phase::Claiming(_) | Phase::Fetching(_) | Phase::Ready(_) | Phase::Unserved => {
                match held.claim.and_then(|_| self.leave_unstarted(key)) {
                    Some(returned) => Cancelled::Returned(returned),
                    None => Cancelled::Forgotten(self.forget(key)),
                }
            }
        }
    }

    /// Whether the attempt is here, begun or not.
    pub fn holds(&self, key: &AttemptKey) -> bool {
        self.held.contains_key(key)
    }

    /// Whether the attempt waits for its owner's answer to this question; a claim's answer fits its own question only.
    pub fn waits_for(&self, key: &AttemptKey, question: ClaimId) -> bool {
        self.held.get(key).is_some_and(|held| match held.phase {
            Phase::Asking(_) => true,
            Phase::Claiming(_) => held.claim == Some(question),
            Phase::Fetching(_)
            | Phase::Ready(_)
            | Phase::Unserved
            | Phase::Running { .. }
            | Phase::Leaving
            | Phase::HandingBack(_) => false,
        })
    }

    /// The owner has it: a completion or a hand-back was confirmed. Returns the messages that are settled by this.
    pub fn confirm(&mut self, key: AttemptKey) -> Vec<(Receipt, Settle)> {
        match self.held.get_mut(&key).map(|held| &mut held.phase) {
            Some(Phase::HandingBack(times)) if *times > 1 => {
                *times -= 1;
                Vec::new()
            }
            Some(_) | None => self.forget(key),
        }
    }

    /// Whether the attempt waits for its context.
    pub fn is_fetching(&self, key: &AttemptKey) -> bool {
        matches!(self.held.get(key).map(|held| &held.phase), Some(Phase::Fetching(_)))
    }

    /// The attempt is done with: recorded, handed back, or dropped. Returns the messages that are settled by this.
    pub fn forget(&mut self, key: AttemptKey) -> Vec<(Receipt, Settle)> {
        self.slots_kept.remove(&key);
        let Some(held) = self.held.remove(&key) else {
            return Vec::new();
        };
        let settled = held.messages.into_iter().filter_map(|message| self.release(message));
        settled.collect()
    }

    /// An attempt that came to its slot and did not begin goes back to its owner, if it had been claimed.
    pub fn give_claim_back(&mut self, key: AttemptKey) -> Option<Returned> {
        let held = self.held.get_mut(&key)?;
        let claim = held.claim.take()?;
        held.phase = Phase::HandingBack(1);
        Some(Returned {
            key,
            reply_to: held.reply_to.clone(),
            claim: Some(claim),
        })
    }

    /// As [`Self::forget`], but its messages are to be delivered again.
    pub fn give_up(&mut self, key: AttemptKey) -> Vec<(Receipt, Settle)> {
        let messages = self
            .held
            .get(&key)
            .map(|held| held.messages.clone())
            .unwrap_or_default();
        for message in messages {
            if let Some(open) = self.messages.get_mut(&message) {
                open.requeue = true;
            }
        }
        self.forget(key)
    }

    fn release(&mut self, message: u64) -> Option<(Receipt, Settle)> {
        let open = self.messages.get_mut(&message)?;
        open.left -= 1;
        if open.left > 0 {
            return None;
        }
        let open = self.messages.remove(&message)?;
        let how = if open.requeue { Settle::Requeue } else { Settle::Ack };
        (!open.settled).then_some((open.receipt, how))
    }

    /// Attempts nobody here serves whose delay is over, with where they go back to.
    pub fn take_unserved(&mut self, now: Instant) -> Vec<Returned> {
        let mut due = Vec::new();
        while self.unserved.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.unserved.pop_front() else {
                break;
            };
            due.extend(self.leave_unstarted(key));
        }
        due
    }

    /// When the next of them is due.
    pub fn unserved_due(&self) -> Option<Instant> {
        self.unserved.front().map(|(at, _)| *at)
    }

    /// Takes all attempts that have not started, to be handed back.
    pub fn take_unstarted(&mut self) -> Vec<Returned> {
        let keys: Vec<AttemptKey> = self.held.keys().copied().collect();
        let taken: Vec<Returned> = keys.into_iter().filter_map(|key| self.leave_unstarted(key)).collect();
        self.ready.clear();
        self.unserved.clear();
        taken
    }

    fn leave_unstarted(&mut self, key: AttemptKey) -> Option<Returned> {
        let held = self.held.get_mut(&key)?;
        match held.phase {
            Phase::Asking(_) | Phase::Claiming(_) | Phase::Fetching(_) | Phase::Ready(_) | Phase::Unserved => {
                held.phase = Phase::HandingBack(1);
                self.slots_kept.remove(&key);
                Some(Returned {
                    key,
                    reply_to: held.reply_to.clone(),
                    claim: held.claim.take(),
                })
            }
            Phase::Running { .. } | Phase::Leaving | Phase::HandingBack(_) => None,
        }
    }

    /// The connection is gone: forgets every message, and every attempt that has not started. Returns those for which a claim was
    /// asked: whether it was granted is not known here, that it is not used is.
    pub fn drop_unstarted(&mut self) -> Vec<Returned> {
        let claimed = self.held.iter().filter(|(_, held)| held.claim.is_some());
        let claimed: Vec<AttemptKey> = claimed.map(|(key, _)| *key).collect();
        let returned = claimed
            .into_iter()
            .filter_map(|key| self.leave_unstarted(key))
            .collect();
        self.ready.clear();
        self.unserved.clear();
        self.messages.clear();
        self.held.retain(|_, held| {
            held.messages.clear();
            // What is being handed back too: its owner may not have heard of it yet.
            matches!(
                held.phase,
                Phase::Running { .. } | Phase::Leaving | Phase::HandingBack(_)
            )
        });
        returned
    }

    /// Kills whatever runs; returns how many.
    pub fn kill_running(&self) -> usize {
        let controls = self.held.values().filter_map(|held| match &held.phase {
            Phase::Running { control, .. } => Some(control),
            Phase::Asking(_)
            | Phase::Claiming(_)
            | Phase::Fetching(_)
            | Phase::Ready(_)
            | Phase::Unserved
            | Phase::Leaving
            | Phase::HandingBack(_) => None,
        });
        controls.map(|control| control.kill()).count()
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Slots that run something or are kept.
    pub fn slots_taken(&self) -> usize {
        self.running + self.slots_kept.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Everything held, for a report. What is being handed back is not: it may be with another worker before the next.
    pub fn keys(&self) -> Vec<AttemptKey> {
        let held = self
            .held
            .iter()
            .filter(|(_, held)| !matches!(held.phase, Phase::HandingBack(_)));
        held.map(|(key, _)| *key).collect()
    }

    /// Claims asked for or granted that are not handed back, for a report.
    pub fn claims(&self) -> Vec<ClaimId> {
        self.held.values().filter_map(|held| held.claim).collect()
    }

    /// Messages that have been open for [`HELD_LONG`].
    pub fn held_long(&self, now: Instant) -> Vec<u64> {
        let old = self.messages.iter();
        let old = old.filter(|(_, open)| !open.settled && now.duration_since(open.since) >= HELD_LONG);
        old.map(|(message, _)| *message).collect()
    }

    /// From now on reports alone hold what this message brought.
    pub fn settle_early(&mut self, message: u64) -> Option<(Receipt, Settle)> {
        let open = self.messages.get_mut(&message)?;
        let first = !std::mem::replace(&mut open.settled, true);
        first.then_some((open.receipt, Settle::Ack))
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, StepKey};

    use super::*;

    fn key(pos: u32) -> AttemptKey {
        let step = StepKey {
            scope: 0,
            branch: 0,
            pos,
        };
        let run = RunId::from_uuid_in(uuid::Uuid::nil(), Partition(1));
        AttemptKey { run, step, attempt: 1 }
    }

    fn receipt(tag: u64) -> Receipt {
        Receipt {
            generation: 1,
            consumer: 1,
            tag,
        }
    }

    /// A ledger with one message that brought attempts 0 … `count` − 1, all of them unserved here.
    fn with_message(count: u32, now: Instant) -> (Ledger, u64) {
        let mut ledger = Ledger::default();
        let message = ledger.open_message(receipt(1), now);
        for pos in 0..count {
            ledger.admit(key(pos), message, "events".into(), Phase::Unserved, now);
        }
        assert_eq!(ledger.close_part(message), []);
        (ledger, message)
    }

    #[tokio::test]
    async fn a_message_is_settled_with_the_last_attempt_it_brought() {
        let (mut ledger, _) = with_message(2, Instant::now());
        assert_eq!(ledger.confirm(key(0)), []);
        assert_eq!(ledger.confirm(key(0)), []);
        assert_eq!(ledger.confirm(key(1)), [(receipt(1), Settle::Ack)]);
        assert!(ledger.is_empty());
    }

    #[tokio::test]
    async fn an_attempt_given_up_sends_its_message_back() {
        let (mut ledger, _) = with_message(2, Instant::now());
        assert_eq!(ledger.give_up(key(0)), []);
        assert_eq!(ledger.confirm(key(1)), [(receipt(1), Settle::Requeue)]);
    }

    #[tokio::test]
    async fn a_claim_that_was_granted_and_is_not_used_goes_back_once() {
        let now = Instant::now();
        let (mut ledger, _) = with_message(2, now);
        ledger.held.get_mut(&key(0)).expect("held").claim = Some(ClaimId(uuid::Uuid::nil()));
        let returned = ledger.give_claim_back(key(0)).expect("its claim");
        assert_eq!(
            (returned.key, returned.claim),
            (key(0), Some(ClaimId(uuid::Uuid::nil())))
        );
        assert_eq!(ledger.claims(), []);
        assert!(ledger.give_claim_back(key(0)).is_none() && ledger.give_claim_back(key(1)).is_none());
        assert_eq!(ledger.confirm(key(1)), []);
        assert_eq!(ledger.confirm(key(0)), [(receipt(1), Settle::Ack)]);
    }

    #[tokio::test]
    async fn what_comes_again_while_it_is_handed_back_is_handed_back_again() {
        let now = Instant::now();
        let (mut ledger, _) = with_message(1, now);
        assert_eq!(ledger.take_unserved(now).len(), 0);
        assert_eq!(ledger.take_unserved(now + UNSERVED_DELAY).len(), 1);
        assert_eq!(ledger.keys(), []);
        let again = ledger.open_message(receipt(2), now);
        assert!(matches!(ledger.attach(key(0), again), Attached::Leaving(_)));
        assert_eq!(ledger.close_part(again), []);
        assert_eq!(ledger.confirm(key(0)), []);
        assert_eq!(ledger.confirm(key(0)).len(), 2);
    }

    #[tokio::test]
    async fn a_message_held_for_long_is_settled_early_and_only_once() {
        let now = Instant::now();
        let (mut ledger, message) = with_message(1, now);
        assert!(ledger.held_long(now + HELD_LONG - Duration::from_millis(1)).is_empty());
        assert_eq!(ledger.held_long(now + HELD_LONG), [message]);
        assert_eq!(ledger.settle_early(message), Some((receipt(1), Settle::Ack)));
        assert_eq!(ledger.settle_early(message), None);
        assert!(ledger.held_long(now + HELD_LONG).is_empty());
        assert_eq!(ledger.confirm(key(0)), []);
        assert!(ledger.is_empty());
    }
}
