//! What all simulated processes share of the database: its rows, its clock, and what was seen of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rejoin_coordinator::store::*;
use rejoin_engine::record::{Fact, Parts, Record};
use rejoin_shared::clock::Clock;
use rejoin_shared::ids::{AttemptKey, Partition, RunId, StepKey};
use rejoin_shared::run::Outcome;
use rejoin_shared::time::Timestamp;

use super::START;
use super::shell_fires::Fires;
use super::shell_process::{OwnClock, SimClock};
use super::shell_runs::Runs;

/// Lines of history that are kept, unless `REJOIN_SIMULATE_HISTORY` says otherwise, and characters of each.
const HISTORY_MAX: usize = 2_000;
const LINE_MAX: usize = 600;

/// What all processes share of the database.
pub struct Database {
    /// Where the rows are.
    pub store: Arc<dyn Store>,
    /// Time as it passes.
    pub clock: SimClock,
    /// What it says itself.
    own_clock: OwnClock,
    /// Leases by simulated time.
    pub(super) leases: Mutex<BTreeMap<uuid::Uuid, (Member, Timestamp)>>,
    /// Steps whose completion is committed, by run and path.
    pub committed: Mutex<BTreeSet<(RunId, String)>>,
    /// The ownership in force.
    current: Mutex<BTreeMap<Partition, Claim>>,
    /// Which runs there are.
    pub runs: Runs,
    /// What schedules started.
    pub fires: Fires,
    /// When sleeps end, by run and path.
    sleeps: Mutex<BTreeMap<(RunId, String), Option<Timestamp>>>,
    have_clocks_differed: AtomicBool,
    /// Attempts of steps with `idempotent: false` that were begun, by run, path and number.
    pub begun_once: Mutex<BTreeSet<(RunId, String, u32)>>,
    /// Whether a lost claim was committed: what the reference says holds no more.
    pub has_unknown_outcomes: AtomicBool,
    /// Invariants that broke.
    pub broken: Mutex<Vec<String>>,
    /// What the processes did, as far back as it is kept.
    history: Mutex<VecDeque<String>>,
    history_max: usize,
    /// Attempts whose end is committed.
    ended: Mutex<BTreeSet<AttemptKey>>,
    /// How far the journal of each run has got.
    lasts: Mutex<BTreeMap<RunId, u64>>,
    /// The highest attempt of each step of which something is recorded, by run and path.
    tried: Mutex<BTreeMap<(RunId, String), u32>>,
    /// Completions that a process has acknowledged though their end was not committed: it must ignore them.
    acked_early: Mutex<BTreeSet<(String, AttemptKey)>>,
}

impl Database {
    /// A database over this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: SimClock, own_clock: OwnClock) -> Database {
        Database {
            store,
            clock,
            own_clock,
            fires: Fires::default(),
            leases: Mutex::default(),
            committed: Mutex::default(),
            current: Mutex::default(),
            runs: Runs::default(),
            sleeps: Mutex::default(),
            have_clocks_differed: AtomicBool::new(false),
            begun_once: Mutex::default(),
            has_unknown_outcomes: AtomicBool::new(false),
            broken: Mutex::default(),
            history: Mutex::default(),
            history_max: history_max(),
            ended: Mutex::default(),
            lasts: Mutex::default(),
            tried: Mutex::default(),
            acked_early: Mutex::default(),
        }
    }

    /// What its clock says.
    pub fn now(&self) -> Timestamp {
        self.own_clock.now()
    }

    /// Its clock jumps, forward or back.
    pub fn jump(&self, ms: i64) {
        self.tell("", format_args!("the clock of the database jumps by {ms} ms"));
        self.clocks_differ();
        self.own_clock.jump(ms);
    }

    /// A process acknowledges completions.
    pub fn acked(&self, process: &str, keys: &[AttemptKey]) {
        let ended = self.ended.lock().expect("the ends");
        let early = keys.iter().filter(|key| !ended.contains(key));
        let early: Vec<_> = early.map(|key| (process.to_owned(), *key)).collect();
        self.acked_early.lock().expect("the acks").extend(early);
    }

    /// Completions are delivered to a process (again).
    pub fn delivered(&self, process: &str, keys: &[AttemptKey]) {
        let mut early = self.acked_early.lock().expect("the acks");
        for key in keys {
            early.remove(&(process.to_owned(), *key));
        }
    }

    fn note_ends(&self, batch: &Batch, process: &str) {
        let kinds = ["step_completed", "step_failed", "retry_scheduled"];
        for row in batch.rows.iter().filter(|row| kinds.contains(&&*row.kind)) {
            // Nodes are tried again, too, and have no attempt.
            let Some(attempt) = row.attempt else { continue };
            let step = step_of(&row.body).expect("the end of an attempt names its step");
            let key = AttemptKey {
                run: row.run,
                step,
                attempt,
            };
            self.ended.lock().expect("the ends").insert(key);
            if self
                .acked_early
                .lock()
                .expect("the acks")
                .contains(&(process.to_owned(), key))
            {
                self.report(format!(
                    "{:?} attempt {attempt} was acknowledged before its commit",
                    row.path
                ));
            }
        }
    }

    /// An attempt starts: what made it ready must be durable, which is its scope, and what came of the attempt before it.
    pub fn starts(&self, run: RunId, step: StepKey, path: &str, attempt: u32) {
        let last = self.lasts.lock().expect("the journals").get(&run).copied().unwrap_or(0);
        if last < step.scope.max(1) {
            self.report(format!(
                "{path} starts before record {} of {run}, of {last}",
                step.scope
            ));
        }
        let tried = self.tried.lock().expect("the attempts");
        let before = tried.get(&(run, path.to_owned())).copied().unwrap_or(0);
        if before + 1 < attempt {
            self.report(format!(
                "{path} attempt {attempt} starts before the end of the one before it"
            ));
        }
    }

    fn note_progress(&self, batch: &Batch) {
        let mut lasts = self.lasts.lock().expect("the journals");
        let mut tried = self.tried.lock().expect("the attempts");
        for row in &batch.rows {
            lasts.insert(row.run, row.seq);
            if let (Some(path), Some(attempt)) = (&row.path, row.attempt) {
                let known = tried.entry((row.run, path.clone())).or_default();
                *known = attempt.max(*known);
            }
        }
    }

    /// A process's clock is off from now on: what one calls early need not be so for another.
    pub fn clocks_differ(&self) {
        self.have_clocks_differed.store(true, Ordering::SeqCst);
    }

    /// A sleep ends no earlier than it said, as long as all clocks agree.
    fn note_sleeps(&self, batch: &Batch) {
        if self.have_clocks_differed.load(Ordering::SeqCst) {
            return;
        }
        let mut sleeps = self.sleeps.lock().expect("the sleeps");
        for row in &batch.rows {
            let place = (row.run, row.path.clone().unwrap_or_default());
            match &*row.kind {
                "timer_set" => drop(sleeps.insert(place, until_of(&row.body))),
                "timer_fired" => {
                    let until = sleeps.get(&place).copied().flatten();
                    if until.is_none_or(|until| self.clock.time() < until) {
                        self.report(format!("the sleep {} ended before {until:?}", place.1));
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn note(&self, batch: &Batch, process: &str) {
        self.note_ends(batch, process);
        self.note_progress(batch);
        batch.rows.iter().for_each(|row| self.runs.note(row));
        self.fires.note(batch, self.clock.time(), self.now());
        self.note_sleeps(batch);
        let is_unknown = |row: &JournalRow| {
            row.outcome == Some(Outcome::Lost) && row.body.windows(15).any(|part| part == b"outcome_unknown")
        };
        if batch.rows.iter().any(is_unknown) {
            self.has_unknown_outcomes.store(true, Ordering::SeqCst);
        }
        let mut committed = self.committed.lock().expect("the commits");
        for row in batch.rows.iter().filter(|row| row.kind == "step_completed") {
            let path = row.path.clone().unwrap_or_default();
            if !committed.insert((row.run, path.clone())) {
                self.report(format!("{path} completed twice"));
            }
        }
    }

    /// Adds to the history.
    pub fn tell(&self, process: &str, what: fmt::Arguments<'_>) {
        let at = self.clock.time().since(START);
        let line = format!("{:9.3} {process:4} {what}", at.as_secs_f64());
        let line = line.chars().take(LINE_MAX).collect();
        let mut history = self.history.lock().expect("the history");
        if history.len() >= self.history_max {
            history.pop_front();
        }
        history.push_back(line);
    }

    /// The history, oldest first.
    #[must_use]
    pub fn history(&self) -> String {
        let history = self.history.lock().expect("the history");
        history.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Notes an invariant that broke.
    pub fn report(&self, what: String) {
        self.broken.lock().expect("the reports").push(what);
    }

    /// The ownership under which the last append, or claim, was made; `more` batches lie behind it.
    pub(super) fn holds(&self, claims: &[Claim], more: u64) {
        let mut current = self.current.lock().expect("the claims");
        for claim in claims {
            let claim = Claim {
                batch: claim.batch + more,
                ..*claim
            };
            let is_late = current
                .get(&claim.partition)
                .is_some_and(|known| known.epoch > claim.epoch);
            if !is_late {
                current.insert(claim.partition, claim);
            }
        }
    }

    /// Whatever is written is under a claim on its partition.
    pub(super) fn claims_cover(&self, batch: &Batch, process: &str) {
        let rows = batch.rows.iter().map(|row| row.run);
        let runs = batch.created.iter().map(|run| run.id);
        let changed = batch.changed.iter().map(|change| change.run);
        for run in rows.chain(runs).chain(changed) {
            let partition = run.partition();
            if batch.claims.iter().all(|claim| claim.partition != partition) {
                self.report(format!("{process} wrote run {run} without a claim on {partition:?}"));
            }
        }
    }

    /// Whether others have taken one of these partitions since.
    pub(super) fn have_others(&self, claims: &[Claim]) -> bool {
        let current = self.current.lock().expect("the claims");
        let mut known = claims
            .iter()
            .filter_map(|claim| Some((claim, current.get(&claim.partition)?)));
        known.any(|(claim, known)| known.epoch > claim.epoch)
    }

    /// Puts the ownership in force in place of one that is lost.
    pub(super) fn current(&self, claims: &mut [Claim]) {
        let current = self.current.lock().expect("the claims");
        for claim in claims {
            *claim = current.get(&claim.partition).copied().unwrap_or(*claim);
        }
    }

    /// Ends the leases that have run out by simulated time.
    pub(super) async fn expire(&self) -> Result<(), StoreError> {
        let now = self.now();
        let leases: Vec<(Member, Timestamp)> = self.leases.lock().expect("the leases").values().cloned().collect();
        for (member, until) in leases {
            if until <= now {
                self.store.renew(&member, 0).await?;
            }
        }
        Ok(())
    }

    pub(super) fn left_ms(&self, row: &MemberRow) -> i64 {
        let leases = self.leases.lock().expect("the leases");
        let until = leases.get(&row.member.incarnation).map_or(0, |(_, until)| until.0);
        (until - self.now().0).div_euclid(1000)
    }
}

fn history_max() -> usize {
    let asked = std::env::var("REJOIN_SIMULATE_HISTORY");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(HISTORY_MAX)
}

fn until_of(body: &[u8]) -> Option<Timestamp> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    serde_json::from_value(body.get("until")?.clone()).ok()
}

fn step_of(body: &[u8]) -> Option<StepKey> {
    let parts = Parts {
        body: body.to_vec(),
        attempt: Some(0),
        ..Parts::default()
    };
    let fact = Record::from_parts(&parts).ok()?.fact;
    if let Fact::StepCompleted(ended) = &fact {
        return Some(ended.step);
    }
    let Fact::StepFailed(ended) = fact else { return None };
    Some(ended.step)
}
