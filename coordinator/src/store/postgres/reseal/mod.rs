//! All that stands in the database, sealed anew: with the newest key, whatever it was sealed with, or plain where there is none.
//!
//! ```text
//!   look (a page of a table by its primary key) ──▶ open ──▶ seal ──▶ write, where there still is what was read ──▶ next page
//!   a pass: all tables; passes follow until one finds nothing to do: what others wrote meanwhile, or had in hand
//! ```
//! Nothing is noted on the way: what is sealed anew already is passed over by its first bytes, so a pass that was cut off begins
//! again. Coordinators go on meanwhile: a row changes only as long as it is what was read, and no statement waits for a lock.

mod kept;

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::seal::{SealError, SealedBy};
use super::super::{PAGE_BYTES_MAX, Store as _, StoreError};
use super::values::At;
use super::{PostgresStore, StoreConfig, rows, sql};
use kept::{FoundRow, Key, NewRow};

pub use kept::Kept;

type Result<T> = std::result::Result<T, StoreError>;

/// Rows that one statement looks at.
const LOOK_ROWS: usize = 1_000;
/// Passes after which something else must be wrong: a process that goes on writing with another key.
const PASSES_MAX: usize = 5;
/// Pause before a pass over what others had in hand.
const PAUSE: Duration = Duration::from_millis(200);

/// Why it must not be done now.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// Nobody has the key yet.
    #[error(
        "no coordinator writes with key `{0}` yet, and what is sealed with it they could not read: restart all of them with encryption.key = \"{0}\", or stop them"
    )]
    NotInUse(String),
    /// Another key came later, and is what coordinators have to have.
    #[error(
        "key `{newest}` was taken into use after key `{id}`, which coordinators therefore need not have: take a new key, or stop them"
    )]
    NotNewest {
        /// The key to seal with.
        id: String,
        /// The one that was taken into use last.
        newest: String,
    },
    /// Some go on with what was configured before.
    #[error("{names} started before key `{id}` was taken into use: restart with encryption.key = \"{id}\", or stop")]
    Outdated {
        /// The key to seal with.
        id: String,
        /// Those coordinators.
        names: String,
    },
    /// The database does not answer, or a key is not the one of its id.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was seen of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows that were looked at.
    pub rows: u64,
    /// Payloads by what they are sealed with, as they were found.
    pub payloads: BTreeMap<SealedBy, u64>,
    /// Rows that were written.
    pub written: u64,
    /// Rows to be written that others had in hand, or changed meanwhile.
    pub left: u64,
    /// Payloads that do not open.
    pub unreadable: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.rows += other.rows;
        for (by, count) in &other.payloads {
            *self.payloads.entry(by.clone()).or_default() += count;
        }
        self.written += other.written;
        self.left += other.left;
        self.unreadable += other.unreadable;
    }
}

/// A page of a table.
struct Page {
    seen: Seen,
    /// The last key; none: the table is at its end.
    last: Option<Key>,
}

/// What is told on the way.
pub enum Told<'a> {
    /// A page more of a table, and what was seen of it in this pass so far.
    Page(Kept, &'a Seen),
    /// A payload that does not open, and why.
    Unreadable(Kept, &'a SealError),
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of each table: what the last pass saw; `written` is of all passes.
    pub tables: Vec<(Kept, Seen)>,
    /// Whether the last pass found nothing to do.
    pub is_done: bool,
    /// Keys that seal nothing any more, which were forgotten.
    pub retired: Vec<String>,
}

impl Outcome {
    /// Payloads that do not open.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.tables.iter().map(|(_, seen)| seen.unreadable).sum()
    }

    /// Payloads of all tables by what they are sealed with.
    #[must_use]
    pub fn payloads(&self) -> BTreeMap<SealedBy, u64> {
        let mut all = Seen::default();
        self.tables.iter().for_each(|(_, seen)| all.add(seen));
        all.payloads
    }
}

/// Goes over all payloads of a database.
pub struct Resealing {
    store: PostgresStore,
    /// What stands in the place of another key's id where it is to be so; none: nothing is written.
    aim: Option<Vec<u8>>,
    rows_max: usize,
    /// Keys that were known before anything was looked at.
    known: Vec<String>,
}

impl Resealing {
    /// Seals with the newest key of `config.codec`, and opens where there is none. Looks first whether all who are alive can read
    /// what will be written; a fleet whose processes do not have the key yet is left as it is, also in what the database knows of keys.
    ///
    /// # Errors
    /// [`Unready`]
    pub async fn begin(config: StoreConfig) -> std::result::Result<Resealing, Unready> {
        let store = PostgresStore::open(config).await?;
        if let Some(id) = store.sealing.codec().newest_id() {
            check_fleet(&store, id).await?;
        }
        store.prove_keys().await?;
        let id = store.sealing.codec().newest_id().unwrap_or_default();
        let aim = Some(id.as_bytes().to_vec());
        Resealing::over(store, aim).await
    }

    /// Only counts.
    ///
    /// # Errors
    /// [`Unready::Store`]
    pub async fn count_only(config: StoreConfig) -> std::result::Result<Resealing, Unready> {
        Resealing::over(PostgresStore::open(config).await?, None).await
    }

    async fn over(store: PostgresStore, aim: Option<Vec<u8>>) -> std::result::Result<Resealing, Unready> {
        Ok(Resealing {
            known: store.keys_known().await?,
            store,
            aim,
            rows_max: LOOK_ROWS,
        })
    }

    /// In pages of so many rows.
    #[must_use]
    pub fn in_pages_of(self, rows_max: usize) -> Resealing {
        Resealing { rows_max, ..self }
    }

    /// Passes until there is nothing left to do, and forgets keys that seal nothing any more. Safe to repeat and to cut off.
    ///
    /// # Errors
    /// The database's; what was written stays.
    pub async fn run(&self, mut tell: impl FnMut(Told<'_>)) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for pass in 0..PASSES_MAX {
            let is_first = pass == 0;
            let tables = self
                .run_once(|told| match told {
                    Told::Unreadable(..) if !is_first => {}
                    Told::Unreadable(..) | Told::Page(..) => tell(told),
                })
                .await?;
            let to_do: u64 = tables.iter().map(|(_, seen)| seen.written + seen.left).sum();
            let before = std::mem::replace(&mut outcome.tables, tables);
            for ((_, seen), (_, earlier)) in outcome.tables.iter_mut().zip(before) {
                seen.written += earlier.written;
            }
            outcome.is_done = to_do == 0;
            if outcome.is_done {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if outcome.is_done && self.aim.is_some() {
            outcome.retired = self.forget_unused(&outcome).await?;
        }
        Ok(outcome)
    }

    /// One pass over all tables.
    ///
    /// # Errors
    /// The database's.
    pub async fn run_once(&self, mut tell: impl FnMut(Told<'_>)) -> Result<Vec<(Kept, Seen)>> {
        let mut tables = Vec::new();
        for kept in Kept::ALL {
            let (mut seen, mut after) = (Seen::default(), kept.start());
            while let Page {
                seen: more,
                last: Some(last),
            } = self.page(kept, &after, &mut tell).await?
            {
                seen.add(&more);
                tell(Told::Page(kept, &seen));
                after = last;
            }
            tables.push((kept, seen));
        }
        Ok(tables)
    }

    /// Seals a page anew.
    async fn page(&self, kept: Kept, after: &Key, tell: &mut impl FnMut(Told<'_>)) -> Result<Page> {
        let found = self.look(kept, after).await?;
        let (mut seen, mut anew) = (Seen::default(), Vec::new());
        for row in &found {
            seen.rows += 1;
            for column in row.columns.iter().flatten() {
                *seen.payloads.entry(column.by.clone()).or_default() += 1;
            }
            let (new, wrong) = self.anew(row);
            seen.unreadable += u64::try_from(wrong.len()).unwrap_or(u64::MAX);
            wrong.iter().for_each(|why| tell(Told::Unreadable(kept, why)));
            anew.extend(new);
        }
        let wanted = u64::try_from(anew.len()).unwrap_or(u64::MAX);
        seen.written = self.write(kept, &anew).await?;
        seen.left = wanted.saturating_sub(seen.written);
        let last = found.into_iter().next_back().map(|row| row.key);
        Ok(Page { seen, last })
    }

    /// A row's payloads as they are to be, if any is another one then; and what does not open.
    fn anew<'r>(&self, row: &'r FoundRow) -> (Option<NewRow<'r>>, Vec<SealError>) {
        let (mut columns, mut wrong) = (Vec::new(), Vec::new());
        for (at, column) in row.columns.iter().enumerate() {
            let old = column.as_ref().and_then(|column| column.stale.as_ref());
            let sealing = &self.store.sealing;
            let new = old.map(|old| sealing.anew(row.key.place(at), old.clone()).map(|new| (old, new)));
            match new.transpose() {
                Ok(new) => columns.push(new),
                Err(why) => {
                    columns.push(None);
                    wrong.push(why);
                }
            }
        }
        let has_new = columns.iter().any(Option::is_some);
        (has_new.then_some(NewRow { key: &row.key, columns }), wrong)
    }

    async fn look(&self, kept: Kept, after: &Key) -> Result<Vec<FoundRow>> {
        let (rows_max, bytes_max) = (super::row_limit(self.rows_max), super::row_limit(PAGE_BYTES_MAX));
        let aim = self.aim.as_deref();
        let found = match after {
            Key::Record(run, seq) | Key::Wait(run, seq) => {
                let seq = super::bigint(*seq)?;
                let params: [super::Param<'_>; 5] = [&aim, &rows_max, &bytes_max, &run.0, &seq];
                self.store.reader.read(kept.look(), &params).await?
            }
            Key::Run(run) => {
                let params: [super::Param<'_>; 4] = [&aim, &rows_max, &bytes_max, &run.0];
                self.store.reader.read(kept.look(), &params).await?
            }
            Key::Message(id, _) => {
                let id = super::bigint(*id)?;
                let params: [super::Param<'_>; 4] = [&aim, &rows_max, &bytes_max, &id];
                self.store.reader.read(kept.look(), &params).await?
            }
            Key::Schedule(namespace, name) => {
                let namespace = &*namespace.0;
                let params: [super::Param<'_>; 5] = [&aim, &rows_max, &bytes_max, &namespace, name];
                self.store.reader.read(kept.look(), &params).await?
            }
        };
        found.iter().map(|row| kept.found(row, aim)).collect()
    }

    /// Returns how many rows were written.
    async fn write(&self, kept: Kept, anew: &[NewRow<'_>]) -> Result<u64> {
        if anew.is_empty() {
            return Ok(0);
        }
        let values = kept.values(anew)?;
        let params: Vec<super::Param<'_>> = values.iter().map(|value| &**value as super::Param<'_>).collect();
        self.store.reader.write(kept.write(), &params).await
    }

    /// Forgets keys that were known before a pass that found nothing of them.
    async fn forget_unused(&self, outcome: &Outcome) -> Result<Vec<String>> {
        let used = outcome.payloads();
        let newest = self.store.sealing.codec().newest_id();
        let is_unused = |id: &&String| newest != Some(id.as_str()) && !used.contains_key(&SealedBy::Key((*id).clone()));
        let unused: Vec<&str> = self.known.iter().filter(is_unused).map(String::as_str).collect();
        let forgotten = self
            .store
            .reader
            .write_returning(sql::ENCRYPTION_KEYS_FORGET, &[&unused])
            .await?;
        forgotten.iter().map(|row| rows::key(row, 0)).collect()
    }
}

/// Whether all coordinators that are alive can read what key `id` seals, as far as the database can tell: who starts has to have the
/// key that was taken into use last.
async fn check_fleet(store: &PostgresStore, id: &str) -> std::result::Result<(), Unready> {
    let members = store.members().await?;
    let alive: Vec<_> = members.iter().filter(|member| member.lease_left_ms > 0).collect();
    if alive.is_empty() {
        return Ok(());
    }
    let read = |row: &tokio_postgres::Row| Ok((rows::key(row, 0)?, rows::get::<At>(row, 1)?.0));
    let newest = store.first(sql::ENCRYPTION_KEY_NEWEST, &[], read).await?;
    let known = store.keys_known().await?;
    let since = match newest {
        Some((newest, since)) if newest == id => since,
        Some((newest, _)) if known.iter().any(|known| known == id) => {
            let id = id.to_owned();
            return Err(Unready::NotNewest { id, newest });
        }
        Some(_) | None => return Err(Unready::NotInUse(id.to_owned())),
    };
    let outdated: Vec<&str> = alive
        .iter()
        .filter(|member| member.joined_at < since)
        .map(|member| member.member.name.as_str())
        .collect();
    match outdated.is_empty() {
        true => Ok(()),
        false => Err(Unready::Outdated {
            id: id.to_owned(),
            names: outdated.join(", "),
        }),
    }
}
