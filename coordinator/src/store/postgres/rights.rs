//! What the database's user may do.

use super::super::StoreError;
use super::{PostgresStore, sql};

impl PostgresStore {
    /// What it may not do, of what this version needs: `insert journal`, …
    ///
    /// # Errors
    /// The database's.
    pub async fn rights_lacking(&self) -> Result<Vec<String>, StoreError> {
        let found = self.reader.read(sql::RIGHTS_LACKING, &[]).await?;
        found.iter().map(|row| super::rows::get(row, 0)).collect()
    }
}
