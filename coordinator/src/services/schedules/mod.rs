//! Starts runs at their times, however many coordinators there are.
//!
//! ```text
//!   every second: rows that are due ─▶ count what ended ─▶ take ticks ─▶ write if unchanged ─▶ start by key ─▶ record
//!                                      (progress.rs, no IO)             one coordinator wins
//! ```
//! A coordinator that dies between the write and the record leaves the tick in the row: after [`progress::CLAIM`] another one
//! starts it by the same key, which finds the run if it was started.

pub mod cron;
pub mod progress;
pub mod spec;
pub mod timing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::runs::{Runs, RunsError, Seen};
use crate::store::seal::is_sealed;
use crate::store::{ScheduleRow, Store, StoreError};
use progress::{CLAIM, Progress, RETRY_PAUSE};
use spec::{Overlap, Spec};
use timing::Timing;

/// Pause between two looks for what is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows read at once.
const PAGE: usize = 100;
/// Rows worked on at once.
const AT_ONCE: usize = 8;
/// Pause before a row that cannot be read is looked at again.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);
/// How often a write that lost a race against another one is tried again.
const RACES_MAX: usize = 20;

/// Why a schedule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none.
    #[error("there is no such schedule")]
    NotFound,
    /// Its row was written by a version whose schedules this one cannot read, or sealed with a key that it has not.
    #[error("the schedule cannot be read: {0}")]
    Unreadable(String),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a row.
///
/// # Errors
/// [`ChangeError::Unreadable`]
pub fn read(row: ScheduleRow) -> Result<Progress, ChangeError> {
    let spec = spec_of(&row)?;
    let timing = Timing::of(&spec).map_err(|e| ChangeError::Unreadable(e.to_string()))?;
    Ok(Progress { row, spec, timing })
}

/// What a schedule starts and when.
///
/// # Errors
/// [`ChangeError::Unreadable`]; of one that the store could not open it says why.
pub fn spec_of(row: &ScheduleRow) -> Result<Spec, ChangeError> {
    Spec::of(row).map_err(|error| match &row.last_error {
        Some(why) if is_sealed(&row.spec) => ChangeError::Unreadable(why.clone()),
        Some(_) | None => ChangeError::Unreadable(error.to_string()),
    })
}

/// Changes a schedule, again on what others have written meanwhile. `change` also says when to look at it again.
///
/// # Errors
/// [`ChangeError`]
pub async fn change(
    store: &dyn Store,
    namespace: &Namespace,
    name: &str,
    mut change: impl FnMut(&mut Progress) -> Option<Timestamp>,
) -> Result<Progress, ChangeError> {
    for _ in 0..RACES_MAX {
        let row = store.schedule(namespace, name).await?.ok_or(ChangeError::NotFound)?;
        let mut progress = read(row)?;
        let again = change(&mut progress);
        progress.sleep(again);
        if let Some(revision) = store.change_schedule(&progress.row).await? {
            progress.row.revision = revision;
            return Ok(progress);
        }
    }
    let text = "the schedule changes all the time".to_owned();
    Err(ChangeError::Store(StoreError::Away(text)))
}

/// The service.
#[derive(Clone)]
pub struct Schedules {
    store: Arc<dyn Store>,
    runs: Arc<dyn Runs>,
}

/// Why a schedule was not attended to; it stays due.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Runs(#[from] RunsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of the start of a tick.
type Start = Result<RunId, RunsError>;

impl Schedules {
    /// Over this store, starting runs by `runs`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, runs: Arc<dyn Runs>) -> Schedules {
        Schedules { store, runs }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let worked = match self.store.now().await {
                Ok(now) => self.run_once(now).await,
                Err(error) => Err(error),
            };
            match worked {
                // More may be due: ticks that are made up come one by one.
                Ok(count) if count > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "schedules could not be read"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Attends to what is due at `now` by the database's clock; returns how many schedules it moved on.
    ///
    /// # Errors
    /// The store's, when what is due cannot be read.
    pub async fn run_once(&self, now: Timestamp) -> Result<usize, StoreError> {
        let due = self.store.schedules_due(now, PAGE).await?;
        let attended = futures_util::stream::iter(due).map(|row| self.attend_or_tell(row, now));
        let moved = attended.buffer_unordered(AT_ONCE);
        Ok(moved
            .fold(0, |count, moved| async move { count + usize::from(moved) })
            .await)
    }

    async fn attend_or_tell(&self, row: ScheduleRow, now: Timestamp) -> bool {
        let (namespace, name) = (row.namespace.clone(), row.name.clone());
        match self.attend(row, now).await {
            Ok(moved) => moved,
            Err(error) => {
                tracing::warn!(%namespace, schedule = %name, %error, "schedule not attended to");
                false
            }
        }
    }

    /// Whether it moved on: another coordinator may have been first.
    async fn attend(&self, row: ScheduleRow, now: Timestamp) -> Result<bool, Trouble> {
        let mut progress = match read(row.clone()) {
            Ok(progress) => progress,
            Err(error) => return self.put_off(row, &error, now).await,
        };
        let newest = self.count_ended(&mut progress).await?;
        let goes_on = self.going_on(&progress).await?;
        let previous = goes_on.iter().map(|(_, seen)| seen.created_at).max();
        progress.take(previous.is_some(), now);
        let tick = progress.startable(previous.is_some());
        let again = match tick {
            Some(_) => now.plus(CLAIM),
            None => progress.look_again(newest.or(previous), now),
        };
        match tick {
            // Nobody else is to look before the time of whoever starts it is over.
            Some(_) => progress.row.wake_at = Some(again),
            None => progress.sleep(Some(again)),
        }
        if self.store.change_schedule(&progress.row).await?.is_none() {
            return Ok(false);
        }
        let Some(tick) = tick else { return Ok(true) };
        let start = self.start(&progress, tick).await;
        self.record(&progress, tick, &start, now).await?;
        Ok(true)
    }

    /// A row that cannot be read must not stand in the way of the others.
    async fn put_off(&self, mut row: ScheduleRow, error: &ChangeError, now: Timestamp) -> Result<bool, Trouble> {
        tracing::error!(namespace = %row.namespace, schedule = %row.name, %error, "schedule put off");
        row.last_error = Some(error.to_string());
        row.wake_at = Some(now.plus(UNREADABLE_PAUSE));
        Ok(self.store.change_schedule(&row).await?.is_some())
    }

    /// Counts the runs that have ended; returns when the newest of those that go on was started.
    async fn count_ended(&self, progress: &mut Progress) -> Result<Option<Timestamp>, RunsError> {
        let mut newest = None;
        for run in progress.row.open_runs.clone() {
            let seen = self.runs.see(run).await?;
            progress.count(run, seen.as_ref());
            newest = newest.max(seen.map(|seen| seen.created_at));
        }
        Ok(newest)
    }

    /// Its runs that go on, where that matters: those of its ticks, and the last one that somebody triggered.
    async fn going_on(&self, progress: &Progress) -> Result<Vec<(RunId, Seen)>, RunsError> {
        let mut found = Vec::new();
        if progress.spec.overlap == Overlap::Allow {
            return Ok(found);
        }
        let row = &progress.row;
        let triggered = row.last_run.filter(|run| !row.open_runs.contains(run));
        for run in row.open_runs.iter().copied().chain(triggered) {
            let seen = self.runs.see(run).await?.filter(|seen| !seen.status.is_terminal());
            found.extend(seen.map(|seen| (run, seen)));
        }
        Ok(found)
    }

    async fn start(&self, progress: &Progress, tick: Timestamp) -> Start {
        let (row, spec) = (&progress.row, &progress.spec);
        if spec.overlap == Overlap::CancelPrevious {
            let reason = format!("the schedule {} starts its next run", row.name);
            for (run, _) in self.going_on(progress).await? {
                self.runs.cancel(run, &reason).await?;
            }
        }
        self.runs.start(&spec.launch(&row.namespace, &row.name, tick)).await
    }

    /// Writes down what became of a tick. If that fails, whoever finds the tick later starts it by the same key.
    async fn record(
        &self,
        progress: &Progress,
        tick: Timestamp,
        start: &Start,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let row = &progress.row;
        let written = change(&*self.store, &row.namespace, &row.name, |progress| {
            match start {
                Ok(run) => progress.started(tick, *run),
                Err(RunsError::Refused(why)) => progress.refused(tick, why),
                Err(RunsError::Passing(why)) => {
                    progress.postponed(tick, why);
                    return Some(now.plus(RETRY_PAUSE));
                }
            }
            Some(progress.look_again(Some(now), now))
        });
        match written.await {
            // Deleted meanwhile: its runs stay.
            Ok(_) | Err(ChangeError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
