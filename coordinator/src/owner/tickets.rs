//! Deliveries that wait for their acknowledgement: each is settled once all it carried was judged and committed.

use rejoin_shared::ids::Partition;
use rejoin_shared::link::{Receipt, Settle};
use rejoin_shared::map::HashMap;

/// Names a delivery that is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicketId(u64);

struct Ticket {
    queue: Partition,
    receipt: Receipt,
    open: usize,
    how: Settle,
}

/// The open deliveries.
#[derive(Default)]
pub struct Tickets {
    next: u64,
    open: HashMap<TicketId, Ticket>,
}

impl Tickets {
    /// A delivery from the event queue of `queue` that carries `items` events.
    pub fn open(&mut self, queue: Partition, receipt: Receipt, items: usize) -> TicketId {
        self.next += 1;
        let id = TicketId(self.next);
        let ticket = Ticket {
            queue,
            receipt,
            open: items,
            how: Settle::Ack,
        };
        self.open.insert(id, ticket);
        id
    }

    /// One of its events is done with; `Some` when it was the last: settle it so.
    pub fn done(&mut self, id: TicketId, how: Settle) -> Option<(Receipt, Settle)> {
        let ticket = self.open.get_mut(&id)?;
        ticket.open = ticket.open.saturating_sub(1);
        if rank(how) > rank(ticket.how) {
            ticket.how = how;
        }
        if ticket.open > 0 {
            return None;
        }
        self.open.remove(&id).map(|ticket| (ticket.receipt, ticket.how))
    }

    /// It turned out to carry so many more events.
    pub fn more(&mut self, id: TicketId, count: usize) {
        if let Some(ticket) = self.open.get_mut(&id) {
            ticket.open += count;
        }
    }

    /// The delivery that was taken in last.
    pub fn latest(&self) -> TicketId {
        TicketId(self.next)
    }

    /// Whether everything that was taken in up to this delivery is settled.
    pub fn is_settled_up_to(&self, id: TicketId) -> bool {
        self.open.keys().all(|open| open.0 > id.0)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether any came from the event queue of `queue`.
    pub fn any_from(&self, queue: Partition) -> bool {
        self.open.values().any(|ticket| ticket.queue == queue)
    }
}

/// One event that has to be delivered again weighs more than one that is given up.
fn rank(how: Settle) -> u8 {
    match how {
        Settle::Ack => 0,
        Settle::DeadLetter => 1,
        Settle::Requeue => 2,
    }
}
