//! What a run had come to at a position of its journal, as the past of a fork: also under another version of its workflow.
//!
//! Records name branches and cases by their places and nodes by where control stands. So another version takes them only where
//! every path they name exists and control meets the same nodes in the same order; what is behind the position may differ at will.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rejoin_engine::record::{Choice, Fact, Record};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::{Cases, Definition, NodeKind};
use rejoin_shared::ids::RunId;
use rejoin_shared::path;

use super::journal::{ReadError, record};
use super::locate;
use crate::store::{Store, StoreError};

/// Rows fetched at a time.
const PAGE_ROWS: usize = 2000;

/// The definitions of a fork: what its source runs, and what it is to run.
pub struct Versions {
    /// Of the source.
    pub old: Arc<Definition>,
    /// Of the fork, if it is another one.
    pub new: Option<Arc<Definition>>,
}

/// Why there is no past.
#[derive(Debug)]
pub enum PastError {
    /// It could not be read.
    Read(ReadError),
    /// The other version does not take it.
    Unfit(String),
}

impl From<ReadError> for PastError {
    fn from(error: ReadError) -> PastError {
        PastError::Read(error)
    }
}

impl From<StoreError> for PastError {
    fn from(error: StoreError) -> PastError {
        PastError::Read(error.into())
    }
}

/// The state after the first `at` records, or all; `None` if there is no record at all. Fewer records than asked for give the state
/// after the last.
///
/// # Errors
/// [`PastError`]
pub async fn past(
    store: &dyn Store,
    run: RunId,
    at: Option<u64>,
    versions: &Versions,
) -> Result<Option<RunState>, PastError> {
    let mut state: Option<RunState> = None;
    loop {
        let after = state.as_ref().map_or(0, RunState::last_seq);
        let page = store.journal(run, after, PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(state);
        }
        for stored in &page {
            if at.is_some_and(|at| stored.row.seq > at) {
                return Ok(state);
            }
            let record = record(stored)?;
            // A version in which a place means something else may bring the fold to its knees.
            let folded = catch_unwind(AssertUnwindSafe(|| fold(&mut state, &record, versions)));
            let folded = folded.unwrap_or_else(|_| Err("folding it panicked".to_owned()));
            folded.map_err(|reason| match &versions.new {
                Some(_) => PastError::Unfit(format!("record {} does not fit: {reason}", record.seq)),
                None => PastError::Read(ReadError::Unreadable { run, reason }),
            })?;
        }
    }
}

fn fold(state: &mut Option<RunState>, record: &Record, versions: &Versions) -> Result<(), String> {
    let def = versions.new.as_ref().unwrap_or(&versions.old);
    let Some(state) = state else {
        *state = Some(RunState::begin(def, record)?);
        return Ok(());
    };
    if let Some(new) = &versions.new {
        check_names(&record.fact, &versions.old, new)?;
        if let Some((stands, path)) = state.place_of(&record.fact) {
            check_place(new, stands.as_deref(), &path)?;
        }
    }
    state.apply(record)
}

fn check_place(new: &Definition, stands: Option<&str>, path: &str) -> Result<(), String> {
    if locate::node(new, path).is_none() {
        return Err(format!("{path} does not exist in it"));
    }
    match stands {
        Some(stands) if stands == path => Ok(()),
        Some(stands) => Err(format!(
            "it is about {path}, where this version comes to {stands} first"
        )),
        None => Err(format!("it is about {path}, to which this version does not come")),
    }
}

/// Whether the places of branches and cases mean the same in both.
fn check_names(fact: &Fact, old: &Definition, new: &Definition) -> Result<(), String> {
    let checked = if let Fact::ScopeOpened(opened) = fact {
        // Of a foreach, which has no names, there is nothing to compare.
        let names = |def: &Definition| branch_names(def, &opened.path);
        Some((&opened.path, starts_with(&names(new), &names(old))))
    } else if let Fact::Chosen {
        choice: Choice::Case(case),
        path,
        ..
    } = fact
    {
        let name = |def: &Definition| case_name(def, path, *case as usize);
        Some((path, name(new) == name(old)))
    } else {
        None
    };
    match checked {
        Some((at, false)) => Err(format!(
            "the branches or cases of {at} are others, or stand in another order"
        )),
        Some((_, true)) | None => Ok(()),
    }
}

fn starts_with(names: &[String], start: &[String]) -> bool {
    names.get(..start.len()) == Some(start)
}

fn branch_names(def: &Definition, path: &str) -> Vec<String> {
    match locate::node(def, path).map(|node| &def.node(node).kind) {
        Some(NodeKind::Parallel(parallel)) => parallel.branches.iter().map(|branch| branch.name.to_string()).collect(),
        Some(NodeKind::Graph(graph)) => graph.nodes.iter().map(|node| node.name.to_string()).collect(),
        Some(_) | None => Vec::new(),
    }
}

fn case_name(def: &Definition, at: &str, case: usize) -> Option<String> {
    let node = locate::node(def, at)?;
    match &def.node(node).kind.as_branch()?.cases {
        Cases::Keyed { cases, .. } => cases.get(case).map(|(key, _)| path::case_segment(key)),
        Cases::Conditions(list) => list.get(case).map(|_| format!("[{case}]")),
    }
}
