//! Reports: what this worker is and holds. They are its lease: without a confirmed one it begins nothing.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::link::{Address, LinkError, Message, Published};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Report, WorkerId, kind};
use tokio::time::Instant;

use super::ledger::Ledger;
use super::{Runner, Sent, Setup};
use crate::attempt::{Permit, Trust};

/// A report is published at least so often.
const PERIOD: Duration = Duration::from_secs(2);
/// A failed report is repeated after so long.
const RETRY: Duration = Duration::from_millis(200);

/// What reports need to remember.
pub(super) struct Reports {
    started_at: Timestamp,
    number: u64,
    next_at: Instant,
    wanted: bool,
    in_flight: bool,
    probes: Vec<(uuid::Uuid, u64)>,
    /// What a confirmed one gives.
    trust: Arc<Trust>,
}

/// A report on its way.
pub(crate) struct ReportSent {
    incarnation: uuid::Uuid,
    made: Instant,
    probes: Vec<(uuid::Uuid, u64)>,
    held_long: Vec<u64>,
}

impl Reports {
    pub fn new(started_at: Timestamp) -> Reports {
        Reports {
            started_at,
            number: 0,
            next_at: Instant::now(),
            wanted: false,
            in_flight: false,
            probes: Vec::new(),
            trust: Arc::default(),
        }
    }

    /// A report is asked for.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// A probe was delivered by `message`: to be reported at once.
    pub fn note_probe(&mut self, probe: uuid::Uuid, message: u64) {
        self.probes.push((probe, message));
        self.wanted = true;
    }

    /// Whether work may be begun.
    pub fn is_trusted(&self, now: Instant) -> bool {
        self.trust.is_fresh(now)
    }

    /// The right of what is begun now.
    pub fn permit(&self) -> Permit {
        self.trust.permit()
    }

    /// A new incarnation begins; its first report, made at `made`, was confirmed.
    pub fn restart(&mut self, made: Instant) {
        self.number = 1;
        self.next_at = made + PERIOD;
        self.wanted = false;
        self.in_flight = false;
        self.probes.clear();
        self.trust.restart(made);
    }

    /// When the loop has to look again.
    pub fn due(&self, connected: bool) -> Option<Instant> {
        let trusted_until = self.trust.until();
        let next = (!self.in_flight).then_some(self.next_at);
        if connected {
            trusted_until.into_iter().chain(next).min()
        } else {
            None
        }
    }

    /// A report as of now.
    pub fn make(&self, worker: WorkerId, setup: &Setup, ledger: &Ledger) -> Report {
        Report {
            worker,
            number: self.number,
            started_at: self.started_at,
            namespace: setup.namespace.clone(),
            queues: setup.queues.clone(),
            handlers: setup.handlers.keys().cloned().collect(),
            slots: setup.concurrency,
            busy: u32::try_from(ledger.running()).unwrap_or(u32::MAX),
            held: ledger.keys(),
            claims: ledger.claims(),
            probes: self.probes.iter().map(|(probe, _)| *probe).collect(),
            draining: false,
            gone: false,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}

/// A report as a message; transient, for the next one says it all again.
pub(super) fn message_of(report: &Report) -> Message {
    let body = serde_json::to_vec(report).expect("a report is plain data");
    Message::new(kind::REPORT, false, body)
}

impl Runner {
    /// Publishes a report if one is due or asked for.
    pub(super) fn send_report(&mut self, now: Instant) {
        let Some(worker) = self.worker_id() else { return };
        let due = self.reports.wanted || self.reports.next_at <= now;
        if !due || self.reports.in_flight {
            return;
        }
        // What the client already holds was delivered before: the report must not leave it out.
        self.take_what_is_there();
        self.reports.number += 1;
        let mut report = self.reports.make(worker, &self.setup, &self.ledger);
        report.draining = self.drain.is_begun();
        report.gone = self.drain.is_leaving();
        let sent = ReportSent {
            incarnation: report.worker.incarnation,
            made: now,
            probes: std::mem::take(&mut self.reports.probes),
            held_long: self.ledger.held_long(now),
        };
        self.reports.wanted = false;
        self.reports.in_flight = true;
        self.reports.next_at = now + PERIOD;
        let (link, to) = (self.link.clone(), Address::Fanout(self.setup.topology.reports()));
        self.io.push(Box::pin(async move {
            let result = link.publish(&to, message_of(&report)).await;
            Sent::Report(sent, result)
        }));
    }

    /// A confirmed report renews the trust, settles the probes it lists, and takes over from messages held for long.
    pub(super) fn note_report(&mut self, sent: ReportSent, result: Result<Published, LinkError>) {
        if self
            .worker_id()
            .is_none_or(|worker| worker.incarnation != sent.incarnation)
        {
            return;
        }
        self.reports.in_flight = false;
        if !matches!(result, Ok(Published::Accepted)) {
            tracing::warn!(?result, "a report was not confirmed");
            self.reports.probes.extend(sent.probes);
            self.reports.wanted = false;
            self.reports.next_at = Instant::now() + RETRY;
            return;
        }
        self.reports.trust.renew(sent.made);
        self.drain.note_report();
        let early = sent.held_long.into_iter();
        let early: Vec<_> = early.filter_map(|message| self.ledger.settle_early(message)).collect();
        self.settle(early);
        for (_, message) in sent.probes {
            let settled = self.ledger.close_part(message);
            self.settle(settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::TRUST;

    #[tokio::test]
    async fn trust_ends_ten_seconds_after_the_confirmed_report_was_made() {
        let mut reports = Reports::new(Timestamp::now());
        let made = Instant::now();
        assert!(!reports.is_trusted(made));
        reports.restart(made);
        assert!(reports.is_trusted(made + TRUST - Duration::from_millis(1)));
        assert!(!reports.is_trusted(made + TRUST));
        assert_eq!(reports.due(true), Some(made + PERIOD));
    }
}
