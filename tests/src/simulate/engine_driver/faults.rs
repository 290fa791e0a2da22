//! What goes wrong in a schedule.

use rejoin_engine::event::Event;
use rejoin_shared::run::RunStatus;

use super::super::edits::harmless_edit;
use super::super::outside::Due;
use super::Driver;
use super::claim::CLAIMS_LOST_PERCENT;
use crate::reference::Twist;

/// Which faults a schedule may hold, each as a percentage of its turns, and which bugs are planted.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Faults {
    pub duplicates: usize,
    pub crashes: usize,
    pub losses: usize,
    pub pauses: usize,
    pub cancels: usize,
    pub edits: usize,
    /// Turns after which nothing goes wrong any more.
    pub turns_max: Option<usize>,
    /// What the schedule is drawn from; the case's seed by default.
    pub schedule: Option<u64>,
    /// A bug of the shell that the simulator must find.
    pub planted: Option<Planted>,
    /// A rule that the reference reads wrongly: the same as a bug of the engine, seen from the other side.
    pub twist: Option<Twist>,
}

/// Bugs that the simulator must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A committed row is lost.
    GapInTheJournal,
    /// A completion is taken for the attempt that is outstanding, whichever it was of.
    NoAttemptCheck,
    /// After a crash a step that completed goes out again, unchecked.
    UncheckedTwin,
    /// The state is kept though its commit failed.
    StateWithoutCommit,
    /// A timer is forgotten before it has fired.
    TimerDeletedBeforeItFires,
    /// An attempt that has to be claimed is begun without a claim.
    UnclaimedStart,
}

impl Faults {
    /// The everyday mix.
    #[must_use]
    pub fn all() -> Faults {
        Faults {
            duplicates: 10,
            crashes: 4,
            losses: 6,
            pauses: 2,
            cancels: 0,
            edits: 3,
            ..Faults::default()
        }
    }

    /// The percentages, by name.
    pub fn shares(&mut self) -> [(&'static str, &mut usize); 6] {
        [
            ("duplicates", &mut self.duplicates),
            ("crashes", &mut self.crashes),
            ("losses", &mut self.losses),
            ("pauses", &mut self.pauses),
            ("cancels", &mut self.cancels),
            ("edits", &mut self.edits),
        ]
    }
}

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

    /// An operator edits an open scope.
    pub(super) fn edit_a_scope(&mut self) -> Result<(), String> {
        let at = self.dice.below(self.runs.len());
        let roll = self.dice.any();
        let run = &self.runs[at];
        match harmless_edit(&run.state, &run.def, roll) {
            Some((path, edit)) => {
                let what = format!("edit {path}: {edit:?}");
                self.tell(at, Event::Edit { path, edit }, &what)
            }
            None => Ok(()),
        }
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
        self.tell(at, Event::Completed(Box::new(done)), &what)
    }

    /// An attempt gets lost with its worker; the same one goes out again, unless it had been claimed.
    pub(super) fn lose(&mut self) -> Result<(), String> {
        if self.flying.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.flying.len());
        let (run, step, attempt) = (self.flying[at].0, self.flying[at].1.step, self.flying[at].1.attempt);
        let claim = self.held_claim(run, step, attempt);
        if claim.is_some() && !self.dice.chance(CLAIMS_LOST_PERCENT) {
            return Ok(());
        }
        let lost = self.flying.swap_remove(at);
        self.history.push(format!("lost {step} attempt {attempt}"));
        match claim {
            Some(claim) => {
                self.past.push(lost); // it may come late
                self.lose_claim(run, step, attempt, claim)
            }
            None => {
                self.runs[run].state.put_back(step, attempt);
                Ok(())
            }
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
        let begun_once = &self.begun_once;
        self.flying.retain(|(at, done)| {
            let is_claimed = begun_once.contains(&(*at, done.step, done.attempt));
            dice.chance(if is_claimed { 100 - CLAIMS_LOST_PERCENT } else { 50 })
        });
        (0..self.runs.len()).try_for_each(|at| self.tell(at, Event::Loaded, "loaded"))
    }
}
