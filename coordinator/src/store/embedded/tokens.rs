//! Tokens.

use async_trait::async_trait;
use redb::{ReadableTable, Value};
use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::super::StoreError;
use super::super::tokens::{TokenHash, TokenRow, TokenStore};
use super::tables::{TOKENS, Token, times};
use super::{EmbeddedStore, Result};

fn row(hash: TokenHash, value: <Token as Value>::SelfType<'_>) -> Result<TokenRow> {
    let (id, namespace, name, scope, created_at, expires_at) = value;
    let unknown = |_| StoreError::Schema(format!("unknown scope {scope}"));
    Ok(TokenRow {
        hash,
        id: Uuid::from_u128(id),
        namespace: Namespace(namespace.into()),
        name: name.to_owned(),
        scope: scope.parse().map_err(unknown)?,
        created_at: Timestamp(created_at),
        expires_at: times(expires_at),
    })
}

#[async_trait]
impl TokenStore for EmbeddedStore {
    async fn add_token(&self, token: &TokenRow) -> Result<()> {
        let token = token.clone();
        self.write(move |tx| {
            let value = (
                token.id.as_u128(),
                &*token.namespace.0,
                token.name.as_str(),
                token.scope.as_str(),
                token.created_at.0,
                token.expires_at.map(|at| at.0),
            );
            tx.open_table(TOKENS)?.insert(token.hash, value)?;
            Ok(())
        })
        .await
    }

    async fn token(&self, hash: &TokenHash) -> Result<Option<TokenRow>> {
        let hash = *hash;
        let found = self.read(move |tx| {
            let table = tx.open_table(TOKENS)?;
            let found = table.get(hash)?;
            found.map(|value| row(hash, value.value())).transpose()
        });
        let now = self.place.now();
        let is_valid = |token: &TokenRow| token.expires_at.is_none_or(|at| at > now);
        Ok(found.await?.filter(is_valid))
    }

    async fn tokens(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<TokenRow>> {
        let mut found = self
            .read(|tx| {
                let table = tx.open_table(TOKENS)?;
                let entries = table.iter()?.map(|entry| {
                    let (hash, value) = entry?;
                    row(hash.value(), value.value())
                });
                entries.collect::<Result<Vec<TokenRow>>>()
            })
            .await?;
        found.retain(|token| after.is_none_or(|after| token.id > after));
        found.sort_by_key(|token| token.id);
        found.truncate(limit);
        Ok(found)
    }

    async fn remove_token(&self, id: Uuid) -> Result<bool> {
        self.write(move |tx| {
            let mut table = tx.open_table(TOKENS)?;
            let before = table.iter()?.count();
            table.retain(|_, value| value.0 != id.as_u128())?;
            Ok(table.iter()?.count() < before)
        })
        .await
    }
}
