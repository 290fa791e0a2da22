//! Tokens.

use async_trait::async_trait;
use rejoin_shared::ids::Namespace;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::StoreError;
use super::super::tokens::{TokenHash, TokenRow, TokenStore};
use super::values::{At, row_limit};
use super::{PostgresStore, rows, sql};

type Result<T> = std::result::Result<T, StoreError>;
type Param<'a> = &'a (dyn ToSql + Sync);

#[async_trait]
impl TokenStore for PostgresStore {
    async fn add_token(&self, row: &TokenRow) -> Result<()> {
        let (created_at, expires_at) = (At(row.created_at), row.expires_at.map(At));
        let params: [Param<'_>; 7] = [
            &row.hash.as_slice(),
            &row.id,
            &&*row.namespace.0,
            &row.name,
            &row.scope.as_str(),
            &created_at,
            &expires_at,
        ];
        self.reader.write(sql::TOKEN_ADD, &params).await.map(|_| ())
    }

    async fn token(&self, hash: &TokenHash) -> Result<Option<TokenRow>> {
        let found = self.reader.read(sql::TOKEN_READ_IF_VALID, &[&hash.as_slice()]).await?;
        found.first().map(token_row).transpose()
    }

    async fn tokens(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<TokenRow>> {
        let params: [Param<'_>; 2] = [&after, &row_limit(limit)];
        let found = self.reader.read(sql::TOKENS_PAGE, &params).await?;
        found.iter().map(token_row).collect()
    }

    async fn remove_token(&self, id: Uuid) -> Result<bool> {
        Ok(self.reader.write(sql::TOKEN_REMOVE, &[&id]).await? > 0)
    }
}

fn token_row(row: &Row) -> Result<TokenRow> {
    let hash: Vec<u8> = rows::get(row, 0)?;
    let namespace: &str = rows::get(row, 2)?;
    let scope: &str = rows::get(row, 4)?;
    let unknown = |what: &str| StoreError::Schema(format!("a token's {what} cannot be read"));
    Ok(TokenRow {
        hash: hash.try_into().map_err(|_| unknown("hash"))?,
        id: rows::get(row, 1)?,
        namespace: Namespace(namespace.into()),
        name: rows::get(row, 3)?,
        scope: scope.parse().map_err(|_| unknown("scope"))?,
        created_at: rows::get::<At>(row, 5)?.0,
        expires_at: rows::get::<Option<At>>(row, 6)?.map(|at| at.0),
    })
}
