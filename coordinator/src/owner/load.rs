//! Brings a run into memory: its row, its definition, and the fold of its journal.

use std::sync::Arc;
use std::time::Duration;

use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::RunId;
use tokio::sync::{Semaphore, mpsc};

use super::definitions::{DefinitionError, Definitions};
use super::inbound::Inbound;
use crate::read::journal::{ReadError, record};
use crate::store::{RunRow, Store, StoreError, StoredRow};

/// Runs loaded at once.
pub const LOADS_MAX: usize = 8;
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
    /// The owner.
    pub told: mpsc::UnboundedSender<Inbound>,
}

impl Loader {
    /// Loads a run, however long the database is away.
    pub async fn run(self, run: RunId, number: u64) {
        let Ok(_turn) = self.turns.acquire().await else { return };
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
        self.told
            .send(Inbound::Loaded(Box::new(Loaded { run, number, found })))
            .ok();
    }

    async fn run_once(&self, run: RunId) -> Result<Found, StoreError> {
        let Some(row) = self.store.run(run).await? else {
            return Ok(Found::Nothing);
        };
        match self.fold(row).await {
            Ok(found) => Ok(Found::Run(Box::new(found))),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Broken(row, reason)) => Ok(Found::Broken { row, reason }),
            Err(Failure::Newer(why)) => Ok(Found::Left {
                lack: Lack::Version,
                why,
            }),
        }
    }

    async fn fold(&self, row: RunRow) -> Result<FoundRun, Failure> {
        let definition = match self.definitions.get(&row.namespace, &row.workflow, row.version).await {
            Ok(definition) => definition,
            Err(DefinitionError::Store(error)) => return Err(Failure::Store(error)),
            Err(error @ DefinitionError::Newer(..)) => return Err(Failure::Newer(error.to_string())),
            Err(error) => return Err(Failure::Broken(Box::new(row), error.to_string())),
        };
        let mut state: Option<RunState> = None;
        let mut after = 0;
        loop {
            let page = self.store.journal(row.id, after, PAGE).await.map_err(Failure::Store)?;
            let Some(last) = page.last() else { break };
            after = last.row.seq;
            match fold_page(&mut state, row.id, &definition, &page) {
                Ok(()) => {}
                Err(ReadError::Store(error)) => return Err(Failure::Store(error)),
                Err(error @ ReadError::Newer { .. }) => return Err(Failure::Newer(error.to_string())),
                Err(ReadError::Unreadable { reason, .. }) => return Err(Failure::Broken(Box::new(row), reason)),
            }
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
