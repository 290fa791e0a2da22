//! Follows sent attempts: confirms, reports, ends.

use std::time::Duration;

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::{Around, Dispatcher, Flight, Phase, Publish, Runs};
use crate::broker::publisher::Fate;
use crate::fleet::Ended;
use crate::owner::run::{Run, Try};

/// A sent attempt that no worker lists for so long is doubted.
const UNLISTED_MAX: Duration = Duration::from_secs(5);
/// Pause of a queue whose messages came back.
const RETURNED_PAUSE: Duration = Duration::from_millis(500);
/// Starts whose worker vanished, then the step is poison.
const STRIKES_MAX: u8 = 5;
/// What began no longer than this before its worker was heard last is to blame first if that vanishes.
const AT_ONCE: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// A pack that was held leaves now.
    pub fn leaves(&mut self, number: u64, at: Timestamp) {
        if let Some(publish) = self.publishes.get_mut(&number) {
            publish.at = at;
        }
    }

    /// What became of a pack or probe.
    pub fn published(&mut self, number: u64, fate: Fate, runs: &mut Runs, around: &Around<'_>) {
        let Some(publish) = self.publishes.remove(&number) else {
            return;
        };
        self.bytes_unconfirmed = self.bytes_unconfirmed.saturating_sub(publish.bytes);
        match fate {
            Fate::Accepted => around
                .metrics
                .dispatch_seconds
                .observe(around.now.since(publish.at).as_secs_f64()),
            Fate::CameBack | Fate::NotSent => {
                let queue = self.queue(&publish.queue);
                queue.is_declared = false;
                queue.not_before = around.now.plus(RETURNED_PAUSE);
            }
            Fate::Withheld => self.queue(&publish.queue).is_declared = false,
            Fate::Unknown => self
                .queue(&publish.queue)
                .doubt
                .wait_until(around.now.plus(Duration::from_secs(1))),
        }
        match publish.is_probe {
            true => self.queue(&publish.queue).doubt.probe_published(fate, around.now),
            false => self.pack_published(number, &publish, fate, runs, around),
        }
    }

    fn pack_published(&mut self, number: u64, publish: &Publish, fate: Fate, runs: &mut Runs, around: &Around<'_>) {
        for key in &publish.keys {
            let attempt = (key.step, key.attempt);
            let Some(run) = runs.get_mut(&key.run) else { continue };
            let Some(flight) = run.flights.get_mut(&attempt) else {
                continue;
            };
            if flight.phase != Phase::Publishing(number) {
                continue; // a report or a question was faster
            }
            let queue = self.queue(&publish.queue);
            match fate {
                Fate::Accepted => {
                    let since = around.now;
                    flight.confirmed_at = Some(since);
                    queue.set_phase(flight, Phase::Sent { publish: number, since });
                    queue.sent_log.push_back((since, *key));
                }
                Fate::CameBack | Fate::NotSent | Fate::Withheld => {
                    if fate == Fate::Withheld {
                        run.counts.dispatched -= 1;
                    }
                    queue.set_phase(flight, Phase::Waiting);
                    queue.line.push(run.priority, run.id, attempt);
                }
                Fate::Unknown => {
                    queue.set_phase(flight, Phase::Doubtful);
                    queue.doubt.add(*key);
                }
            }
        }
    }

    /// A worker lists these anew.
    pub fn listed(&mut self, by: Uuid, keys: &[AttemptKey], runs: &mut Runs, around: &Around<'_>) {
        for key in keys {
            let Some(run) = runs.get_mut(&key.run) else { continue };
            let Some(flight) = run.flights.get(&(key.step, key.attempt)) else {
                continue;
            };
            if let Some(claim) = run.state.claim(key.step, key.attempt).map(|claim| claim.key) {
                // Whoever else lists it has a copy that it will not get a claim for.
                if around
                    .fleet
                    .worker(by)
                    .is_some_and(|worker| worker.holds_claim(key, claim))
                {
                    self.hold(run, (key.step, key.attempt), by);
                }
                continue;
            }
            let stays = match flight.phase {
                // The first of two holders keeps it: the other one asks, and is told.
                Phase::Held(other) => around
                    .fleet
                    .worker(other)
                    .is_some_and(|worker| worker.held.contains(key)),
                Phase::Waiting | Phase::Publishing(_) | Phase::Sent { .. } | Phase::Doubtful => false,
            };
            let granted = run.marks.get(&(key.step, key.attempt)).and_then(|mark| mark.granted);
            let is_anothers = granted.is_some_and(|worker| worker != by && around.fleet.worker(worker).is_some());
            if !stays && !is_anothers {
                self.hold(run, (key.step, key.attempt), by);
            }
        }
    }

    /// A worker holds an attempt from now on.
    pub fn hold(&mut self, run: &mut Run, attempt: Try, by: Uuid) {
        if let Some(flight) = run.flights.get_mut(&attempt) {
            let queue = flight.queue.clone();
            self.queue(&queue).set_phase(flight, Phase::Held(by));
        }
    }

    /// A worker is told to run an attempt. Until it lists that, it may not know: it may have forgotten what it asked for.
    pub fn grant(&mut self, run: &mut Run, attempt: Try, to: Uuid, now: Timestamp) {
        self.hold(run, attempt, to);
        let key = run.key(attempt);
        if let Some(flight) = run.flights.get(&attempt) {
            let queue = flight.queue.clone();
            self.queue(&queue).sent_log.push_back((now, key));
        }
    }

    /// A worker lists these no more: their completion is on its way, or else they will be doubted.
    pub fn unlisted(&mut self, by: Uuid, keys: &[AttemptKey], runs: &mut Runs, around: &Around<'_>) {
        for key in keys {
            let Some(run) = runs.get_mut(&key.run) else { continue };
            let Some(flight) = run.flights.get_mut(&(key.step, key.attempt)) else {
                continue;
            };
            if flight.phase != Phase::Held(by) {
                continue;
            }
            if run.state.claim(key.step, key.attempt).is_some() {
                self.doubted_claims.push(*key);
                continue;
            }
            let (name, since) = (flight.queue.clone(), around.now);
            let queue = self.queue(&name);
            match around.fleet.holder(key) {
                Some(other) => queue.set_phase(flight, Phase::Held(other)),
                None => {
                    queue.set_phase(flight, Phase::Sent { publish: 0, since });
                    queue.sent_log.push_back((since, *key));
                }
            }
        }
    }

    /// A worker is no more: what it held is doubtful. Returns the attempts that are poison.
    pub fn worker_ended(&mut self, ended: &Ended, runs: &mut Runs, around: &Around<'_>) -> Vec<AttemptKey> {
        let mut confirmed = Vec::new();
        for run in runs.values_mut() {
            let held = run
                .flights
                .iter()
                .filter(|(_, flight)| flight.phase == Phase::Held(ended.incarnation));
            let held: Vec<Try> = held.map(|(attempt, _)| *attempt).collect();
            for attempt in held {
                let key = run.key(attempt);
                if run.state.claim(attempt.0, attempt.1).is_some() {
                    self.doubted_claims.push(key);
                    continue;
                }
                match around.fleet.holder(&key) {
                    Some(other) => self.hold(run, attempt, other),
                    None => self.doubt(run, attempt),
                }
                if ended.vanished {
                    let mark = run.marks.entry(attempt).or_default();
                    match mark.confirmed.take() {
                        Some(since) => confirmed.push((key, since)),
                        None => mark.count_loss(around.now),
                    }
                }
            }
        }
        let blamed = blamed(&confirmed, ended.seen_at).into_iter();
        blamed.filter(|key| strike(runs, key)).collect()
    }

    /// An attempt may be lost.
    pub fn doubt(&mut self, run: &mut Run, attempt: Try) {
        let key = run.key(attempt);
        if let Some(flight) = run.flights.get_mut(&attempt) {
            let name = flight.queue.clone();
            let queue = self.queue(&name);
            queue.set_phase(flight, Phase::Doubtful);
            queue.doubt.add(key);
        }
    }

    /// An attempt is on its way no more: recorded, revoked, or its run leaves memory.
    pub fn land(&mut self, run: &mut Run, attempt: Try) -> Option<Phase> {
        let flight = run.flights.remove(&attempt)?;
        self.queue(&flight.queue).leave(flight.phase);
        self.enlist(run);
        Some(flight.phase)
    }

    /// A run leaves memory.
    pub fn forget(&mut self, run: &mut Run) {
        let all: Vec<Try> = run.flights.keys().copied().collect();
        for attempt in all {
            self.land(run, attempt);
        }
    }

    /// An attempt that left is known not to run: it goes out again, with a check, and whoever was told to run it is no more
    /// than others. Never one that is claimed: it may have begun.
    pub fn send_again(&mut self, run: &mut Run, attempt: Try) {
        if run.state.claim(attempt.0, attempt.1).is_some() {
            return;
        }
        let was_sent_here = run
            .flights
            .get(&attempt)
            .is_some_and(|flight| flight.confirmed_at.is_some());
        self.land(run, attempt);
        let resumed = run.may_be_inherited(attempt) && !was_sent_here;
        let mark = run.marks.entry(attempt).or_default();
        (mark.check, mark.resumed, mark.granted) = (true, resumed, None);
        // Its message went with its worker, as that of one held for long does.
        mark.suspect |= mark.lost > 0;
        run.counts.redelivered += 1;
        run.row_stale = true;
        run.state.put_back(attempt.0, attempt.1);
    }

    /// Doubts what was sent long ago, or allowed, and is listed by nobody.
    pub fn doubt_unlisted(&mut self, runs: &mut Runs, around: &Around<'_>) {
        if self.is_doubt_suspended(around.fleet) {
            return;
        }
        for queue in self.queues.values_mut() {
            while let Some((since, key)) = queue.sent_log.front().copied() {
                if around.now.since(since) < UNLISTED_MAX || around.fleet.of_queue(&queue.key).next().is_none() {
                    break;
                }
                queue.sent_log.pop_front();
                let flight = runs
                    .get_mut(&key.run)
                    .and_then(|run| run.flights.get_mut(&(key.step, key.attempt)));
                let Some(flight) = flight else { continue };
                if is_out_of_sight(flight, since, &key, around) {
                    queue.set_phase(flight, Phase::Doubtful);
                    queue.doubt.add(key);
                }
            }
            queue.close_second();
        }
    }

    /// Puts the waiting attempts of a paused run back.
    pub fn recall(&mut self, run: &mut Run) {
        let waiting = run.flights.iter().filter(|(_, flight)| flight.phase == Phase::Waiting);
        let waiting: Vec<Try> = waiting.map(|(attempt, _)| *attempt).collect();
        for attempt in waiting {
            if let Some(flight) = run.flights.remove(&attempt) {
                self.queue(&flight.queue).leave(flight.phase);
            }
            run.state.put_back(attempt.0, attempt.1);
        }
    }
}

/// Whether an attempt that was sent, or allowed, at `since` has not been seen at a worker since then. One who is silent is not asked
/// here: its end is noticed.
fn is_out_of_sight(flight: &Flight, since: Timestamp, key: &AttemptKey, around: &Around<'_>) -> bool {
    match flight.phase {
        Phase::Sent { since: last, .. } => last == since,
        Phase::Held(by) if !flight.wants_claim => {
            let holder = around.fleet.worker(by);
            holder.is_some_and(|worker| worker.seen_at > since && !worker.held.contains(key))
        }
        Phase::Held(_) | Phase::Waiting | Phase::Publishing(_) | Phase::Doubtful => false,
    }
}

/// Which of the confirmed starts on a worker that was heard last at `seen_at` are to blame: those right before it vanished, for whatever
/// runs on from earlier was merely near; but all of them where none is so young, for then a slow one killed it, and nothing tells which.
fn blamed(confirmed: &[(AttemptKey, Timestamp)], seen_at: Timestamp) -> Vec<AttemptKey> {
    let is_young = |since: Timestamp| seen_at.since(since) < AT_ONCE;
    let young = confirmed.iter().filter(|(_, since)| is_young(*since));
    let young: Vec<AttemptKey> = young.map(|(key, _)| *key).collect();
    match young.is_empty() {
        true => confirmed.iter().map(|(key, _)| *key).collect(),
        false => young,
    }
}

/// Counts a vanished worker against an attempt that it had a confirmed start of, and with the first one what was lost before it;
/// `true`: it is poison.
fn strike(runs: &mut Runs, key: &AttemptKey) -> bool {
    let run = runs.get_mut(&key.run);
    let Some(mark) = run.and_then(|run| run.marks.get_mut(&(key.step, key.attempt))) else {
        return false;
    };
    mark.strikes = mark
        .strikes
        .saturating_add(1)
        .saturating_add(std::mem::take(&mut mark.lost));
    mark.strikes >= STRIKES_MAX
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, RunId, StepKey};

    use super::*;

    #[test]
    fn what_runs_on_from_earlier_was_merely_near() {
        let start = |pos: u32, second: u64| {
            let step = StepKey {
                scope: 0,
                branch: 0,
                pos,
            };
            let run = RunId::from_uuid_in(Uuid::nil(), Partition(1));
            let since = Timestamp(0).plus(Duration::from_secs(second));
            (AttemptKey { run, step, attempt: 1 }, since)
        };
        let blamed = |confirmed: &[(AttemptKey, Timestamp)], second: u64| -> Vec<u32> {
            let seen_at = Timestamp(0).plus(Duration::from_secs(second));
            let blamed = super::blamed(confirmed, seen_at).into_iter();
            blamed.map(|key| key.step.pos).collect()
        };
        assert_eq!(blamed(&[], 60), [0; 0]);
        assert_eq!(blamed(&[start(1, 51), start(2, 61), start(3, 50)], 60), [1, 2]);
        assert_eq!(blamed(&[start(1, 30), start(2, 0)], 60), [1, 2], "a slow one");
    }
}
