//! Stopping: nothing new is begun, what runs may finish, the rest goes back at once.

use std::time::Duration;

use tokio::time::Instant;

use super::Runner;
use super::ledger::Returned;

/// How long past its deadline a drain may take to tell the owners; the broker may be away.
const FAREWELL: Duration = Duration::from_secs(5);

/// How far stopping has come.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// Not stopping.
    #[default]
    Not,
    /// Running attempts may finish until then.
    Finishing(Instant),
    /// They were killed; what they leave is told until then.
    Killed(Instant),
    /// Nothing is held any more: the last report is on its way, until then.
    Leaving(Instant),
    /// All is told.
    Done,
}

impl Drain {
    pub fn is_begun(&self) -> bool {
        !matches!(self, Drain::Not)
    }

    pub fn is_leaving(&self) -> bool {
        matches!(self, Drain::Leaving(_))
    }

    pub fn due(&self) -> Option<Instant> {
        match self {
            Drain::Finishing(until) | Drain::Killed(until) | Drain::Leaving(until) => Some(*until),
            Drain::Not | Drain::Done => None,
        }
    }

    /// A report was confirmed: if it was the last one, all is told.
    pub fn note_report(&mut self) {
        if self.is_leaving() {
            *self = Drain::Done;
        }
    }
}

impl Runner {
    /// Whether the worker may stop: everything is told and settled, or there was no time for it.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.drain, Drain::Done) && self.io.is_empty()
    }

    /// Begins to stop.
    pub(super) fn begin_drain(&mut self) {
        tracing::info!(worker = %self.setup.name, running = self.ledger.running(), "worker drains");
        self.drain = Drain::Finishing(Instant::now() + self.setup.drain);
        self.hand_back_unstarted();
        self.checks.clear();
        self.suspects.clear();
        self.contexts.drop_fetches();
        self.reports.want();
    }

    /// Takes the next step of stopping, if it is time.
    pub(super) fn continue_drain(&mut self, now: Instant) {
        // Settling needs the consumers: they are let go only when that is done too.
        let nothing_held = self.ledger.is_empty() && self.outbox.is_empty() && self.io.is_empty();
        match self.drain {
            Drain::Not | Drain::Done => {}
            Drain::Finishing(_) | Drain::Killed(_) if nothing_held => self.begin_leaving(now),
            Drain::Finishing(until) if until <= now => {
                let killed = self.ledger.kill_running();
                tracing::warn!(killed, "drain time is over; running attempts are ended and go back");
                self.drain = Drain::Killed(now + FAREWELL);
            }
            Drain::Killed(until) if until <= now => self.begin_leaving(now),
            Drain::Leaving(until) if until <= now => {
                tracing::warn!("the last report could not be confirmed");
                self.io.clear();
                self.drain = Drain::Done;
            }
            Drain::Finishing(_) | Drain::Killed(_) | Drain::Leaving(_) => {}
        }
    }

    fn begin_leaving(&mut self, now: Instant) {
        self.stop_consuming();
        if self.connection.session().is_none() {
            self.io.clear();
            self.drain = Drain::Done;
            return;
        }
        self.drain = Drain::Leaving(now + FAREWELL);
        self.reports.want();
    }

    /// Hands back everything that has not started.
    pub(super) fn hand_back_unstarted(&mut self) {
        let returned = self.ledger.take_unstarted();
        self.hand_back(returned);
    }

    /// Tells owners what goes back to them.
    pub(super) fn hand_back(&mut self, returned: Vec<Returned>) {
        for Returned { key, reply_to, claim } in returned {
            self.outbox.add_hand_back(&reply_to, key, claim);
        }
    }

    /// Hands back what nobody here serves, after a while.
    pub(super) fn hand_back_unserved(&mut self, now: Instant) {
        let returned = self.ledger.take_unserved(now);
        for Returned { key, .. } in &returned {
            tracing::debug!(run = %key.run, step = %key.step, "no handler of that name is here; handed back");
        }
        self.hand_back(returned);
    }
}
