//! Claims on attempts that may begin once only (`idempotent: false`; SPEC 5.2, DESIGN 4).
//!
//! A claim is a record of the run, so who may begin an attempt outlives every owner. What is left to this shell is to tell
//! when a claim is lost: its worker does not list it, and its completion stands in no event queue.
//!
//! ```text
//!  granted, loaded, listed no more, holder ended ──▶ doubted ──listed──▶ (held)
//!                                                      │ the asker has ended, or reported since without it
//!                                                      ▼
//!                                        a round of fences is back ──▶ Event::ClaimLost
//! ```
//! The fences prove that what the holder completed before it went has been judged. Should it live on unheard, what it does
//! later changes nothing: the attempt has ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rejoin_engine::decision::{Decision, Ignored};
use rejoin_engine::event::Event;
use rejoin_shared::ids::{AttemptKey, ClaimId, ClaimKey, RunId};
use rejoin_shared::map::HashSet;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Verdict, WorkerId};

use super::Owner;
use super::batch::Drafts;
use super::inbound::{Question, Returned};
use super::run::Try;
use crate::fleet::Heard;

/// Returned claims that are remembered: a question may be read after the hand-back that answers it.
const RETURNED_MAX: usize = 10_000;
/// A claim that was just granted is listed by then without being asked for: reports come every 2 s.
const LISTED_WITHIN: Duration = Duration::from_secs(3);

/// Claims in doubt, and those that came back.
#[derive(Default)]
pub(super) struct Claims {
    doubted: BTreeMap<AttemptKey, Doubted>,
    returned: Returns,
}

/// A claim of which nobody has said since `since` that it is held.
#[derive(Clone, Copy)]
struct Doubted {
    since: Heard,
    /// The one who asked for it is asked for a report no earlier.
    ask_from: Timestamp,
    /// The round of fences after which nothing is left of its holder.
    proof: Option<u64>,
}

/// Claims that came back, the last ones.
#[derive(Default)]
struct Returns {
    known: HashSet<ClaimId>,
    order: VecDeque<ClaimId>,
}

impl Returns {
    fn note(&mut self, claim: ClaimId) {
        if self.known.insert(claim) {
            self.order.push_back(claim);
        }
        if self.order.len() > RETURNED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Owner {
    /// Whether a question about this attempt is one for its claim.
    pub(super) fn wants_claim(&mut self, id: RunId, attempt: Try) -> bool {
        let run = self.runs.get_mut(&id);
        run.is_some_and(|run| run.state.wants_claim(attempt.0))
    }

    /// The verdict on a claim. It leaves after the commit of the record that grants it, like every verdict.
    ///
    /// # Errors
    /// Text, if deciding panicked.
    pub(super) fn judge_claim(
        &mut self,
        drafts: &mut Drafts,
        id: RunId,
        attempt: Try,
        question: &Question,
    ) -> Result<Verdict, String> {
        let key = ClaimKey {
            incarnation: question.worker.incarnation,
            id: ClaimId(question.id),
        };
        // An asker that has ended would never begin it, and one that gave it back has forgotten it.
        if self.fleet.has_ended(key.incarnation) || self.attempt_claims.returned.known.contains(&key.id) {
            return Ok(Verdict::Drop);
        }
        let event = Event::Claim {
            step: attempt.0,
            attempt: attempt.1,
            worker: question.worker.name.clone(),
            key,
        };
        match self.decided(id, event)? {
            Some(Decision::Apply(apply)) => {
                self.applied(drafts, id, apply);
                // What waited to be walked may have cut it off in the same decision.
                let run = self.runs.get(&id);
                if !run.is_some_and(|run| run.state.is_outstanding(attempt.0, attempt.1)) {
                    return Ok(Verdict::Drop);
                }
                self.granted(id, attempt, question);
                Ok(Verdict::Run)
            }
            Some(Decision::Ignored(Ignored::Granted)) => Ok(Verdict::Run),
            Some(Decision::Ignored(Ignored::ClaimedElsewhere)) => {
                if question.redelivered {
                    self.doubt_claim(id, attempt); // the broker took it from somebody: perhaps from the holder
                }
                Ok(Verdict::HeldElsewhere)
            }
            Some(Decision::Ignored(_)) | None => Ok(Verdict::Drop),
        }
    }

    fn granted(&mut self, id: RunId, attempt: Try, question: &Question) {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.marks.entry(attempt).or_default().check = true;
        self.fleet.expect(&question.worker, run.namespace.clone(), now);
        self.dispatcher.hold(run, attempt, question.worker.incarnation);
        // Until it is listed: a grant may go to somebody who does not wait for it any more.
        let key = run.key(attempt);
        let doubted = Doubted {
            since: self.fleet.place(),
            ask_from: now.plus(LISTED_WITHIN),
            proof: None,
        };
        self.attempt_claims.doubted.insert(key, doubted);
    }

    /// Claims that come back unused: their attempts are free again.
    ///
    /// # Errors
    /// Text, if deciding panicked.
    pub(super) fn return_claims(&mut self, drafts: &mut Drafts, id: RunId, all: &[Returned]) -> Result<(), String> {
        for Returned { attempt, claim } in all.iter().copied() {
            let Some(claim) = claim else { continue };
            self.attempt_claims.returned.note(claim);
            let (step, n) = attempt;
            let event = Event::ClaimReturned {
                step,
                attempt: n,
                claim,
            };
            if let Some(Decision::Apply(apply)) = self.decided(id, event)? {
                self.applied(drafts, id, apply);
                if let Some(run) = self.runs.get_mut(&id) {
                    self.dispatcher.send_again(run, attempt);
                }
            }
        }
        Ok(())
    }

    /// Nobody is known to hold this claim from now on, until a report lists it.
    pub(super) fn doubt_claim(&mut self, id: RunId, (step, attempt): Try) {
        let key = AttemptKey { run: id, step, attempt };
        let doubted = Doubted {
            since: self.fleet.place(),
            ask_from: self.parts.clock.now(),
            proof: None,
        };
        self.attempt_claims.doubted.entry(key).or_insert(doubted);
    }

    /// Claims of a run that was loaded: their holders are expected to report, and are dead if they do not for long enough.
    pub(super) fn expect_claimants(&mut self, id: RunId) {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get(&id) else { return };
        let claims = run.state.claims();
        let claims: Vec<(Try, WorkerId)> = claims
            .map(|(step, attempt, claim)| {
                let worker = WorkerId {
                    name: claim.worker.clone(),
                    incarnation: claim.key.incarnation,
                };
                ((step, attempt), worker)
            })
            .collect();
        let namespace = run.namespace.clone();
        for (attempt, worker) in claims {
            self.fleet.expect(&worker, namespace.clone(), now);
            self.doubt_claim(id, attempt);
        }
    }

    /// Looks at the claims in doubt, a few times a second at most.
    pub(super) fn judge_claims(&mut self) {
        for key in self.dispatcher.take_doubted_claims() {
            self.doubt_claim(key.run, (key.step, key.attempt));
        }
        for (key, doubted) in std::mem::take(&mut self.attempt_claims.doubted) {
            if let Some(still) = self.judge_doubted(key, doubted) {
                self.attempt_claims.doubted.insert(key, still);
            }
        }
    }

    /// What is left of a doubt; `None`: it is resolved.
    fn judge_doubted(&mut self, key: AttemptKey, mut doubted: Doubted) -> Option<Doubted> {
        let (now, attempt) = (self.parts.clock.now(), (key.step, key.attempt));
        let run = self.runs.get_mut(&key.run)?; // loaded again, its claims are doubted again
        if !run.state.is_outstanding(attempt.0, attempt.1) {
            return None;
        }
        let claim = run.state.claim(attempt.0, attempt.1)?.key;
        if let Some(holder) = self.fleet.claim_holder(&key, claim) {
            self.dispatcher.hold(run, attempt, holder);
            return None;
        }
        let asker = self.fleet.worker(claim.incarnation);
        if asker.is_some_and(|worker| !worker.has_reported_since(doubted.since)) {
            if doubted.ask_from <= now {
                self.ask_report(claim.incarnation);
            }
            return Some(doubted);
        }
        if !self.fleet.is_settled(now) {
            return Some(doubted);
        }
        match doubted.proof {
            None => doubted.proof = Some(self.fences.want()),
            Some(round) if self.fences.is_back(round) => {
                tracing::warn!(run = %key.run, step = %key.step, attempt = key.attempt, "a claim is lost with its worker");
                let (step, attempt) = attempt;
                let claim = claim.id;
                self.push_own(key.run, Event::ClaimLost { step, attempt, claim });
                return None;
            }
            Some(_) => {}
        }
        Some(doubted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn returned_claims_are_remembered_up_to_a_bound_the_oldest_forgotten_first() {
        let mut returns = Returns::default();
        let claim = |n: usize| ClaimId(Uuid::from_u128(n as u128));
        (0..=RETURNED_MAX).for_each(|n| returns.note(claim(n)));
        returns.note(claim(RETURNED_MAX));
        assert_eq!((returns.known.len(), returns.order.len()), (RETURNED_MAX, RETURNED_MAX));
        assert!(!returns.known.contains(&claim(0)) && returns.known.contains(&claim(1)));
    }
}
