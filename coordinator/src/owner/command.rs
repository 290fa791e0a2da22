//! What callers ask of the owner of a run, and what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use rejoin_engine::decision::ChildEnd;
use rejoin_engine::event::{Event, Fork, ScopeEdit, Start, StepOperation, Steps};
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::run::{Priority, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::TraceParent;
use serde::{Deserialize, Serialize};

use crate::store::{ForkedFrom, NewestVersion};

/// A run to be started; its id was drawn by the caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    /// Its namespace.
    pub namespace: Namespace,
    /// The workflow.
    pub workflow: String,
    /// Its version.
    pub version: u32,
    /// Checked against the definition's schema.
    pub input: Json,
    /// Labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Order among runs.
    #[serde(default)]
    pub priority: Priority,
    /// The run that called it.
    #[serde(default)]
    pub parent: Option<RunId>,
    /// That run waits for its end.
    #[serde(default)]
    pub is_awaited: bool,
    /// It begins no earlier.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The span of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// The key it was reserved with; written into the run's row.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The same start may have been asked before (a repeated request with a key): look first.
    #[serde(default)]
    pub may_exist: bool,
    /// The version was the newest when it was last looked up, and the run is to begin with no older one. Only the owner in the
    /// same process is asked so.
    #[serde(skip)]
    pub expects_newest: bool,
}

impl StartRun {
    /// What has to be true for it to begin.
    #[must_use]
    pub fn expected(&self) -> Option<NewestVersion> {
        self.expects_newest.then(|| NewestVersion {
            namespace: self.namespace.clone(),
            workflow: self.workflow.clone(),
            version: self.version,
        })
    }
}

/// A run to be started because another one calls it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRun {
    /// The namespace of both.
    pub namespace: Namespace,
    /// The workflow.
    pub workflow: String,
    /// Its version; the newest by default.
    #[serde(default)]
    pub version: Option<u32>,
    /// Not checked yet.
    pub input: Json,
    /// Order among runs: the caller's.
    pub priority: Priority,
    /// The caller.
    pub parent: RunId,
    /// It waits for the end.
    pub is_awaited: bool,
}

/// A run to be started together with others, under the id its caller drew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// Its id.
    pub run: RunId,
    /// What it is.
    pub start: StartRun,
}

/// A run to be begun with a past that stands in its journal already; its id was drawn by the caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForkRun {
    /// Whose past it is.
    pub from: ForkedFrom,
    /// Its namespace.
    pub namespace: Namespace,
    /// The workflow.
    pub workflow: String,
    /// Its version, which the past fits.
    pub version: u32,
    /// Its input, checked against the definition's schema.
    pub input: Json,
    /// Whether that is another one than its past began with.
    pub has_new_input: bool,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Order among runs.
    pub priority: Priority,
    /// The span of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

impl ForkRun {
    /// The engine's words for it.
    #[must_use]
    pub fn to_engine(&self, run: RunId) -> Fork {
        Fork {
            run,
            version: self.version,
            input: self.has_new_input.then(|| self.input.clone()),
            traceparent: self.traceparent,
        }
    }

    /// The run as one that starts: what its row says.
    #[must_use]
    pub fn as_start(&self) -> StartRun {
        StartRun {
            namespace: self.namespace.clone(),
            workflow: self.workflow.clone(),
            version: self.version,
            input: self.input.clone(),
            tags: self.tags.clone(),
            priority: self.priority,
            parent: None,
            is_awaited: false,
            at: None,
            traceparent: self.traceparent,
            idempotency_key: None,
            may_exist: true,
            expects_newest: false,
        }
    }
}

/// What can be asked of the owner of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Starts it.
    Start(Box<StartRun>),
    /// Starts several, all or none; those that are there already are left alone. Asked of the owner of the first.
    StartMany {
        /// All of them.
        runs: Vec<NewRun>,
    },
    /// Begins it with the past of another run, which was copied into its journal.
    Fork(Box<ForkRun>),
    /// Edits the open scope at this path.
    Edit {
        /// The scope's path.
        path: String,
        /// What is to be different.
        edit: ScopeEdit,
    },
    /// Cancels it.
    Cancel {
        /// For people.
        #[serde(default)]
        reason: Option<String>,
        /// What it did is undone.
        #[serde(default)]
        compensate: bool,
    },
    /// Dispatches nothing new.
    Pause,
    /// Goes on: a paused run, or a failed one.
    Resume,
    /// Something about single steps.
    Operate {
        /// Which.
        steps: Steps,
        /// What.
        what: StepOperation,
    },
    /// Starts it because another run calls it; what it runs is looked up when this is read.
    Call(Box<CallRun>),
    /// A run that it called has ended.
    ChildEnded {
        /// Which.
        child: RunId,
        /// How.
        end: ChildEnd,
    },
    /// Its caller waits for it again.
    GoOn {
        /// The caller.
        parent: RunId,
    },
    /// An event.
    Signal {
        /// The namespace it comes from: no event crosses.
        from: Namespace,
        /// Its name.
        event: String,
        /// What it carries.
        payload: Json,
        /// The same one counts once.
        #[serde(default)]
        id: Option<String>,
        /// It is for this very run: kept if no wait takes it.
        is_addressed: bool,
        /// The run that sent it.
        #[serde(default)]
        sender: Option<RunId>,
    },
    /// The answer to the input that waits at this path.
    Answer {
        /// The wait's path.
        path: String,
        /// Checked by whoever asks.
        value: Json,
    },
}

impl Command {
    /// The engine's event for a run that is there; `None` for a start or call.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        match self {
            Command::Start(_) | Command::StartMany { .. } | Command::Fork(_) | Command::Call(_) => None,
            Command::Edit { path, edit } => Some(Event::Edit {
                path: path.clone(),
                edit: edit.clone(),
            }),
            Command::ChildEnded { child, end } => Some(Event::ChildEnded {
                child: *child,
                end: end.clone(),
            }),
            Command::Operate { steps, what } => Some(Event::Operate {
                steps: steps.clone(),
                what: what.clone(),
            }),
            Command::GoOn { parent } => Some(Event::GoOn { parent: *parent }),
            Command::Cancel { reason, compensate } => Some(Event::Cancel {
                reason: reason.clone(),
                compensate: *compensate,
            }),
            Command::Pause => Some(Event::Pause),
            Command::Resume => Some(Event::Resume),
            Command::Signal {
                from,
                event,
                payload,
                id,
                is_addressed,
                sender,
            } => Some(Event::Signal {
                from: from.clone(),
                event: event.clone(),
                payload: payload.clone(),
                id: id.clone(),
                is_addressed: *is_addressed,
                sender: *sender,
            }),
            Command::Answer { path, value } => Some(Event::Answer {
                path: path.clone(),
                value: value.clone(),
            }),
        }
    }

    /// Whether only an owner in this process can be asked: what a start expects does not travel.
    #[must_use]
    pub fn is_for_own(&self) -> bool {
        matches!(self, Command::Start(start) if start.expects_newest)
    }

    /// Its name in the inbox.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Command::Start(_) => "start",
            Command::Operate { .. } => "operate",
            Command::Call(_) => "call",
            Command::ChildEnded { .. } => "child_ended",
            Command::GoOn { .. } => "go_on",
            Command::StartMany { .. } => "start_many",
            Command::Fork(_) => "fork",
            Command::Edit { .. } => "edit",
            Command::Cancel { .. } => "cancel",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Signal { .. } => "event",
            Command::Answer { .. } => "answer",
        }
    }
}

/// The answer to a command that was obeyed; durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The run's state after it.
    pub status: RunStatus,
    /// False: its effect was there already.
    pub changed: bool,
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum CommandError {
    /// 404.
    #[error("there is no such run")]
    NotFound,
    /// 404: the run is there, and what the command is about is not.
    #[error("{message}")]
    Missing {
        /// What.
        message: String,
    },
    /// 409.
    #[error("{message}")]
    NotAllowed {
        /// Why the state does not allow it.
        message: String,
    },
    /// 429: it may be asked again later.
    #[error("the run keeps as many events as it may; they go as waits take them")]
    Full,
    /// 422: the database or the definition does not take it.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
    },
    /// A start did not begin with the newest version: whoever asked looks it up and asks again.
    #[error("a newer version of the workflow was registered meanwhile")]
    Superseded,
    /// The run has gone to another owner, and nothing was judged: whoever asked asks that one.
    #[error("the run has another owner now")]
    Elsewhere,
    /// 503: no answer in time, or the database is away; it may be asked again.
    #[error("{message}")]
    Unavailable {
        /// What is away.
        message: String,
    },
}

impl CommandError {
    /// A [`CommandError::Unavailable`].
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> CommandError {
        CommandError::Unavailable {
            message: message.into(),
        }
    }
}

/// A start together with the definition it runs.
#[derive(Clone, Debug)]
pub struct PreparedStart {
    /// What was asked.
    pub start: StartRun,
    /// Its definition.
    pub definition: Arc<Definition>,
}

impl PreparedStart {
    /// The engine's words for it.
    #[must_use]
    pub fn to_engine(&self, run: RunId) -> Start {
        Start {
            run,
            namespace: self.start.namespace.clone(),
            version: self.start.version,
            input: self.start.input.clone(),
            tags: self.start.tags.clone(),
            priority: self.start.priority,
            parent: self.start.parent,
            is_awaited: self.start.is_awaited,
            at: self.start.at,
            traceparent: self.start.traceparent,
        }
    }
}

/// A fork together with the definition it runs and the state its past folds to.
#[derive(Debug)]
pub struct PreparedFork {
    /// What was asked.
    pub fork: ForkRun,
    /// Its definition.
    pub definition: Arc<Definition>,
    /// The fold of its past.
    pub past: RunState,
}

/// What a command needs beside itself: the definitions of the runs it starts.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// It starts none.
    Nothing,
    /// It starts one.
    Start(Box<PreparedStart>),
    /// It starts these, all or none.
    Starts(Vec<(RunId, PreparedStart)>),
    /// It begins one with a past.
    Fork(Arc<PreparedFork>),
}
