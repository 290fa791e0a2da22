//! How far a schedule has come: every change of its row, without any IO.
//!
//! ```text
//!              take                       started | refused
//!   next_at ─────────▶ pending (in order) ─────────────────▶ last_run, open_runs ──ended──▶ failures, last_error
//!      │ skipped: too late, or the run before goes on
//! ```
//! A tick moves from `next_at` to `pending` in the one write that the store grants to one coordinator. It leaves `pending` once its
//! run is known to have started; until then whoever finds it starts it by the same key.

use std::time::Duration;

use rejoin_shared::ids::RunId;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::spec::{Overlap, Spec};
use super::timing::{GRACE, Timing};
use crate::services::runs::Seen;
use crate::store::ScheduleRow;

/// Missed ticks that are made up in a row.
pub const CAUGHT_UP_MAX: u32 = 100;
/// Ticks that wait for the run before.
pub const QUEUED_MAX: usize = 100;
/// Failures in a row after which it pauses itself.
pub const FAILURES_MAX: u32 = 10;
/// Longest error that is kept.
const ERROR_CHARS_MAX: usize = 1_000;
/// Runs whose end is waited for; of more at once, the oldest are not counted.
pub const OPEN_RUNS_MAX: usize = 20;
/// How long whoever took a tick has to start its run, before others do.
pub const CLAIM: Duration = Duration::from_secs(60);
/// Pause before a start that could not be done is tried again.
pub const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Shortest and longest pause between two looks at a run that goes on.
const LOOK_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same while a tick waits for it.
const QUEUE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A schedule, read.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The row; `wake_at` is set last, by [`Progress::sleep`].
    pub row: ScheduleRow,
    /// What it does.
    pub spec: Spec,
    /// When.
    pub timing: Timing,
}

impl Progress {
    /// Counts a run of [`ScheduleRow::open_runs`] that has ended; `None`: it was deleted.
    pub fn count(&mut self, run: RunId, seen: Option<&Seen>) {
        match seen.map(|seen| seen.status) {
            Some(
                RunStatus::Scheduled
                | RunStatus::Running
                | RunStatus::Waiting
                | RunStatus::Paused
                | RunStatus::Compensating,
            ) => return,
            Some(RunStatus::Completed) => {
                self.row.failures = 0;
                self.row.last_error = None;
            }
            Some(RunStatus::Failed | RunStatus::CompensationFailed) => {
                let why = seen.and_then(|seen| seen.error.as_deref()).unwrap_or("no error given");
                self.fail(&format!("run {run} failed: {why}"));
            }
            Some(RunStatus::Cancelled) | None => {}
        }
        self.row.open_runs.retain(|open| *open != run);
    }

    fn fail(&mut self, why: &str) {
        let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
        self.row.failures = self.row.failures.saturating_add(1);
        self.row.last_error = Some(why.clone());
        if self.row.failures >= FAILURES_MAX && !self.row.is_paused {
            self.pause();
            let text = format!("paused after {FAILURES_MAX} failures in a row; the last: {why}");
            self.row.last_error = Some(text);
        }
    }

    /// Starts nothing from now on; ticks that wait are dropped.
    pub fn pause(&mut self) {
        self.row.is_paused = true;
        self.row.next_at = None;
        self.row.pending.clear();
    }

    /// Goes on with the first tick after `now`.
    pub fn resume(&mut self, now: Timestamp) {
        self.row.is_paused = false;
        self.row.failures = 0;
        self.aim(now);
    }

    /// The next tick is the first after `now`.
    pub fn aim(&mut self, now: Timestamp) {
        self.row.caught_up = 0;
        self.row.next_at = match self.row.is_paused {
            true => None,
            false => self.timing.next(now, self.row.anchor_at),
        };
    }

    /// Takes the ticks that are due, as far as they may be taken: at most one starts at a time. `previous_runs` says whether the
    /// last run goes on.
    pub fn take(&mut self, previous_runs: bool, now: Timestamp) {
        while let Some(tick) = self.row.next_at.filter(|tick| *tick <= now) {
            let is_queue = self.spec.overlap == Overlap::Queue;
            if self.row.is_paused || !self.row.pending.is_empty() && !is_queue {
                return;
            }
            if now.since(tick) > self.timing.window {
                self.skip_to(now);
                continue;
            }
            let is_late = now.since(tick) > GRACE;
            if is_late && self.row.caught_up >= CAUGHT_UP_MAX {
                self.aim(now);
                return;
            }
            self.row.caught_up = if is_late { self.row.caught_up + 1 } else { 0 };
            self.row.next_at = self.timing.next(tick, self.row.anchor_at);
            match self.spec.overlap {
                Overlap::Skip if previous_runs => {}
                Overlap::Queue if self.row.pending.len() >= QUEUED_MAX => {
                    let text = format!("the tick of {tick} was dropped: {QUEUED_MAX} wait already");
                    self.row.last_error = Some(text);
                }
                Overlap::Skip | Overlap::Queue | Overlap::Allow | Overlap::CancelPrevious => {
                    self.row.pending.push(tick);
                }
            }
        }
    }

    /// Passes over the ticks that are too late to be made up.
    fn skip_to(&mut self, now: Timestamp) {
        let micros = i64::try_from(self.timing.window.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(now.0.saturating_sub(micros).saturating_sub(1));
        self.row.next_at = self.timing.next(before, self.row.anchor_at);
    }

    /// The tick whose run is to be started now.
    #[must_use]
    pub fn startable(&self, previous_runs: bool) -> Option<Timestamp> {
        let waits = self.row.is_paused || self.spec.overlap == Overlap::Queue && previous_runs;
        self.row.pending.first().copied().filter(|_| !waits)
    }

    /// The run of `tick` has started.
    pub fn started(&mut self, tick: Timestamp, run: RunId) {
        self.row.pending.retain(|pending| *pending != tick);
        self.row.last_run = Some(run);
        self.row.open_runs.retain(|open| *open != run);
        self.row.open_runs.push(run);
        let surplus = self.row.open_runs.len().saturating_sub(OPEN_RUNS_MAX);
        self.row.open_runs.drain(..surplus);
    }

    /// The run of `tick` cannot be started.
    pub fn refused(&mut self, tick: Timestamp, why: &str) {
        self.row.pending.retain(|pending| *pending != tick);
        self.fail(&format!("the run of {tick} could not be started: {why}"));
    }

    /// The run of `tick` could not be started yet.
    pub fn postponed(&mut self, tick: Timestamp, why: &str) {
        self.row.last_error = Some(format!("the run of {tick} could not be started yet: {why}"));
    }

    /// Sets when it is looked at again: at its next tick, and at `again` if runs or taken ticks need it.
    pub fn sleep(&mut self, again: Option<Timestamp>) {
        let row = &self.row;
        let takes = !row.is_paused && (row.pending.is_empty() || self.spec.overlap == Overlap::Queue);
        let tick = row.next_at.filter(|_| takes);
        let again = again.filter(|_| !row.pending.is_empty() || !row.open_runs.is_empty());
        self.row.wake_at = tick.into_iter().chain(again).min();
    }

    /// When to look again at runs that go on, `newest` of which was started then.
    #[must_use]
    pub fn look_again(&self, newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let (shortest, longest) = LOOK_PAUSE;
        let longest = match self.row.pending.is_empty() {
            true => longest,
            false => QUEUE_PAUSE_MAX,
        };
        let age = newest.map_or(Duration::ZERO, |newest| now.since(newest));
        now.plus((age / 8).clamp(shortest, longest))
    }
}
