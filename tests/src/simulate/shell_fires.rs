//! What schedules did, as the database saw it, and what they had to do (INTERFACE 8).
//!
//! The reference knows a schedule's ticks, when somebody looked and moved it past each, and from when to when its runs went on. From
//! these it says of every tick whether it had to start a run; how the service goes about it it does not know.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rejoin_coordinator::services::schedules::spec::Overlap;
use rejoin_coordinator::services::schedules::timing::GRACE;
use rejoin_coordinator::store::{Batch, RunRow, ScheduleRow};
use rejoin_shared::ids::RunId;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;

/// Somebody looked at the clock of the database.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// When.
    pub at: Timestamp,
    /// What it said.
    pub now: Timestamp,
}

/// A schedule was written.
#[derive(Clone, Debug)]
struct Move {
    schedule: String,
    looked: Looked,
    written_at: Timestamp,
    next_at: Option<Timestamp>,
}

/// A run that a schedule started.
#[derive(Clone, Debug)]
struct Fired {
    key: String,
    begun_at: Timestamp,
    /// By the clock of the database.
    created_at: Timestamp,
    ended: Option<(Timestamp, RunStatus)>,
}

#[derive(Default)]
struct Seen {
    moves: Vec<Move>,
    runs: BTreeMap<RunId, Fired>,
}

/// What schedules did.
#[derive(Default)]
pub struct Fires(Mutex<Seen>);

/// A schedule as it was made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Between two ticks.
    pub every: Duration,
    /// What happens while the run before goes on.
    pub overlap: Overlap,
    /// How late a tick may be.
    pub catch_up: Duration,
    /// From where it counts.
    pub anchor_at: Timestamp,
}

impl Fires {
    /// A batch is committed.
    pub fn note(&self, batch: &Batch, at: Timestamp, now: Timestamp) {
        let mut seen = self.0.lock().expect("what was seen");
        for row in &batch.created {
            if let Some(key) = row.idempotency_key.clone() {
                let fired = Fired {
                    key,
                    begun_at: at,
                    created_at: now,
                    ended: None,
                };
                seen.runs.insert(row.id, fired);
            }
        }
        for change in batch.changed.iter().filter(|change| change.status.is_terminal()) {
            if let Some(run) = seen.runs.get_mut(&change.run) {
                run.ended.get_or_insert((at, change.status));
            }
        }
    }

    /// A schedule is written by somebody who had looked at the clock before.
    pub fn moved(&self, row: &ScheduleRow, looked: Option<Looked>, written_at: Timestamp) {
        let Some(looked) = looked else { return };
        let moved = Move {
            schedule: row.name.clone(),
            looked,
            written_at,
            next_at: row.next_at,
        };
        self.0.lock().expect("what was seen").moves.push(moved);
    }

    /// A row with the time of the simulation, in which its store does not live.
    #[must_use]
    pub fn dated(&self, row: RunRow) -> RunRow {
        let seen = self.0.lock().expect("what was seen");
        match seen.runs.get(&row.id) {
            Some(run) => RunRow {
                created_at: run.created_at,
                ..row
            },
            None => row,
        }
    }

    /// Compares what a schedule did with what it had to do, until the tick that it was stopped at.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, plan: &Plan, until: Timestamp) -> Result<Count, String> {
        let seen = self.0.lock().expect("what was seen");
        let prefix = format!("schedule/{}/", plan.name);
        let all: Vec<&Fired> = seen.runs.values().filter(|run| run.key.starts_with(&prefix)).collect();
        let mut count = Count::default();
        let mut before: Vec<&Fired> = Vec::new();
        for tick in plan.ticks(until) {
            let key = format!("{prefix}{tick}");
            let of_tick: Vec<&Fired> = all.iter().copied().filter(|run| run.key == key).collect();
            if of_tick.len() > 1 {
                return Err(format!("{key} has started {} runs: {of_tick:?}", of_tick.len()));
            }
            let fired = of_tick.first().copied();
            let due = plan.due(&seen.moves, tick, &before)?;
            match (due, fired) {
                (Due::Fires(why), None) => return Err(format!("{key} has started no run: {why}")),
                (Due::Passes(why), Some(run)) => return Err(format!("{key} has started {run:?}: {why}")),
                (_, Some(_)) => count.fired += 1,
                (_, None) => count.passed += 1,
            }
            if let Some(fired) = fired {
                plan.check_order(fired, &before)?;
                before.push(fired);
            }
        }
        match before.len() == all.len() {
            true => Ok(count),
            false => Err(format!("{} has started runs at no tick of its: {all:?}", plan.name)),
        }
    }
}

/// What became of the ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// They started a run.
    pub fired: usize,
    /// They did not, and had not to.
    pub passed: usize,
}

/// What a tick has to do.
enum Due {
    Fires(String),
    Passes(String),
    /// A run ended while somebody looked.
    Either,
}

impl Plan {
    fn ticks(&self, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (anchor, every) = (self.anchor_at, self.every);
        let ticks = (1..).map(move |n| anchor.plus(every * n));
        ticks.take_while(move |tick| *tick < until)
    }

    fn due(&self, moves: &[Move], tick: Timestamp, before: &[&Fired]) -> Result<Due, String> {
        let passes = |moved: &&Move| moved.schedule == self.name && moved.next_at.is_none_or(|next| next > tick);
        let moved = moves.iter().find(passes);
        let moved = moved.ok_or_else(|| format!("nobody has looked at the tick {tick} of {}", self.name))?;
        let late = moved.looked.now.since(tick);
        if moved.looked.now < tick {
            return Ok(Due::Passes(format!(
                "it was taken at {}, before its time",
                moved.looked.now
            )));
        }
        if late > self.catch_up.max(GRACE) {
            return Ok(Due::Passes(format!("it was late by {late:?}")));
        }
        if self.overlap != Overlap::Skip {
            return Ok(Due::Fires(format!("it was taken {late:?} late")));
        }
        let (from, to) = (moved.looked.at, moved.written_at);
        let ends = |run: &Fired| run.ended.map(|(end, _)| end);
        if before
            .iter()
            .any(|run| run.begun_at <= to && ends(run).is_none_or(|end| end > to))
        {
            return Ok(Due::Passes("the run before went on".to_owned()));
        }
        // Simulated time stands still while much happens: what ended at the moment of the look had ended before it, or had not.
        match before
            .iter()
            .any(|run| run.begun_at <= from && ends(run).is_none_or(|end| end >= from))
        {
            true => Ok(Due::Either),
            false => Ok(Due::Fires(format!("it was taken {late:?} late, and no run went on"))),
        }
    }

    /// One after the other, and without overlap where none is allowed.
    fn check_order(&self, fired: &Fired, before: &[&Fired]) -> Result<(), String> {
        for earlier in before {
            let has_ended = earlier.ended.is_some_and(|(end, _)| end <= fired.begun_at);
            let is_late = earlier.begun_at > fired.begun_at;
            if is_late || self.overlap != Overlap::Allow && !has_ended {
                return Err(format!(
                    "{fired:?} was started while {earlier:?} went on ({:?})",
                    self.overlap
                ));
            }
            let is_cancelled = matches!(earlier.ended, Some((_, RunStatus::Cancelled)));
            if is_cancelled && self.overlap != Overlap::CancelPrevious {
                return Err(format!("{earlier:?} was cancelled"));
            }
        }
        Ok(())
    }
}
