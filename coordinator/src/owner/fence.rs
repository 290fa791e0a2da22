//! Fences: proof that event queues were read up to a point.
//!
//! A completion goes to the event queue that its dispatch named; a question about the same attempt, asked later, may go to
//! another one (the owner changed, or its home did). Were the question judged first, a recorded step could be told to run
//! again. So after partitions were taken, and after the home moved, a fence is put into every event queue in use, and
//! nothing is told to run until each has come back, behind everything that stood before it.

use std::collections::BTreeSet;
use std::time::Duration;

use rejoin_shared::ids::Partition;
use rejoin_shared::link::{Address, Message, Receipt, Settle};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Fence, kind};
use uuid::Uuid;

use super::Owner;
use super::tickets::TicketId;
use crate::broker::decode::to_bytes;
use crate::broker::publisher::{Outgoing, Purpose};

/// A fence that has not come back by then is put up again: its queue may have been emptied.
const PATIENCE: Duration = Duration::from_secs(3);

/// The fences that are up, and those that were read and wait for what stood before them.
#[derive(Default)]
pub(super) struct Fences {
    up: Option<Round>,
    /// Rounds put up so far.
    number: u64,
    /// The last one that came back; those before it were absorbed, or back earlier.
    back: u64,
    /// Another one is wanted.
    wanted: bool,
    read: Vec<(Fence, Receipt, TicketId)>,
}

/// One round: a fence in each of these queues.
struct Round {
    id: Uuid,
    queues: BTreeSet<Partition>,
    next_at: Timestamp,
}

impl Fences {
    /// Whether some event queue has not been read up to its fence.
    pub fn any_open(&self) -> bool {
        self.up.is_some()
    }

    /// Asks for a round that begins from now on, and returns its number.
    pub fn want(&mut self) -> u64 {
        self.wanted = true;
        self.number + 1
    }

    /// Whether this round, or a later one, has come back.
    pub fn is_back(&self, round: u64) -> bool {
        round <= self.back
    }

    /// A fence was read; `behind` is the delivery that was read before it.
    pub fn arrived(&mut self, fence: Fence, receipt: Receipt, behind: TicketId) {
        self.read.push((fence, receipt, behind));
    }

    fn came_back(&mut self, id: Uuid, queue: Partition) {
        if let Some(round) = self.up.as_mut().filter(|round| round.id == id) {
            round.queues.remove(&queue);
            tracing::debug!(round = %id, queue = queue.0, left = round.queues.len(), "fence came back");
            if round.queues.is_empty() {
                self.up = None;
                self.back = self.number;
            }
        }
    }
}

impl Owner {
    /// Begins a round of fences; an earlier one is absorbed by it.
    pub(super) fn put_fences_up(&mut self) {
        let used = self
            .membership
            .partitions
            .iter()
            .filter(|row| row.has_events)
            .map(|row| row.partition);
        let queues: BTreeSet<Partition> = used.chain(self.home).collect();
        if queues.is_empty() {
            return;
        }
        tracing::debug!(queues = queues.len(), "fences put up");
        let (id, next_at) = (self.parts.dice.id(), self.parts.clock.now());
        self.fences.number += 1;
        self.fences.wanted = false;
        self.fences.up = Some(Round { id, queues, next_at });
        self.publish_fences();
    }

    /// Begins the round that was asked for, once the one before it is back.
    pub(super) fn put_wanted_fences_up(&mut self) {
        if self.fences.wanted && !self.fences.any_open() {
            self.put_fences_up();
        }
    }

    /// Publishes fences that are due.
    pub(super) fn publish_fences(&mut self) {
        let now = self.parts.clock.now();
        let (Some(home), Some(round)) = (self.home, self.fences.up.as_mut()) else {
            return;
        };
        if now < round.next_at {
            return;
        }
        round.next_at = now.plus(PATIENCE);
        let fences: Vec<Fence> = round
            .queues
            .iter()
            .map(|queue| Fence {
                id: round.id,
                coordinator: self.parts.member.incarnation,
                queue: queue.0,
                home: home.0,
            })
            .collect();
        for fence in fences {
            self.publish_fence(&fence, fence.queue);
        }
    }

    fn publish_fence(&self, fence: &Fence, to: u8) {
        self.publish_all(vec![Outgoing {
            purpose: Purpose::Notice,
            to: Address::Queue(self.parts.topology.events(to)),
            message: Message::new(kind::FENCE, true, to_bytes(fence)),
            declare: Some(self.parts.topology.event_queue(to)),
        }]);
    }

    /// Lets fences through whose turn has come: own ones have come back, others' go on to their home.
    pub(super) fn pass_fences(&mut self) {
        if self.fences.read.is_empty() {
            return;
        }
        let read = std::mem::take(&mut self.fences.read);
        for (fence, receipt, behind) in read {
            if !self.tickets.is_settled_up_to(behind) {
                self.fences.read.push((fence, receipt, behind));
                continue;
            }
            match fence.coordinator == self.parts.member.incarnation {
                true => self.fences.came_back(fence.id, Partition(fence.queue)),
                false if !self.consumers.reads(Partition(fence.home)) => self.publish_fence(&fence, fence.home),
                // Its coordinator has gone: its home is read by us now.
                false => {}
            }
            self.settles.send((receipt, Settle::Ack)).ok();
        }
        if !self.fences.any_open() {
            self.ask_again();
        }
    }
}
