//! Messages to this worker alone: verdicts, contexts, cancellations, "report now".

use rejoin_shared::link::{Delivery, Settle};
use rejoin_shared::wire::{Cancel, ContextChunk, PROTOCOL, Verdicts, kind};
use serde::de::DeserializeOwned;

use super::Runner;
use super::ledger::Cancelled;

impl Runner {
    /// Takes one message of the own queue. What it cannot read it leaves: whoever asked asks again.
    pub(super) fn take_own(&mut self, delivery: &Delivery) {
        self.settle(vec![(delivery.receipt, Settle::Ack)]);
        let message = &delivery.message;
        if message.protocol != PROTOCOL {
            tracing::warn!(protocol = message.protocol, "a message of another protocol was left");
            return;
        }
        match message.kind.as_str() {
            kind::VERDICTS => self.with::<Verdicts>(delivery, Runner::take_verdicts),
            kind::CONTEXT_CHUNK => self.with::<ContextChunk>(delivery, Runner::take_chunk),
            kind::CANCEL => self.with::<Cancel>(delivery, Runner::cancel_attempts),
            kind::REPORT_NOW => self.reports.want(),
            other => tracing::debug!(kind = other, "a message of unknown kind was left"),
        }
    }

    fn with<T: DeserializeOwned>(&mut self, delivery: &Delivery, take: fn(&mut Runner, T)) {
        match rejoin_shared::json::read_own(&delivery.message.body) {
            Ok(body) => take(self, body),
            Err(e) => tracing::warn!(kind = delivery.message.kind, error = %e, "a message could not be read"),
        }
    }

    fn cancel_attempts(&mut self, cancel: Cancel) {
        for key in cancel.attempts {
            match self.ledger.cancel(key) {
                Cancelled::Forgotten(settled) => self.settle(settled),
                Cancelled::Returned(returned) => self.hand_back(vec![returned]),
                Cancelled::Told => {}
            }
        }
    }
}
