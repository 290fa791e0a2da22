//! Commands for runs of other owners: rows that the owner reads, with a verdict that the asker takes.

use std::sync::Arc;
use std::time::Duration;

use rejoin_engine::decision::ChildEnd;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::json::{Json, is_unknown_variant};
use rejoin_shared::link::{Address, Link, Message};
use rejoin_shared::run::ErrorValue;
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::kind;
use tokio::time::Instant;

use crate::owner::command::{
    CallRun, Command, CommandError, ForkRun, NewRun, Prepared, PreparedFork, PreparedStart, Reply, StartRun,
};
use crate::owner::definitions::{DefinitionError, Definitions};
use crate::read::journal::ReadError;
use crate::read::past::{PastError, Versions, past};
use crate::store::{InboxMessage, InboxRow, Store, StoreError};

/// How long an asker waits for a verdict.
const VERDICT_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks for it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Rows read at once.
pub const PAGE: usize = 256;

/// A row of the inbox, read.
#[derive(Debug)]
pub struct InboxItem {
    /// The row.
    pub id: u64,
    /// The run.
    pub run: RunId,
    /// Whether somebody waits.
    pub wants_verdict: bool,
    /// What it says.
    pub says: Says,
}

/// What a row of the inbox says.
#[derive(Debug)]
pub enum Says {
    /// This is to be done.
    Command(Command, Prepared),
    /// It cannot be obeyed, which is its verdict.
    Refused(CommandError),
    /// It is for a newer version, and why; nobody waits for a verdict, so it stays where it is.
    Left(String),
}

impl Says {
    /// Of a row that only a newer version understands.
    fn newer(row: &InboxRow, why: String) -> Says {
        match row.message.wants_verdict {
            true => Says::Refused(CommandError::unavailable(why)),
            false => Says::Left(why),
        }
    }
}

/// A page of the inbox, read.
#[derive(Debug)]
pub struct Page {
    /// Behind which row it began.
    pub after: u64,
    /// Its rows.
    pub items: Vec<InboxItem>,
    /// Behind which row the next one begins, if there may be more.
    pub next: Option<u64>,
}

/// Reads what the inbox holds for these partitions behind a row.
///
/// # Errors
/// [`StoreError`]: to be asked again.
pub async fn read(
    store: &dyn Store,
    definitions: &Definitions,
    of: &[Partition],
    after: u64,
) -> Result<Page, StoreError> {
    let page = store.inbox(of, after, PAGE).await?;
    let mut items = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        items.push(item(row, definitions).await?);
    }
    let next = page.next;
    Ok(Page { after, items, next })
}

async fn item(row: InboxRow, definitions: &Definitions) -> Result<InboxItem, StoreError> {
    let read = rejoin_shared::json::read_own::<Command>(&row.message.body);
    if let Ok(Command::Call(call)) = &read {
        return called(&row, call, definitions).await;
    }
    let refused = |message: String| Says::Refused(CommandError::Refused { message });
    let says = match read {
        Ok(command) => match prepare(row.message.run, &command, definitions).await {
            Ok(prepared) => Says::Command(command, prepared),
            // The past of a fork; the other messages are none the worse for it.
            Err(DefinitionError::Store(error @ StoreError::Sealed(_))) => {
                Says::Refused(CommandError::unavailable(error.to_string()))
            }
            Err(DefinitionError::Store(error)) => return Err(error),
            Err(error @ DefinitionError::Newer(..)) => Says::newer(&row, error.to_string()),
            Err(error) => refused(error.to_string()),
        },
        Err(error) if is_unknown_variant(&error.to_string()) => Says::newer(&row, error.to_string()),
        Err(error) => refused(error.to_string()),
    };
    Ok(InboxItem {
        id: row.id,
        run: row.message.run,
        wants_verdict: row.message.wants_verdict,
        says,
    })
}

/// A run that another one calls: what it runs is looked up now. One that cannot be started is an end for its caller, which lies
/// in the same partition.
async fn called(row: &InboxRow, call: &CallRun, definitions: &Definitions) -> Result<InboxItem, StoreError> {
    let child = row.message.run;
    let (run, says) = match find(call, definitions).await? {
        Found::Callable(definition, version) => {
            let start = StartRun {
                namespace: call.namespace.clone(),
                workflow: call.workflow.clone(),
                version,
                input: call.input.clone(),
                tags: std::collections::BTreeMap::new(),
                priority: call.priority,
                parent: Some(call.parent),
                is_awaited: call.is_awaited,
                at: None,
                traceparent: None,
                idempotency_key: None,
                may_exist: true,
                expects_newest: false,
            };
            let command = Command::Start(Box::new(start.clone()));
            let prepared = Prepared::Start(Box::new(PreparedStart { start, definition }));
            (child, Says::Command(command, prepared))
        }
        Found::Newer(why) => (child, Says::Left(why)),
        Found::Not(error) => {
            let end = ChildEnd::Error {
                error: *error,
                is_resumable: false,
                is_left_undone: false,
                is_gone: false,
            };
            let ended = Command::ChildEnded { child, end };
            (call.parent, Says::Command(ended, Prepared::Nothing))
        }
    };
    Ok(InboxItem {
        id: row.id,
        run,
        wants_verdict: false,
        says,
    })
}

/// What a call runs.
enum Found {
    /// This definition, of this version.
    Callable(Arc<Definition>, u32),
    /// A definition that only a newer version understands, and why.
    Newer(String),
    /// There is none, or it cannot be called with this input.
    Not(Box<ErrorValue>),
}

async fn find(call: &CallRun, definitions: &Definitions) -> Result<Found, StoreError> {
    let unknown = |detail: String| Found::Not(Box::new(ErrorValue::new("rejoin.unknown_workflow", detail, "")));
    let version = match call.version {
        Some(version) => Some(version),
        None => definitions.newest(&call.namespace, &call.workflow).await?,
    };
    let Some(version) = version else {
        return Ok(unknown(format!("workflow {} is not registered", call.workflow)));
    };
    match definitions.get(&call.namespace, &call.workflow, version).await {
        Err(DefinitionError::Store(error)) => Err(error),
        Err(error @ DefinitionError::Newer(..)) => Ok(Found::Newer(error.to_string())),
        Err(error) => Ok(unknown(error.to_string())),
        Ok(definition) => Ok(match misfit(&definition, &call.input) {
            None => Found::Callable(definition, version),
            Some(text) => Found::Not(Box::new(ErrorValue::new("rejoin.expression", text, ""))),
        }),
    }
}

/// Why an input does not fit what its workflow takes.
fn misfit(definition: &Definition, input: &Json) -> Option<String> {
    let schema = serde_json::to_value(definition.input.as_ref()?).ok()?;
    let value = serde_json::to_value(input).ok()?;
    // A schema that is none was refused at registration.
    let validator = jsonschema::validator_for(&schema).ok()?;
    let error = validator.iter_errors(&value).next()?;
    let place = error.instance_path().to_string();
    Some(format!(
        "`with` gives what does not fit the input of workflow {}: {}: {error}",
        definition.workflow,
        if place.is_empty() { "/" } else { &place }
    ))
}

/// Finds the definition that a start needs, and what the past of a fork folds to.
///
/// # Errors
/// [`DefinitionError`]
pub async fn prepare(run: RunId, command: &Command, definitions: &Definitions) -> Result<Prepared, DefinitionError> {
    match command {
        Command::Start(start) => Ok(Prepared::Start(Box::new(prepare_start(start, definitions).await?))),
        Command::StartMany { runs } => {
            let mut starts = Vec::with_capacity(runs.len());
            for NewRun { run, start } in runs {
                starts.push((*run, prepare_start(start, definitions).await?));
            }
            Ok(Prepared::Starts(starts))
        }
        Command::Fork(fork) => Ok(Prepared::Fork(Arc::new(prepare_fork(run, fork, definitions).await?))),
        Command::Operate { .. }
        | Command::Edit { .. }
        | Command::Call(_)
        | Command::ChildEnded { .. }
        | Command::GoOn { .. }
        | Command::Cancel { .. }
        | Command::Pause
        | Command::Resume
        | Command::Signal { .. }
        | Command::Answer { .. } => Ok(Prepared::Nothing),
    }
}

async fn prepare_start(start: &StartRun, definitions: &Definitions) -> Result<PreparedStart, DefinitionError> {
    let definition = definitions
        .get(&start.namespace, &start.workflow, start.version)
        .await?;
    let start = start.clone();
    Ok(PreparedStart { start, definition })
}

async fn prepare_fork(run: RunId, fork: &ForkRun, definitions: &Definitions) -> Result<PreparedFork, DefinitionError> {
    let definition = definitions.get(&fork.namespace, &fork.workflow, fork.version).await?;
    let versions = Versions {
        old: definition.clone(),
        new: None,
    };
    // The copy, not the source: that may be deleted by now.
    let past = match past(definitions.store(), run, None, &versions).await {
        Ok(Some(past)) if past.last_seq() == fork.from.seq => Ok(past),
        Ok(_) => Err(DefinitionError::NoPast("its copy is not there any more".to_owned())),
        Err(PastError::Read(ReadError::Store(error))) => Err(DefinitionError::Store(error)),
        Err(PastError::Read(error)) => Err(DefinitionError::NoPast(error.to_string())),
        Err(PastError::Unfit(why)) => Err(DefinitionError::NoPast(why)),
    };
    Ok(PreparedFork {
        fork: fork.clone(),
        definition,
        past: past?,
    })
}

/// A verdict as it is stored.
#[must_use]
pub fn verdict_text(verdict: &Result<Reply, CommandError>) -> Vec<u8> {
    serde_json::to_vec(verdict).expect("a verdict is plain data")
}

/// Tells all owners that some inbox holds something new.
pub async fn nudge(link: &Arc<dyn Link>, topology: &Topology) {
    let nudge = Message::new(kind::NUDGE, false, Vec::new());
    if let Err(error) = link.publish(&Address::Fanout(topology.reports()), nudge).await {
        tracing::debug!(%error, "no nudge: the owners poll");
    }
}

/// Asks the owner of `run`, whoever that is, and waits for its verdict.
///
/// # Errors
/// The verdict's, or [`CommandError::Unavailable`] if none came in time.
pub async fn ask(
    store: &Arc<dyn Store>,
    link: &Arc<dyn Link>,
    topology: &Topology,
    run: RunId,
    command: &Command,
) -> Result<Reply, CommandError> {
    let away = |error: StoreError| CommandError::unavailable(error.to_string());
    let message = InboxMessage {
        partition: run.partition(),
        run,
        kind: command.kind().to_owned(),
        body: serde_json::to_vec(command).expect("a command is plain data").into(),
        dedupe_key: None,
        wants_verdict: true,
    };
    let id = store.inbox_put(&message).await.map_err(away)?;
    nudge(link, topology).await;
    let until = Instant::now() + VERDICT_WAIT;
    while Instant::now() < until {
        if let Some(text) = store.take_verdict(id).await.map_err(away)? {
            let verdict: Result<Reply, CommandError> = rejoin_shared::json::read_own(&text)
                .map_err(|error| CommandError::unavailable(format!("unreadable verdict: {error}")))?;
            return verdict;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(CommandError::unavailable("the run's owner did not answer in time"))
}
