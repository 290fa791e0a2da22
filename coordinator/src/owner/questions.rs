//! Workers' questions: may this run, take this back, send me that context (DESIGN 4).

use std::time::Duration;

use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::link::{Address, Message, Settle};
use rejoin_shared::wire::{CONTEXT_CHUNK_BYTES, ContextChunk, Verdict, WorkerId, kind};
use uuid::Uuid;

use super::Owner;
use super::batch::Drafts;
use super::inbound::{Answer, Item, Origin, Question, Returned, What};
use super::judge::settle;
use super::run::{Run, Try};
use crate::broker::decode::to_bytes;
use crate::broker::publisher::{Outgoing, Purpose};
use crate::dispatcher::Phase;
use crate::fleet::Fleet;

/// Questions kept until they can be answered; beyond, the worker asks again.
const DEFERRED_MAX: usize = 10_000;
/// Silent workers that are asked for a report on account of one question, the most silent first; who answers makes room.
const ASKED_MAX: usize = 64;
/// Between two requests for a report to one worker.
const ASK_PAUSE: Duration = Duration::from_millis(200);

impl Owner {
    /// Answers what can be answered; the rest is kept until the fleet tells more.
    pub(super) fn judge_question(&mut self, drafts: &mut Drafts, item: Item, mut question: Question) {
        // Asked again, it is as old as it was.
        if let Some(What::Check(kept)) = self.deferred.get(&(item.run, question.id)).map(|kept| &kept.what)
            && kept.came_at <= question.came_at
        {
            (question.came_at, question.proof) = (kept.came_at, kept.proof);
        }
        let mut later = Vec::new();
        for attempt in std::mem::take(&mut question.attempts) {
            let verdict = match self.wants_claim(item.run, attempt) {
                true => match self.judge_claim(drafts, item.run, attempt, &question) {
                    Ok(verdict) => Some(verdict),
                    Err(panic) => return self.panicked(drafts, item, &panic),
                },
                false => self.verdict(item.run, attempt, &mut question),
            };
            match verdict {
                Some(verdict) => {
                    tracing::trace!(
                        run = %item.run, step = %attempt.0, attempt = attempt.1, worker = %question.worker.incarnation,
                        question = %question.id, ?verdict, "verdict"
                    );
                    let key = rejoin_shared::ids::AttemptKey {
                        run: item.run,
                        step: attempt.0,
                        attempt: attempt.1,
                    };
                    let draft = drafts.of(item.run);
                    draft
                        .verdicts
                        .push((question.worker.clone(), question.id, key, verdict));
                }
                None => later.push(attempt),
            }
        }
        let id = question.id;
        if !later.is_empty() && self.deferred.len() < DEFERRED_MAX {
            let kept = Item {
                run: item.run,
                what: What::Check(Question {
                    attempts: later,
                    ..question
                }),
                origin: Origin::Own,
            };
            self.deferred.insert((item.run, id), kept);
        }
        settle(drafts, item, Answer::Settled(Settle::Ack));
    }

    /// The verdict on one attempt; `None`: not known yet.
    fn verdict(&mut self, id: RunId, attempt: Try, question: &mut Question) -> Option<Verdict> {
        let now = self.parts.clock.now();
        let asker = question.worker.incarnation;
        let run = self.runs.get_mut(&id)?;
        // An asker that ended since has nothing in hand: told to run it, it would hold it for ever, as nobody ends twice.
        if !run.state.is_outstanding(attempt.0, attempt.1) || self.fleet.has_ended(asker) {
            return Some(Verdict::Drop);
        }
        if is_stranger(&self.fleet, asker, run) {
            return Some(Verdict::Drop);
        }
        let key = run.key(attempt);
        let listed = match run.flights.get(&attempt).map(|flight| flight.phase) {
            Some(Phase::Held(holder)) => Some(holder),
            Some(Phase::Waiting | Phase::Publishing(_) | Phase::Sent { .. } | Phase::Doubtful) | None => None,
        };
        // Who was told to run it comes before whoever lists it: the latter may list what it is still asking about.
        let granted = run.marks.get(&attempt).and_then(|mark| mark.granted);
        let granted = granted.filter(|worker| self.fleet.worker(*worker).is_some());
        if granted == Some(asker) {
            return Some(Verdict::Run); // it asks again: the answer may have been lost
        }
        let holder = granted.or(listed);
        let other = holder
            .filter(|holder| *holder != asker)
            .and_then(|holder| self.fleet.worker(holder));
        if let Some(other) = other {
            if !question.redelivered {
                return Some(Verdict::HeldElsewhere);
            }
            // The broker took it from somebody: only reports made since then tell whether that was the holder. One that lives
            // on and lists it no more has completed it (the record follows), or has given it up: that is found out below.
            let is_listed = other.held.contains(&key);
            if !other.has_reported_since(question.came_at) {
                let worker = other.id.incarnation;
                self.ask_report(worker);
                return None;
            }
            if is_listed {
                return Some(Verdict::HeldElsewhere);
            }
        }
        // Completions that were sent to another event queue must have been judged before anything is said to run.
        if self.fences.any_open() {
            return None;
        }
        let run = self.runs.get_mut(&id)?;
        if run.may_be_inherited(attempt) && !self.fleet.is_settled(now) {
            return None;
        }
        let namespace = run.namespace.clone();
        if question.redelivered && !self.is_given_up(&namespace, question) {
            return None;
        }
        Some(self.grant(id, attempt, question))
    }

    /// Whether nobody runs what was delivered to somebody unknown before, nor has completed it. A report lists what runs, so
    /// everybody must have made one since; and what was completed is listed no more once its record is in an event queue, so
    /// those must have been read since then.
    fn is_given_up(&mut self, namespace: &Namespace, question: &mut Question) -> bool {
        if !self.fleet.is_settled(self.parts.clock.now()) {
            return false;
        }
        if let Some(round) = question.proof {
            return self.fences.is_back(round);
        }
        let silent = self.fleet.silent_since(namespace, question.came_at);
        let others = silent.filter(|worker| *worker != question.worker.incarnation);
        let silent: Vec<Uuid> = others.take(ASKED_MAX).collect();
        if silent.is_empty() {
            question.proof = Some(self.fences.want());
        }
        silent.into_iter().for_each(|worker| self.ask_report(worker));
        false
    }

    /// Allows it; or, where earlier deliveries may have killed workers, has it go out singly instead.
    fn grant(&mut self, id: RunId, attempt: Try, question: &Question) -> Verdict {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get_mut(&id) else {
            return Verdict::Drop;
        };
        let sent_at = run.flights.get(&attempt).and_then(|flight| flight.confirmed_at);
        let mark = run.marks.entry(attempt).or_default();
        if question.redelivered && !mark.suspect {
            mark.redeliveries = mark.redeliveries.saturating_add(1);
            let since = mark.lost_at.max(sent_at);
            if since.is_some_and(|since| self.fleet.has_lost_one_since(since)) {
                mark.count_loss(now);
            }
            if mark.strikes > 0 || (mark.redeliveries > 1 && !question.suspect) {
                mark.suspect = true;
                mark.granted = None;
                self.dispatcher.send_again(run, attempt);
                return Verdict::Drop;
            }
        }
        let asker = question.worker.incarnation;
        mark.check = true;
        mark.confirmed = question.suspect.then_some(now);
        mark.granted = Some(asker);
        run.counts.redelivered += 1;
        run.row_stale = true;
        self.fleet.expect(&question.worker, run.namespace.clone(), now);
        self.dispatcher.grant(run, attempt, asker, now);
        Verdict::Run
    }

    /// For a run that is not there: nothing of it may run.
    pub(super) fn drop_all(&mut self, drafts: &mut Drafts, run: RunId, question: &Question) {
        let draft = drafts.of(run);
        for (step, attempt) in question.attempts.iter().copied() {
            let key = rejoin_shared::ids::AttemptKey { run, step, attempt };
            draft
                .verdicts
                .push((question.worker.clone(), question.id, key, Verdict::Drop));
        }
    }

    /// A mandatory message to a worker's own queue: it comes back if that worker has gone.
    ///
    /// Thousands of questions may wait for one worker: it is asked once in a while.
    pub(super) fn ask_report(&mut self, worker: Uuid) {
        let now = self.parts.clock.now();
        if self.asked.get(&worker).is_some_and(|at| now.since(*at) < ASK_PAUSE) {
            return;
        }
        self.asked.retain(|_, at| now.since(*at) < ASK_PAUSE);
        self.asked.insert(worker, now);
        self.publish_all(vec![Outgoing {
            purpose: Purpose::Worker(worker),
            to: Address::Queue(self.parts.topology.worker(worker)),
            message: Message::new(kind::REPORT_NOW, false, Vec::new()),
            declare: None,
        }]);
    }

    /// Attempts that a worker gives back go out again, with a check. One that is claimed is with whoever claimed it.
    pub(super) fn take_back(&mut self, id: RunId, worker: Uuid, returned: &[Returned]) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        for attempt in returned.iter().map(|returned| returned.attempt) {
            if run.state.claim(attempt.0, attempt.1).is_some() {
                continue;
            }
            let is_its = match run.flights.get(&attempt).map(|flight| flight.phase) {
                Some(Phase::Held(holder)) => holder == worker,
                Some(Phase::Sent { .. } | Phase::Publishing(_)) => true,
                Some(Phase::Waiting | Phase::Doubtful) | None => false,
            };
            if let Some(mark) = run.marks.get_mut(&attempt)
                && mark.granted == Some(worker)
            {
                mark.granted = None;
            }
            if is_its {
                self.dispatcher.send_again(run, attempt);
            }
        }
    }

    /// Sends a base context in chunks.
    pub(super) fn answer_fetch(&mut self, drafts: &mut Drafts, id: RunId, worker: &WorkerId, seq: u64) {
        let Some(run) = self.runs.get(&id) else { return };
        let is_stranger = is_stranger(&self.fleet, worker.incarnation, run);
        let base = run.state.base_context(seq).filter(|_| !is_stranger);
        let text = base.map(|context| context.to_string());
        let chunks = chunks_of(id, seq, text.as_deref());
        let to = self.parts.topology.worker(worker.incarnation);
        drafts.of(id).outgoing.extend(chunks.into_iter().map(|chunk| Outgoing {
            purpose: Purpose::Worker(worker.incarnation),
            to: Address::Queue(to.clone()),
            message: Message::new(kind::CONTEXT_CHUNK, false, to_bytes(&chunk)),
            declare: None,
        }));
    }
}

/// Nobody has another namespace's attempts in hand; an answer may bring what one has stored, or its context.
fn is_stranger(fleet: &Fleet, asker: Uuid, run: &Run) -> bool {
    let known = fleet.worker(asker);
    known.is_some_and(|worker| worker.namespace != run.namespace)
}

fn chunks_of(run: RunId, seq: u64, text: Option<&str>) -> Vec<ContextChunk> {
    let chunk = |part, parts, text: &str| ContextChunk {
        run,
        seq,
        part,
        parts,
        text: text.to_owned(),
    };
    let Some(mut rest) = text else {
        return vec![chunk(0, 0, "")];
    };
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let mut end = rest.len().min(CONTEXT_CHUNK_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    (0..parts)
        .zip(pieces)
        .map(|(part, piece)| chunk(part, parts, piece))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_shared::ids::Partition;

    #[test]
    fn chunks_of_a_context_make_up_its_text() {
        let (run, text) = (RunId::new_in(Partition(0)), "é".repeat(CONTEXT_CHUNK_BYTES));
        let chunks = chunks_of(run, 3, Some(&text));
        assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.text.len() <= CONTEXT_CHUNK_BYTES));
        assert_eq!(chunks.iter().map(|chunk| chunk.text.as_str()).collect::<String>(), text);
        assert_eq!(chunks_of(run, 3, None)[0].parts, 0);
    }
}
