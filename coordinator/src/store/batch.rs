//! What one append writes, and by which right.

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::time::Timestamp;

use super::{JournalRow, Reserved, RunChange, RunRow};

/// Proof of ownership of a partition, and the number of the next batch in its chain (DESIGN 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: Partition,
    /// Counter of takeovers, with a random part, so that no two owners share one.
    pub epoch: Epoch,
    /// Number of the last batch appended under this epoch.
    pub batch: u64,
}

/// Which ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// Rises with each takeover.
    pub count: i64,
    /// Drawn at each takeover.
    pub token: i64,
}

/// Everything one append writes, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The partitions it touches, sorted: each moves from `batch` to `batch + 1`, or nothing is written.
    pub claims: Vec<Claim>,
    /// New runs. The past of one that was forked must be there ([`Store::copy_past`]), or nothing is written.
    pub created: Vec<RunRow>,
    /// Rows, each run's in the order of `seq`.
    pub rows: Vec<JournalRow>,
    /// Changed run rows.
    pub changed: Vec<RunChange>,
    /// Messages to other runs.
    pub sent: Vec<InboxMessage>,
    /// Messages whose effect is in this batch: removed.
    pub received: Vec<u64>,
    /// Commands whose verdict is in this batch: the row stays, with this JSON, until its asker has read it or it is swept.
    pub answered: Vec<(u64, Bytes)>,
    /// Waits that are over: run, and the record that opened the wait. Removed before new ones are put.
    pub waits_over: Vec<(RunId, u64)>,
    /// Waits that opened.
    pub waits: Vec<WaitRow>,
    /// Messages to all runs that wait for an event.
    pub broadcasts: Vec<Broadcast>,
    /// Joined scopes whose branches' snapshots go.
    pub joins: Vec<JoinedScope>,
    /// Versions with which new runs begin as the newest: where one of them is not any more, nothing is written.
    pub newest: Vec<NewestVersion>,
}

/// The newest version of a workflow, as far as somebody knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewestVersion {
    /// The workflow's namespace.
    pub namespace: Namespace,
    /// Its name.
    pub workflow: String,
    /// The version.
    pub version: u32,
}

/// A joined scope whose branches' snapshots go (`snapshots_after_join: drop`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedScope {
    /// The run.
    pub run: RunId,
    /// The record that opened it.
    pub opened: u64,
    /// The record that joined it.
    pub joined: u64,
    /// The scope's node visit.
    pub path: String,
    /// Up to here, exclusively, they are gone; what is given when it is put does not count.
    pub next_seq: u64,
}

impl JoinedScope {
    /// Whether the record of this number and path lies in one of its branches.
    #[must_use]
    pub fn holds(&self, seq: u64, path: Option<&str>) -> bool {
        let rest = path.and_then(|path| path.strip_prefix(self.path.as_str()));
        self.opened < seq && seq < self.joined && rest.is_some_and(|rest| rest.starts_with(['/', '[']))
    }

    /// Whether the snapshot of this record has gone.
    #[must_use]
    pub fn has_dropped(&self, seq: u64, path: Option<&str>) -> bool {
        seq < self.next_seq && self.holds(seq, path)
    }
}

/// Snapshots that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Scopes that were worked on.
    pub scopes: u64,
    /// Snapshots that went.
    pub snapshots: u64,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// Events.
    Event,
    /// A human answer.
    Input,
    /// A time: a sleep.
    Timer,
}

impl WaitKind {
    /// Its name in tables and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WaitKind::Event => "event",
            WaitKind::Input => "input",
            WaitKind::Timer => "timer",
        }
    }
}

/// An open wait, for those who look for waits without reading journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitRow {
    /// The run that waits.
    pub run: RunId,
    /// The record that opened the wait.
    pub seq: u64,
    /// The run's namespace.
    pub namespace: Namespace,
    /// The run's workflow.
    pub workflow: String,
    /// Name of the node.
    pub name: String,
    /// The node visit.
    pub path: String,
    /// What it waits for.
    pub kind: WaitKind,
    /// The events it names, if it waits for events.
    pub events: Vec<String>,
    /// JSON: what is asked.
    pub body: Bytes,
    /// The database's time of the append; what is given when it is put does not count.
    pub opened_at: Timestamp,
    /// When it times out.
    pub until: Option<Timestamp>,
}

/// A message to all runs of a namespace that wait for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The namespace.
    pub namespace: Namespace,
    /// The event.
    pub event: String,
    /// Name of the message's kind.
    pub kind: String,
    /// JSON, read by the inbox module only.
    pub body: Bytes,
    /// A second message for one run with the same key is dropped.
    pub dedupe_key: Option<String>,
}

/// A command or message on its way to the owner of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// The partition of the run it is for.
    pub partition: Partition,
    /// The run.
    pub run: RunId,
    /// Name of its kind.
    pub kind: String,
    /// JSON, read by the inbox module only.
    pub body: Bytes,
    /// A second message with the same key is dropped.
    pub dedupe_key: Option<String>,
    /// Whether somebody waits for a verdict.
    pub wants_verdict: bool,
}

/// An idempotency key that is to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBinding {
    /// The key.
    pub key: String,
    /// The run it is bound to.
    pub run: RunId,
    /// Hash of the request it is bound to.
    pub request_hash: String,
}

impl KeyBinding {
    /// Whether the key is free, or bound to this very request.
    #[must_use]
    pub fn fits(&self, reserved: &Reserved) -> bool {
        match reserved {
            Reserved::Won => true,
            Reserved::Bound { request_hash, .. } => *request_hash == self.request_hash,
        }
    }
}
