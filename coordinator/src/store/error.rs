//! Why the store did not do it, and what to do then.

use rejoin_shared::ids::Partition;

use super::seal::SealError;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The epoch or batch number of a partition is no longer ours: nothing was written.
    #[error("partition {0:?} is not owned any more")]
    NotOwner(Option<Partition>),
    /// Nothing was written, and the same may work later (connection refused, serialization, pool exhausted).
    #[error("the database is away: {0}")]
    Away(String),
    /// The connection was lost or timed out under way: it may have been written or not.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The database refuses these very data, now and later.
    #[error("the database refuses the data: {0}")]
    Refused(String),
    /// A newer version is registered than the one at this place of [`Batch::newest`]: nothing was written.
    #[error("a newer version of a workflow is registered than a run was to begin with")]
    Superseded(usize),
    /// The schema is not what this version needs.
    #[error("the database's schema does not fit: {0}")]
    Schema(String),
    /// This process cannot read a payload; another one may, with the right key. What stands there stays as it is.
    #[error("{0}")]
    Sealed(String),
    /// A row names what this version does not know; a newer one wrote it, and can read it. What stands there stays as it is.
    #[error("a newer version of Rejoin wrote it: {0}")]
    Newer(String),
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> StoreError {
        match error {
            SealError::NoRandomness => StoreError::Away(error.to_string()),
            SealError::UnknownKey { .. }
            | SealError::Broken { .. }
            | SealError::Malformed { .. }
            | SealError::NoSuchKey(_) => StoreError::Sealed(error.to_string()),
        }
    }
}

/// What to do after a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call again, with back-off.
    Later,
    /// Re-acquire the partitions and reload first.
    AfterReload,
    /// Never: split the batch, or give the data up.
    Never,
}

impl StoreError {
    /// What the caller does about it.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            StoreError::NotOwner(_) | StoreError::Unknown(_) => Retry::AfterReload,
            StoreError::Away(_) => Retry::Later,
            StoreError::Refused(_)
            | StoreError::Superseded(_)
            | StoreError::Schema(_)
            | StoreError::Sealed(_)
            | StoreError::Newer(_) => Retry::Never,
        }
    }
}
