//! Questions to owners: may what was delivered or published again run?

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimId};
use rejoin_shared::link::Message;
use rejoin_shared::map::{HashMap, HashSet};
use rejoin_shared::wire::{Check, Verdict, Verdicts, WorkerId, kind};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Runner;

/// A question without an answer is asked again after so long.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(5);

struct Question {
    reply_to: Arc<str>,
    check: Check,
    open: HashSet<AttemptKey>,
    asked: Instant,
}

/// The questions that are not answered yet.
#[derive(Default)]
pub(super) struct Checks(HashMap<uuid::Uuid, Question>);

impl Checks {
    /// A new question under this id.
    pub fn ask(
        &mut self,
        id: uuid::Uuid,
        worker: &WorkerId,
        reply_to: &Arc<str>,
        attempts: Vec<AttemptKey>,
        suspect: bool,
        redelivered: bool,
    ) -> (ClaimId, Message) {
        let check = Check {
            id,
            worker: worker.clone(),
            suspect,
            redelivered,
            attempts,
        };
        let message = message_of(&check);
        let question = Question {
            reply_to: reply_to.clone(),
            open: check.attempts.iter().copied().collect(),
            check,
            asked: Instant::now(),
        };
        let id = ClaimId(question.check.id);
        self.0.insert(question.check.id, question);
        (id, message)
    }

    /// The verdicts that answer an open question; others are late or not ours.
    pub fn answer(&mut self, verdicts: Verdicts) -> Vec<(AttemptKey, Verdict)> {
        let Some(question) = self.0.get_mut(&verdicts.id) else {
            return Vec::new();
        };
        let answered = verdicts.verdicts.into_iter();
        let answered = answered.filter(|(key, _)| question.open.remove(key)).collect();
        if question.open.is_empty() {
            self.0.remove(&verdicts.id);
        }
        answered
    }

    /// Forgets questions about what is not held any more.
    pub fn retain(&mut self, mut still_open: impl FnMut(ClaimId, &AttemptKey) -> bool) {
        self.0.retain(|id, question| {
            question.open.retain(|key| still_open(ClaimId(*id), key));
            !question.open.is_empty()
        });
    }

    /// The connection is gone, and what was asked about with it.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// When a question is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.0.values().map(|question| question.asked + ASK_AGAIN).min()
    }

    /// The questions to repeat, with what they are about. Only what is not answered is asked again: of a verdict that came nothing
    /// is held here any more, and to be told to run it would be for nobody.
    fn take_due(&mut self, now: Instant) -> Vec<(Arc<str>, Message, Vec<AttemptKey>)> {
        let due = self.0.values_mut().filter(|question| question.asked + ASK_AGAIN <= now);
        let due = due.map(|question| {
            question.asked = now;
            let open = &question.open;
            question.check.attempts.retain(|key| open.contains(key));
            let about = question.check.attempts.clone();
            (question.reply_to.clone(), message_of(&question.check), about)
        });
        due.collect()
    }
}

fn message_of(check: &Check) -> Message {
    let body = serde_json::to_vec(check).expect("a check is plain data");
    Message::new(kind::CHECK, true, body)
}

impl Runner {
    /// Repeats the questions, of both kinds, that got no answer.
    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.checks.due().is_some_and(|due| due <= now) {
            let ledger = &self.ledger;
            self.checks.retain(|id, key| ledger.waits_for(key, id));
            for (to, message, about) in self.checks.take_due(now) {
                // Its owner may be away for long: others do not wait for that.
                about.iter().for_each(|key| self.ledger.let_slot_go(key));
                self.ask(to, message);
            }
        }
        if self.contexts.due().is_some_and(|due| due <= now) {
            let Some(worker) = self.worker_id() else { return };
            let ledger = &self.ledger;
            self.contexts.retain(|key| ledger.is_fetching(key));
            for (to, message) in self.contexts.take_due(&worker, now) {
                self.ask(to, message);
            }
        }
    }

    /// Acts on an owner's verdicts.
    pub(super) fn take_verdicts(&mut self, verdicts: Verdicts) {
        let id = ClaimId(verdicts.id);
        let stored = verdicts.checkpoints.iter();
        let mut stored: HashMap<AttemptKey, Box<RawValue>> = stored.cloned().collect();
        for (key, verdict) in self.checks.answer(verdicts) {
            if !self.ledger.waits_for(&key, id) {
                continue;
            }
            match verdict {
                Verdict::Run => self.ledger.allow(key, stored.remove(&key)),
                Verdict::Drop | Verdict::HeldElsewhere => {
                    let settled = self.ledger.forget(key);
                    self.settle(settled);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::{Partition, RunId, StepKey};

    use super::*;

    fn key(pos: u32) -> AttemptKey {
        let step = StepKey {
            scope: 0,
            branch: 0,
            pos,
        };
        let run = RunId::from_uuid_in(uuid::Uuid::nil(), Partition(1));
        AttemptKey { run, step, attempt: 1 }
    }

    #[tokio::test]
    async fn what_is_not_answered_of_a_question_is_asked_again_under_its_id() {
        let mut checks = Checks::default();
        let worker = WorkerId {
            name: "w".into(),
            incarnation: uuid::Uuid::nil(),
        };
        let (_, asked) = checks.ask(
            uuid::Uuid::now_v7(),
            &worker,
            &"events".into(),
            vec![key(1), key(2)],
            false,
            true,
        );
        let check: Check = rejoin_shared::json::read_own(&asked.body).expect("a check");
        let answer = |pos| Verdicts {
            id: check.id,
            verdicts: vec![(key(pos), Verdict::Run)],
            checkpoints: Vec::new(),
        };
        assert_eq!(checks.answer(answer(1)), [(key(1), Verdict::Run)]);
        assert_eq!(checks.answer(answer(1)), []);
        let later = Instant::now() + ASK_AGAIN;
        let repeated = checks.take_due(later);
        assert_eq!(repeated.len(), 1);
        let again: Check = rejoin_shared::json::read_own(&repeated[0].1.body).expect("a check");
        assert_eq!((again.id, again.attempts), (check.id, vec![key(2)]));
        assert!(checks.take_due(later).is_empty());
        assert_eq!(checks.answer(answer(2)).len(), 1);
        assert_eq!(checks.due(), None);
    }
}
