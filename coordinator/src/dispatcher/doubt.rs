//! Loss is proved, not presumed (DESIGN 4): a probe, published behind what is doubtful, tells.
//!
//! When a worker reports the probe, all that was published to the queue before it has been delivered. When then every
//! worker of the queue has reported twice (a report may have been under way), what is neither recorded nor held is lost.

use std::time::Duration;

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::link::{Address, Message};
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Pack, kind};
use uuid::Uuid;

use super::{Around, Dispatcher, Phase, QueueKey, Runs};
use crate::broker::publisher::{Fate, Outgoing, Purpose};

/// First wait for a probe to be reported; doubles up to [`PATIENCE_MAX`]. The probe itself may get lost.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Wait after a probe whose publish failed.
const RETRY: Duration = Duration::from_millis(500);
/// Reports to be heard of each worker after the probe's.
const ROUNDS: u64 = 2;

/// The doubt about one task queue.
#[derive(Default)]
pub struct Doubt {
    open: HashSet<AttemptKey>,
    probe: Option<Probe>,
    cleared: u64,
    not_before: Option<Timestamp>,
}

struct Probe {
    /// Each publish of it; any of them proves the same, being behind all it covers.
    ids: Vec<Uuid>,
    moment: u64,
    covers: HashSet<AttemptKey>,
    next_at: Timestamp,
    patience: Duration,
    /// Once reported: the number of the report that each worker has to reach.
    needs: Option<HashMap<Uuid, u64>>,
    /// Rounds of reports that were asked for since then, besides those asked for at each tick: they may get lost.
    asked: u64,
}

impl Doubt {
    pub(super) fn add(&mut self, key: AttemptKey) {
        self.open.insert(key);
    }

    /// No probe before `at`: what was published over a lost connection may still be on its way.
    pub(super) fn wait_until(&mut self, at: Timestamp) {
        self.not_before = self.not_before.max(Some(at));
    }

    /// Whether a probe that was published after `moment` has told.
    pub(super) fn is_cleared_since(&self, moment: u64) -> bool {
        self.cleared > moment
    }

    pub(super) fn len(&self) -> usize {
        self.open.len() + self.probe.as_ref().map_or(0, |probe| probe.covers.len())
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether a probe was reported and waits for the workers' reports.
    fn is_reported(&self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.needs.is_some())
    }

    pub(super) fn probe_published(&mut self, fate: Fate, now: Timestamp) {
        if fate != Fate::Accepted
            && let Some(probe) = &mut self.probe
        {
            probe.next_at = now.plus(RETRY);
        }
    }

    /// The probe to be published now, if any.
    fn due(&mut self, now: Timestamp, id: Uuid, moment: u64) -> Option<Uuid> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        match &mut self.probe {
            None if self.open.is_empty() => return None,
            None => {
                self.probe = Some(Probe {
                    ids: vec![id],
                    moment,
                    covers: std::mem::take(&mut self.open),
                    next_at: now.plus(PATIENCE),
                    patience: PATIENCE,
                    needs: None,
                    asked: 0,
                });
            }
            Some(probe) if probe.needs.is_some() || now < probe.next_at => return None,
            Some(probe) => {
                probe.ids.push(id);
                probe.patience = (probe.patience * 2).min(PATIENCE_MAX);
                probe.next_at = now.plus(probe.patience);
            }
        }
        Some(id)
    }

    fn reported(&mut self, ids: &[Uuid], needs: impl FnOnce() -> HashMap<Uuid, u64>) {
        if let Some(probe) = &mut self.probe
            && probe.needs.is_none()
            && probe.ids.iter().any(|id| ids.contains(id))
        {
            probe.needs = Some(needs());
        }
    }

    /// Whether the next round of reports is to be asked for: everybody it needs has made those of the rounds before.
    fn begins_round(&mut self, is_heard: impl Fn(&Uuid, u64) -> bool) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        let Some(needs) = &probe.needs else { return false };
        let so_far = ROUNDS - probe.asked.min(ROUNDS);
        let begins = so_far > 0 && needs.iter().all(|(worker, number)| is_heard(worker, number - so_far));
        probe.asked += u64::from(begins);
        begins
    }

    /// What the probe covers, once every worker it needs has reported.
    fn verdict(&mut self, is_heard: impl Fn(&Uuid, u64) -> bool) -> Option<HashSet<AttemptKey>> {
        let needs = self.probe.as_ref()?.needs.as_ref()?;
        if !needs.iter().all(|(worker, number)| is_heard(worker, *number)) {
            return None;
        }
        let probe = self.probe.take()?;
        self.cleared = probe.moment;
        Some(probe.covers)
    }
}

impl Dispatcher {
    /// A worker reports these probes.
    pub fn probes_reported(&mut self, ids: &[Uuid], around: &Around<'_>) {
        for queue in self.queues.values_mut() {
            let key = &queue.key;
            queue.doubt.reported(ids, || {
                let workers = around.fleet.of_queue(key);
                workers
                    .map(|worker| (worker.id.incarnation, worker.number + ROUNDS))
                    .collect()
            });
        }
    }

    /// A worker has reported: acts on what is proved by that, and asks for the next round where this one is complete. Each round is
    /// asked for once, however many workers report.
    pub fn hear_out(&mut self, runs: &mut Runs, around: &Around<'_>) -> Option<Outgoing> {
        let probed = self.queues.values().filter(|queue| queue.doubt.is_reported());
        let probed: Vec<QueueKey> = probed.map(|queue| queue.key.clone()).collect();
        if probed.is_empty() || self.is_doubt_suspended(around.fleet) {
            return None;
        }
        let mut begins = false;
        for key in probed {
            self.judge_queue(&key, runs, around);
            begins |= self.queue(&key).doubt.begins_round(is_heard_of(around));
        }
        begins.then(|| report_now(around))
    }

    /// Publishes probes that are due, and acts on what is proved.
    pub fn judge_doubt(&mut self, runs: &mut Runs, around: &Around<'_>) -> Vec<Outgoing> {
        if self.is_doubt_suspended(around.fleet) {
            return Vec::new();
        }
        let doubted = self.queues.values().filter(|queue| queue.doubt.len() > 0);
        let doubted: Vec<QueueKey> = doubted.map(|queue| queue.key.clone()).collect();
        let mut outgoing = Vec::new();
        for key in doubted {
            self.judge_queue(&key, runs, around);
            if around.fleet.of_queue(&key).next().is_some() {
                outgoing.extend(self.probe(&key, around));
            }
        }
        if self.queues.values().any(|queue| queue.doubt.is_reported()) {
            outgoing.push(report_now(around));
        }
        outgoing
    }

    fn probe(&mut self, key: &QueueKey, around: &Around<'_>) -> Option<Outgoing> {
        let moment = self.next_moment();
        let id = self.queue(key).doubt.due(around.now, around.dice.id(), moment)?;
        let pack = Pack {
            owner: around.name.to_owned(),
            publish: self.next_publish(),
            check: false,
            suspect: false,
            until: None,
            claim: false,
            probe: Some(id),
            namespace: key.namespace.clone(),
            queue: key.name.to_string(),
            contexts: Vec::new(),
            attempts: Vec::new(),
        };
        Some(self.outgoing(key, &pack, Vec::new(), around))
    }

    fn judge_queue(&mut self, key: &QueueKey, runs: &mut Runs, around: &Around<'_>) {
        let Some(covered) = self.queue(key).doubt.verdict(is_heard_of(around)) else {
            return;
        };
        for attempt in covered {
            let Some(run) = runs.get_mut(&attempt.run) else {
                continue;
            };
            let place = (attempt.step, attempt.attempt);
            if run
                .flights
                .get(&place)
                .is_none_or(|flight| flight.phase != Phase::Doubtful)
            {
                continue;
            }
            match around.fleet.holder(&attempt) {
                Some(holder) => self.hold(run, place, holder),
                None => self.send_again(run, place),
            }
        }
    }
}

/// Whether a worker has come to this report. One that died meanwhile needs not report: what it held comes back with a question.
fn is_heard_of(around: &Around<'_>) -> impl Fn(&Uuid, u64) -> bool {
    |id, number| around.fleet.worker(*id).is_none_or(|worker| worker.number >= number)
}

/// Asks every worker for a report.
pub fn report_now(around: &Around<'_>) -> Outgoing {
    Outgoing {
        purpose: Purpose::Notice,
        to: Address::Fanout(around.topology.workers()),
        message: Message::new(kind::REPORT_NOW, false, Vec::new()),
        declare: None,
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, RunId, StepKey};

    use super::*;

    #[test]
    fn each_round_of_reports_is_asked_for_once_and_only_when_everybody_has_made_the_one_before() {
        let step = StepKey {
            scope: 1,
            branch: 0,
            pos: 0,
        };
        let key = AttemptKey {
            run: RunId::new_in(Partition(0)),
            step,
            attempt: 1,
        };
        let (probe, first, second) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut doubt = Doubt::default();
        doubt.add(key);
        assert_eq!(doubt.due(Timestamp(0), probe, 1), Some(probe));
        let mut numbers = HashMap::from_iter([(first, 5), (second, 9)]);
        let after_two = numbers.iter().map(|(worker, number)| (*worker, number + ROUNDS));
        let needs: HashMap<Uuid, u64> = after_two.collect();
        let heard = |numbers: &HashMap<Uuid, u64>| {
            let numbers = numbers.clone();
            move |worker: &Uuid, number: u64| numbers[worker] >= number
        };
        assert!(!doubt.begins_round(heard(&numbers)), "the probe was not reported");
        doubt.reported(&[probe], || needs);
        assert!(doubt.begins_round(heard(&numbers)));
        assert!(!doubt.begins_round(heard(&numbers)));
        numbers.insert(first, 7);
        assert!(!doubt.begins_round(heard(&numbers)), "the second has not reported");
        numbers.insert(second, 10);
        assert!(doubt.begins_round(heard(&numbers)));
        assert!(doubt.verdict(heard(&numbers)).is_none());
        numbers.insert(second, 11);
        assert!(!doubt.begins_round(heard(&numbers)));
        assert_eq!(doubt.verdict(heard(&numbers)), Some(HashSet::from_iter([key])));
        assert!(!doubt.begins_round(heard(&numbers)));
    }
}
