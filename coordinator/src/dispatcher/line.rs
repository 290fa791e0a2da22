//! Attempts that wait for credit of one task queue: round-robin over runs, by priority.

use std::collections::VecDeque;

use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use rejoin_shared::run::Priority;

use crate::owner::run::Try;

/// Attempts a run may send in one turn.
const TURN: usize = 64;
/// Runs that have more to send than a turn takes and are passed over at most, until it is looked again.
const PASSED_MAX: usize = 16;

#[derive(Default)]
struct Ring {
    turns: VecDeque<RunId>,
    waiting: HashMap<RunId, VecDeque<Try>>,
}

impl Ring {
    /// Whether a run has more to send than a turn takes.
    fn is_long(&self, run: &RunId) -> bool {
        self.waiting.get(run).is_some_and(|waiting| waiting.len() > TURN)
    }
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

    /// The next attempt, and with it up to a turn's worth of the same run before another run's come; of runs that have more to send
    /// than a turn takes only if `takes_long`.
    pub fn take_turn(&mut self, max: usize, takes_long: bool) -> Option<(RunId, Vec<Try>)> {
        let ring = self.rings.iter_mut().find(|ring| !ring.turns.is_empty())?;
        let mut passed = 0;
        while !takes_long && ring.turns.front().is_some_and(|run| ring.is_long(run)) {
            if passed == PASSED_MAX.min(ring.turns.len()) {
                return None;
            }
            ring.turns.rotate_left(1);
            passed += 1;
        }
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

    /// Whether a run that has no more to send than a turn takes waits beside others, as far as those tell that come next.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let runs: usize = self.rings.iter().map(|ring| ring.turns.len()).sum();
        let is_short = |ring: &Ring| ring.turns.iter().take(PASSED_MAX).any(|run| !ring.is_long(run));
        runs > 1 && self.rings.iter().any(is_short)
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

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, StepKey};

    use super::*;

    fn attempt(branch: u32) -> Try {
        let step = StepKey {
            scope: 2,
            branch,
            pos: 0,
        };
        (step, 1)
    }

    /// A line in which each of these runs has so many attempts.
    fn line(of: &[(RunId, u32)]) -> Line {
        let mut line = Line::default();
        for (run, count) in of {
            (0..*count).for_each(|branch| line.push(Priority::Normal, *run, attempt(branch)));
        }
        line
    }

    #[test]
    fn runs_take_turns() {
        let [a, b] = [(); 2].map(|()| RunId::new_in(Partition(1)));
        let mut line = line(&[(a, 100), (b, 3)]);
        assert!(line.is_shared());
        let turns: Vec<(RunId, usize)> = std::iter::from_fn(|| line.take_turn(1_000, true))
            .map(|(run, taken)| (run, taken.len()))
            .collect();
        assert_eq!(turns, [(a, 64), (b, 3), (a, 36)]);
        assert!(line.is_empty() && !line.is_shared());
    }

    #[test]
    fn long_runs_beside_each_other_leave_no_room_that_nobody_needs() {
        let [a, b, c] = [(); 3].map(|()| RunId::new_in(Partition(1)));
        assert!(!line(&[(a, 3)]).is_shared());
        assert!(!line(&[(a, 100), (b, 100)]).is_shared());
        assert!(line(&[(a, 100), (b, 100), (c, 1)]).is_shared());
    }

    #[test]
    fn whoever_has_more_than_a_turn_can_be_passed_over_and_keeps_its_place() {
        let [a, b, c] = [(); 3].map(|()| RunId::new_in(Partition(1)));
        let mut line = line(&[(a, 100), (b, 3), (c, 70)]);
        assert_eq!(line.take_turn(1_000, false).map(|(run, _)| run), Some(b));
        assert_eq!(line.take_turn(1_000, false), None);
        assert_eq!(line.len(), 170);
        let next = [(); 3].map(|()| line.take_turn(1_000, true).map(|(run, taken)| (run, taken.len())));
        assert_eq!(next, [Some((c, 64)), Some((a, 64)), Some((c, 6))]);
        // What is left of it is a turn's worth.
        assert_eq!(line.take_turn(1_000, false).map(|(run, _)| run), Some(a));
    }
}
