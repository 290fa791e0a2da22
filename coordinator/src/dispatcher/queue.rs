//! A task queue as the dispatcher sees it: its line, its window, its doubt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::map::HashMap;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::PACK_ATTEMPTS_MAX;

use super::doubt::Doubt;
use super::flight::QueueKey;
use super::line::Line;
use super::{Around, Flight, Phase};
use crate::owner::run::Try;

/// Attempts on the way to a queue, whatever its workers can do.
const WINDOW_MIN: usize = 1024;
/// So long after runs have shared the queue, long ones leave room for others.
const SHARED_FOR: Duration = Duration::from_secs(1);
/// What others may find before them in the queue then: what its workers do in so many parts of a second.
const SHARED_PARTS: usize = 400;
/// Light steps that others may find there in any case: fewer would be more messages than work.
const SHARED_LIGHT: usize = 64;
/// A pack should not keep a slot busy for longer.
const PACK_MS: f64 = 20.0;
/// So little work may always travel in one message: parting it would cost more than doing it.
const LIGHT_MS: f64 = 1.0;
/// Attempts in a pack of more than that.
const HEAVY_ATTEMPTS_MAX: usize = 64;
/// Light ones come in larger packs where there are enough, waiting or on their way, for so many to each worker: none is to wait for
/// another's.
const PACKS_A_WORKER: usize = 4;
/// What a step is taken to need before one was measured: long enough that a first fan-out of slow steps does not disappear
/// into the buffers of a few workers, short enough that one of fast steps is packed.
const STEP_MS_UNKNOWN: f64 = 5.0;

/// A task queue.
pub struct TaskQueue {
    /// Which.
    pub key: QueueKey,
    pub(super) line: Line,
    /// Attempts whose handler no worker of the queue serves.
    pub(super) unserved: Vec<(RunId, Try)>,
    /// Attempts that left and did not come to an end.
    pub(super) out: usize,
    /// Attempts that did not leave. The lines hold more: what was landed, recalled or held meanwhile is skipped when its turn comes.
    waiting: usize,
    pub(super) is_declared: bool,
    pub(super) not_before: Timestamp,
    pub(super) doubt: Doubt,
    /// Sent attempts in the order of their time, each looked at once it is old enough to be doubted.
    pub(super) sent_log: VecDeque<(Timestamp, AttemptKey)>,
    /// Mean time of a step of each handler that is or was on its way here, recent ones weighing more; none, until one has ended.
    step_ms: HashMap<Arc<str>, Option<f64>>,
    done: usize,
    done_per_s: usize,
    /// Attempts of a short run have waited beside others not long before.
    shared_until: Timestamp,
}

impl TaskQueue {
    pub(super) fn new(key: QueueKey) -> TaskQueue {
        TaskQueue {
            key,
            line: Line::default(),
            unserved: Vec::new(),
            out: 0,
            waiting: 0,
            is_declared: false,
            not_before: Timestamp(0),
            doubt: Doubt::default(),
            sent_log: VecDeque::new(),
            step_ms: HashMap::default(),
            done: 0,
            done_per_s: 0,
            shared_until: Timestamp(0),
        }
    }

    /// How many attempts may be on their way to its workers.
    pub(super) fn window(&self, around: &Around<'_>) -> usize {
        WINDOW_MIN.max(4 * self.slots(around)).max(self.done_per_s / 10)
    }

    /// How many attempts its workers run at a time.
    fn slots(&self, around: &Around<'_>) -> usize {
        let workers = around.fleet.takers(&self.key, around.now);
        workers.map(|worker| usize::try_from(worker.slots).unwrap_or(0)).sum()
    }

    /// How many attempts may be on their way before those of a run that has many more: all that may at all where no short one is. Beside
    /// those, whose next steps will come behind what is on its way, no more than keeps the workers busy.
    pub(super) fn window_of_long(&mut self, window: usize, around: &Around<'_>) -> usize {
        if self.line.is_shared() {
            self.shared_until = around.now.plus(SHARED_FOR);
        }
        if self.shared_until <= around.now {
            return window;
        }
        window.min(
            self.to_keep_busy(self.slots(around))
                .max(self.done_per_s / SHARED_PARTS),
        )
    }

    /// How many attempts keep the workers busy: as many as they have slots, but light ones hardly need theirs. Those on their way
    /// may be of any handler that ever was, so all of them have to be light.
    fn to_keep_busy(&self, slots: usize) -> usize {
        let are_light = self.step_ms.values().all(|ms| ms.is_some_and(|ms| ms < LIGHT_MS));
        match are_light {
            true => slots.min(SHARED_LIGHT),
            false => slots,
        }
    }

    /// How full a pack may be now.
    pub(super) fn pack_limits(&self, around: &Around<'_>) -> PackLimits {
        let (mut slots, mut free, mut workers) = (0_usize, 0_usize, 0_usize);
        for worker in around.fleet.takers(&self.key, around.now) {
            slots += usize::try_from(worker.slots).unwrap_or(0);
            free += usize::try_from(worker.slots.saturating_sub(worker.busy)).unwrap_or(0);
            workers += 1;
        }
        let free = free.min(slots.saturating_sub(self.out)).max(1);
        // What is on its way keeps the workers busy meanwhile: only beside little of it a large pack leaves one idle.
        let theirs = self.line.len() + self.out;
        PackLimits {
            fair: (self.line.len() / (2 * free)).clamp(1, HEAVY_ATTEMPTS_MAX),
            most: (theirs / (PACKS_A_WORKER * workers.max(1))).clamp(HEAVY_ATTEMPTS_MAX, PACK_ATTEMPTS_MAX),
        }
    }

    /// How long a step of this handler, which is being sent, is likely to take.
    pub(super) fn likely_ms(&mut self, handler: &Arc<str>) -> f64 {
        self.on_its_way(handler).unwrap_or(STEP_MS_UNKNOWN)
    }

    /// A step of this handler is on its way, sent by this owner or by one before it: what is known of its like.
    pub(super) fn on_its_way(&mut self, handler: &Arc<str>) -> Option<f64> {
        match self.step_ms.get(handler) {
            Some(known) => *known,
            None => *self.step_ms.entry(handler.clone()).or_default(),
        }
    }

    pub(super) fn step_took(&mut self, handler: &Arc<str>, ms: f64) {
        self.done += 1;
        match self.step_ms.get_mut(handler) {
            Some(known) => *known = Some(known.map_or(ms, |mean| mean * 0.9 + ms * 0.1)),
            None => drop(self.step_ms.insert(handler.clone(), Some(ms))),
        }
    }

    /// Once a second: the rate of the last one.
    pub(super) fn close_second(&mut self) {
        self.done_per_s = std::mem::take(&mut self.done);
    }

    pub(super) fn set_phase(&mut self, flight: &mut Flight, phase: Phase) {
        self.leave(flight.phase);
        self.enter(phase);
        flight.phase = phase;
    }

    /// An attempt comes into this phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        *self.count_of(phase) += 1;
    }

    /// An attempt is in this phase no more.
    pub(super) fn leave(&mut self, phase: Phase) {
        let count = self.count_of(phase);
        *count = count.saturating_sub(1);
    }

    fn count_of(&mut self, phase: Phase) -> &mut usize {
        match phase.is_out() {
            true => &mut self.out,
            false => &mut self.waiting,
        }
    }

    /// Attempts on their way or at workers.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// Attempts that wait for credit or for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Attempts in doubt.
    #[must_use]
    pub fn doubtful(&self) -> usize {
        self.doubt.len()
    }

    /// Whether a probe is under way.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        self.doubt.is_probing()
    }
}

/// How full a pack may be.
#[derive(Clone, Copy)]
pub(super) struct PackLimits {
    /// Attempts in each, if all slots are to get some.
    fair: usize,
    /// Attempts in each at most.
    most: usize,
}

impl PackLimits {
    /// Whether `count` attempts are enough that are likely to take `work_ms` one after the other, the last of them `last_ms`.
    pub(super) fn are_reached(self, count: usize, work_ms: f64, last_ms: f64) -> bool {
        let is_heavy = work_ms + last_ms > PACK_MS;
        count >= self.most || is_heavy || (count >= self.fair && work_ms > LIGHT_MS)
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Namespace;

    use super::*;

    #[test]
    fn light_steps_of_a_long_run_do_not_fill_the_slots_that_they_hardly_need() {
        let mut queue = TaskQueue::new(QueueKey::new(Namespace::default_name(), "default".into()));
        let [noop, sleep]: [Arc<str>; 2] = ["noop".into(), "sleep".into()];
        assert!(queue.likely_ms(&noop) > LIGHT_MS);
        assert_eq!(queue.to_keep_busy(128), 128, "nobody knows what it takes");
        (0..100).for_each(|_| queue.step_took(&noop, 0.01));
        assert_eq!((queue.to_keep_busy(128), queue.to_keep_busy(2)), (SHARED_LIGHT, 2));
        // One that may take long fills slots, however many light ones end beside it, and whoever sent it.
        queue.on_its_way(&sleep);
        (0..100).for_each(|_| queue.step_took(&noop, 0.01));
        assert_eq!(queue.to_keep_busy(128), 128);
        queue.step_took(&sleep, 1_000.0);
        (0..100).for_each(|_| queue.step_took(&noop, 0.01));
        assert_eq!(queue.to_keep_busy(128), 128);
    }

    const LIMITS: PackLimits = PackLimits { fair: 8, most: 128 };

    #[test]
    fn a_pack_of_slow_steps_ends_before_it_keeps_a_slot_too_long() {
        assert!(!LIMITS.are_reached(3, 15.0, 5.0));
        assert!(LIMITS.are_reached(4, 20.0, 5.0));
    }

    #[test]
    fn steps_that_are_worth_parting_are_parted_among_all_slots() {
        assert!(!LIMITS.are_reached(7, 3.0, 0.5));
        assert!(LIMITS.are_reached(8, 3.5, 0.5));
    }

    #[test]
    fn steps_that_cost_less_than_their_message_travel_together() {
        assert!(!LIMITS.are_reached(127, 0.13, 0.001));
        assert!(LIMITS.are_reached(128, 0.13, 0.001));
    }
}
