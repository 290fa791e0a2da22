//! The tables that hold payloads, and their rows.

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, RunId};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::super::StoreError;
use super::super::super::seal::{Place, RecordPart, RunPart, SealedBy};
use super::super::sealing::{payload_of, text_of};
use super::super::values::bigint;
use super::super::{rows, sql};

type Result<T> = std::result::Result<T, StoreError>;
/// Values of one parameter.
type Values = Box<dyn ToSql + Sync + Send>;

const RECORD_PARTS: [RecordPart; 4] = [
    RecordPart::Body,
    RecordPart::Output,
    RecordPart::Snapshot,
    RecordPart::Logs,
];
const RUN_PARTS: [RunPart; 4] = [RunPart::Input, RunPart::Context, RunPart::Output, RunPart::Error];

/// A table that holds payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Records, also those of pasts that forks share and of runs that are deleted under way.
    Journal,
    /// Rows of runs.
    Runs,
    /// Messages on their way, also those to many runs, and verdicts.
    Inbox,
    /// Waits.
    Waits,
    /// Schedules.
    Schedules,
}

/// A row's primary key, and what else tells where its payloads belong.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Record(RunId, u64),
    Run(RunId),
    /// With its kind.
    Message(u64, String),
    Wait(RunId, u64),
    Schedule(Namespace, String),
}

/// A payload.
#[derive(Debug)]
pub(super) struct Column {
    pub by: SealedBy,
    /// Where it is not sealed as it is to be: itself.
    pub stale: Option<Bytes>,
}

/// A row as it was found; of each column nothing where there is nothing.
#[derive(Debug)]
pub(super) struct FoundRow {
    pub key: Key,
    pub columns: Vec<Option<Column>>,
}

/// A row with payloads before and after; nothing where they stay.
pub(super) struct NewRow<'r> {
    pub key: &'r Key,
    pub columns: Vec<Option<(&'r Bytes, Bytes)>>,
}

impl Key {
    /// Where the payload of a column belongs.
    pub(super) fn place(&self, column: usize) -> Place<'_> {
        match self {
            Key::Record(run, seq) => Place::Journal(RECORD_PARTS[column], *run, *seq),
            Key::Run(run) => Place::Run(RUN_PARTS[column], *run),
            Key::Message(_, kind) if column == 0 => Place::Message(kind),
            Key::Message(id, _) => Place::Verdict(*id),
            Key::Wait(run, seq) => Place::Wait(*run, *seq),
            Key::Schedule(namespace, name) if column == 0 => Place::Schedule(namespace, name),
            Key::Schedule(namespace, name) => Place::ScheduleError(namespace, name),
        }
    }

    fn run(&self) -> Option<Uuid> {
        match self {
            Key::Record(run, _) | Key::Run(run) | Key::Wait(run, _) => Some(run.0),
            Key::Message(..) | Key::Schedule(..) => None,
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Key::Record(_, number) | Key::Wait(_, number) | Key::Message(number, _) => Some(*number),
            Key::Run(_) | Key::Schedule(..) => None,
        }
    }

    fn names(&self) -> Option<(String, String)> {
        match self {
            Key::Schedule(namespace, name) => Some((namespace.0.to_string(), name.clone())),
            Key::Record(..) | Key::Run(_) | Key::Message(..) | Key::Wait(..) => None,
        }
    }
}

impl Kept {
    /// All of them.
    pub const ALL: [Kept; 5] = [Kept::Journal, Kept::Runs, Kept::Inbox, Kept::Waits, Kept::Schedules];

    /// Name of the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kept::Journal => "journal",
            Kept::Runs => "runs",
            Kept::Inbox => "inbox",
            Kept::Waits => "waits",
            Kept::Schedules => "schedules",
        }
    }

    /// Before all rows.
    pub(super) fn start(self) -> Key {
        let nobody = RunId(Uuid::nil());
        match self {
            Kept::Journal => Key::Record(nobody, 0),
            Kept::Runs => Key::Run(nobody),
            Kept::Inbox => Key::Message(0, String::new()),
            Kept::Waits => Key::Wait(nobody, 0),
            Kept::Schedules => Key::Schedule(Namespace("".into()), String::new()),
        }
    }

    pub(super) fn look(self) -> &'static str {
        match self {
            Kept::Journal => sql::JOURNAL_PAYLOADS,
            Kept::Runs => sql::RUNS_PAYLOADS,
            Kept::Inbox => sql::INBOX_PAYLOADS,
            Kept::Waits => sql::WAITS_PAYLOADS,
            Kept::Schedules => sql::SCHEDULES_PAYLOADS,
        }
    }

    pub(super) fn write(self) -> &'static str {
        match self {
            Kept::Journal => sql::JOURNAL_RESEAL_IF_SAME,
            Kept::Runs => sql::RUNS_RESEAL_IF_SAME,
            Kept::Inbox => sql::INBOX_RESEAL_IF_SAME,
            Kept::Waits => sql::WAITS_RESEAL_IF_SAME,
            Kept::Schedules => sql::SCHEDULES_RESEAL_IF_SAME,
        }
    }

    /// A row of [`Kept::look`]: its key, then two columns a payload.
    pub(super) fn found(self, row: &Row, aim: Option<&[u8]>) -> Result<FoundRow> {
        let run = || rows::get(row, 0).map(RunId);
        let (key, first) = match self {
            Kept::Journal => (Key::Record(run()?, rows::number(row, 1)?), 2),
            Kept::Runs => (Key::Run(run()?), 1),
            Kept::Inbox => (Key::Message(rows::number(row, 0)?, rows::get(row, 1)?), 2),
            Kept::Waits => (Key::Wait(run()?, rows::number(row, 1)?), 2),
            Kept::Schedules => {
                let namespace = Namespace(rows::get::<&str>(row, 0)?.into());
                (Key::Schedule(namespace, rows::get(row, 1)?), 2)
            }
        };
        let columns = (first..row.len()).step_by(2).map(|at| column(row, at, aim));
        let columns = columns.collect::<Result<_>>()?;
        Ok(FoundRow { key, columns })
    }

    /// The parameters of [`Kept::write`].
    pub(super) fn values(self, anew: &[NewRow<'_>]) -> Result<Vec<Values>> {
        let keys = || anew.iter().map(|row| row.key);
        let runs: Vec<Uuid> = keys().filter_map(Key::run).collect();
        let numbers = keys()
            .filter_map(Key::number)
            .map(bigint)
            .collect::<Result<Vec<i64>>>()?;
        let (namespaces, names): (Vec<String>, Vec<String>) = keys().filter_map(Key::names).unzip();
        let mut values: Vec<Values> = match self {
            Kept::Journal | Kept::Waits => vec![Box::new(runs), Box::new(numbers)],
            Kept::Runs => vec![Box::new(runs)],
            Kept::Inbox => vec![Box::new(numbers)],
            Kept::Schedules => vec![Box::new(namespaces), Box::new(names)],
        };
        for at in 0..anew.first().map_or(0, |row| row.columns.len()) {
            let is_text = self == Kept::Schedules && at == 1;
            let stored = |payload: &Bytes| match is_text {
                true => text_of(payload).into_bytes(),
                false => payload.to_vec(),
            };
            let each = || anew.iter().map(|row| row.columns[at].as_ref());
            let old = each().map(|pair| pair.map(|(old, _)| Sha256::digest(stored(old)).to_vec()));
            values.push(Box::new(old.collect::<Vec<Option<Vec<u8>>>>()));
            let new = each().map(|pair| pair.map(|(_, new)| stored(new)));
            values.push(Box::new(new.collect::<Vec<Option<Vec<u8>>>>()));
        }
        Ok(values)
    }
}

/// A payload: the id of its key and, where that is another one than it is to be, itself. Without an id it is text, for us to read.
fn column(row: &Row, at: usize, aim: Option<&[u8]>) -> Result<Option<Column>> {
    let id: Option<&[u8]> = rows::get(row, at)?;
    let payload: Option<&[u8]> = rows::get(row, at + 1)?;
    if let Some(id) = id {
        let by = match id {
            [] => SealedBy::Nobody,
            [0] => SealedBy::Nothing,
            [..] => SealedBy::Key(String::from_utf8_lossy(id).into_owned()),
        };
        let stale = payload.map(Bytes::copy_from_slice);
        return Ok(Some(Column { by, stale }));
    }
    Ok(payload.map(payload_of).map(|payload| {
        let by = SealedBy::of(&payload);
        let is_right = match (&by, aim) {
            (_, None) => true,
            (SealedBy::Nobody, Some(aim)) => aim.is_empty(),
            (SealedBy::Key(id), Some(aim)) => id.as_bytes() == aim,
            (SealedBy::Nothing, Some(_)) => false,
        };
        let stale = (!is_right).then_some(payload);
        Column { by, stale }
    }))
}
