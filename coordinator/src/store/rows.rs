//! What else stands in the store: messages on their way, members, partitions, workflows, schedules.

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, Partition, RunId};
use rejoin_shared::time::Timestamp;

use super::{Epoch, InboxMessage};

/// An inbox message as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// Rises with time.
    pub id: u64,
    /// The message.
    pub message: InboxMessage,
}

/// A page of the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxPage {
    /// Those of its messages that can be read here.
    pub rows: Vec<InboxRow>,
    /// Behind which id the next page begins, if this one holds as many messages as it may, whether they can be read or not.
    pub next: Option<u64>,
}

/// A coordinator process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable name.
    pub name: String,
    /// Drawn at each start.
    pub incarnation: uuid::Uuid,
    /// Where its API listens, for people and forwarding.
    pub address: String,
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The member.
    pub member: Member,
    /// By the database's clock.
    pub joined_at: Timestamp,
    /// How long its lease still runs by the database's clock, in ms; 0 or less: it has run out.
    pub lease_left_ms: i64,
}

/// A partition as everyone sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Which.
    pub partition: Partition,
    /// Its owner, if any.
    pub owner: Option<Member>,
    /// Whether that owner's lease still runs.
    pub is_live: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// Whether its event queue was ever used: its owner consumes it then.
    pub has_events: bool,
}

/// A registered version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WorkflowRow {
    pub namespace: Namespace,
    pub name: String,
    pub version: u32,
    /// SHA-256 of the canonical document, hex.
    pub digest: String,
    /// Canonical JSON text of the document.
    pub document: Bytes,
    pub created_at: Timestamp,
}

/// A schedule: what is asked for, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// JSON text of what it starts and when, read by the service only.
    pub spec: Bytes,
    /// Drawn with each write, never twice; what is given when it is added does not count.
    pub revision: u64,
    /// Nothing is started.
    pub is_paused: bool,
    /// Where an interval begins to count.
    pub anchor_at: Timestamp,
    /// The next tick that nobody has taken yet.
    pub next_at: Option<Timestamp>,
    /// Ticks that are taken and whose runs are not known to have started, in order.
    pub pending: Vec<Timestamp>,
    /// How many missed ticks were made up in a row.
    pub caught_up: u32,
    /// The run it started last.
    pub last_run: Option<RunId>,
    /// Runs of ticks whose end is not counted yet, in the order of their starts.
    pub open_runs: Vec<RunId>,
    /// How many starts and runs failed in a row.
    pub failures: u32,
    /// Why the last of them failed.
    pub last_error: Option<String>,
    /// When a coordinator has to look at it.
    pub wake_at: Option<Timestamp>,
}

/// What became of a reserved idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It was free and is bound now.
    Won,
    /// It is bound already, to this run and this hash of a request.
    Bound {
        /// The run it was bound with.
        run: RunId,
        /// Hash of the request it was bound with.
        request_hash: String,
        /// The run has ended and was deleted; the key stays bound for a while.
        is_deleted: bool,
    },
}
