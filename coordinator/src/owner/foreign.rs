//! Events of runs that others own: forwarded to their owner's event queue, confirmed, then acknowledged.

use std::collections::BTreeMap;

use rejoin_engine::event::Event;
use rejoin_shared::ids::{AttemptKey, ClaimId, Partition, RunId};
use rejoin_shared::link::{Address, Message, Settle};
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::wire::PROTOCOL;
use uuid::Uuid;

use super::Owner;
use super::inbound::{Incoming, Item, Origin, Question, Returned, What};
use super::tickets::TicketId;
use crate::broker::decode::{self, EventBody};
use crate::broker::gate::Gate;
use crate::broker::publisher::{Fate, Outgoing, Purpose};

/// The part of a delivery that is about runs of one partition of somebody else's.
struct Part {
    ticket: TicketId,
    queue: Partition,
    partition: Partition,
    message: Message,
}

impl Part {
    fn key(&self) -> (Uuid, Partition) {
        (self.message.id, self.partition)
    }
}

/// What waits to be forwarded.
#[derive(Default)]
pub struct Foreign {
    waiting: Vec<Part>,
    under_way: HashMap<u64, Part>,
    count: u64,
    /// What was sent on since the members were read last, by its message: should it come back, somebody else takes another one for its
    /// owner than we do. Until one of us reads better, the two would send it to and fro as fast as they can.
    sent_on: HashSet<(Uuid, Partition)>,
}

impl Foreign {
    /// The members were read anew: what waits may go on.
    pub fn members_were_read(&mut self) {
        self.sent_on.clear();
    }

    /// Whether a part has not been sent on before; one whose message came without an id cannot be told from others.
    fn may_send_on(&mut self, part: &Part) -> bool {
        part.message.id.is_nil() || self.sent_on.insert(part.key())
    }
}

impl Owner {
    /// Takes a delivery in: each event for a run becomes an item; what is for runs of others is forwarded.
    pub(super) fn take_event(&mut self, incoming: Incoming) {
        let Incoming {
            queue,
            receipt,
            message,
            body,
        } = incoming;
        if let EventBody::Fence(fence) = body {
            self.fences.arrived(fence, receipt, self.tickets.latest());
            return;
        }
        let items = whats(body);
        let mut others: Vec<Partition> = items.iter().map(|(run, _)| run.partition()).collect();
        others.sort();
        others.dedup();
        others.retain(|partition| !self.claims.contains_key(partition));
        let own = items
            .into_iter()
            .filter(|(run, _)| self.claims.contains_key(&run.partition()));
        let own: Vec<(RunId, What)> = own.collect();
        let ticket = self.tickets.open(queue, receipt, own.len() + others.len());
        if own.is_empty() && others.is_empty() {
            self.ticket_done(ticket, Settle::Ack);
        }
        self.push_items(own, ticket);
        for partition in others {
            self.foreign.waiting.push(Part {
                ticket,
                queue,
                partition,
                message: message.clone(),
            });
        }
        if !self.foreign.waiting.is_empty() {
            self.forward();
        }
    }

    fn push_items(&mut self, items: Vec<(RunId, What)>, ticket: TicketId) {
        for (run, mut what) in items {
            if let What::Check(question) = &mut what {
                question.came_at = self.fleet.place();
            }
            self.backlog.push_back(Item {
                run,
                what,
                origin: Origin::Delivery(ticket),
            });
        }
    }

    /// Forwards what has a live owner by now; what became ours is taken in.
    pub(super) fn forward(&mut self) {
        for part in std::mem::take(&mut self.foreign.waiting) {
            if self.claims.contains_key(&part.partition) {
                self.take_part(part);
                continue;
            }
            match self.membership.home_of_owner(part.partition) {
                Some(home) if home != part.queue && self.foreign.may_send_on(&part) => {
                    self.forward_to(home, part);
                }
                Some(_) | None => self.foreign.waiting.push(part),
            }
        }
    }

    fn forward_to(&mut self, home: Partition, part: Part) {
        let Some(body) = decode::part_for(&part.message, |run| run.partition() == part.partition) else {
            return self.ticket_done(part.ticket, Settle::Ack);
        };
        let mut message = Message::new(&part.message.kind, true, body);
        message.id = part.message.id;
        message.reply_to.clone_from(&part.message.reply_to);
        message.traceparent.clone_from(&part.message.traceparent);
        message.protocol = PROTOCOL;
        self.foreign.count += 1;
        let outgoing = Outgoing {
            purpose: Purpose::Forward(self.foreign.count),
            to: Address::Queue(self.parts.topology.events(home.0)),
            message,
            declare: None,
        };
        self.foreign.under_way.insert(self.foreign.count, part);
        self.publish_all(vec![outgoing]);
    }

    fn take_part(&mut self, part: Part) {
        // It was judged at the gate when it came.
        let body = decode::event(&part.message, &self.parts.limits, &Gate::open());
        let items = body.map(whats).unwrap_or_default().into_iter();
        let items: Vec<(RunId, What)> = items.filter(|(run, _)| run.partition() == part.partition).collect();
        self.tickets.more(part.ticket, items.len());
        self.push_items(items, part.ticket);
        self.ticket_done(part.ticket, Settle::Ack);
    }

    /// What became of a forwarded event.
    pub(super) fn forwarded(&mut self, number: u64, fate: Fate) {
        let Some(part) = self.foreign.under_way.remove(&number) else {
            return;
        };
        match fate {
            Fate::Accepted => self.ticket_done(part.ticket, Settle::Ack),
            Fate::CameBack | Fate::NotSent | Fate::Withheld | Fate::Unknown => {
                self.foreign.sent_on.remove(&part.key());
                self.foreign.waiting.push(part);
            }
        }
    }
}

/// The events of a message, by run.
fn whats(body: EventBody) -> Vec<(RunId, What)> {
    match body {
        EventBody::Completions(items) => {
            let events = items.into_iter();
            events
                .map(|(run, completed)| (run, What::Event(Event::Completed(Box::new(completed)))))
                .collect()
        }
        EventBody::Checkpoints(worker, items) => {
            let stored = |(of, value): (AttemptKey, _)| (of.run, What::Stored(worker, (of.step, of.attempt), value));
            items.into_iter().map(stored).collect()
        }
        EventBody::Check(check) => by_run(&check.attempts, |attempts| {
            What::Check(Question {
                id: check.id,
                worker: check.worker.clone(),
                suspect: check.suspect,
                redelivered: check.redelivered,
                attempts,
                came_at: 0,
                proof: None,
            })
        }),
        EventBody::HandBack(back) => {
            let claims: HashMap<AttemptKey, ClaimId> = back.claims.into_iter().collect();
            let mut groups: BTreeMap<RunId, Vec<Returned>> = BTreeMap::new();
            for key in back.attempts {
                let (attempt, claim) = ((key.step, key.attempt), claims.get(&key).copied());
                groups.entry(key.run).or_default().push(Returned { attempt, claim });
            }
            let worker = back.worker.incarnation;
            groups
                .into_iter()
                .map(|(run, attempts)| (run, What::HandBack(worker, attempts)))
                .collect()
        }
        EventBody::Fence(_) => Vec::new(), // taken out before
        EventBody::Fetch(fetch) => vec![(fetch.run, What::Fetch(fetch.worker, fetch.seq))],
    }
}

fn by_run(keys: &[AttemptKey], what: impl Fn(Vec<super::run::Try>) -> What) -> Vec<(RunId, What)> {
    let mut groups: BTreeMap<RunId, Vec<super::run::Try>> = BTreeMap::new();
    for key in keys {
        groups.entry(key.run).or_default().push((key.step, key.attempt));
    }
    groups
        .into_iter()
        .map(|(run, attempts)| (run, what(attempts)))
        .collect()
}
