//! Everything that reaches the owner, and the one form it is judged in.

use std::sync::Arc;

use rejoin_engine::event::Event;
use rejoin_shared::ids::{ClaimId, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::link::{Message, Receipt, Settle};
use rejoin_shared::wire::{Report, WorkerId};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::command::{Command, CommandError, Prepared, PreparedFork, PreparedStart, Reply};
use super::load::Loaded;
use super::rest::Due;
use super::run::Try;
use super::tickets::TicketId;
use super::views::{Explanation, FleetView};
use crate::broker::decode::EventBody;
use crate::broker::publisher::{Fate, Purpose};
use crate::fleet::{Heard, Held};
use crate::inbox::Page;
use crate::members::Membership;

/// A delivery from an event queue.
#[derive(Debug)]
pub struct Incoming {
    /// Whose event queue it came from.
    pub queue: Partition,
    /// Settles it.
    pub receipt: Receipt,
    /// As it came, should a part of it have to go elsewhere.
    pub message: Message,
    /// As it reads.
    pub body: EventBody,
}

/// A command of this process, with who waits for the answer.
#[derive(Debug)]
pub struct CommandCall {
    /// The run.
    pub run: RunId,
    /// What is asked.
    pub command: Command,
    /// For a start: its definition.
    pub prepared: Prepared,
    /// Gets the answer.
    pub reply: oneshot::Sender<Result<Reply, CommandError>>,
}

/// Anything that reaches the owner besides event deliveries and commands.
#[derive(Debug)]
pub enum Inbound {
    /// Of a worker.
    Report(Box<Report>),
    /// Reports are being read from now on.
    Listening,
    /// They are not, until [`Self::Listening`].
    Deaf,
    /// The inbox holds something new.
    Nudge,
    /// What became of a published message.
    Published(Purpose, Fate),
    /// A run was loaded.
    Loaded(Box<Loaded>),
    /// What the inbox holds.
    Inbox(Option<Page>),
    /// Members and partitions, read anew.
    Membership(Box<Membership>),
    /// Runs at work of a partition that was taken.
    OpenRuns(Vec<RunId>),
    /// Runs that are asleep.
    Due(Due),
    /// Somebody wants to know what a run waits for.
    Explain(RunId, oneshot::Sender<Option<Explanation>>),
    /// Somebody wants to know who holds which attempt of a run.
    Holders(RunId, oneshot::Sender<Held>),
    /// Somebody wants to know which runs wait for a worker.
    Unserved(oneshot::Sender<Vec<RunId>>),
    /// Somebody wants to see the fleet.
    Fleet(oneshot::Sender<FleetView>),
}

/// One event for one run.
#[derive(Debug)]
pub struct Item {
    /// The run.
    pub run: RunId,
    /// What.
    pub what: What,
    /// Where it came from, hence who is told.
    pub origin: Origin,
}

/// What an item is about.
#[derive(Clone, Debug)]
pub enum What {
    /// The engine's.
    Event(Event),
    /// A run begins.
    Start(Box<PreparedStart>),
    /// Runs begin, all or none; the item's run is one of them.
    Starts(Arc<Vec<(RunId, PreparedStart)>>),
    /// A run begins with the past of another one.
    Fork(Arc<PreparedFork>),
    /// May these run?
    Check(Question),
    /// Not started, and will not be.
    HandBack(Uuid, Vec<Returned>),
    /// A worker's attempt has stored this, and goes on.
    Stored(Uuid, Try, Json),
    /// The base context of this record is wanted.
    Fetch(WorkerId, u64),
}

/// An attempt that a worker gives back.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// Which.
    pub attempt: Try,
    /// The claim that was asked for, granted or not.
    pub claim: Option<ClaimId>,
}

impl What {
    /// What a command asks; `None` for a start without its definition, which is never sent.
    #[must_use]
    pub fn of(command: &Command, prepared: Prepared) -> Option<What> {
        match prepared {
            Prepared::Start(prepared) => Some(What::Start(prepared)),
            Prepared::Fork(fork) => Some(What::Fork(fork)),
            Prepared::Starts(starts) => Some(What::Starts(Arc::new(starts))),
            Prepared::Nothing => command.event().map(What::Event),
        }
    }
}

/// A worker's question about attempts of one run.
#[derive(Clone, Debug)]
pub struct Question {
    /// Named by the verdicts.
    pub id: Uuid,
    /// Who asks.
    pub worker: WorkerId,
    /// Whether the answer *run* confirms a start.
    pub suspect: bool,
    /// Whether the message had been delivered before.
    pub redelivered: bool,
    /// What it would run.
    pub attempts: Vec<Try>,
    /// Where the reports stood when it came.
    pub came_at: Heard,
    /// The round of fences after which nothing is left of whoever had the message before.
    pub proof: Option<u64>,
}

/// Where an item came from.
#[derive(Debug)]
pub enum Origin {
    /// A delivery, with the message for forwarding.
    Delivery(TicketId),
    /// A caller in this process.
    Caller(oneshot::Sender<Result<Reply, CommandError>>),
    /// An inbox row.
    Inbox {
        /// The row.
        id: u64,
        /// Whether somebody waits for the verdict.
        wants_verdict: bool,
    },
    /// The owner itself: made anew if it is lost.
    Own,
}

/// What came of an item, told after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Judged.
    Command(Result<Reply, CommandError>),
    /// Judged; only the delivery is settled.
    Settled(Settle),
}
