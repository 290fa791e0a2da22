//! Brings a run into memory: its row, its definition, and the fold of its journal.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use rejoin_shared::map::HashMap;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::definitions::{DefinitionError, Definitions};
use super::inbound::Inbound;
use crate::read::journal::{ReadError, record};
use crate::store::{Head, RunRow, Store, StoreError, StoredRow};

/// Loads at once.
pub const LOADS_MAX: usize = 8;
/// Runs that one of them asks for together, if so many wait: a run of a few records costs little more than its questions.
const TOGETHER_MAX: usize = 8;
/// Rows of a journal read at once.
const PAGE: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(200);

/// What a load brought.
#[derive(Debug)]
pub struct Loaded {
    /// The run.
    pub run: RunId,
    /// Which load; an earlier one does not count any more.
    pub number: u64,
    /// What came of it.
    pub found: Found,
}

/// What came of a load.
#[derive(Debug)]
pub enum Found {
    /// The run.
    Run(Box<FoundRun>),
    /// There is none of this id.
    Nothing,
    /// It cannot be folded.
    Broken {
        /// Its row.
        row: Box<RunRow>,
        /// Why.
        reason: String,
    },
    /// This process cannot read it, another one can: nothing is wrong with the run, which stays as it is.
    Left {
        /// What is missing here.
        lack: Lack,
        /// In words.
        why: String,
    },
}

/// What a process lacks that cannot read a run with which nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The key that a payload of it is sealed with.
    Key,
    /// What a newer version knows: a format or kind of a record, a key of its definition.
    Version,
}

impl Lack {
    /// All of them.
    pub const ALL: [Lack; 2] = [Lack::Key, Lack::Version];

    /// As the metric names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lack::Key => "key",
            Lack::Version => "version",
        }
    }
}

/// A run in parts.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct FoundRun {
    pub state: RunState,
    pub definition: Arc<Definition>,
    pub row: RunRow,
}

enum Failure {
    Store(StoreError),
    Broken(Box<RunRow>, String),
    Newer(String),
}

/// Loads runs, a few at a time, and tells the owner.
#[derive(Clone)]
pub struct Loader {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Definitions.
    pub definitions: Arc<Definitions>,
    /// How many at once.
    pub turns: Arc<Semaphore>,
    /// What waits for its turn, with the number of its load.
    pub waiting: Waiting,
    /// The owner.
    pub told: mpsc::UnboundedSender<Inbound>,
}

/// Runs that are to be loaded, first come first served, each once: asked for anew, it keeps its place under its new number.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    runs: VecDeque<RunId>,
    numbers: HashMap<RunId, u64>,
}

impl Waiting {
    fn add(&self, run: RunId, number: u64) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if line.numbers.insert(run, number).is_none() {
            line.runs.push_back(run);
        }
    }

    fn take(&self) -> Vec<(RunId, u64)> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = line.runs.len().min(TOGETHER_MAX);
        let runs: Vec<RunId> = line.runs.drain(..count).collect();
        let taken = runs
            .into_iter()
            .filter_map(|run| Some((run, line.numbers.remove(&run)?)));
        taken.collect()
    }
}

impl Loader {
    /// Loads a run, and with it some that wait before or behind it, once it has a turn; however long the database is away.
    pub fn load(&self, run: RunId, number: u64) -> impl Future<Output = ()> + Send + use<> {
        self.waiting.add(run, number);
        let loader = self.clone();
        async move {
            let mut rest = JoinSet::new();
            if let Ok(_turn) = loader.turns.acquire().await {
                for (run, number) in loader.load_together(loader.waiting.take()).await {
                    rest.spawn(loader.clone().load_rest(run, number));
                }
            }
            while rest.join_next().await.is_some() {}
        }
    }

    /// Tells of all that one reading is enough for. What is left takes a turn each, so that none waits for another, and is read anew
    /// then: kept until its turn, the beginnings of thousands of runs would fill the memory.
    async fn load_together(&self, asked: Vec<(RunId, u64)>) -> Vec<(RunId, u64)> {
        let runs: Vec<RunId> = asked.iter().map(|(run, _)| *run).collect();
        if runs.is_empty() {
            return asked;
        }
        // Which of them is in the way, if one is, and what there is to wait for, shows when each is read by itself.
        let Ok(heads) = self.store.heads(&runs).await else {
            return asked;
        };
        let mut heads: HashMap<RunId, Head> = heads.into_iter().map(|head| (head.row.id, head)).collect();
        let mut rest = Vec::new();
        for (run, number) in asked {
            match heads.remove(&run) {
                None => self.tell(run, number, Found::Nothing),
                Some(head) if head.is_whole => match self.found(head).await {
                    Ok(found) => self.tell(run, number, found),
                    Err(_) => rest.push((run, number)),
                },
                Some(_) => rest.push((run, number)),
            }
        }
        rest
    }

    async fn load_rest(self, run: RunId, number: u64) {
        if let Ok(_turn) = self.turns.acquire().await {
            self.load_alone(run, number).await;
        }
    }

    async fn load_alone(&self, run: RunId, number: u64) {
        let found = loop {
            match self.run_once(run).await {
                Ok(found) => break found,
                Err(StoreError::Sealed(why)) => {
                    let lack = Lack::Key;
                    break Found::Left { lack, why };
                }
                Err(error @ StoreError::Newer(_)) => {
                    let (lack, why) = (Lack::Version, error.to_string());
                    break Found::Left { lack, why };
                }
                Err(error) => tracing::warn!(%run, %error, "run could not be loaded yet"),
            }
            if self.told.is_closed() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.tell(run, number, found);
    }

    fn tell(&self, run: RunId, number: u64, found: Found) {
        let loaded = Box::new(Loaded { run, number, found });
        // The owner is gone only when the process is going.
        self.told.send(Inbound::Loaded(loaded)).ok();
    }

    async fn run_once(&self, run: RunId) -> Result<Found, StoreError> {
        match self.store.run(run).await? {
            None => Ok(Found::Nothing),
            Some(row) => {
                let journal = self.store.journal(run, 0, PAGE).await?;
                let is_whole = journal.is_empty();
                self.found(Head { row, journal, is_whole }).await
            }
        }
    }

    async fn found(&self, head: Head) -> Result<Found, StoreError> {
        match self.fold(head).await {
            Ok(found) => Ok(Found::Run(Box::new(found))),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Broken(row, reason)) => Ok(Found::Broken { row, reason }),
            Err(Failure::Newer(why)) => Ok(Found::Left {
                lack: Lack::Version,
                why,
            }),
        }
    }

    async fn fold(&self, head: Head) -> Result<FoundRun, Failure> {
        let Head {
            row,
            journal: mut page,
            mut is_whole,
        } = head;
        let definition = match self.definitions.get(&row.namespace, &row.workflow, row.version).await {
            Ok(definition) => definition,
            Err(DefinitionError::Store(error)) => return Err(Failure::Store(error)),
            Err(error @ DefinitionError::Newer(..)) => return Err(Failure::Newer(error.to_string())),
            Err(error) => return Err(Failure::Broken(Box::new(row), error.to_string())),
        };
        let mut state: Option<RunState> = None;
        while let Some(after) = page.last().map(|last| last.row.seq) {
            match fold_page(&mut state, row.id, &definition, &page) {
                Ok(()) => {}
                Err(ReadError::Store(error)) => return Err(Failure::Store(error)),
                Err(error @ ReadError::Newer { .. }) => return Err(Failure::Newer(error.to_string())),
                Err(ReadError::Unreadable { reason, .. }) => return Err(Failure::Broken(Box::new(row), reason)),
            }
            page = match is_whole {
                true => Vec::new(),
                false => self.store.journal(row.id, after, PAGE).await.map_err(Failure::Store)?,
            };
            is_whole = page.is_empty();
        }
        match state {
            Some(state) => Ok(FoundRun { state, definition, row }),
            None => Err(Failure::Broken(Box::new(row), "its journal is empty".to_owned())),
        }
    }
}

fn fold_page(
    state: &mut Option<RunState>,
    run: RunId,
    definition: &Arc<Definition>,
    page: &[StoredRow],
) -> Result<(), ReadError> {
    let broken = |reason: String| ReadError::Unreadable { run, reason };
    // A panic over an old journal is that run's own trouble.
    let folded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for stored in page {
            let record = record(stored)?;
            match state {
                Some(state) => state.apply(&record).map_err(broken)?,
                None => *state = Some(RunState::begin(definition, &record).map_err(broken)?),
            }
        }
        Ok(())
    }));
    folded.unwrap_or_else(|_| Err(broken("folding its journal panicked".to_owned())))
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Partition;

    use super::*;

    /// Asked for twice in one reading, it would be found once, and be nowhere for the number that counts.
    #[test]
    fn a_run_waits_once_under_its_newest_number() {
        let waiting = Waiting::default();
        let runs: Vec<RunId> = (0..10).map(|_| RunId::new_in(Partition(0))).collect();
        for (number, run) in (0..).zip(&runs) {
            waiting.add(*run, number);
        }
        waiting.add(runs[1], 10);
        let mut expected: Vec<(RunId, u64)> = runs.iter().copied().zip(0..).collect();
        expected[1].1 = 10;
        assert_eq!(waiting.take(), expected[..TOGETHER_MAX]);
        // What is being read may be asked for anew meanwhile.
        waiting.add(runs[1], 11);
        let rest = [&expected[TOGETHER_MAX..], &[(runs[1], 11)]].concat();
        assert_eq!(waiting.take(), rest);
        assert!(waiting.take().is_empty());
    }
}
