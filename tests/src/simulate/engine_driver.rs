//! Drives the engine as a shell would, with seeded schedules: completions, events and messages in any order, twice, late; lost
//! attempts; crashes after which all states are folded from their encoded journals; pauses; resumes of failed runs.

mod claim;
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rejoin_engine::decision::{Apply, ChildEnd, Decision, Ignored, Sent, Surroundings};
use rejoin_engine::event::{Completed, End, Event, Start};
use rejoin_engine::record::Fact;
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::Ready;
use rejoin_engine::{decide, start};
use rejoin_shared::ids::{Namespace, RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, Priority, RunStatus};
use rejoin_shared::time::Timestamp;

use super::live::Live;
use super::messages::{Message, Messages};
use super::outside::{Due, Mailbag};
use super::replies::{completion, labelled, reply_text};
use super::{START, run_id};
use crate::dice::Dice;
use crate::generate::{Case, World};
use crate::reference::{Call, Outside, Seen};
pub use faults::{Faults, Planted};

/// Turns after which a schedule counts as stuck.
const TURNS_MAX: usize = 60_000;

/// A run and all that it calls, under a schedule.
pub struct Driver<'a> {
    case: &'a Case,
    faults: Faults,
    dice: Dice,
    world: World,
    limits: Limits,
    now: Timestamp,
    /// All runs; the case's is the first.
    pub runs: Vec<Live>,
    messages: Messages,
    mailbag: Mailbag,
    /// What came from outside.
    came: Vec<(usize, Due)>,
    /// How often each call was made, by label and path.
    calls: BTreeMap<String, u32>,
    /// Labels of all runs that were called.
    labels: BTreeMap<RunId, String>,
    /// Completions under way.
    flying: Vec<(usize, Completed)>,
    /// Completions delivered.
    past: Vec<(usize, Completed)>,
    /// What handlers were called with, by path behind the run's label, and attempt.
    pub executed: BTreeMap<(String, u32), Seen>,
    paths: BTreeMap<(usize, StepKey), String>,
    /// Attempts of steps with `idempotent: false` that were begun, by run.
    begun_once: BTreeSet<(usize, StepKey, u32)>,
    /// Whether a claim was lost: what the reference says holds no more.
    pub lost_claims: bool,
    /// What happened, for people.
    pub history: Vec<String>,
    /// How often something happened, or could have.
    pub turns: usize,
    /// Whether the run was cancelled by the schedule.
    pub was_cancelled: bool,
}

impl<'a> Driver<'a> {
    /// Starts the run of a case.
    ///
    /// # Panics
    /// If the first records break an invariant.
    #[must_use]
    pub fn new(case: &'a Case, faults: Faults) -> Driver<'a> {
        let mut driver = Driver {
            case,
            dice: Dice::of(faults.schedule.unwrap_or(case.seed), "schedule"),
            faults,
            world: case.world.clone(),
            limits: Limits::default(),
            now: START,
            runs: Vec::new(),
            messages: Messages::default(),
            mailbag: Mailbag::default(),
            came: Vec::new(),
            calls: BTreeMap::new(),
            labels: BTreeMap::from([(run_id(), String::new())]),
            flying: Vec::new(),
            past: Vec::new(),
            executed: BTreeMap::new(),
            paths: BTreeMap::new(),
            begun_once: BTreeSet::new(),
            lost_claims: false,
            history: Vec::new(),
            turns: 0,
            was_cancelled: false,
        };
        let begin = Start {
            run: run_id(),
            namespace: Namespace::default_name(),
            version: 1,
            input: case.input.clone(),
            tags: BTreeMap::new(),
            priority: Priority::Normal,
            parent: None,
            is_awaited: false,
            at: None,
            traceparent: None,
        };
        let def = case.def.clone();
        let begun = driver.begin(String::new(), begin, &def);
        begun.expect("the first records are in order");
        driver
    }

    /// The run of the case.
    #[must_use]
    pub fn state(&self) -> &RunState {
        &self.runs[0].state
    }

    fn begin(
        &mut self,
        label: String,
        begin: Start,
        def: &std::sync::Arc<rejoin_shared::definition::model::Definition>,
    ) -> Result<(), String> {
        let (limits, now, id) = (self.limits.clone(), self.now, begin.run);
        let (state, apply) = start(def, begin, Surroundings { now, limits: &limits });
        self.runs.push(Live::new(label, id, def, state));
        self.append(self.runs.len() - 1, &apply, "start")
    }

    /// Runs until all runs have ended.
    ///
    /// # Errors
    /// The invariant that broke.
    pub fn run_to_end(&mut self) -> Result<(), String> {
        let mut turns = 0;
        while !(self.messages.is_empty() && self.runs.iter().all(|run| run.state.status().is_terminal())) {
            turns += 1;
            if turns > TURNS_MAX {
                return Err("the run does not end".to_owned());
            }
            self.now = self.now.plus(Duration::from_millis(1));
            if !self.turn()? {
                self.check_left_alone()?;
                break;
            }
        }
        self.check_end()
    }

    /// Nothing can happen any more: only runs that nobody waits for may be left, for what never comes.
    fn check_left_alone(&self) -> Result<(), String> {
        let mut open = self.runs.iter().filter(|run| !run.state.status().is_terminal());
        match open.find(|run| run.label.is_empty() || &*run.def.workflow != "stuck") {
            None => Ok(()),
            Some(run) => {
                let scopes: Vec<_> = run.state.open_scopes().collect();
                Err(format!("the run {} is stuck: {scopes:?}", run.label))
            }
        }
    }

    /// Runs with handlers of which some fail for good; mends them and resumes until the run has completed.
    ///
    /// # Errors
    /// The invariant that broke.
    pub fn run_broken_then_mended(&mut self) -> Result<(), String> {
        self.world = self.case.world.broken();
        self.run_to_end()?;
        if self.state().status() != RunStatus::Failed {
            return Ok(());
        }
        self.world = self.case.world.clone();
        // What a broken handler answered in a branch that was cancelled would be taken after the resume, rightly.
        let is_ok = |(_, done): &(usize, Completed)| matches!(done.end, End::Ok { .. });
        self.flying.retain(is_ok);
        self.past.retain(is_ok);
        if self.dice.chance(50) {
            self.crash()?;
        }
        let plan = self.state().resume_plan(10_000, self.around(self.now));
        let plan = plan.ok_or("a failed run has no plan of its resume")?;
        self.tell(0, Event::Resume, "resume")?;
        let mut trial = self.state().clone();
        let planned: BTreeSet<String> = plan.dispatch.into_iter().collect();
        let taken = trial.take_ready(self.now, 10_000);
        let dispatched: BTreeSet<String> = taken.iter().filter_map(|r| self.path_of(&trial, r)).collect();
        // It also says what goes out once others have ended.
        if !planned.is_superset(&dispatched) {
            return Err(format!("the plan says {planned:?}, dispatched are {dispatched:?}"));
        }
        let completed = &self.runs[0].journal.completed_paths;
        if let Some(path) = planned.iter().find(|path| completed.contains(*path)) {
            return Err(format!("{path} had completed and is dispatched by the resume"));
        }
        self.run_to_end()
    }

    /// Mends the handlers that undo, and resumes until all is undone.
    ///
    /// # Errors
    /// The invariant that broke.
    pub fn undo_the_rest(&mut self) -> Result<(), String> {
        self.world = self.case.world.undoing();
        let is_ok = |(_, done): &(usize, Completed)| matches!(done.end, End::Ok { .. });
        self.past.retain(is_ok);
        // What is not tried again may fail a few attempts more.
        for _ in 0..4 {
            if self.state().status() == RunStatus::CompensationFailed {
                self.tell(0, Event::Resume, "resume the compensation")?;
                self.run_to_end()?;
            }
        }
        let is_undone = self.state().status() == RunStatus::Failed && self.state().is_compensated();
        match is_undone {
            true => Ok(()),
            false => Err(format!("after resumes it is {}", self.state().status().as_str())),
        }
    }

    fn path_of(&self, state: &RunState, ready: &Ready) -> Option<String> {
        let request = state.request(ready.step, ready.attempt, self.around(self.now));
        request.ok().map(|request| request.path)
    }

    fn around(&self, now: Timestamp) -> Surroundings<'_> {
        Surroundings {
            now,
            limits: &self.limits,
        }
    }

    /// Something happens; false if nothing can.
    fn turn(&mut self) -> Result<bool, String> {
        let roll = self.dice.below(100);
        let f = self.faults.clone();
        self.turns += 1;
        if f.turns_max.is_some_and(|max| self.turns > max) {
            return self.advance();
        }
        let mut below = 0;
        let mut within = |share: usize| {
            below += share;
            roll < below
        };
        if within(f.crashes) {
            self.crash()?;
        } else if within(f.duplicates) {
            self.deliver_again()?;
        } else if within(f.losses) {
            self.lose()?;
        } else if within(f.pauses) {
            self.pause_and_resume()?;
        } else if within(f.cancels) {
            self.cancel()?;
        } else if within(f.edits) {
            self.edit_a_scope()?;
        } else {
            return self.advance();
        }
        Ok(true)
    }

    /// Something that brings a run forward: dispatch, a completion, a message, something from outside, or time.
    fn advance(&mut self) -> Result<bool, String> {
        let first = self.dice.below(10);
        let order = match first {
            0..=2 => [0, 1, 2, 3, 4],
            3..=6 => [1, 2, 3, 0, 4],
            7 => [2, 3, 4, 1, 0],
            8 => [3, 2, 1, 0, 4],
            _ => [4, 0, 1, 2, 3],
        };
        for what in order {
            let happened = match what {
                0 => self.dispatch_some()?,
                1 => self.complete_one()?,
                2 => self.read_message()?,
                3 => self.reach_in()?,
                _ => self.begin_some()?,
            };
            if happened {
                return Ok(true);
            }
        }
        if self.faults.planted == Some(Planted::TimerDeletedBeforeItFires) && self.dice.chance(20) {
            return Ok(false);
        }
        let next = |at: usize| Some((self.runs[at].state.next_due()?, at));
        let Some((due, at)) = (0..self.runs.len()).filter_map(next).min() else {
            return Ok(false);
        };
        self.now = self.now.max(due);
        self.tell(at, Event::TimerDue, "timer")?;
        Ok(true)
    }

    /// Any of the runs, and then the others.
    fn any_run(&mut self) -> Vec<usize> {
        let n = self.runs.len();
        let first = self.dice.below(n);
        (first..n).chain(0..first).collect()
    }

    fn dispatch_some(&mut self) -> Result<bool, String> {
        for at in self.any_run() {
            let most = 1 + self.dice.below(6);
            let taken = self.runs[at].state.take_ready(self.now, most);
            if !taken.is_empty() {
                taken.iter().try_for_each(|ready| self.dispatch(at, ready))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn complete_one(&mut self) -> Result<bool, String> {
        if self.flying.is_empty() {
            return Ok(false);
        }
        let at = self.dice.below(self.flying.len());
        let (run, done) = self.flying.swap_remove(at);
        self.deliver(run, done)?;
        Ok(true)
    }

    fn begin_some(&mut self) -> Result<bool, String> {
        for at in self.any_run() {
            if self.runs[at].state.wants_begin() {
                let room = 1 + self.dice.below(4);
                self.tell(at, Event::Begin { room }, "begin")?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_message(&mut self) -> Result<bool, String> {
        let Some((to, message)) = self.messages.take(&mut self.dice) else {
            return Ok(false);
        };
        let at = self.runs.iter().position(|run| run.id == to);
        match message {
            Message::Tell(event) => {
                // A run that could not be started is not there.
                if let Some(at) = at {
                    let what = format!("message {event:?}");
                    self.tell(at, event, &what)?;
                }
            }
            Message::Start { .. } if at.is_some() => {}
            start @ Message::Start { .. } => self.called(to, start)?,
        }
        Ok(true)
    }

    /// A run is called.
    fn called(&mut self, child: RunId, message: Message) -> Result<(), String> {
        let Message::Start {
            parent,
            label,
            workflow,
            version,
            input,
            is_awaited,
        } = message
        else {
            return Ok(());
        };
        let Some(def) = self.world.definition(&workflow, version).cloned() else {
            if is_awaited {
                let end = ChildEnd::Error {
                    error: ErrorValue::new("rejoin.unknown_workflow", "there is none", ""),
                    is_resumable: false,
                    is_left_undone: false,
                    is_gone: false,
                };
                self.messages
                    .push(parent, Message::Tell(Event::ChildEnded { child, end }));
            }
            return Ok(());
        };
        let begin = Start {
            run: child,
            namespace: Namespace::default_name(),
            version: 1,
            input,
            tags: BTreeMap::new(),
            priority: Priority::Normal,
            parent: Some(parent),
            is_awaited,
            at: None,
            traceparent: None,
        };
        self.begin(label, begin, &def)
    }

    /// Something comes from outside.
    fn reach_in(&mut self) -> Result<bool, String> {
        for at in self.any_run() {
            let run = &self.runs[at];
            let mut due = self.mailbag.due(&run.state, &run.label, &self.world);
            if at == 0 && !run.state.status().is_terminal() && self.dice.chance(10) {
                due.extend(self.mailbag.early(&run.def, &run.label, &self.world));
            }
            if due.is_empty() {
                continue;
            }
            let due = self.dice.pick(&due).clone();
            self.mailbag.came(&due);
            let what = format!("from outside: {due:?}");
            self.tell(at, due.event(), &what)?;
            self.came.push((at, due));
            return Ok(true);
        }
        Ok(false)
    }

    /// Sends an attempt to a worker, which executes it at once; its completion flies.
    fn dispatch(&mut self, at: usize, ready: &Ready) -> Result<(), String> {
        let (step, attempt) = (ready.step, ready.attempt);
        let request = match self.runs[at].state.request(step, attempt, self.around(self.now)) {
            Ok(request) => request,
            Err(error) => {
                let what = format!("unbuildable {step} attempt {attempt}: {}", error.kind);
                return self.tell(at, Event::Unbuildable { step, attempt, error }, &what);
            }
        };
        let mut ctx = request.base.clone();
        request.changes.apply(&mut ctx);
        let input = request.input.clone().unwrap_or_else(|| ctx.clone());
        if ready.wants_claim && !self.claim(at, step, attempt)? {
            return Ok(());
        }
        let clock = self.history.len();
        self.runs[at].begin_execution(&request.path, clock)?;
        self.paths.insert((at, step), request.path.clone());
        let full = format!("{}{}", self.runs[at].label, request.path);
        let reply = self.world.call(&Call {
            run: &self.runs[at].label,
            path: &request.path,
            attempt,
            handler: &request.handler,
            input: &input,
            ctx: &ctx,
        });
        self.history
            .push(format!("dispatch {full} attempt {attempt} -> {}", reply_text(&reply)));
        let seen = Seen {
            ctx: self.labelled(&ctx),
            input: self.labelled(&input),
        };
        if let Some(before) = self.executed.insert((full.clone(), attempt), seen.clone())
            && before != seen
        {
            return Err(format!("{full} attempt {attempt} saw {before:?} and then {seen:?}"));
        }
        let random = self.dice.any();
        let done = completion(step, attempt, reply, self.now, random);
        self.flying.push((at, done));
        Ok(())
    }

    /// A value with labels in place of the ids of runs.
    #[must_use]
    pub fn labelled(&self, value: &Json) -> Json {
        match self.labels.len() {
            1 => value.clone(),
            _ => labelled(value, &self.labels),
        }
    }

    fn deliver(&mut self, run: usize, done: Completed) -> Result<(), String> {
        let what = format!("completed {} attempt {}", done.step, done.attempt);
        self.past.push((run, done.clone()));
        self.tell(run, Event::Completed(Box::new(done)), &what)
    }

    fn tell(&mut self, at: usize, event: Event, what: &str) -> Result<(), String> {
        let wanted = if let Event::Completed(done) = &event {
            self.runs[at].state.is_outstanding(done.step, done.attempt)
        } else {
            false
        };
        // What comes from outside or from other runs may find that the run does not wait for it any more.
        let may_be_refused = matches!(
            event,
            Event::Signal { .. }
                | Event::Answer { .. }
                | Event::Cancel { .. }
                | Event::Operate { .. }
                | Event::GoOn { .. }
                | Event::Edit { .. }
        );
        let (now, limits) = (self.now, self.limits.clone());
        let decision = decide(&mut self.runs[at].state, event, Surroundings { now, limits: &limits });
        match decision {
            Decision::Apply(apply) => self.append(at, &apply, what),
            Decision::Ignored(why) => {
                self.history.push(format!("{what}: ignored, {why:?}"));
                if wanted {
                    return Err(format!("{what} was outstanding and is ignored as {why:?}"));
                }
                if let (Ignored::NotAllowed(text), false) = (&why, may_be_refused) {
                    return Err(format!("{what} is not allowed: {text}"));
                }
                Ok(())
            }
        }
    }

    fn append(&mut self, at: usize, apply: &Apply, what: &str) -> Result<(), String> {
        let from = self.runs[at].journal.len();
        let mut records = apply.records.clone();
        if self.faults.planted == Some(Planted::GapInTheJournal) && self.dice.chance(5) {
            records.pop();
        }
        if self.faults.planted == Some(Planted::StateWithoutCommit) && from > 0 && self.dice.chance(5) {
            records.clear();
        }
        let is_paused = self.runs[at].state.status() == RunStatus::Paused;
        let reaches_out = |sent: &Sent| matches!(sent, Sent::Start { .. } | Sent::Event { .. });
        if is_paused && apply.sent.iter().any(reaches_out) && what != "pause" {
            return Err(format!("a paused run sends {:?}", apply.sent));
        }
        let clock = self.history.len();
        let checked = self.runs[at].append(&records, apply, clock);
        self.history.push(format!("{}{what}", self.runs[at].label));
        self.history.extend(self.runs[at].journal.shown(from));
        self.send(at, apply);
        checked
    }

    fn send(&mut self, at: usize, apply: &Apply) {
        for record in &apply.records {
            if let Fact::ChildStarted { child, path, .. } = &record.fact {
                let place = format!("{}{path}", self.runs[at].label);
                let tries = self.calls.entry(place.clone()).or_default();
                *tries += 1;
                self.labels.insert(*child, format!("{place}~{tries}:"));
            }
        }
        let all: Vec<RunId> = self.runs.iter().map(|run| run.id).collect();
        let from = self.runs[at].id;
        self.messages.put(from, &apply.sent, &self.labels, &all);
    }

    /// What holds at the end.
    fn check_end(&mut self) -> Result<(), String> {
        let now = self.now;
        let ended = self.runs.iter().filter(|run| run.state.status().is_terminal());
        for run in ended {
            run.check_end(now).map_err(|why| format!("run {}: {why}", run.label))?;
        }
        self.crash()?;
        // Whatever comes now changes nothing.
        let late: Vec<_> = self.flying.drain(..).chain(self.past.iter().take(5).cloned()).collect();
        let before: Vec<_> = self.runs.iter().map(|run| run.views(now)).collect();
        for (at, done) in late {
            let what = format!("late: completed {} attempt {}", done.step, done.attempt);
            self.tell(at, Event::Completed(Box::new(done)), &what)?;
        }
        if before != self.runs.iter().map(|run| run.views(now)).collect::<Vec<_>>() {
            return Err("a late completion changed an ended run".to_owned());
        }
        Ok(())
    }
}
