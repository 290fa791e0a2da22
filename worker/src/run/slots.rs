//! Starts attempts as slots are free, and takes what they end with.

use std::sync::Arc;

use rejoin_shared::ids::AttemptKey;
use tokio::time::Instant;

use super::Runner;
use super::begin::Starting;
use super::contexts::question;
use super::ledger::{BaseRef, Job, Next};
use super::span;
use crate::attempt::{Attempt, Base, Ended};

impl Runner {
    /// Starts what is ready. Only while the owners can know: the last confirmed report must be young enough.
    pub(super) fn fill_slots(&mut self, now: Instant) {
        if self.drain.is_begun() || !self.reports.is_trusted(now) || self.connection.session().is_none() {
            return;
        }
        let slots = self.setup.concurrency as usize;
        let mut starting = Vec::new();
        while self.ledger.slots_taken() < slots {
            let Some(next) = self.ledger.pop_ready() else {
                break;
            };
            let Next { key, reply_to, job, .. } = next;
            match self.find_base(&job) {
                None => self.fetch_base(key, &reply_to, job),
                Some(base) if next.is_free => starting.push(self.start(key, *job, base)),
                Some(base) => self.ask_for_claim(key, &reply_to, job, base),
            }
        }
        self.begin(starting);
    }

    /// Everything is there but the right to begin: its owner is asked, and the slot is kept for a while.
    fn ask_for_claim(&mut self, key: AttemptKey, reply_to: &Arc<str>, mut job: Box<Job>, base: Arc<Base>) {
        let Some(worker) = self.worker_id() else { return };
        let redelivered = job.wants_claim.is_some_and(|wants| wants.redelivered);
        let (id, message) = self
            .checks
            .ask(self.setup.dice.id(), &worker, reply_to, vec![key], false, redelivered);
        job.base = BaseRef::Here(base);
        self.ledger.set_claiming(key, job, id);
        self.ask(reply_to.clone(), message);
    }

    /// `None`: it has to be fetched first.
    fn find_base(&mut self, job: &Job) -> Option<Arc<Base>> {
        match &job.base {
            BaseRef::Here(base) => Some(base.clone()),
            BaseRef::Stored { .. } if !self.reads_context(job) => Some(Base::withheld()),
            BaseRef::Stored { run, seq } => self.contexts.get(*run, *seq),
        }
    }

    /// Whether the attempt's handler needs the context, be it as the input.
    fn reads_context(&self, job: &Job) -> bool {
        let handler = self.setup.handlers.get(&*job.order.handler);
        job.order.payload.input.is_none() || handler.is_none_or(|handler| handler.reads_context())
    }

    fn fetch_base(&mut self, key: AttemptKey, reply_to: &Arc<str>, job: Box<Job>) {
        let (BaseRef::Stored { run, seq }, Some(worker)) = (job.base.clone(), self.worker_id()) else {
            return;
        };
        self.ledger.set_fetching(key, job);
        if self.contexts.want(run, seq, key, reply_to) {
            self.ask(reply_to.clone(), question(&worker, run, seq));
        }
    }

    /// The attempt takes its slot.
    fn start(&mut self, key: AttemptKey, job: Job, base: Arc<Base>) -> Starting {
        let reads_context = self.reads_context(&job);
        let handler = self.setup.handlers.get(&*job.order.handler);
        let handler = handler.expect("only what is served becomes ready").clone();
        let pace = self.paces.of(&job.order.handler);
        let is_sampled = span::is_sampled(&self.setup.tracer, &job.origin, key.run);
        let attempt = Attempt::new(job.order, base, &self.setup.limits)
            .sampled(is_sampled)
            .permitted(self.reports.permit())
            .storing(self.stored_sender.clone());
        let attempt = match reads_context {
            true => attempt,
            false => attempt.without_context(),
        };
        let attempt = Arc::new(attempt);
        self.ledger.set_running(key, attempt.control.clone());
        Starting {
            attempt,
            handler,
            origin: job.origin,
            pace,
        }
    }

    /// An attempt ran to its end: its completion goes out, unless nobody waits for it.
    pub(super) fn finish_attempt(&mut self, ended: Ended) {
        self.checkpoints.forget(&ended.key);
        let Some(reply_to) = self.ledger.set_ended(ended.key) else {
            let settled = self.ledger.forget(ended.key);
            return self.settle(settled);
        };
        match ended.completion {
            Some(completion) => self.outbox.add_completion(&reply_to, completion),
            None if ended.has_begun => self.give_up(ended.key),
            // The claim goes back with it: kept, it would say that this worker may have begun.
            None => match self.ledger.give_claim_back(ended.key) {
                Some(returned) => self.hand_back(vec![returned]),
                None => self.give_up(ended.key),
            },
        }
    }

    fn give_up(&mut self, key: AttemptKey) {
        let settled = self.ledger.give_up(key);
        self.settle(settled);
    }
}
