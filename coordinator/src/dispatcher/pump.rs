//! Takes ready attempts from runs, and sends what has credit.

use std::sync::Arc;

use rejoin_engine::event::Event;
use rejoin_engine::state::view::Ready;
use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::link::{Address, Message};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Pack, kind};

use super::pack::{Builder, Why};
use super::queue::PackLimits;
use super::{Around, Dispatcher, Flight, Phase, Publish, QueueKey, Runs};
use crate::broker::decode::to_bytes;
use crate::broker::publisher::{Outgoing, Purpose};
use crate::owner::run::{Run, Try};

/// Attempts taken from a run in one turn.
const TAKE_MAX: usize = 512;
/// Bytes handed to the publisher and not confirmed.
const UNCONFIRMED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages handed to the publisher and not confirmed.
const UNCONFIRMED_MAX: usize = 512;

/// Packs are of one kind: the marks hold for all attempts in them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Checked,
    Suspect,
    /// Of one attempt that has to be claimed.
    Claim,
}

/// Whether a queue's workers serve a handler, as asked last: attempts in a row are mostly of the same one.
#[derive(Default)]
struct Served(Option<(Arc<str>, bool)>);

impl Served {
    fn look_up(&mut self, key: &QueueKey, handler: &Arc<str>, around: &Around<'_>) -> bool {
        match &self.0 {
            Some((known, is_served)) if known == handler => *is_served,
            Some(_) | None => {
                let is_served = around.fleet.serves(key, handler, around.now);
                self.0 = Some((handler.clone(), is_served));
                is_served
            }
        }
    }
}

/// What a pump brought.
#[derive(Default)]
pub struct Pumped {
    /// To be published, in this order.
    pub outgoing: Vec<Outgoing>,
    /// Events of the owner's own for the next batch.
    pub events: Vec<(RunId, Event)>,
    /// When joins became durable after which these are the first to go.
    pub joined: Vec<Timestamp>,
    /// Why attempts go, and how many for it: counted once they do.
    pub whys: Vec<(&'static str, usize)>,
}

impl Dispatcher {
    /// Takes what is ready, sends what has credit.
    pub fn pump(&mut self, runs: &mut Runs, around: &Around<'_>) -> Pumped {
        let mut pumped = Pumped::default();
        self.fill(runs, around, &mut pumped);
        if self.link_is_up {
            self.send(runs, around, &mut pumped);
        }
        pumped
    }

    fn fill(&mut self, runs: &mut Runs, around: &Around<'_>, pumped: &mut Pumped) {
        for rank in 0..self.ring.len() {
            for _ in 0..self.ring[rank].len() {
                let Some(id) = self.ring[rank].pop_front() else { break };
                let Some(run) = runs.get_mut(&id) else { continue };
                run.in_ring = false;
                self.take_from(run, around, pumped);
            }
        }
    }

    fn take_from(&mut self, run: &mut Run, around: &Around<'_>, pumped: &mut Pumped) {
        let room = around.limits.in_flight_per_run_max.saturating_sub(run.flights.len());
        if room == 0 {
            return; // enlisted again when an attempt ends
        }
        let taken = run.state.take_ready(around.now, room.min(TAKE_MAX));
        let count = taken.len();
        for ready in taken {
            self.admit(run, ready, around);
        }
        if count == room.min(TAKE_MAX) {
            self.enlist(run);
        } else if run.state.wants_begin() {
            pumped.events.push((run.id, Event::Begin { room: room - count }));
        }
    }

    /// Decides where a taken attempt stands: one that an earlier owner may have published is held, in doubt, or checked.
    fn admit(&mut self, run: &mut Run, ready: Ready, around: &Around<'_>) {
        let attempt = (ready.step, ready.attempt);
        let key = run.queue(&ready.queue);
        let mut flight = Flight {
            queue: key.clone(),
            handler: ready.handler,
            wants_claim: ready.wants_claim,
            phase: Phase::Waiting,
            confirmed_at: None,
        };
        let inherited = run.may_be_inherited(attempt);
        let queue = self.queue(&key);
        // Loaded with a claim on it, it is with whoever claimed it until the claim is proved lost.
        let claimed = run.state.claim(attempt.0, attempt.1).map(|claim| claim.key.incarnation);
        let granted = run.marks.get(&attempt).and_then(|mark| mark.granted);
        let granted = granted.filter(|worker| around.fleet.worker(*worker).is_some());
        let held = granted.or_else(|| inherited.then(|| around.fleet.holder(&run.key(attempt))).flatten());
        if let Some(holder) = claimed.or(held) {
            flight.phase = Phase::Held(holder);
            queue.on_its_way(&flight.handler);
            queue.sent_log.push_back((around.now, run.key(attempt)));
        } else if inherited && !queue.doubt.is_cleared_since(run.loaded_moment) {
            flight.phase = Phase::Doubtful;
            queue.on_its_way(&flight.handler);
            queue.doubt.add(run.key(attempt));
        } else {
            if inherited {
                let mark = run.marks.entry(attempt).or_default();
                (mark.check, mark.resumed) = (true, true);
            }
            queue.line.push(run.priority, run.id, attempt);
        }
        queue.enter(flight.phase);
        run.flights.insert(attempt, flight);
    }

    fn send(&mut self, runs: &mut Runs, around: &Around<'_>, pumped: &mut Pumped) {
        let waiting = self
            .queues
            .values()
            .filter(|queue| !queue.line.is_empty() && queue.not_before <= around.now);
        let mut waiting: Vec<QueueKey> = waiting.map(|queue| queue.key.clone()).collect();
        waiting.sort();
        for key in waiting {
            if around.fleet.takers(&key, around.now).next().is_some() {
                self.send_to(&key, runs, around, pumped);
            }
        }
    }

    fn send_to(&mut self, key: &QueueKey, runs: &mut Runs, around: &Around<'_>, pumped: &mut Pumped) {
        let queue = self.queue(key);
        let (limits, window) = (queue.pack_limits(around), queue.window(around));
        let window_of_long = queue.window_of_long(window, around);
        let mut served = Served::default();
        let mut packs = [Kind::Plain, Kind::Checked].map(|kind| (kind, Builder::new(self.next_publish())));
        while self.may_publish() {
            let queue = self.queue(key);
            let credit = window.saturating_sub(queue.out);
            if credit == 0 {
                break;
            }
            let Some((id, taken)) = queue.line.take_turn(credit, queue.out < window_of_long) else {
                break;
            };
            let Some(run) = runs.get_mut(&id) else { continue };
            for attempt in taken {
                if self.may_go(key, run, attempt, &mut served, around) {
                    self.pack(key, run, attempt, (&mut packs, limits), around, pumped);
                }
            }
        }
        for (kind, builder) in packs {
            if !builder.is_empty() {
                self.publish(key, kind, builder, around, pumped);
            }
        }
    }

    /// Puts an attempt into the pack it belongs to, and sends that if it is full.
    fn pack(
        &mut self,
        key: &QueueKey,
        run: &mut Run,
        attempt: Try,
        (packs, limits): (&mut [(Kind, Builder); 2], PackLimits),
        around: &Around<'_>,
        pumped: &mut Pumped,
    ) {
        let mark = run.marks.get(&attempt).copied().unwrap_or_default();
        let wants_claim = run.flights.get(&attempt).is_some_and(|flight| flight.wants_claim);
        let mut single = (if wants_claim { Kind::Claim } else { Kind::Suspect }, Builder::new(0));
        let (kind, builder) = match (wants_claim || mark.suspect, mark.check) {
            (true, _) => {
                single.1 = Builder::new(self.next_publish());
                &mut single
            }
            (false, true) => &mut packs[1],
            (false, false) => &mut packs[0],
        };
        if let Err(error) = builder.add(run, attempt, around) {
            let (step, attempt) = attempt;
            pumped.events.push((
                run.id,
                Event::Unbuildable {
                    step,
                    attempt,
                    error: *error,
                },
            ));
            return;
        }
        builder.note_why(match (mark.resumed, mark.check, attempt.1 > 1) {
            (true, _, _) => Why::Resume,
            (false, true, _) => Why::Lost,
            (false, false, true) => Why::Retry,
            (false, false, false) => Why::First,
        });
        if let Some(flight) = run.flights.get_mut(&attempt) {
            let queue = self.queue(key);
            builder.will_take(queue.likely_ms(&flight.handler));
            queue.set_phase(flight, Phase::Publishing(builder.number));
        }
        run.counts.dispatched += 1;
        run.row_stale = true;
        pumped.joined.extend(run.joined_at.take());
        if matches!(kind, Kind::Suspect | Kind::Claim) || builder.is_full(limits) {
            let full = std::mem::replace(builder, Builder::new(self.next_publish()));
            self.publish(key, *kind, full, around, pumped);
        }
    }

    fn may_publish(&self) -> bool {
        self.bytes_unconfirmed < UNCONFIRMED_BYTES_MAX && self.publishes.len() < UNCONFIRMED_MAX
    }

    /// Whether a waiting attempt is still wanted, and served.
    fn may_go(
        &mut self,
        key: &QueueKey,
        run: &mut Run,
        attempt: Try,
        served: &mut Served,
        around: &Around<'_>,
    ) -> bool {
        let Some(flight) = run.flights.get(&attempt) else {
            return false;
        };
        if flight.phase != Phase::Waiting {
            return false; // a stale entry of the line
        }
        let is_served = served.look_up(key, &flight.handler, around);
        if !run.state.is_outstanding(attempt.0, attempt.1) {
            run.flights.remove(&attempt);
            self.queue(key).leave(Phase::Waiting);
            return false;
        }
        if run.state.status() == RunStatus::Paused {
            run.flights.remove(&attempt);
            self.queue(key).leave(Phase::Waiting);
            run.state.put_back(attempt.0, attempt.1);
            return false;
        }
        if !is_served {
            self.queue(key).unserved.push((run.id, attempt));
            return false;
        }
        true
    }

    fn publish(&mut self, key: &QueueKey, kind: Kind, builder: Builder, around: &Around<'_>, pumped: &mut Pumped) {
        pumped
            .whys
            .extend(builder.whys().map(|(why, count)| (why.name(), count)));
        let (mut pack, keys) = builder.finish(key, around);
        (pack.check, pack.suspect) = (kind != Kind::Plain, kind == Kind::Suspect);
        pack.claim = kind == Kind::Claim;
        pumped.outgoing.push(self.outgoing(key, &pack, keys, around));
    }

    /// A pack or probe as a message, remembered until its confirm.
    pub(super) fn outgoing(
        &mut self,
        key: &QueueKey,
        pack: &Pack,
        keys: Vec<AttemptKey>,
        around: &Around<'_>,
    ) -> Outgoing {
        let body = to_bytes(pack);
        let traceparent = keys.first().and_then(|first| around.tracer.header(first.run));
        let publish = Publish {
            queue: key.clone(),
            keys,
            bytes: body.len(),
            at: around.now,
            is_probe: pack.probe.is_some(),
        };
        self.bytes_unconfirmed += publish.bytes;
        self.publishes.insert(pack.publish, publish);
        let queue = self.queue(key);
        let is_new = !std::mem::replace(&mut queue.is_declared, true);
        let mut message = Message::new(kind::PACK, true, body);
        message.reply_to = Some(around.topology.events(around.home.0));
        message.traceparent = traceparent;
        Outgoing {
            purpose: Purpose::Pack(pack.publish),
            to: Address::Queue(around.topology.tasks(&key.namespace, &key.name)),
            message,
            declare: is_new.then(|| around.topology.task_queue(&key.namespace, &key.name)),
        }
    }

    /// The number of the next publish.
    pub(super) fn next_publish(&mut self) -> u64 {
        self.publish_count += 1;
        self.publish_count
    }
}
