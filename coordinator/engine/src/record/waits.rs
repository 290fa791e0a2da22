//! What waits wait for, and what comes.

use rejoin_shared::json::Json;
use serde::{Deserialize, Serialize};

use super::ThreadKey;

/// What a wait waits for, as its templates gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// A human answer.
    Input {
        /// What is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
    },
    /// This event.
    Event(String),
    /// The first of these.
    Any(Vec<String>),
    /// All of these.
    All(Vec<String>),
}

impl Awaited {
    /// The events it names.
    #[must_use]
    pub fn events(&self) -> &[String] {
        match self {
            Awaited::Input { .. } => &[],
            Awaited::Event(name) => std::slice::from_ref(name),
            Awaited::Any(names) | Awaited::All(names) => names,
        }
    }
}

/// See [`super::Fact::EventReceived`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReceived {
    /// Its name.
    pub event: String,
    /// What it carries.
    #[serde(skip)]
    pub payload: Json,
    /// What the sender calls it: the same one counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The waits that take it; none: it is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<ThreadKey>,
}
