//! One run of a simulation: its state, its rows, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rejoin_engine::decide;
use rejoin_engine::decision::{Apply, Surroundings, WaitChange};
use rejoin_engine::event::{Event, ScopeEdit};
use rejoin_engine::record::{Fact, Record};
use rejoin_engine::state::RunState;
use rejoin_engine::state::view::{OpenScope, OpenStatus, OpenStep, OpenWait, Request};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::{ErrorValue, Progress, RunStatus};
use rejoin_shared::time::Timestamp;

use super::journal::Journal;
use super::outside::node_at;

/// A run.
pub struct Live {
    /// What its paths stand behind: empty for the first run.
    pub label: String,
    /// Its id.
    pub id: RunId,
    /// What it runs.
    pub def: Arc<Definition>,
    /// Its state.
    pub state: RunState,
    /// Its rows.
    pub journal: Journal,
    /// The table of waits, by the record that opened each.
    waits: BTreeSet<u64>,
    /// Visits that completed and can be undone.
    pub undoable: BTreeSet<String>,
    /// When compensations were first dispatched, and when they completed.
    pub undo_begun: BTreeMap<String, usize>,
    /// By the visit's path.
    pub undo_done: BTreeMap<String, usize>,
    /// The events it emitted, by path.
    pub emitted: BTreeMap<String, (String, Json)>,
    /// Scopes of which an operator changed how many branches run at once.
    rewidened: BTreeSet<String>,
}

impl Live {
    /// A run that begins with these records.
    #[must_use]
    pub fn new(label: String, id: RunId, def: &Arc<Definition>, state: RunState) -> Live {
        Live {
            label,
            id,
            def: def.clone(),
            state,
            journal: Journal::default(),
            waits: BTreeSet::new(),
            undoable: BTreeSet::new(),
            undo_begun: BTreeMap::new(),
            undo_done: BTreeMap::new(),
            emitted: BTreeMap::new(),
            rewidened: BTreeSet::new(),
        }
    }

    /// Appends what was decided, or what a faulty shell makes of it; `clock` counts what happens in the simulation.
    ///
    /// # Errors
    /// What of it must never happen.
    pub fn append(&mut self, records: &[Record], apply: &Apply, clock: usize) -> Result<(), String> {
        self.journal.append(records)?;
        for record in records {
            self.note(record, clock);
        }
        for change in &apply.waits {
            let (is_new, seq) = match change {
                WaitChange::Opened(wait) => (self.waits.insert(wait.seq), wait.seq),
                WaitChange::Slept(sleep) => (self.waits.insert(sleep.seq), sleep.seq),
                // What ended within the decision that opened it was never in the table.
                WaitChange::Over(seq) => (true, {
                    self.waits.remove(seq);
                    *seq
                }),
            };
            if !is_new {
                return Err(format!("the wait of record {seq} opens twice"));
            }
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // it asks for a few kinds
    fn note(&mut self, record: &Record, clock: usize) {
        let done = match &record.fact {
            Fact::StepCompleted(done) => &done.path,
            Fact::ChildFinished { error: None, path, .. } => path,
            Fact::RunEdited(edited) => {
                if edited.edits.concurrency.is_some() {
                    self.rewidened.insert(edited.path.clone());
                }
                return;
            }
            Fact::EventEmitted {
                event, payload, path, ..
            } => {
                self.emitted.insert(path.clone(), (event.clone(), payload.clone()));
                return;
            }
            _ => return,
        };
        if let Some(visit) = done.strip_suffix("/compensate") {
            self.undo_done.insert(visit.to_owned(), clock);
        } else if node_at(&self.def, done).is_some_and(|kind| kind.compensate().is_some()) {
            self.undoable.insert(done.clone());
        }
    }

    /// A handler begins: never after the completion of its step was committed (G2).
    ///
    /// # Errors
    /// If it was.
    pub fn begin_execution(&mut self, path: &str, clock: usize) -> Result<(), String> {
        if let Some(visit) = path.strip_suffix("/compensate") {
            self.undo_begun.entry(visit.to_owned()).or_insert(clock);
        }
        match self.journal.completed_paths.contains(path) {
            true => Err(format!("{path} is executed after its completion was committed")),
            false => Ok(()),
        }
    }

    /// Folds the journal anew: it must give the same state.
    ///
    /// # Errors
    /// If it does not.
    pub fn crash(&mut self, now: Timestamp) -> Result<(), String> {
        let folded = self.journal.fold(&self.def)?;
        let (before, after) = (self.views(now), Views::of(&folded, now, &self.rewidened));
        if before != after {
            return Err(format!(
                "folded is another state:\n{after:#?}\nthan before the crash:\n{before:#?}"
            ));
        }
        self.state = folded;
        self.check_table()
    }

    /// The table of waits holds what waits, and nothing else.
    fn check_table(&self) -> Result<(), String> {
        let open: BTreeSet<u64> = self.state.open_waits().map(|wait| wait.seq).collect();
        if !self.state.status().is_terminal() && !open.is_subset(&self.waits) {
            return Err(format!("the table of waits has {:?}; there wait {open:?}", self.waits));
        }
        Ok(())
    }

    /// What holds of every run that has ended.
    ///
    /// # Errors
    /// What does not.
    pub fn check_end(&self, now: Timestamp) -> Result<(), String> {
        let far = now.plus(Duration::from_secs(1 << 30));
        let ready = self.state.clone().take_ready(far, 10);
        if !ready.is_empty() || self.state.wants_begin() || self.state.next_due().is_some() {
            return Err(format!("an ended run still has something to do: {ready:?}"));
        }
        if !self.waits.is_empty() {
            return Err(format!("an ended run leaves the waits of records {:?}", self.waits));
        }
        self.check_undone()
    }

    /// What completed and can be undone was undone once, where the run failed; or is told as left.
    fn check_undone(&self) -> Result<(), String> {
        let undone: BTreeSet<String> = self.undo_done.keys().cloned().collect();
        let status = self.state.status();
        if status == RunStatus::CompensationFailed {
            return self.check_left(&undone);
        }
        let none = BTreeSet::new();
        let was_undone = status == RunStatus::Failed || status == RunStatus::Cancelled && self.state.is_compensated();
        let expected = if was_undone { &self.undoable } else { &none };
        if undone != *expected {
            return Err(format!("undone are {undone:?}; what can be undone is {expected:?}"));
        }
        if self.state.is_compensated() == expected.is_empty() {
            return Err(format!("compensated is said to be {}", self.state.is_compensated()));
        }
        Ok(())
    }

    fn check_left(&self, undone: &BTreeSet<String>) -> Result<(), String> {
        let (_, error) = self.state.result();
        let details = error.and_then(|error| error.details).unwrap_or_default();
        let list = |key: &str| -> Vec<String> {
            let list = details.get("compensation").and_then(|told| told.get(key));
            let texts = list.and_then(Json::as_list).unwrap_or_default().iter();
            texts.filter_map(|path| path.as_str().map(str::to_owned)).collect()
        };
        let (done, left) = (list("done"), list("left"));
        let mut all = done.clone();
        all.extend(left.iter().cloned());
        let told: BTreeSet<String> = all.iter().cloned().collect();
        if told != self.undoable || all.len() != told.len() || done.iter().cloned().collect::<BTreeSet<_>>() != *undone
        {
            return Err(format!(
                "details tell {done:?} and {left:?}; undone are {undone:?} of {:?}",
                self.undoable
            ));
        }
        let is_newest_first = done
            .windows(2)
            .all(|pair| self.undo_done[&pair[0]] >= self.undo_done[&pair[1]]);
        match is_newest_first && !left.is_empty() {
            true => Ok(()),
            false => Err(format!("the order of done {done:?} and left {left:?}")),
        }
    }

    /// Everything that is seen of it.
    #[must_use]
    pub fn views(&self, now: Timestamp) -> Views {
        Views::of(&self.state, now, &self.rewidened)
    }
}

/// Everything that is seen of a run, once all that can be taken has been: taking opens branches without a record.
#[derive(Debug, PartialEq)]
pub struct Views {
    was_paused: bool,
    status: RunStatus,
    context: Json,
    result: (Option<Json>, Option<ErrorValue>),
    progress: Progress,
    due: Option<Timestamp>,
    wants_begin: bool,
    steps: Vec<OpenStep>,
    waits: Vec<OpenWait>,
    calls: Vec<(String, RunId, Option<Timestamp>)>,
    scopes: Vec<OpenScope>,
    requests: Vec<Result<Request, ErrorValue>>,
}

impl Views {
    fn of(state: &RunState, now: Timestamp, rewidened: &BTreeSet<String>) -> Views {
        let mut state = state.clone();
        let recorded = state.last_seq();
        let limits = Limits::default();
        let around = Surroundings { now, limits: &limits };
        // What a restart does first; it also drops what is left on a list of things to do that were done.
        decide(&mut state, Event::Loaded, around);
        // Branches that had begun without a record when an edit left room for fewer begin later after a restart.
        for path in rewidened {
            let edit = ScopeEdit {
                concurrency: Some(Json::str("unbounded")),
                ..ScopeEdit::default()
            };
            let path = path.clone();
            decide(&mut state, Event::Edit { path, edit }, around);
        }
        let was_paused = state.status() == RunStatus::Paused;
        if was_paused {
            decide(&mut state, Event::Resume, around);
        }
        state.take_ready(now, usize::MAX);
        while state.wants_begin() {
            decide(&mut state, Event::Begin { room: usize::MAX }, around);
            state.take_ready(now, usize::MAX);
        }
        // In which order what is independent of each other opens from here on is left open.
        let number = |seq: u64| seq.min(recorded + 1);
        // A branch that was taken and then cancelled left no record: after a restart it was never begun.
        let is_live = |open: &OpenStep| open.status != OpenStatus::Cancelled;
        let mut steps: Vec<_> = state.open_steps().filter(is_live).collect();
        steps.sort_by(|a, b| a.path.cmp(&b.path));
        let asked = steps
            .iter()
            .filter(|open| state.is_outstanding(open.step, open.attempt));
        let requests = asked
            .map(|open| state.request(open.step, open.attempt, around))
            .map(|request| {
                request.map(|request| Request {
                    base_seq: number(request.base_seq),
                    ..request
                })
            })
            .collect();
        steps
            .iter_mut()
            .for_each(|open| open.step.scope = number(open.step.scope));
        let mut scopes: Vec<_> = state.open_scopes().filter(|scope| scope.is_live).collect();
        scopes.sort_by(|a, b| a.path.cmp(&b.path));
        scopes.iter_mut().for_each(|scope| scope.id = number(scope.id));
        let mut waits: Vec<_> = state.open_waits().collect();
        waits.sort_by(|a, b| a.path.cmp(&b.path));
        waits.iter_mut().for_each(|wait| wait.seq = number(wait.seq));
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
            requests,
            waits,
            calls: state
                .open_calls()
                .map(|(path, child, until)| (path.to_owned(), child, until))
                .collect(),
            scopes,
            steps,
        }
    }
}
