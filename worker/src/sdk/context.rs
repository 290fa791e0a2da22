//! What a typed handler sees of the attempt it runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;
use rejoin_shared::trace::TraceParent;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StepError;
use crate::attempt::Attempt;

/// The attempt a handler runs; clones are handles to the same attempt.
#[derive(Clone, Debug)]
pub struct StepContext {
    attempt: Arc<Attempt>,
    writes: Arc<Mutex<Writes>>,
}

#[derive(Debug, Default)]
pub(super) struct Writes {
    pub set: BTreeMap<String, Json>,
    pub unset: Vec<String>,
}

impl StepContext {
    pub(super) fn new(attempt: Arc<Attempt>) -> StepContext {
        StepContext {
            attempt,
            writes: Arc::default(),
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.attempt.order().run
    }

    /// Name of the workflow.
    #[must_use]
    pub fn workflow(&self) -> &str {
        &self.attempt.order().workflow
    }

    /// The step's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.attempt.order().path
    }

    /// Counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.order().attempt
    }

    /// The same for every attempt of one visit: hand it on to whatever must not happen twice.
    #[must_use]
    pub fn idempotency_key(&self) -> Cow<'_, str> {
        self.attempt.order().idempotency_key()
    }

    /// The attempt's span: what the handler does, here or in what it calls, hangs under it. As text it is a W3C `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> TraceParent {
        self.attempt.traceparent()
    }

    /// The nearest foreach's item.
    ///
    /// # Errors
    /// If it does not fit `T`.
    pub fn item<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        read(self.attempt.item_text())
    }

    /// The nearest foreach's index, or key if it goes over a map.
    ///
    /// # Errors
    /// If it does not fit `T`.
    pub fn index<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        read(self.attempt.index_text())
    }

    /// The context as this branch sees it.
    #[must_use]
    pub fn context(&self) -> &Json {
        self.attempt.context_json()
    }

    /// What stands at a key path of the context; `None` if nothing does.
    ///
    /// # Errors
    /// If the path is none, or the value does not fit `T`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, StepError> {
        let path = key_path(path)?;
        match path.read(self.context()) {
            Some(value) => Ok(Some(serde_json::from_slice(&value.to_bytes())?)),
            None => Ok(None),
        }
    }

    /// Writes a value into the context when the step completes.
    ///
    /// # Errors
    /// If the path is none, or the value is no JSON that Rejoin takes.
    pub fn set(&self, path: &str, value: impl Serialize) -> Result<(), StepError> {
        let path = key_path(path)?.to_string();
        let value = to_json(&value)?;
        self.lock().set.insert(path, value);
        Ok(())
    }

    /// Removes what stands at a key path when the step completes.
    ///
    /// # Errors
    /// If the path is none.
    pub fn unset(&self, path: &str) -> Result<(), StepError> {
        let path = key_path(path)?.to_string();
        self.lock().unset.push(path);
        Ok(())
    }

    /// The handler is alive: where the step has a `heartbeat`, to be called more often than that.
    pub fn heartbeat(&self) {
        self.attempt.control.beat();
    }

    /// Stores what the next attempt receives, should this one fail.
    ///
    /// # Errors
    /// If the value is no JSON that Rejoin takes.
    pub fn checkpoint(&self, value: impl Serialize) -> Result<(), StepError> {
        self.attempt.store_checkpoint(&to_json(&value)?);
        Ok(())
    }

    /// What an earlier attempt stored.
    ///
    /// # Errors
    /// If it does not fit `T`.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        read(self.attempt.checkpoint_text())
    }

    /// Resolves when nobody waits for this attempt any more.
    pub async fn cancelled(&self) {
        self.attempt.control.cancelled().await;
    }

    /// Whether nobody waits for this attempt any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.attempt.control.is_cancelled()
    }

    /// Adds a line to the step's logs.
    pub fn log(&self, line: impl AsRef<str>) {
        self.attempt.logs.push(line.as_ref());
    }

    pub(super) fn take_writes(&self) -> Writes {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, StepError> {
    text.map(serde_json::from_str).transpose().map_err(StepError::from)
}

fn key_path(text: &str) -> Result<KeyPath, StepError> {
    KeyPath::parse(text).ok_or_else(|| StepError::fatal(format!("`{text}` is no key path")))
}

fn to_json(value: &impl Serialize) -> Result<Json, StepError> {
    Ok(Json::parse(&serde_json::to_vec(value)?)?)
}
