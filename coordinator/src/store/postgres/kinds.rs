//! Numbers of the kinds of records: few, append-only, so every process keeps all of them.

use std::collections::HashMap;
use std::sync::RwLock;

use super::super::{JournalRow, StoreError};
use super::pool::Reader;
use super::sql;

type Result<T> = std::result::Result<T, StoreError>;

#[derive(Default)]
pub(super) struct Kinds {
    numbers: RwLock<HashMap<String, i16>>,
}

impl Kinds {
    /// The number of each row's kind; kinds that the database does not know yet are added to it first.
    pub(super) async fn numbers(&self, reader: &Reader, rows: &[JournalRow]) -> Result<Vec<i16>> {
        if let Some(numbers) = self.known(rows) {
            return Ok(numbers);
        }
        for kind in self.unknown(rows) {
            reader.write(sql::KIND_ADD, &[&kind]).await.map_err(away)?;
        }
        self.load(reader).await?;
        self.known(rows)
            .ok_or_else(|| StoreError::Schema("a kind that was added is not there".to_owned()))
    }

    /// Reads all of them.
    pub(super) async fn load(&self, reader: &Reader) -> Result<()> {
        let mut loaded = HashMap::new();
        for row in reader.read(sql::KINDS_READ, &[]).await? {
            let unfit = |e: tokio_postgres::Error| StoreError::Schema(e.to_string());
            loaded.insert(row.try_get(1).map_err(unfit)?, row.try_get(0).map_err(unfit)?);
        }
        *self.numbers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = loaded;
        Ok(())
    }

    fn known(&self, rows: &[JournalRow]) -> Option<Vec<i16>> {
        let numbers = self.numbers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        rows.iter().map(|row| numbers.get(&*row.kind).copied()).collect()
    }

    fn unknown(&self, rows: &[JournalRow]) -> Vec<String> {
        let numbers = self.numbers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut unknown: Vec<String> = rows
            .iter()
            .filter(|row| !numbers.contains_key(&*row.kind))
            .map(|row| row.kind.clone().into_owned())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }
}

/// Adding a kind may be repeated: that its outcome is unknown means nothing for the batch, which was not sent yet.
fn away(error: StoreError) -> StoreError {
    match error {
        StoreError::Unknown(text) => StoreError::Away(text),
        other @ (StoreError::NotOwner(_)
        | StoreError::Away(_)
        | StoreError::Refused(_)
        | StoreError::Superseded(_)
        | StoreError::Schema(_)
        | StoreError::Newer(_)
        | StoreError::Sealed(_)) => other,
    }
}
