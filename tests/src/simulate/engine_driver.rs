//! Drives the engine as a shell would, with seeded schedules: completions in any order, twice, late; lost attempts;
//! crashes after which the state is folded from the encoded journal; pauses; resumes of failed runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rejoin_engine::decision::{Apply, Decision, Ignored, Surroundings};
use rejoin_engine::event::{Completed, End, Event, Failure, Start};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenScope, OpenStatus, OpenStep, Ready, Request};
use rejoin_engine::{decide, start};
use rejoin_shared::ids::{Namespace, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, Outcome, Priority, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use super::journal::Journal;
use super::{START, run_id};
use crate::dice::Dice;
use crate::generate::{Case, World};
use crate::reference::{Call, Handlers, Reply, Seen};

/// Which faults a schedule may hold, each as a percentage of its turns, and which bugs are planted.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Faults {
    pub duplicates: usize,
    pub crashes: usize,
    pub losses: usize,
    pub pauses: usize,
    pub cancels: usize,
    /// A bug of the shell that the simulator must find.
    pub planted: Option<Planted>,
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
            planted: None,
        }
    }
}

/// Turns after which a schedule counts as stuck.
const TURNS_MAX: usize = 60_000;

/// A run under a schedule.
pub struct Driver<'a> {
    case: &'a Case,
    faults: Faults,
    dice: Dice,
    world: World,
    limits: Limits,
    now: Timestamp,
    /// The run.
    pub state: RunState,
    /// Its rows.
    pub journal: Journal,
    /// Completions under way.
    flying: Vec<Completed>,
    /// Completions delivered.
    past: Vec<Completed>,
    /// What handlers were called with, by path and attempt.
    pub executed: BTreeMap<(String, u32), Seen>,
    paths: BTreeMap<StepKey, String>,
    /// What happened, for people.
    pub history: Vec<String>,
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
        let limits = Limits::default();
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
        };
        let around = Surroundings {
            now: START,
            limits: &limits,
        };
        let (state, apply) = start(&case.def, begin, around);
        let mut driver = Driver {
            case,
            faults,
            dice: Dice::of(case.seed, "schedule"),
            world: case.world.clone(),
            limits: limits.clone(),
            now: START,
            state,
            journal: Journal::default(),
            flying: Vec::new(),
            past: Vec::new(),
            executed: BTreeMap::new(),
            paths: BTreeMap::new(),
            history: Vec::new(),
            was_cancelled: false,
        };
        driver.append(&apply, "start").expect("the first records are in order");
        driver
    }

    /// Runs until the run has ended.
    ///
    /// # Errors
    /// The invariant that broke.
    pub fn run_to_end(&mut self) -> Result<(), String> {
        let mut turns = 0;
        while !self.state.status().is_terminal() {
            turns += 1;
            if turns > TURNS_MAX {
                return Err("the run does not end".to_owned());
            }
            self.now = self.now.plus(Duration::from_millis(1));
            self.turn()?;
        }
        self.check_end()
    }

    /// Runs with handlers of which some fail for good; mends them and resumes until the run has completed.
    ///
    /// # Errors
    /// The invariant that broke.
    pub fn run_broken_then_mended(&mut self) -> Result<(), String> {
        self.world = self.case.world.broken();
        self.run_to_end()?;
        if self.state.status() != RunStatus::Failed {
            return Ok(());
        }
        self.world = self.case.world.clone();
        // What a broken handler answered in a branch that was cancelled would be taken after the resume, rightly.
        let is_ok = |done: &Completed| matches!(done.end, End::Ok { .. });
        self.flying.retain(is_ok);
        self.past.retain(is_ok);
        if self.dice.chance(50) {
            self.crash()?;
        }
        let plan = self.state.resume_plan(10_000, self.around(self.now));
        let plan = plan.ok_or("a failed run has no plan of its resume")?;
        self.tell(Event::Resume, "resume")?;
        let mut trial = self.state.clone();
        let planned: BTreeSet<String> = plan.dispatch.into_iter().collect();
        let taken = trial.take_ready(self.now, 10_000);
        let dispatched: BTreeSet<String> = taken.iter().filter_map(|r| self.path_of(&trial, r)).collect();
        if planned != dispatched {
            return Err(format!("the plan says {planned:?}, dispatched are {dispatched:?}"));
        }
        if let Some(path) = dispatched.iter().find(|p| self.journal.completed_paths.contains(*p)) {
            return Err(format!("{path} had completed and is dispatched by the resume"));
        }
        self.run_to_end()
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

    fn turn(&mut self) -> Result<(), String> {
        let roll = self.dice.below(100);
        let f = self.faults.clone();
        let mut below = 0;
        let mut within = |share: usize| {
            below += share;
            roll < below
        };
        if within(f.crashes) {
            self.crash()
        } else if within(f.duplicates) {
            self.deliver_again()
        } else if within(f.losses) {
            self.lose();
            Ok(())
        } else if within(f.pauses) {
            self.pause_and_resume()
        } else if within(f.cancels) {
            self.was_cancelled = true;
            self.tell(
                Event::Cancel {
                    reason: None,
                    compensate: false,
                },
                "cancel",
            )
        } else {
            self.advance()
        }
    }

    /// Something that brings the run forward: dispatch, a completion, or time.
    fn advance(&mut self) -> Result<(), String> {
        if self.state.wants_begin() && self.dice.chance(70) {
            let room = 1 + self.dice.below(4);
            return self.tell(Event::Begin { room }, "begin");
        }
        if self.flying.is_empty() || self.dice.chance(30) {
            let most = 1 + self.dice.below(6);
            let taken = self.state.take_ready(self.now, most);
            if !taken.is_empty() {
                return taken.iter().try_for_each(|ready| self.dispatch(ready));
            }
        }
        if !self.flying.is_empty() {
            let at = self.dice.below(self.flying.len());
            let done = self.flying.swap_remove(at);
            return self.deliver(done);
        }
        if self.state.wants_begin() {
            return self.tell(Event::Begin { room: 1 }, "begin");
        }
        let due = self.state.next_due();
        let due = due.ok_or_else(|| format!("the run is stuck: {:?}", self.state.open_scopes().collect::<Vec<_>>()))?;
        self.now = self.now.max(due);
        self.tell(Event::TimerDue, "timer")
    }

    /// Sends an attempt to a worker, which executes it at once; its completion flies.
    fn dispatch(&mut self, ready: &Ready) -> Result<(), String> {
        let (step, attempt) = (ready.step, ready.attempt);
        let request = match self.state.request(step, attempt, self.around(self.now)) {
            Ok(request) => request,
            Err(error) => {
                let what = format!("unbuildable {step} attempt {attempt}: {}", error.kind);
                return self.tell(Event::Unbuildable { step, attempt, error }, &what);
            }
        };
        let mut ctx = request.base.clone();
        request.changes.apply(&mut ctx);
        let input = request.input.clone().unwrap_or_else(|| ctx.clone());
        self.begin_execution(&request.path)?;
        self.paths.insert(step, request.path.clone());
        let reply = self.world.call(&Call {
            path: &request.path,
            attempt,
            handler: &request.handler,
            input: &input,
            ctx: &ctx,
        });
        self.history.push(format!(
            "dispatch {} attempt {attempt} -> {}",
            request.path,
            reply_text(&reply)
        ));
        let seen = Seen { ctx, input };
        if let Some(before) = self.executed.insert((request.path.clone(), attempt), seen.clone())
            && before != seen
        {
            return Err(format!(
                "{} attempt {attempt} saw {before:?} and then {seen:?}",
                request.path
            ));
        }
        let random = self.dice.any();
        self.flying.push(completion(step, attempt, reply, self.now, random));
        Ok(())
    }

    /// A handler begins: never after the completion of its step was committed (G2).
    fn begin_execution(&mut self, path: &str) -> Result<(), String> {
        match self.journal.completed_paths.contains(path) {
            true => Err(format!("{path} is executed after its completion was committed")),
            false => Ok(()),
        }
    }

    fn deliver(&mut self, done: Completed) -> Result<(), String> {
        let what = format!("completed {} attempt {}", done.step, done.attempt);
        self.past.push(done.clone());
        self.tell(Event::Completed(done), &what)
    }

    fn deliver_again(&mut self) -> Result<(), String> {
        let copies = if self.dice.chance(50) { &self.past } else { &self.flying };
        if copies.is_empty() {
            return Ok(());
        }
        let mut done = copies[self.dice.below(copies.len())].clone();
        done.random = self.dice.any();
        if self.faults.planted == Some(Planted::NoAttemptCheck) {
            let current = self.state.open_steps().find(|open| open.step == done.step);
            done.attempt = current.map_or(done.attempt, |open| open.attempt);
        }
        let what = format!("again: completed {} attempt {}", done.step, done.attempt);
        self.tell(Event::Completed(done), &what)
    }

    /// An attempt gets lost with its worker; the same one goes out again.
    fn lose(&mut self) {
        if !self.flying.is_empty() {
            let at = self.dice.below(self.flying.len());
            let lost = self.flying.swap_remove(at);
            self.history
                .push(format!("lost {} attempt {}", lost.step, lost.attempt));
            self.state.put_back(lost.step, lost.attempt);
        }
    }

    fn pause_and_resume(&mut self) -> Result<(), String> {
        self.tell(Event::Pause, "pause")?;
        for _ in 0..self.dice.below(4) {
            if !self.state.take_ready(self.now, 10).is_empty() {
                return Err("a paused run dispatches".to_owned());
            }
            if let Some(done) = self.flying.pop() {
                self.deliver(done)?;
            }
            if self.state.status().is_terminal() {
                return Ok(());
            }
        }
        if self.dice.chance(30) {
            self.crash()?;
        }
        self.tell(Event::Resume, "go on")
    }

    /// The process dies: its state is folded from the journal; what was under way is lost or comes late.
    fn crash(&mut self) -> Result<(), String> {
        self.history.push("crash".to_owned());
        let folded = self.journal.fold(&self.case.def)?;
        let (before, after) = (Views::of(&self.state, self.now), Views::of(&folded, self.now));
        if before != after {
            return Err(format!(
                "folded is another state:\n{after:#?}\nthan before the crash:\n{before:#?}"
            ));
        }
        self.state = folded;
        if self.faults.planted == Some(Planted::UncheckedTwin) && !self.past.is_empty() {
            let twin = self.past[self.dice.below(self.past.len())].step;
            let path = self.paths.get(&twin).cloned().unwrap_or_default();
            self.begin_execution(&path)?;
        }
        let dice = &mut self.dice;
        self.flying.retain(|_| dice.chance(50));
        self.tell(Event::Loaded, "loaded")
    }

    fn tell(&mut self, event: Event, what: &str) -> Result<(), String> {
        let was_wanted = match &event {
            Event::Completed(done) => Some(self.state.is_outstanding(done.step, done.attempt)),
            Event::Unbuildable { .. }
            | Event::TimerDue
            | Event::Begin { .. }
            | Event::Loaded
            | Event::Signal { .. }
            | Event::ChildEnded { .. }
            | Event::GoOn { .. }
            | Event::Operate { .. }
            | Event::Answer { .. }
            | Event::Cancel { .. }
            | Event::Pause
            | Event::Resume
            | Event::Quarantine { .. } => None,
        };
        let now = self.now;
        let limits = self.limits.clone();
        let around = Surroundings { now, limits: &limits };
        match decide(&mut self.state, event, around) {
            Decision::Apply(apply) => self.append(&apply, what),
            Decision::Ignored(why) => {
                self.history.push(format!("{what}: ignored, {why:?}"));
                match (was_wanted, &why) {
                    (Some(true), _) => Err(format!("{what} was outstanding and is ignored as {why:?}")),
                    (None, Ignored::NotAllowed(text)) => Err(format!("{what} is not allowed: {text}")),
                    _ => Ok(()),
                }
            }
        }
    }

    fn append(&mut self, apply: &Apply, what: &str) -> Result<(), String> {
        let from = self.journal.len();
        let mut records = apply.records.clone();
        if self.faults.planted == Some(Planted::GapInTheJournal) && self.dice.chance(5) {
            records.pop();
        }
        if self.faults.planted == Some(Planted::StateWithoutCommit) && from > 0 && self.dice.chance(5) {
            records.clear();
        }
        let checked = self.journal.append(&records);
        self.history.push(what.to_owned());
        self.history.extend(self.journal.shown(from));
        checked
    }

    /// What holds of every run that has ended.
    fn check_end(&mut self) -> Result<(), String> {
        let far = self.now.plus(Duration::from_secs(1 << 30));
        let ready = self.state.clone().take_ready(far, 10);
        if !ready.is_empty() || self.state.wants_begin() || self.state.next_due().is_some() {
            return Err(format!("an ended run still has something to do: {ready:?}"));
        }
        self.crash()?;
        // Whatever comes now changes nothing.
        let late: Vec<Completed> = self.flying.drain(..).chain(self.past.iter().take(5).cloned()).collect();
        let before = Views::of(&self.state, self.now);
        for done in late {
            let what = format!("late: completed {} attempt {}", done.step, done.attempt);
            self.tell(Event::Completed(done), &what)?;
        }
        if before != Views::of(&self.state, self.now) {
            return Err("a late completion changed an ended run".to_owned());
        }
        Ok(())
    }
}

/// Everything that is seen of a run, once all that can be taken has been: taking opens branches without a record.
#[derive(Debug, PartialEq)]
struct Views {
    was_paused: bool,
    status: RunStatus,
    context: Json,
    result: (Option<Json>, Option<ErrorValue>),
    progress: Progress,
    due: Option<Timestamp>,
    wants_begin: bool,
    steps: Vec<OpenStep>,
    scopes: Vec<OpenScope>,
    requests: Vec<Result<Request, ErrorValue>>,
}

impl Views {
    fn of(state: &RunState, now: Timestamp) -> Views {
        let mut state = state.clone();
        let limits = Limits::default();
        let around = Surroundings { now, limits: &limits };
        // What a restart does first; it also drops what is left on a list of things to do that were done.
        decide(&mut state, Event::Loaded, around);
        let was_paused = state.status() == RunStatus::Paused;
        if was_paused {
            decide(&mut state, Event::Resume, around);
        }
        state.take_ready(now, usize::MAX);
        while state.wants_begin() {
            decide(&mut state, Event::Begin { room: usize::MAX }, around);
            state.take_ready(now, usize::MAX);
        }
        // A branch that was taken and then cancelled left no record: after a restart it was never begun.
        let is_live = |open: &OpenStep| open.status != OpenStatus::Cancelled;
        let steps: Vec<_> = state.open_steps().filter(is_live).collect();
        let asked = steps
            .iter()
            .filter(|open| state.is_outstanding(open.step, open.attempt));
        Views {
            was_paused,
            status: state.status(),
            context: state.context(),
            result: state.result(),
            progress: Progress {
                total: 0,
                ..state.progress()
            },
            due: state.next_due(),
            wants_begin: state.wants_begin(),
            requests: asked
                .map(|open| state.request(open.step, open.attempt, around))
                .collect(),
            scopes: state.open_scopes().filter(|scope| scope.is_live).collect(),
            steps,
        }
    }
}

/// The completion that a worker sends for a reply.
#[must_use]
pub fn completion(step: StepKey, attempt: u32, reply: Reply, at: Timestamp, random: u64) -> Completed {
    let end = match reply {
        Reply::Ok { output, set, unset } => End::Ok { output, set, unset },
        Reply::Err { kind, retryable } => End::Error(Failure {
            error: ErrorValue {
                kind,
                message: "as told".to_owned(),
                ..ErrorValue::default()
            },
            outcome: Outcome::Error,
            retryable,
            retry_after: None,
        }),
    };
    Completed {
        step,
        attempt,
        end,
        worker: Some("w1".to_owned()),
        started_at: at,
        finished_at: at,
        logs: Vec::new(),
        random,
    }
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Err { kind, retryable } => format!("error {kind} (retryable: {retryable})"),
        Reply::Ok { output, set, unset } => {
            let set: Vec<String> = set.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let unset: Vec<String> = unset.iter().map(ToString::to_string).collect();
            format!("output {output}, set {set:?}, unset {unset:?}")
        }
    }
}
