//! Attempts that wait for credit of one task queue: round-robin over runs, by priority.

use std::collections::VecDeque;

use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use rejoin_shared::run::Priority;

use crate::owner::run::Try;

/// Attempts a run may send in one turn.
const TURN: usize = 64;

#[derive(Default)]
struct Ring {
    turns: VecDeque<RunId>,
    waiting: HashMap<RunId, VecDeque<Try>>,
}

/// The line of a task queue.
#[derive(Default)]
pub struct Line {
    rings: [Ring; 3],
    len: usize,
}

pub(super) fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl Line {
    /// Puts an attempt at the end of its run's part.
    pub fn push(&mut self, priority: Priority, run: RunId, attempt: Try) {
        let ring = &mut self.rings[rank(priority)];
        let waiting = ring.waiting.entry(run).or_default();
        if waiting.is_empty() {
            ring.turns.push_back(run);
        }
        waiting.push_back(attempt);
        self.len += 1;
    }

    /// The next attempt, and with it up to a turn's worth of the same run before another run's come.
    pub fn take_turn(&mut self, max: usize) -> Option<(RunId, Vec<Try>)> {
        let ring = self.rings.iter_mut().find(|ring| !ring.turns.is_empty())?;
        let run = ring.turns.pop_front()?;
        let waiting = ring.waiting.get_mut(&run)?;
        let count = waiting.len().min(max).min(TURN);
        let taken: Vec<Try> = waiting.drain(..count).collect();
        match waiting.is_empty() {
            true => drop(ring.waiting.remove(&run)),
            false => ring.turns.push_back(run),
        }
        self.len -= taken.len();
        Some((run, taken))
    }

    /// How many wait, those included that are not wanted any more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
