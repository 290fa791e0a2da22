//! One queue: what waits, and who takes it in turn.

use std::collections::VecDeque;

use crate::link::{Death, Message, QueueSpec};

/// A message in a queue, or delivered from it and unsettled.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) message: Message,
    /// Counts what entered the queue: a message that comes back takes its old place.
    pub(super) position: u64,
    /// How often it came back unsettled or was requeued.
    pub(super) returns: u32,
    /// Where it was given up.
    pub(super) death: Option<Death>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) spec: QueueSpec,
    /// The link that an exclusive queue belongs to.
    pub(super) owner: Option<u64>,
    /// Sorted by position.
    pub(super) ready: VecDeque<Stored>,
    /// Ids; the next one to be served is in front.
    pub(super) consumers: VecDeque<u64>,
    entered: u64,
}

impl Queue {
    pub(super) fn new(spec: QueueSpec, owner: Option<u64>) -> Queue {
        Queue {
            spec,
            owner,
            ready: VecDeque::new(),
            consumers: VecDeque::new(),
            entered: 0,
        }
    }

    pub(super) fn push(&mut self, message: Message, death: Option<Death>) {
        self.entered += 1;
        self.ready.push_back(Stored {
            message,
            position: self.entered,
            returns: 0,
            death,
        });
    }

    /// Puts a delivered message back where it was.
    pub(super) fn put_back(&mut self, stored: Stored) {
        let at = self.ready.partition_point(|other| other.position < stored.position);
        self.ready.insert(at, stored);
    }
}
