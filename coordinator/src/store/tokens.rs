//! Tokens of the API: kept by their hashes, so that whoever reads the database cannot use them.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::StoreError;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// What a token allows; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reads.
    Viewer,
    /// Starts runs and operates on them.
    Operator,
    /// Changes definitions and schedules, and deletes.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Viewer, Scope::Operator, Scope::Admin];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Viewer => "viewer",
            Scope::Operator => "operator",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Scope, String> {
        let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
        found.ok_or_else(|| "viewer, operator or admin".to_owned())
    }
}

/// A token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Of its text.
    pub hash: TokenHash,
    /// Names it to people.
    pub id: Uuid,
    /// The only namespace that it speaks for.
    pub namespace: Namespace,
    /// Whose it is.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is worth nothing.
    pub expires_at: Option<Timestamp>,
}

/// Where tokens are kept.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Adds a token.
    async fn add_token(&self, row: &TokenRow) -> Result<(), StoreError>;
    /// The token of this hash, unless it has expired by the database's clock.
    async fn token(&self, hash: &TokenHash) -> Result<Option<TokenRow>, StoreError>;
    /// All tokens, expired ones too, in the order of their making, behind `after`.
    async fn tokens(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<TokenRow>, StoreError>;
    /// Removes a token; `false` if there is none of this id.
    async fn remove_token(&self, id: Uuid) -> Result<bool, StoreError>;
}
