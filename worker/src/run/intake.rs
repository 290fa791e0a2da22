//! Unpacks what the task queues deliver.

use std::sync::Arc;

use rejoin_shared::ids::AttemptKey;
use rejoin_shared::link::{Delivery, Message, Settle};
use rejoin_shared::trace::TraceParent;
use rejoin_shared::wire::{BaseContext, Order, PROTOCOL, Pack, kind};
use tokio::time::Instant;

use super::Runner;
use super::ledger::{Attached, BaseRef, Job, Phase, WantsClaim};
use super::span::Origin;
use crate::attempt::{Base, key_of};

/// The only encoding of payloads so far.
const ENCODING_JSON: &str = "json";

/// What a delivery gives the right to.
#[derive(Clone, Copy)]
enum Right {
    /// To run its attempts.
    Free,
    /// To ask about them at once.
    Check,
    /// To claim its attempt when there is a slot for it.
    Claim { redelivered: bool },
}

/// A pack that can be worked on.
struct Unpacked {
    reply_to: Arc<str>,
    pack: Pack,
    redelivered: bool,
    /// Whether the sender keeps the span that the message names; of several runs the first one's speaks for all.
    is_sampled: bool,
}

impl Runner {
    /// Takes one message of a task queue.
    pub(super) fn take_delivery(&mut self, delivery: Delivery) {
        let receipt = delivery.receipt;
        let unpacked = match unpack(&delivery) {
            Ok(unpacked) => unpacked,
            Err(problem) => {
                let id = delivery.message.id;
                tracing::warn!(message = %id, kind = delivery.message.kind, problem, "message goes to the dead letters");
                self.settle(vec![(receipt, Settle::DeadLetter)]);
                return;
            }
        };
        let now = Instant::now();
        let message = self.ledger.open_message(receipt, now);
        match unpacked.pack.probe {
            // Acknowledged once the report that lists it is confirmed: until then a crash brings it to another worker.
            Some(probe) => {
                self.reports.note_probe(probe, message);
                self.take_attempts(unpacked, message, now);
            }
            None => {
                self.take_attempts(unpacked, message, now);
                let settled = self.ledger.close_part(message);
                self.settle(settled);
            }
        }
    }

    fn take_attempts(&mut self, unpacked: Unpacked, message: u64, now: Instant) {
        let Unpacked {
            reply_to,
            pack,
            redelivered,
            is_sampled,
        } = unpacked;
        let origin = Arc::new(Origin {
            queue: pack.queue.into(),
            is_sampled,
        });
        let is_late = pack.until.is_some_and(|until| self.setup.clock.now() >= until);
        let right = match (pack.claim, redelivered || pack.check || pack.suspect || is_late) {
            (true, _) => Right::Claim { redelivered },
            (false, true) => Right::Check,
            (false, false) => Right::Free,
        };
        let is_single = pack.attempts.len() == 1;
        let bases: Vec<BaseRef> = pack.contexts.into_iter().map(base_ref).collect();
        let mut asked = Vec::new();
        for order in pack.attempts {
            let key = key_of(&order);
            match self.ledger.attach(key, message) {
                Attached::Held => continue,
                // It went back already, and its owner sent it again: what is sent again goes back again.
                Attached::Leaving(reply_to) => {
                    self.outbox.add_hand_back(&reply_to, key, None);
                    continue;
                }
                Attached::New => {}
            }
            let phase = self.first_phase(order, &bases, right, &origin);
            if matches!(phase, Phase::Asking(_)) {
                asked.push(key);
            }
            self.ledger.admit(key, message, reply_to.clone(), phase, now);
        }
        if self.drain.is_begun() {
            self.hand_back_unstarted();
        } else if pack.suspect && redelivered {
            asked.into_iter().for_each(|key| self.suspects.add(key, &reply_to));
        } else {
            self.ask_about(
                &reply_to,
                asked,
                pack.suspect || (redelivered && is_single),
                redelivered,
            );
        }
    }

    fn first_phase(&self, order: Order, bases: &[BaseRef], right: Right, origin: &Arc<Origin>) -> Phase {
        let served = self.setup.handlers.contains_key(&*order.handler) && order.payload_encoding == ENCODING_JSON;
        if !served {
            return Phase::Unserved;
        }
        let base = bases[order.payload.base].clone();
        let wants_claim = match right {
            Right::Claim { redelivered } => Some(WantsClaim { redelivered }),
            Right::Check | Right::Free => None,
        };
        let job = Box::new(Job {
            order,
            base,
            wants_claim,
            origin: origin.clone(),
        });
        match right {
            Right::Check => Phase::Asking(job),
            // The claim is asked for when there is a slot for it: what is claimed and never begun would be lost with its worker.
            Right::Claim { .. } | Right::Free => Phase::Ready(job),
        }
    }

    /// Asks the owner about attempts that may have run. `confirms`: what is told to run is to blame if this worker vanishes.
    pub(super) fn ask_about(&mut self, reply_to: &Arc<str>, asked: Vec<AttemptKey>, confirms: bool, redelivered: bool) {
        let Some(worker) = self.worker_id() else { return };
        if asked.is_empty() {
            return;
        }
        let id = self.setup.dice.id();
        let (_, message) = self.checks.ask(id, &worker, reply_to, asked, confirms, redelivered);
        self.ask(reply_to.clone(), message);
    }
}

fn base_ref(context: BaseContext) -> BaseRef {
    match context {
        BaseContext::Inline(text) => BaseRef::Here(Arc::new(Base::of_text(text.into()))),
        BaseContext::Stored { run, seq, .. } => BaseRef::Stored { run, seq },
    }
}

fn unpack(delivery: &Delivery) -> Result<Unpacked, String> {
    let message = &delivery.message;
    if message.protocol != PROTOCOL {
        return Err(format!("protocol {} is not {PROTOCOL}", message.protocol));
    }
    if message.kind != kind::PACK {
        return Err("not a pack".to_owned());
    }
    let pack: Pack = rejoin_shared::json::read_own(&message.body).map_err(|e| e.to_string())?;
    let bases = pack.contexts.len();
    if pack.attempts.iter().any(|order| order.payload.base >= bases) {
        return Err("an attempt names a context that is not there".to_owned());
    }
    let Some(reply_to) = message.reply_to.as_deref() else {
        return Err("no reply-to".to_owned());
    };
    Ok(Unpacked {
        reply_to: reply_to.into(),
        pack,
        redelivered: delivery.redelivered,
        is_sampled: is_sampled(message),
    })
}

fn is_sampled(message: &Message) -> bool {
    let header = message.traceparent.as_deref();
    let span = header.and_then(|header| header.parse::<TraceParent>().ok());
    span.is_some_and(|span| span.is_sampled)
}
