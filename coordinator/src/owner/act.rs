//! The one executor of effects: what leaves the process once a batch is durable.

use std::cmp::Reverse;
use std::time::Duration;

use rejoin_engine::decision::Effect;
use rejoin_shared::ids::{AttemptKey, RunId};
use rejoin_shared::link::{Address, Message, Settle};
use rejoin_shared::map::HashMap;
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Cancel, Verdict, Verdicts, WorkerId, kind};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Owner;
use super::batch::Draft;
use super::command::CommandError;
use super::inbound::{Answer, Item, Origin, What};
use super::run::{Run, Try};
use super::span;
use super::watchers::Written;
use crate::broker::decode::{raw, to_bytes};
use crate::broker::publisher::{Outgoing, Purpose};
use crate::dispatcher::Phase;

/// Attempts named in one cancel message.
const CANCEL_MAX: usize = 1_000;
/// What was due when the timer fired and is still due (an attempt that no queue has room for) makes it fire again after so long.
const DUE_AGAIN: Duration = Duration::from_secs(1);
/// Ended runs kept in memory, for late completions.
const ENDED_MAX: usize = 2_000;

/// Checkpoints in one answer: beyond that the rest follows in another one.
const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024;

impl Owner {
    /// Acts on a draft; `written`: when what it had to append, if anything, became durable.
    pub(super) fn act(&mut self, draft: Draft, written: Option<Timestamp>) {
        let id = draft.run;
        if let Some(at) = written.filter(|_| !draft.rows.is_empty()) {
            let written = Written {
                created: draft.created.as_ref(),
                change: draft.change.as_ref(),
                at,
                has_ended: draft.has_finished,
            };
            self.parts.watchers.tell(id, &written);
            self.parts
                .metrics
                .runs_started
                .inc_by(f64::from(u8::from(draft.created.is_some())));
            self.measure(id, &draft.ended_at, draft.has_joined.then_some(draft.dispatched_before));
        }
        for effect in draft.effects {
            match effect {
                Effect::Revoke(attempts) => self.revoke(id, &attempts),
                Effect::Ended(status) => self.run_ended(id, status),
            }
        }
        for (item, answer) in draft.items {
            self.tell(item, answer);
        }
        if !draft.sent.is_empty() || !draft.broadcasts.is_empty() {
            self.nudge();
        }
        let stored = |key: &AttemptKey| {
            let state = &self.runs.get(&key.run)?.state;
            state.checkpoint(key.step, key.attempt).map(raw)
        };
        self.publish_all(verdict_messages(&self.parts.topology, draft.verdicts, stored));
        self.publish_all(draft.outgoing);
        self.follow_up(id);
    }

    /// What was recorded is durable now. `joined`: a scope was joined, and how much had been packed before what follows it, if that
    /// was while it was appended.
    fn measure(&mut self, id: RunId, ended_at: &[Timestamp], joined: Option<Option<u64>>) {
        let now = self.parts.clock.now();
        let metrics = &self.parts.metrics;
        for ended_at in ended_at {
            metrics.completion_seconds.observe(now.since(*ended_at).as_secs_f64());
        }
        if let (Some(before), Some(run)) = (joined, self.runs.get_mut(&id)) {
            match before.is_some_and(|before| run.counts.dispatched > before) {
                true => metrics.join_seconds.observe(self.ahead.took.as_secs_f64()),
                false => run.joined_at = Some(now),
            }
        }
    }

    /// Something stands in an inbox: whoever owns what it is for looks at once, this process too.
    fn nudge(&mut self) {
        self.own.send(super::inbound::Inbound::Nudge).ok();
        self.publish_all(vec![Outgoing {
            purpose: Purpose::Notice,
            to: Address::Fanout(self.parts.topology.reports()),
            message: Message::new(kind::NUDGE, false, Vec::new()),
            declare: None,
        }]);
    }

    /// Tells whoever brought an item what came of it.
    pub(super) fn tell(&mut self, item: Item, answer: Answer) {
        if let What::Starts(starts) = &item.what {
            self.rest.let_go_of(starts);
        }
        match item.origin {
            Origin::Delivery(ticket) => {
                let how = match answer {
                    Answer::Settled(how) => how,
                    Answer::Command(_) => Settle::Ack,
                };
                self.ticket_done(ticket, how);
            }
            Origin::Caller(reply) => {
                let verdict = match answer {
                    Answer::Command(verdict) => verdict,
                    Answer::Settled(_) => Err(CommandError::unavailable("the command was not judged")),
                };
                // A caller that has gone away needs no answer.
                reply.send(verdict).ok();
            }
            Origin::Inbox { id, .. } => {
                // There is more than one reading takes: on with it, now that the first of these are gone.
                if self.mail.done(id) {
                    self.own.send(super::inbound::Inbound::Nudge).ok();
                }
            }
            Origin::Own => {}
        }
    }

    pub(super) fn ticket_done(&mut self, ticket: super::tickets::TicketId, how: Settle) {
        if let Some(settle) = self.tickets.done(ticket, how) {
            self.settles.send(settle).ok();
        }
    }

    /// Drops what is not wanted any more from the tracker, and tells the workers that hold it.
    fn revoke(&mut self, id: RunId, attempts: &[Try]) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let mut told: HashMap<Option<Uuid>, Vec<AttemptKey>> = HashMap::default();
        for attempt in attempts.iter().copied() {
            run.marks.remove(&attempt);
            match self.dispatcher.land(run, attempt) {
                Some(Phase::Held(worker)) => told.entry(Some(worker)).or_default().push(run.key(attempt)),
                Some(Phase::Sent { .. } | Phase::Publishing(_) | Phase::Doubtful) => {
                    told.entry(None).or_default().push(run.key(attempt));
                }
                Some(Phase::Waiting) | None => {}
            }
        }
        let topology = self.parts.topology.clone();
        for (worker, keys) in told {
            for keys in keys.chunks(CANCEL_MAX) {
                let (purpose, to) = match worker {
                    Some(worker) => (Purpose::Worker(worker), Address::Queue(topology.worker(worker))),
                    None => (Purpose::Notice, Address::Fanout(topology.workers())),
                };
                let cancel = Cancel {
                    attempts: keys.to_vec(),
                };
                self.publish_all(vec![Outgoing {
                    purpose,
                    to,
                    message: Message::new(kind::CANCEL, false, to_bytes(&cancel)),
                    declare: None,
                }]);
            }
        }
    }

    fn run_ended(&mut self, id: RunId, status: RunStatus) {
        let Some(run) = self.runs.get(&id) else { return };
        let left: Vec<Try> = run.flights.keys().copied().collect();
        let labels = [&*run.definition.workflow, status.as_str()];
        let metrics = &self.parts.metrics;
        metrics.runs_finished.with_label_values(&labels).inc();
        let took = self.parts.clock.now().since(run.state.started_at());
        metrics.run_duration_seconds.observe(took.as_secs_f64());
        span::export(&self.parts.tracer, run, status, self.parts.clock.now());
        self.revoke(id, &left);
        self.keep_ended(id);
    }

    /// Keeps an ended run for a while, for late completions, and lets the oldest go.
    pub(super) fn keep_ended(&mut self, id: RunId) {
        self.ended.push_back(id);
        while self.ended.len() > ENDED_MAX {
            let Some(oldest) = self.ended.pop_front() else { break };
            // One that was resumed, and whose end was judged anew but not written yet, comes here again.
            let is_over = |run: &Run| run.state.status().is_terminal() && run.row_status == run.state.status();
            if self.runs.get(&oldest).is_some_and(is_over) {
                self.forget(oldest);
            }
        }
    }

    /// After each judgement: the run's timer, its place in the ring, what a pause takes back.
    pub(super) fn follow_up(&mut self, id: RunId) {
        self.reschedule(id);
        self.rest_if_quiet(id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        match run.state.status() {
            RunStatus::Paused => self.dispatcher.recall(run),
            RunStatus::Completed | RunStatus::Failed | RunStatus::CompensationFailed | RunStatus::Cancelled => {}
            RunStatus::Scheduled | RunStatus::Running | RunStatus::Waiting | RunStatus::Compensating => {
                self.dispatcher.enlist(run);
            }
        }
    }

    fn reschedule(&mut self, id: RunId) {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get_mut(&id) else { return };
        let status = run.state.status();
        if status.is_terminal() || status == RunStatus::Paused {
            return;
        }
        let Some(due) = run.state.next_due() else { return };
        let has_fired = run.fired_at.is_some_and(|fired_at| due <= fired_at);
        let due = if has_fired { now.plus(DUE_AGAIN) } else { due };
        if run.due.is_none_or(|known| due < known) {
            run.due = Some(due);
            self.timers.push(Reverse((due, id)));
        }
    }
}

fn verdicts_of(id: Uuid) -> Verdicts {
    Verdicts {
        id,
        verdicts: Vec::new(),
        checkpoints: Vec::new(),
    }
}

/// Verdicts grouped by question.
fn verdict_messages(
    topology: &rejoin_shared::topology::Topology,
    verdicts: Vec<(WorkerId, Uuid, AttemptKey, Verdict)>,
    stored: impl Fn(&AttemptKey) -> Option<Box<RawValue>>,
) -> Vec<Outgoing> {
    let mut groups: HashMap<(Uuid, Uuid), Verdicts> = HashMap::default();
    let mut full = Vec::new();
    for (worker, id, key, verdict) in verdicts {
        let to = (worker.incarnation, id);
        let group = groups.entry(to).or_insert_with(|| verdicts_of(id));
        group.verdicts.push((key, verdict));
        if verdict == Verdict::Run {
            group.checkpoints.extend(stored(&key).map(|value| (key, value)));
        }
        // The answer may come in parts: one of all checkpoints could be larger than a message may be.
        let bytes: usize = group.checkpoints.iter().map(|(_, value)| value.get().len()).sum();
        if bytes > CHECKPOINT_BYTES_MAX {
            full.push((to, std::mem::replace(group, verdicts_of(id))));
        }
    }
    let parts = full
        .into_iter()
        .chain(groups)
        .filter(|(_, part)| !part.verdicts.is_empty());
    let messages = parts.map(|((worker, _), verdicts)| Outgoing {
        purpose: Purpose::Worker(worker),
        to: Address::Queue(topology.worker(worker)),
        message: Message::new(kind::VERDICTS, false, to_bytes(&verdicts)),
        declare: None,
    });
    messages.collect()
}
