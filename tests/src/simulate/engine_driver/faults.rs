//! What goes wrong in a schedule.

use rejoin_engine::event::Event;
use rejoin_shared::run::RunStatus;

use super::super::outside::Due;
use super::{Driver, Planted};

impl Driver<'_> {
    pub(super) fn cancel(&mut self) -> Result<(), String> {
        self.was_cancelled = true;
        let compensate = self.dice.chance(50);
        let cancel = Event::Cancel {
            reason: None,
            compensate,
        };
        self.tell(0, cancel, "cancel")
    }

    pub(super) fn deliver_again(&mut self) -> Result<(), String> {
        if !self.came.is_empty() && self.dice.chance(20) {
            let (at, due) = self.dice.pick(&self.came).clone();
            // What counts by its id counts once; the rest would be something new.
            if matches!(due, Due::Event { id: Some(_), .. }) {
                return self.tell(at, due.event(), &format!("again from outside: {due:?}"));
            }
        }
        let copies = if self.dice.chance(50) { &self.past } else { &self.flying };
        if copies.is_empty() {
            return Ok(());
        }
        let (at, mut done) = copies[self.dice.below(copies.len())].clone();
        done.random = self.dice.any();
        if self.faults.planted == Some(Planted::NoAttemptCheck) {
            let current = self.runs[at].state.open_steps().find(|open| open.step == done.step);
            done.attempt = current.map_or(done.attempt, |open| open.attempt);
        }
        let what = format!("again: completed {} attempt {}", done.step, done.attempt);
        self.tell(at, Event::Completed(done), &what)
    }

    /// An attempt gets lost with its worker; the same one goes out again.
    pub(super) fn lose(&mut self) {
        if !self.flying.is_empty() {
            let at = self.dice.below(self.flying.len());
            let (run, lost) = self.flying.swap_remove(at);
            self.history
                .push(format!("lost {} attempt {}", lost.step, lost.attempt));
            self.runs[run].state.put_back(lost.step, lost.attempt);
        }
    }

    pub(super) fn pause_and_resume(&mut self) -> Result<(), String> {
        let at = self.dice.below(self.runs.len());
        if !matches!(self.runs[at].state.status(), RunStatus::Running | RunStatus::Waiting) {
            return Ok(());
        }
        self.tell(at, Event::Pause, "pause")?;
        for _ in 0..self.dice.below(4) {
            if !self.runs[at].state.take_ready(self.now, 10).is_empty() {
                return Err("a paused run dispatches".to_owned());
            }
            match self.dice.below(3) {
                0 => drop(self.read_message()?),
                1 => drop(self.reach_in()?),
                _ => drop(self.complete_one()?),
            }
        }
        if self.dice.chance(30) {
            self.crash()?;
        }
        if self.runs[at].state.status() == RunStatus::Paused {
            self.tell(at, Event::Resume, "go on")?;
        }
        Ok(())
    }

    /// The process dies: the states are folded from the journals; what was under way is lost or comes late.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.history.push("crash".to_owned());
        let now = self.now;
        self.runs.iter_mut().try_for_each(|run| run.crash(now))?;
        if self.faults.planted == Some(Planted::UncheckedTwin) && !self.past.is_empty() {
            let (at, twin) = &self.past[self.dice.below(self.past.len())];
            let path = self.paths.get(&(*at, twin.step)).cloned().unwrap_or_default();
            self.runs[*at].begin_execution(&path, self.history.len())?;
        }
        let dice = &mut self.dice;
        self.flying.retain(|_| dice.chance(50));
        (0..self.runs.len()).try_for_each(|at| self.tell(at, Event::Loaded, "loaded"))
    }
}
