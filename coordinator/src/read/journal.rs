//! Journals from the store: rows as records, and as the API shows them.

use rejoin_engine::record::{Parts, Record, spelled_out};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::{Json, Map};
use rejoin_shared::run::Outcome;
use rejoin_shared::time::Timestamp;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::store::{JOURNAL_FORMAT, JOURNAL_FORMATS, Store, StoreError, StoredRow};

/// Rows fetched at a time.
const PAGE_ROWS: usize = 2000;

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds does not fold: it is damaged.
    #[error("run {run}: {reason}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// Why not.
        reason: String,
    },
    /// A newer version wrote what this one does not know; nothing is wrong with the run.
    #[error("a newer version of Rejoin wrote what stands in the journal of run {run}: {reason}")]
    Newer {
        /// The run.
        run: RunId,
        /// What is not known.
        reason: String,
    },
}

/// The record of a stored row.
///
/// # Errors
/// [`ReadError::Newer`] if its format or a name in it is one that only a newer version knows; [`ReadError::Unreadable`].
pub fn record(stored: &StoredRow) -> Result<Record, ReadError> {
    let row = &stored.row;
    let run = row.run;
    if !JOURNAL_FORMATS.contains(&stored.format) {
        let reason = format!("record {} has the format {}", row.seq, stored.format);
        return Err(match stored.format > JOURNAL_FORMAT {
            true => ReadError::Newer { run, reason },
            false => ReadError::Unreadable { run, reason },
        });
    }
    let parts = Parts {
        seq: row.seq,
        path: row.path.clone(),
        attempt: row.attempt,
        outcome: row.outcome,
        worker: row.worker.clone(),
        body: row.body.to_vec(),
        output: row.output.as_ref().map(|b| b.to_vec()),
        snapshot: row.snapshot.as_ref().map(|b| b.to_vec()),
        logs: row.logs.as_ref().map(|b| b.to_vec()),
        ..Parts::default()
    };
    Record::from_parts(&parts).map_err(|error| {
        let reason = error.to_string();
        match error.is_newer {
            true => ReadError::Newer { run, reason },
            false => ReadError::Unreadable { run, reason },
        }
    })
}

/// Shows `take` all records of a run, up to and with `until`, a page of them in memory at a time.
///
/// # Errors
/// As [`record`], the store's, and [`ReadError::Unreadable`] with what `take` says.
pub async fn each_record(
    store: &dyn Store,
    run: RunId,
    until: Option<u64>,
    mut take: impl FnMut(Record) -> Result<(), String> + Send,
) -> Result<(), ReadError> {
    let mut after = 0;
    loop {
        let page = store.journal(run, after, PAGE_ROWS).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.row.seq;
        for stored in &page {
            if until.is_some_and(|until| stored.row.seq > until) {
                return Ok(());
            }
            take(record(stored)?).map_err(|reason| ReadError::Unreadable { run, reason })?;
        }
    }
}

/// The last row that was read of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    seq: u64,
    at: Timestamp,
}

impl Mark {
    fn of(stored: &StoredRow) -> Mark {
        Mark {
            seq: stored.row.seq,
            at: stored.at,
        }
    }

    /// Whether the row stands there still: a database that failed over may have lost its last commits (SPEC 7), and then another
    /// may have its number.
    ///
    /// # Errors
    /// The store's.
    pub async fn stands(self, store: &dyn Store, run: RunId) -> Result<bool, StoreError> {
        let found = store.journal(run, self.seq.saturating_sub(1), 1).await?;
        Ok(found.first().map(Mark::of) == Some(self))
    }
}

/// The next rows behind a mark, which moves on to the last of them; none is before the first row.
///
/// # Errors
/// The store's.
pub async fn next_page(store: &dyn Store, run: RunId, mark: &mut Option<Mark>) -> Result<Vec<StoredRow>, StoreError> {
    let after = mark.map_or(0, |mark| mark.seq);
    let page = store.journal(run, after, PAGE_ROWS).await?;
    *mark = page.last().map(Mark::of).or(*mark);
    Ok(page)
}

/// A record as the API shows it: the columns, and the members of its body.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Entry(pub Json);

/// The columns; the rest depends on the kind.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `entry` writes")]
#[schemars(rename = "Record")]
struct Columns {
    seq: u64,
    /// The database's time of the append.
    at: Timestamp,
    kind: String,
    path: Option<String>,
    attempt: Option<u32>,
    outcome: Option<Outcome>,
    worker: Option<String>,
}

impl JsonSchema for Entry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Columns::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Columns::json_schema(generator)
    }
}

/// A stored row as the API shows it.
#[must_use]
pub fn entry(stored: &StoredRow) -> Entry {
    let row = &stored.row;
    let body = Json::parse_own(&row.body).unwrap_or_default();
    let mut entry: Map = spelled_out(body.as_object().cloned().unwrap_or_default());
    let text = |bytes: &Option<bytes::Bytes>| bytes.as_ref().and_then(|b| Json::parse_own(b).ok());
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            entry.insert(key.into(), value);
        }
    };
    put("output", text(&row.output));
    put("snapshot", text(&row.snapshot));
    put("logs", text(&row.logs));
    put("seq", Some(Json::Int(i64::try_from(row.seq).unwrap_or(i64::MAX))));
    put("at", Some(Json::str(&stored.at.to_string())));
    put("kind", Some(Json::str(&row.kind)));
    put("path", Some(row.path.as_deref().map_or(Json::Null, Json::str)));
    put(
        "attempt",
        Some(row.attempt.map_or(Json::Null, |n| Json::Int(i64::from(n)))),
    );
    put(
        "outcome",
        Some(row.outcome.map_or(Json::Null, |o| Json::str(o.as_str()))),
    );
    put("worker", Some(row.worker.as_deref().map_or(Json::Null, Json::str)));
    Entry(Json::Object(std::sync::Arc::new(entry)))
}
