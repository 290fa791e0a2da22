//! What workers report: who is there, what they serve, and which attempts they hold.

mod worker;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimKey, Namespace, RunId, StepKey};
use rejoin_shared::map::HashMap;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Report, WorkerId};
use uuid::Uuid;

use crate::dispatcher::QueueKey;
pub use worker::{Heard, Worker};

/// Silence after which a worker counts as dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The same, once a mandatory message to its own queue came back.
pub const SILENCE_AFTER_RETURN_MAX: Duration = Duration::from_secs(10);
/// Silence after which a new incarnation of the same name takes its place: it missed a report.
const SUPERSEDED_AFTER: Duration = Duration::from_secs(3);
/// After so long, every worker there is has been heard.
const FIRST_ROUND: Duration = Duration::from_secs(3);

/// Who holds which attempt of a run: the worker's name.
pub type Held = BTreeMap<(StepKey, u32), String>;

/// What a report changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Attempts the worker lists now and did not before.
    pub listed: Vec<AttemptKey>,
    /// Attempts it does not list any more.
    pub unlisted: Vec<AttemptKey>,
    /// Workers that ended with this: what they held, and whether their process lives on under a new incarnation.
    pub ended: Vec<Ended>,
    /// Whether queues or handlers changed.
    pub serves_more: bool,
}

/// A worker that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its incarnation.
    pub incarnation: Uuid,
    /// What it held.
    pub held: Vec<AttemptKey>,
    /// Its process vanished: neither a farewell nor a mere reconnect.
    pub vanished: bool,
    /// When it was heard last.
    pub seen_at: Timestamp,
}

/// How an incarnation ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It said so, or another one took its place: its late reports tell nothing.
    Known,
    /// It was silent too long: if it is heard again, it lives.
    Silent,
}

/// What keeps reports from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deaf {
    /// The broker is away, or takes nothing from anybody.
    Link,
    /// The queue of the reports is not read.
    Queue,
}

/// All workers that report.
pub struct Fleet {
    workers: HashMap<Uuid, Worker>,
    listening_since: Timestamp,
    /// When a worker vanished last.
    lost_one_at: Option<Timestamp>,
    deaf: BTreeSet<Deaf>,
    /// Incarnations whose end was noticed.
    ended: HashMap<Uuid, End>,
    /// Reports heard so far.
    heard: Heard,
    /// Of each namespace the workers in the order of what they have reported since, the most silent first.
    silence: HashMap<Namespace, BTreeSet<(Heard, Uuid)>>,
}

impl Fleet {
    /// Nobody yet; reports are being read from `now` on.
    #[must_use]
    pub fn new(now: Timestamp) -> Fleet {
        Fleet {
            workers: HashMap::default(),
            listening_since: now,
            lost_one_at: None,
            deaf: BTreeSet::new(),
            ended: HashMap::default(),
            heard: 0,
            silence: HashMap::default(),
        }
    }

    /// Where the reports stand now.
    #[must_use]
    pub fn place(&self) -> Heard {
        self.heard
    }

    /// Reports cannot be read: until [`Self::hears`], nobody is silent.
    pub fn deafen(&mut self, why: Deaf) {
        self.deaf.insert(why);
    }

    /// Reports could not be read until `now`: nobody's silence counts from before, and a full round has to be heard again.
    pub fn hears(&mut self, again: Deaf, now: Timestamp) {
        self.deaf.remove(&again);
        self.listening_since = now;
        for worker in self.workers.values_mut() {
            worker.seen_at = now;
            worker.returned = false;
        }
    }

    /// Whether everyone alive has been heard since reports are read.
    #[must_use]
    pub fn is_settled(&self, now: Timestamp) -> bool {
        self.deaf.is_empty() && now.since(self.listening_since) >= FIRST_ROUND
    }

    /// Takes a report in.
    pub fn hear(&mut self, report: Report, now: Timestamp) -> Changes {
        let incarnation = report.worker.incarnation;
        match self.ended.get(&incarnation) {
            Some(End::Known) => return Changes::default(),
            Some(End::Silent) => self.ended.remove(&incarnation),
            None => None,
        };
        self.heard += 1;
        let mut changes = Changes::default();
        if report.gone {
            changes.ended.extend(self.end(incarnation, End::Known, false, now));
            return changes;
        }
        // At each report, not only the first: the predecessor may have been heard a moment before.
        changes.ended = self.superseded_by(&report, now);
        let worker = match self.workers.entry(incarnation) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                changes.serves_more = true;
                place.insert(Worker::expected(report.worker.clone(), report.namespace.clone(), now))
            }
        };
        let before = (worker.reported_since(), incarnation);
        changes.serves_more |=
            worker.handlers.len() != report.handlers.len() || worker.queues.len() != report.queues.len();
        (changes.listed, changes.unlisted) = worker.update(report, self.heard, now);
        let silence = self.silence.entry(worker.namespace.clone()).or_default();
        silence.remove(&before);
        silence.insert((worker.reported_since(), incarnation));
        changes
    }

    /// A worker that was allowed to run something before its first report came: it counts as heard now.
    pub fn expect(&mut self, id: &WorkerId, namespace: Namespace, now: Timestamp) {
        if !self.has_ended(id.incarnation) {
            let silence = self.silence.entry(namespace.clone()).or_default();
            if let Entry::Vacant(place) = self.workers.entry(id.incarnation) {
                let worker = place.insert(Worker::expected(id.clone(), namespace, now));
                silence.insert((worker.reported_since(), id.incarnation));
            }
        }
    }

    fn superseded_by(&mut self, report: &Report, now: Timestamp) -> Vec<Ended> {
        let earlier = self
            .workers
            .values()
            .filter(|w| w.id.incarnation != report.worker.incarnation && w.id.name == report.worker.name)
            .filter(|w| w.returned || now.since(w.seen_at) > SUPERSEDED_AFTER);
        let earlier: Vec<(Uuid, bool)> = earlier
            .map(|w| (w.id.incarnation, w.started_at != report.started_at))
            .collect();
        earlier
            .into_iter()
            .filter_map(|(id, vanished)| self.end(id, End::Known, vanished, now))
            .collect()
    }

    /// Whether a worker was found to have vanished since then.
    #[must_use]
    pub fn has_lost_one_since(&self, then: Timestamp) -> bool {
        self.lost_one_at.is_some_and(|at| at > then)
    }

    fn end(&mut self, incarnation: Uuid, how: End, vanished: bool, now: Timestamp) -> Option<Ended> {
        self.lost_one_at = self.lost_one_at.max(vanished.then_some(now));
        if self.ended.len() > 10_000 {
            self.ended.clear();
        }
        self.ended.insert(incarnation, how);
        let worker = self.workers.remove(&incarnation)?;
        if let Some(silence) = self.silence.get_mut(&worker.namespace) {
            silence.remove(&(worker.reported_since(), incarnation));
            if silence.is_empty() {
                self.silence.remove(&worker.namespace);
            }
        }
        Some(Ended {
            incarnation,
            held: worker.held.into_iter().collect(),
            vanished,
            seen_at: worker.seen_at,
        })
    }

    /// Ends the workers that have been silent too long. Whoever is deaf cannot tell: what workers completed in the meantime
    /// would run again before it is read.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Ended> {
        if !self.deaf.is_empty() {
            return Vec::new();
        }
        let silent = self.workers.values().filter(|worker| {
            let patience = match worker.returned {
                true => SILENCE_AFTER_RETURN_MAX,
                false => SILENCE_MAX,
            };
            now.since(worker.seen_at) > patience
        });
        let silent: Vec<Uuid> = silent.map(|worker| worker.id.incarnation).collect();
        silent
            .into_iter()
            .filter_map(|id| self.end(id, End::Silent, true, now))
            .collect()
    }

    /// A mandatory message to a worker's own queue came back.
    pub fn came_back(&mut self, incarnation: Uuid) {
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.returned = true;
        }
    }

    /// The workers of a namespace that have made no report since `place`, the most silent first.
    pub fn silent_since<'a>(&'a self, namespace: &Namespace, place: Heard) -> impl Iterator<Item = Uuid> + use<'a> {
        let silence = self.silence.get(namespace).into_iter();
        let silent = silence.flat_map(move |silence| silence.range(..=(place, Uuid::max())));
        silent.map(|(_, incarnation)| *incarnation)
    }

    /// The worker of this incarnation, if it is alive.
    #[must_use]
    pub fn worker(&self, incarnation: Uuid) -> Option<&Worker> {
        self.workers.get(&incarnation)
    }

    /// Whether the end of this incarnation was noticed.
    #[must_use]
    pub fn has_ended(&self, incarnation: Uuid) -> bool {
        self.ended.contains_key(&incarnation)
    }

    /// All workers.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// Some worker that lists this attempt.
    #[must_use]
    pub fn holder(&self, attempt: &AttemptKey) -> Option<Uuid> {
        let holder = self.workers.values().find(|worker| worker.held.contains(attempt));
        holder.map(|worker| worker.id.incarnation)
    }

    /// The worker that has this claim: the one that asked for it, or what its process is now.
    #[must_use]
    pub fn claim_holder(&self, attempt: &AttemptKey, claim: ClaimKey) -> Option<Uuid> {
        let holds = |worker: &&Worker| worker.holds_claim(attempt, claim);
        let asker = self.workers.get(&claim.incarnation).filter(holds);
        let holder = asker.or_else(|| self.workers.values().find(holds));
        holder.map(|worker| worker.id.incarnation)
    }

    /// Names of the workers that list attempts of a run.
    #[must_use]
    pub fn holders(&self, run: RunId) -> Held {
        let held = self.workers.values().flat_map(|worker| {
            let of_run = worker.held.iter().filter(move |key| key.run == run);
            of_run.map(|key| ((key.step, key.attempt), worker.id.name.clone()))
        });
        held.collect()
    }

    /// Workers that consume this queue and are alive, whether they take new work or not.
    pub fn of_queue<'a>(&'a self, queue: &'a QueueKey) -> impl Iterator<Item = &'a Worker> {
        self.workers.values().filter(|worker| worker.consumes(queue))
    }

    /// Workers of a queue that take new work.
    pub fn takers<'a>(&'a self, queue: &'a QueueKey, now: Timestamp) -> impl Iterator<Item = &'a Worker> {
        self.of_queue(queue).filter(move |worker| worker.takes_work(now))
    }

    /// Whether a worker of this queue serves this handler and takes new work.
    #[must_use]
    pub fn serves(&self, queue: &QueueKey, handler: &str, now: Timestamp) -> bool {
        self.takers(queue, now).any(|worker| worker.handlers.contains(handler))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_shared::ids::Partition;

    fn report(name: &str, incarnation: u128, number: u64, held: Vec<AttemptKey>) -> Report {
        Report {
            worker: WorkerId {
                name: name.to_owned(),
                incarnation: Uuid::from_u128(incarnation),
            },
            number,
            started_at: Timestamp(1),
            namespace: Namespace::default_name(),
            queues: vec!["default".to_owned()],
            handlers: vec!["a".to_owned()],
            slots: 4,
            busy: 0,
            held,
            claims: Vec::new(),
            probes: Vec::new(),
            draining: false,
            gone: false,
            version: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn attempt() -> AttemptKey {
        let step = StepKey {
            scope: 0,
            branch: 0,
            pos: 0,
        };
        AttemptKey {
            run: RunId::new_in(Partition(1)),
            step,
            attempt: 1,
        }
    }

    #[test]
    fn a_report_tells_what_is_held_since_the_last_one_and_what_is_not() {
        let (mut fleet, key) = (Fleet::new(at(0)), attempt());
        assert_eq!(fleet.hear(report("w", 1, 1, vec![key]), at(0)).listed, [key]);
        assert_eq!(fleet.holder(&key), Some(Uuid::from_u128(1)));
        assert_eq!(fleet.hear(report("w", 1, 2, vec![]), at(2)).unlisted, [key]);
    }

    #[test]
    fn silent_is_whoever_has_made_no_report_since_a_place_in_the_same_namespace() {
        let mut fleet = Fleet::new(at(0));
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        fleet.hear(report("a", 1, 1, vec![]), at(0));
        let (here, place) = (Namespace::default_name(), fleet.place());
        let expected = WorkerId {
            name: "b".to_owned(),
            incarnation: two,
        };
        fleet.expect(&expected, here.clone(), at(0));
        let silent = |fleet: &Fleet| fleet.silent_since(&here, place).collect::<Vec<_>>();
        assert_eq!(silent(&fleet), [two, one]);
        // The first report that is heard may have been under way; of one that was not heard before it is enough.
        fleet.hear(report("a", 1, 2, vec![]), at(2));
        fleet.hear(report("b", 2, 1, vec![]), at(2));
        assert_eq!(silent(&fleet), [one]);
        fleet.hear(report("a", 1, 3, vec![]), at(4));
        assert_eq!(silent(&fleet), [] as [Uuid; 0]);
        let mut elsewhere = report("c", 3, 1, vec![]);
        elsewhere.namespace = Namespace("other".into());
        fleet.hear(elsewhere, at(4));
        assert_eq!(fleet.silent_since(&here, fleet.place()).count(), 2);
        fleet.expire(at(60));
        assert!(fleet.silence.is_empty());
    }

    #[test]
    fn nobody_is_dead_before_30_s_of_silence_or_10_after_a_returned_message() {
        let mut fleet = Fleet::new(at(0));
        fleet.hear(report("a", 1, 1, vec![]), at(0));
        fleet.hear(report("b", 2, 1, vec![]), at(0));
        fleet.came_back(Uuid::from_u128(2));
        assert!(fleet.expire(at(10)).is_empty());
        assert_eq!(fleet.expire(at(11)).len(), 1);
        assert!(fleet.expire(at(30)).is_empty());
        assert!(!fleet.has_lost_one_since(at(12)));
        assert!(fleet.expire(at(31))[0].vanished);
        assert_eq!([30, 31].map(|s| fleet.has_lost_one_since(at(s))), [true, false]);
    }

    #[test]
    fn silence_does_not_count_while_nothing_can_be_heard() {
        let mut fleet = Fleet::new(at(0));
        fleet.hear(report("a", 1, 1, vec![]), at(0));
        fleet.deafen(Deaf::Link);
        fleet.deafen(Deaf::Queue);
        assert!(fleet.expire(at(100)).is_empty());
        fleet.hears(Deaf::Link, at(101));
        assert!(fleet.expire(at(200)).is_empty() && !fleet.is_settled(at(200)));
        fleet.hears(Deaf::Queue, at(201));
        assert!(fleet.expire(at(231)).is_empty() && fleet.is_settled(at(231)));
        assert_eq!(fleet.expire(at(232)).len(), 1);
    }

    #[test]
    fn who_was_silent_too_long_and_is_heard_again_lives_and_who_took_leave_does_not() {
        let (mut fleet, key) = (Fleet::new(at(0)), attempt());
        fleet.hear(report("a", 1, 1, vec![]), at(0));
        assert_eq!(fleet.expire(at(31)).len(), 1);
        assert!(fleet.has_ended(Uuid::from_u128(1)));
        assert_eq!(fleet.hear(report("a", 1, 2, vec![key]), at(40)).listed, [key]);
        assert!(!fleet.has_ended(Uuid::from_u128(1)));
        let mut farewell = report("a", 1, 3, vec![]);
        farewell.gone = true;
        fleet.hear(farewell, at(42));
        assert_eq!(fleet.hear(report("a", 1, 2, vec![key]), at(43)), Changes::default());
        assert!(fleet.has_ended(Uuid::from_u128(1)));
    }

    #[test]
    fn a_reconnected_process_did_not_vanish_and_a_restarted_one_did() {
        let (mut fleet, mut restarted) = (Fleet::new(at(0)), report("w", 3, 1, vec![]));
        fleet.hear(report("w", 1, 1, vec![]), at(0));
        assert!(!fleet.hear(report("w", 2, 1, vec![]), at(4)).ended[0].vanished);
        restarted.started_at = Timestamp(2);
        assert!(fleet.hear(restarted, at(8)).ended[0].vanished);
    }
}
