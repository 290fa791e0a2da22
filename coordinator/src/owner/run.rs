//! A run in memory: the engine's state, and what the shell knows about its messages.

use std::sync::Arc;

use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::{AttemptKey, Namespace, RunId, StepKey};
use rejoin_shared::map::HashMap;
use rejoin_shared::run::{Counts, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::BaseContext;
use uuid::Uuid;

use crate::dispatcher::{Flight, QueueKey};

/// An attempt within a run.
pub type Try = (StepKey, u32);

/// What is known of an attempt beyond its flight; kept while it is outstanding, in memory only: neither restarts nor
/// outages count towards poison.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    /// It may have been published before: goes out with `check`.
    pub check: bool,
    /// It goes out again because another one owned its run before, or its run left memory: not because it was lost here.
    pub resumed: bool,
    /// Its deliveries may have killed workers: goes out singly and confirmed.
    pub suspect: bool,
    /// Questions about a redelivery of it.
    pub redeliveries: u8,
    /// Deliveries before the first confirmed start that were lost while a worker vanished: they count as soon as a confirmed one does.
    pub lost: u8,
    /// When the last of them was counted: no vanished worker counts twice.
    pub lost_at: Option<Timestamp>,
    /// Starts whose worker vanished.
    pub strikes: u8,
    /// Since when it runs by a confirmed start, if it does.
    pub confirmed: Option<Timestamp>,
    /// The worker that was allowed to run it before it was taken here.
    pub granted: Option<Uuid>,
}

impl Mark {
    /// A delivery was lost while a worker vanished.
    pub fn count_loss(&mut self, now: Timestamp) {
        self.lost_at = Some(now);
        if self.strikes == 0 {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

/// A run in memory.
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The fold of its journal.
    pub state: RunState,
    /// What it runs.
    pub definition: Arc<Definition>,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its workflow's version.
    pub version: u32,
    /// Order among runs.
    pub priority: Priority,
    /// Messages and completions.
    pub counts: Counts,
    /// Status in the run's row.
    pub row_status: RunStatus,
    /// When the row was last written.
    pub row_at: Timestamp,
    /// When the run's row says that somebody has to look at it.
    pub row_wake_at: Option<Timestamp>,
    /// Whether progress or counts have changed since.
    pub row_stale: bool,
    /// What was folded from the journal when the run was loaded: attempts of scopes up to here may have been published by
    /// an earlier owner. `None`: it began here.
    pub loaded_seq: Option<u64>,
    /// The last attempt of the outermost flow that ended here: later ones cannot have been published by anyone else.
    pub root_passed: Option<Try>,
    /// The dispatcher's moment of the load.
    pub loaded_moment: u64,
    /// Where each taken attempt is.
    pub flights: HashMap<Try, Flight>,
    /// Attempts with a history.
    pub marks: HashMap<Try, Mark>,
    /// The time it was last put on the timers for.
    pub due: Option<Timestamp>,
    /// When its timer fired last: what was due then has been looked at.
    pub fired_at: Option<Timestamp>,
    /// Its place among the runs at rest, if it is one of them.
    pub rest: Option<u64>,
    /// Bytes it takes there.
    pub rest_bytes: usize,
    /// Its row was written by an older version: its waits are put anew.
    pub puts_waits: bool,
    /// Whether it stands in the dispatcher's ring.
    pub in_ring: bool,
    /// When a join of it became durable after which nothing has been dispatched yet.
    pub joined_at: Option<Timestamp>,
    /// The task queue named last.
    pub queue: Option<QueueKey>,
    /// The base context sent last, by its record.
    pub base: Option<(u64, BaseContext)>,
}

impl Run {
    /// When somebody has to look at its row, written at `now`: if it waits, at its first timer; once it has ended, when its retention
    /// is over, which counts from its last end (`ends`: that is now).
    #[must_use]
    pub fn wake_at(&self, now: Timestamp, ends: bool) -> Option<Timestamp> {
        let status = self.state.status();
        match status {
            RunStatus::Scheduled | RunStatus::Waiting => return self.state.next_due(),
            RunStatus::Running | RunStatus::Paused | RunStatus::Compensating => return None,
            RunStatus::Completed | RunStatus::Failed | RunStatus::CompensationFailed | RunStatus::Cancelled => {}
        }
        if !ends {
            return self.row_wake_at;
        }
        let retention = &self.definition.retention;
        let own = retention.iter().find(|(state, _)| state == status.as_str());
        own.map(|(_, keep)| now.plus(*keep))
    }

    /// The key of one of its attempts.
    #[must_use]
    pub fn key(&self, attempt: Try) -> AttemptKey {
        AttemptKey {
            run: self.id,
            step: attempt.0,
            attempt: attempt.1,
        }
    }

    /// Counts of its steps.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.state.progress().with_taken(self.flights.len())
    }

    /// The task queue of this name in its namespace.
    #[must_use]
    pub fn queue(&mut self, name: &Arc<str>) -> QueueKey {
        if let Some(queue) = &self.queue
            && queue.name == *name
        {
            return queue.clone();
        }
        let queue = QueueKey::new(self.namespace.clone(), name.clone());
        self.queue = Some(queue.clone());
        queue
    }

    /// It had ended and was resumed: what is ready right after that goes out because of it.
    pub fn note_resumed(&mut self) {
        for attempt in self.state.ready_now() {
            self.marks.entry(attempt).or_default().resumed = true;
        }
    }

    /// Whether an earlier owner may have published this attempt.
    #[must_use]
    pub fn may_be_inherited(&self, attempt: Try) -> bool {
        let is_root = attempt.0.scope == 0;
        let is_later = is_root && self.root_passed.is_some_and(|passed| attempt > passed);
        self.loaded_seq.is_some_and(|seq| attempt.0.scope <= seq) && !is_later
    }
}
