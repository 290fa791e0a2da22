//! Runs that only wait leave memory, the longest at rest first, once those at rest take more bytes than they may.
//!
//! ```text
//!  judged ──▶ at rest ──cache is full──▶ row only ──its time comes (wake_at), an event, an answer, a question──▶ loaded
//! ```
//! The row of a run that waits always says when it has to be looked at, in the same append as what it waits for (`Draft::close`):
//! so it may leave at any time, and whoever takes its partition over loads it no earlier. Rows are looked at ahead of time; a
//! timer fires from memory, never early.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

use super::Owner;
use super::command::PreparedStart;
use super::inbound::Inbound;
use super::run::Run;
use crate::store::Sleeper;

/// Bytes of a run beside its state.
const RUN_BYTES: usize = 1_500;
/// So long before its time a run is loaded.
const AHEAD: Duration = Duration::from_secs(1);
/// Between two looks at the rows.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// After so long the rows are looked at though nothing is known to be due.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// Rows looked at at once.
const PAGE: usize = 1_000;
/// Loads under way above which no more runs are woken.
const LOADING_MAX: usize = 1_000;
/// Between two counts of the runs that are asleep.
const COUNT_PAUSE: Duration = Duration::from_secs(300);

/// What the rows say of runs that are asleep.
#[derive(Debug)]
pub struct Due {
    /// A page of them, soonest first; `None`: it could not be read.
    pub page: Option<Vec<Sleeper>>,
    /// Runs with these states in the owned partitions, in memory or not, where they were counted.
    pub counts: Option<Vec<(RunStatus, u64)>>,
}

/// Runs at rest, and when the rows are to be looked at.
#[derive(Default)]
pub(super) struct Rest {
    /// In the order in which they came to rest; stale where a run's number is another one by now.
    line: VecDeque<(RunId, u64)>,
    number: u64,
    count: usize,
    bytes: usize,
    /// When to look at the rows, `None`: they are being looked at.
    look_at: Option<Timestamp>,
    /// Behind which row the look goes on.
    cursor: Option<Sleeper>,
    /// When to look at the latest, whatever the rows say: what left memory since.
    sooner: Option<Timestamp>,
    count_at: Option<Timestamp>,
    /// Runs that are asleep, by state, as they were counted last.
    asleep: BTreeMap<&'static str, u64>,
    /// Starts that are judged anew: none of their runs may leave before, as only memory tells which are there.
    again: Vec<Starts>,
}

type Starts = Arc<Vec<(RunId, PreparedStart)>>;

impl Rest {
    /// The run is worked on, or leaves.
    pub fn touch(&mut self, run: &mut Run) {
        if run.rest.take().is_some() {
            self.count -= 1;
            self.bytes -= std::mem::take(&mut run.rest_bytes);
        }
    }

    fn settle(&mut self, run: &mut Run) {
        if run.rest.is_some() {
            return;
        }
        self.number += 1;
        run.rest = Some(self.number);
        run.rest_bytes = run.state.weight() + RUN_BYTES;
        self.count += 1;
        self.bytes += run.rest_bytes;
        self.line.push_back((run.id, self.number));
    }

    /// Starts are judged anew.
    pub fn hold_for(&mut self, starts: &Starts) {
        self.again.push(starts.clone());
    }

    /// Starts were judged.
    pub fn let_go_of(&mut self, starts: &Starts) {
        self.again.retain(|held| !Arc::ptr_eq(held, starts));
    }

    fn look_by(&mut self, at: Timestamp) {
        self.sooner = Some(self.sooner.map_or(at, |known| known.min(at)));
    }
}

/// Whether nothing of the run would be lost with its memory.
fn may_rest(run: &Run) -> bool {
    let is_quiet = run.state.is_quiet() && run.flights.is_empty() && run.marks.is_empty();
    is_quiet && !run.row_stale && run.row_status == run.state.status()
}

impl Owner {
    /// After each judgement: a run that only waits comes to rest.
    pub(super) fn rest_if_quiet(&mut self, id: RunId) {
        if let Some(run) = self.runs.get_mut(&id)
            && may_rest(run)
        {
            self.rest.settle(run);
        }
    }

    /// The run is worked on.
    pub(super) fn touch(&mut self, id: RunId) {
        if let Some(run) = self.runs.get_mut(&id) {
            self.rest.touch(run);
        }
    }

    /// Lets runs at rest leave memory as long as they take too much of it.
    pub(super) fn let_runs_leave(&mut self) {
        let soon = self.parts.clock.now().plus(AHEAD);
        while self.rest.bytes > self.parts.cache_bytes_max && self.rest.again.is_empty() {
            let Some((id, number)) = self.rest.line.pop_front() else {
                break;
            };
            let Some(run) = self.runs.get_mut(&id).filter(|run| run.rest == Some(number)) else {
                continue;
            };
            let (may_rest, wake_at, status) = (may_rest(run), run.row_wake_at, run.row_status);
            self.rest.touch(run);
            if !may_rest || wake_at.is_some_and(|at| at <= soon) {
                continue; // it comes to rest again after it was judged
            }
            tracing::trace!(run = %id, ?wake_at, "run leaves memory");
            self.forget(id);
            *self.rest.asleep.entry(status.as_str()).or_default() += 1;
            if let Some(at) = wake_at {
                self.rest.look_by(Timestamp(at.0 - ahead_micros()));
            }
        }
        if self.rest.line.len() > 2 * self.rest.count + 1_000 {
            let runs = &self.runs;
            let is_fresh = |(id, number): &(RunId, u64)| runs.get(id).is_some_and(|run| run.rest == Some(*number));
            self.rest.line.retain(is_fresh);
        }
        if self.timers.len() > 2 * self.runs.len() + 1_000 {
            let runs = &self.runs;
            self.timers
                .retain(|entry| runs.get(&entry.0.1).is_some_and(|run| run.due == Some(entry.0.0)));
        }
    }

    /// Partitions were taken: their rows are looked at at once.
    pub(super) fn look_at_rows_now(&mut self) {
        let now = self.parts.clock.now();
        self.rest.look_by(now);
        self.rest.count_at = Some(now);
    }

    /// Looks at the rows whose time has nearly come.
    pub(super) fn look_at_rows(&mut self) {
        let now = self.parts.clock.now();
        let by = self.rest.sooner;
        let is_time = self
            .rest
            .look_at
            .is_some_and(|at| at <= now || by.is_some_and(|by| by <= now));
        let of: Vec<Partition> = self
            .claims
            .keys()
            .filter(|p| !self.handing_over.contains(p))
            .copied()
            .collect();
        if !is_time || of.is_empty() || self.is_draining || self.loading.len() > LOADING_MAX {
            return;
        }
        if by.is_some_and(|by| by <= now) {
            // What left memory since may stand before the row at which the look had come.
            (self.rest.sooner, self.rest.cursor) = (None, None);
        }
        self.rest.look_at = None;
        let counts = self.rest.count_at.is_none_or(|at| at <= now);
        if counts {
            self.rest.count_at = Some(now.plus(COUNT_PAUSE));
        }
        let (store, own, after) = (self.parts.store.clone(), self.own.clone(), self.rest.cursor);
        self.parts.tasks.spawn(async move {
            let page = store.asleep(&of, now.plus(AHEAD), after, PAGE).await;
            let page = page.map_err(|error| tracing::warn!(%error, "runs that wait could not be looked at yet"));
            let counts = match counts {
                true => store.asleep_counts(&of).await.ok(),
                false => None,
            };
            own.send(Inbound::Due(Due {
                page: page.ok(),
                counts,
            }))
            .ok();
        });
    }

    /// Loads those whose time has nearly come, and says when to look again.
    pub(super) fn wake_due(&mut self, due: Due) {
        let now = self.parts.clock.now();
        if let Some(counts) = due.counts {
            self.count_asleep(&counts);
        }
        let Some(page) = due.page else {
            self.rest.look_at = Some(now.plus(LOOK_PAUSE));
            return;
        };
        let is_full = page.len() >= PAGE;
        let soon = now.plus(AHEAD);
        for sleeper in &page {
            if sleeper.wake_at > soon {
                return self.look_again(Timestamp(sleeper.wake_at.0 - ahead_micros()), now);
            }
            let is_ours = self.claims.contains_key(&sleeper.run.partition());
            if is_ours && !self.runs.contains_key(&sleeper.run) {
                self.load(sleeper.run, Vec::new());
            }
        }
        if is_full {
            (self.rest.cursor, self.rest.look_at) = (page.last().copied(), Some(now));
        } else {
            self.look_again(now.plus(LOOK_ANYWAY), now);
        }
    }

    fn look_again(&mut self, at: Timestamp, now: Timestamp) {
        self.rest.cursor = None;
        self.rest.look_at = Some(at.max(now.plus(LOOK_PAUSE)).min(now.plus(LOOK_ANYWAY)));
    }

    fn count_asleep(&mut self, counts: &[(RunStatus, u64)]) {
        let in_memory = |status: RunStatus| self.runs.values().filter(|run| run.row_status == status).count() as u64;
        let asleep = counts
            .iter()
            .map(|(status, count)| (status.as_str(), count.saturating_sub(in_memory(*status))));
        self.rest.asleep = asleep.collect();
    }

    /// Runs in this state that are asleep, about.
    pub(super) fn asleep(&self, status: RunStatus) -> usize {
        let count = self.rest.asleep.get(status.as_str()).copied().unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// A run that was asleep is in memory again.
    pub(super) fn woke(&mut self, status: RunStatus) {
        if let Some(count) = self.rest.asleep.get_mut(status.as_str()) {
            *count = count.saturating_sub(1);
        }
    }

    /// The rows are to be looked at from now on.
    pub(super) fn begin_looking(&mut self) {
        self.rest.look_at = Some(self.parts.clock.now());
    }
}

fn ahead_micros() -> i64 {
    i64::try_from(AHEAD.as_micros()).unwrap_or(i64::MAX)
}
