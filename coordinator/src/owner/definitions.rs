//! Definitions by namespace, name and version: immutable, so read once and kept.

use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::definition::model::Definition;
use rejoin_shared::definition::{digest_of_stored, load};
use rejoin_shared::ids::Namespace;
use rejoin_shared::limits::Limits;
use rejoin_shared::map::HashMap;

use crate::store::{Store, StoreError, WorkflowRow};

/// Definitions kept at most.
const KEPT_MAX: usize = 1_000;

type Key = (Namespace, Arc<str>, u32);

/// Why a definition is not there.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The database did not answer: ask again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not registered.
    #[error("workflow {0} version {1} is not registered")]
    Unknown(String, u32),
    /// The past of a fork does not fold.
    #[error("the past of the fork cannot be read: {0}")]
    NoPast(String),
    /// It is not what was registered.
    #[error("workflow {0} version {1} cannot be read: {2}")]
    Unreadable(String, u32, String),
    /// It is what was registered, by a version that knows more than this one.
    #[error("workflow {0} version {1} was registered by a newer version of Rejoin: {2}")]
    Newer(String, u32, String),
}

/// Whether a document is the one that was registered. Only what some version took for a definition is: where this one refuses it,
/// that one knew more.
pub fn is_as_registered(row: &WorkflowRow) -> bool {
    digest_of_stored(&row.document).is_some_and(|digest| digest == row.digest)
}

/// The cache.
pub struct Definitions {
    store: Arc<dyn Store>,
    limits: Limits,
    kept: Mutex<HashMap<Key, Arc<Definition>>>,
}

impl Definitions {
    /// An empty cache over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Definitions {
        Definitions {
            store,
            limits,
            kept: Mutex::default(),
        }
    }

    /// The definition of this version.
    ///
    /// # Errors
    /// [`DefinitionError`]
    pub async fn get(&self, ns: &Namespace, name: &str, version: u32) -> Result<Arc<Definition>, DefinitionError> {
        let key = (ns.clone(), Arc::from(name), version);
        if let Some(kept) = self.lock().get(&key) {
            return Ok(kept.clone());
        }
        let row = self.store.workflow(ns, name, Some(version)).await?;
        let row = row.ok_or_else(|| DefinitionError::Unknown(name.to_owned(), version))?;
        let definition = load(&row.document, &self.limits).map_err(|errors| {
            let (name, errors) = (name.to_owned(), errors.to_string());
            match is_as_registered(&row) {
                true => DefinitionError::Newer(name, version, errors),
                false => DefinitionError::Unreadable(name, version, errors),
            }
        })?;
        let definition = Arc::new(definition);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, definition.clone());
        Ok(definition)
    }

    /// The database that it reads.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Number of the newest version, if there is any.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(&self, ns: &Namespace, name: &str) -> Result<Option<u32>, StoreError> {
        Ok(self.store.workflow(ns, name, None).await?.map(|row| row.version))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Definition>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
