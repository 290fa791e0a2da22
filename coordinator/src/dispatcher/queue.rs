//! A task queue as the dispatcher sees it: its line, its window, its doubt.

use std::collections::VecDeque;

use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::PACK_ATTEMPTS_MAX;

use super::doubt::Doubt;
use super::flight::QueueKey;
use super::line::Line;
use super::{Around, Flight, Phase};
use crate::owner::run::Try;

/// Attempts on the way to a queue, whatever its workers can do.
const WINDOW_MIN: usize = 1024;
/// A pack should not keep a slot busy for longer.
const PACK_MS: f64 = 20.0;
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
    pub(super) is_declared: bool,
    pub(super) not_before: Timestamp,
    pub(super) doubt: Doubt,
    /// Sent attempts in the order of their time, each looked at once it is old enough to be doubted.
    pub(super) sent_log: VecDeque<(Timestamp, AttemptKey)>,
    /// Mean time of a step, recent ones weighing more; `None` before the first.
    step_ms: Option<f64>,
    done: usize,
    done_per_s: usize,
}

impl TaskQueue {
    pub(super) fn new(key: QueueKey) -> TaskQueue {
        TaskQueue {
            key,
            line: Line::default(),
            unserved: Vec::new(),
            out: 0,
            is_declared: false,
            not_before: Timestamp(0),
            doubt: Doubt::default(),
            sent_log: VecDeque::new(),
            step_ms: None,
            done: 0,
            done_per_s: 0,
        }
    }

    /// How many attempts may be on their way to its workers.
    pub(super) fn window(&self, around: &Around<'_>) -> usize {
        let slots: u32 = around
            .fleet
            .takers(&self.key, around.now)
            .map(|worker| worker.slots)
            .sum();
        WINDOW_MIN
            .max(4 * usize::try_from(slots).unwrap_or(WINDOW_MIN))
            .max(self.done_per_s / 10)
    }

    /// How many attempts a pack should hold now.
    pub(super) fn pack_size(&self, around: &Around<'_>) -> usize {
        let (mut slots, mut free) = (0_usize, 0_usize);
        for worker in around.fleet.takers(&self.key, around.now) {
            slots += usize::try_from(worker.slots).unwrap_or(0);
            free += usize::try_from(worker.slots.saturating_sub(worker.busy)).unwrap_or(0);
        }
        let free = free.min(slots.saturating_sub(self.out)).max(1);
        let fair = (self.line.len() / (2 * free)).clamp(1, PACK_ATTEMPTS_MAX);
        fair.min(within_pack_time(self.step_ms.unwrap_or(STEP_MS_UNKNOWN)))
    }

    pub(super) fn step_took(&mut self, ms: f64) {
        self.done += 1;
        self.step_ms = Some(self.step_ms.map_or(ms, |mean| mean * 0.9 + ms * 0.1));
    }

    /// Once a second: the rate of the last one.
    pub(super) fn close_second(&mut self) {
        self.done_per_s = std::mem::take(&mut self.done);
    }

    pub(super) fn set_phase(&mut self, flight: &mut Flight, phase: Phase) {
        match (flight.phase.is_out(), phase.is_out()) {
            (false, true) => self.out += 1,
            (true, false) => self.out = self.out.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        flight.phase = phase;
    }

    /// Attempts on their way or at workers.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// Attempts that wait for credit or for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.len() + self.unserved.len()
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

fn within_pack_time(step_ms: f64) -> usize {
    (1..=PACK_ATTEMPTS_MAX)
        .rev()
        .find(|count| u32::try_from(*count).is_ok_and(|count| f64::from(count) * step_ms <= PACK_MS))
        .unwrap_or(1)
}
