//! A journal as a database keeps it: encoded rows. What is appended is checked against what must never happen.

use std::collections::BTreeSet;
use std::sync::Arc;

use rejoin_engine::record::{Fact, Parts, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::StepKey;

/// The rows of one run.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    rows: Vec<Parts>,
    ended_attempts: BTreeSet<(StepKey, u32)>,
    completed_steps: BTreeSet<StepKey>,
    /// Paths of steps that completed.
    pub completed_paths: BTreeSet<String>,
    joined: BTreeSet<u64>,
    /// The last record ended the run; later ones say only what came too late.
    pub has_ended: bool,
}

impl Journal {
    /// Appends what was decided.
    ///
    /// # Errors
    /// What of it must never happen.
    pub fn append(&mut self, records: &[Record]) -> Result<(), String> {
        for record in records {
            let next = self.rows.len() as u64 + 1;
            if record.seq != next {
                return Err(format!("record {} follows record {}", record.seq, next - 1));
            }
            self.check(record)?;
            let parts = record.to_parts();
            let read = Record::from_parts(&parts).map_err(|e| e.to_string())?;
            if read != *record {
                return Err(format!("a record is read back as another one: {record:?} as {read:?}"));
            }
            self.rows.push(parts);
        }
        Ok(())
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        let is_resumed = matches!(record.fact, Fact::RunResumed { .. } | Fact::RunForked(_));
        if self.has_ended && !is_resumed {
            return Err(format!("{} follows the end of the run", record.fact.kind()));
        }
        self.has_ended = matches!(record.fact, Fact::RunFinished(_));
        if let Fact::StepCompleted(done) = &record.fact {
            if !self.ended_attempts.insert((done.step, done.attempt)) {
                return Err(format!(
                    "the end of {} attempt {} is recorded twice",
                    done.path, done.attempt
                ));
            }
            if !self.completed_steps.insert(done.step) || !self.completed_paths.insert(done.path.clone()) {
                return Err(format!("{} completed twice", done.path));
            }
        }
        if let Fact::StepFailed(failed) = &record.fact {
            if !self.ended_attempts.insert((failed.step, failed.attempt)) {
                return Err(format!(
                    "the end of {} attempt {} is recorded twice",
                    failed.path, failed.attempt
                ));
            }
            if self.completed_steps.contains(&failed.step) {
                return Err(format!("{} failed after it had completed", failed.path));
            }
        }
        if let Fact::ScopeJoined(joined) = &record.fact {
            let succeeded = matches!(joined.result, rejoin_engine::record::Joined::Ok(_));
            if succeeded && !self.joined.insert(joined.scope) {
                return Err(format!("scope {} at {} joined twice", joined.scope, joined.path));
            }
        }
        Ok(())
    }

    /// The journal as it stood at a position.
    ///
    /// # Panics
    /// If a row cannot be read.
    #[must_use]
    pub fn up_to(&self, at: u64) -> Journal {
        let mut journal = Journal::default();
        let rows = self.rows.iter().take_while(|row| row.seq <= at);
        let records: Result<Vec<Record>, _> = rows.map(Record::from_parts).collect();
        let appended = records.map_err(|e| e.to_string()).and_then(|r| journal.append(&r));
        appended.unwrap_or_else(|why| panic!("{why}"));
        journal
    }

    /// The position of the first record of this kind that the path stands beside, if it is given.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn position(&self, kind: &str, path: Option<&str>) -> u64 {
        let fits = |row: &&Parts| row.kind == kind && (path.is_none() || row.path.as_deref() == path);
        let found = self.rows.iter().find(fits);
        found.map_or_else(|| panic!("no {kind} at {path:?}: {:#?}", self.shown(0)), |row| row.seq)
    }

    /// Folds the rows, as after a restart.
    ///
    /// # Errors
    /// If a row cannot be read or does not fit.
    pub fn fold(&self, def: &Arc<Definition>) -> Result<RunState, String> {
        let mut records = self
            .rows
            .iter()
            .map(|row| Record::from_parts(row).map_err(|e| e.to_string()));
        let first = records.next().ok_or("no record")??;
        let mut state = RunState::begin(def, &first)?;
        for record in records {
            state.apply(&record?)?;
        }
        Ok(state)
    }

    /// The last rows, for people.
    #[must_use]
    pub fn shown(&self, from: usize) -> Vec<String> {
        let line = |row: &Parts| {
            let path = row.path.as_deref().unwrap_or("-");
            let body = String::from_utf8_lossy(&row.body);
            format!("  #{} {} {path} {:?} {body}", row.seq, row.kind, row.attempt)
        };
        self.rows[from..].iter().map(line).collect()
    }

    /// All of them.
    #[must_use]
    pub fn rows(&self) -> &[Parts] {
        &self.rows
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
