//! Claims on attempts that may begin once only (`idempotent: false`).

use rejoin_engine::decide;
use rejoin_engine::decision::{Decision, Ignored, Surroundings};
use rejoin_engine::event::{Completed, Event};
use rejoin_shared::ids::{ClaimId, ClaimKey, StepKey};

use super::{Driver, Planted};

/// Of a hundred claims that may be lost, so many are: most runs are to end as the reference says.
pub(super) const CLAIMS_LOST_PERCENT: usize = 4;

impl Driver<'_> {
    /// A worker claims an attempt before it begins it. Whether it may begin it.
    pub(super) fn claim(&mut self, at: usize, step: StepKey, attempt: u32) -> Result<bool, String> {
        if !self.runs[at].state.is_outstanding(step, attempt) {
            return Ok(false); // cut off since it was taken
        }
        if let Some(held) = self.held_claim(at, step, attempt) {
            // Taken again after a restart: it is with whoever claimed it, or lost with it.
            let is_it = |(run, done): &(usize, Completed)| (*run, done.step, done.attempt) == (at, step, attempt);
            return match self.flying.iter().any(is_it) {
                true => Ok(false),
                false => self.lose_claim(at, step, attempt, held).map(|()| false),
            };
        }
        let (key, other) = (self.claim_key(), self.claim_key());
        if self.faults.planted != Some(Planted::UnclaimedStart) {
            self.ask_claim(at, (step, attempt), key, None)?;
            // What waited to be walked may have cut it off in the same decision: then nobody is told to run it.
            if !self.runs[at].state.is_outstanding(step, attempt) {
                return Ok(false);
            }
            self.ask_claim(at, (step, attempt), key, Some(&Ignored::Granted))?;
            self.ask_claim(at, (step, attempt), other, Some(&Ignored::ClaimedElsewhere))?;
        }
        if self.faults.losses > 0 && self.dice.chance(10) {
            let claim = key.id;
            self.tell(at, Event::ClaimReturned { step, attempt, claim }, "claim returned")?;
            self.runs[at].state.put_back(step, attempt);
            return Ok(false);
        }
        match self.held_claim(at, step, attempt).is_some() && self.begun_once.insert((at, step, attempt)) {
            true => Ok(true),
            false => Err(format!(
                "{step} attempt {attempt} begins unclaimed, or for the second time"
            )),
        }
    }

    pub(super) fn held_claim(&self, at: usize, step: StepKey, attempt: u32) -> Option<ClaimId> {
        let claim = self.runs[at].state.claim(step, attempt);
        claim.map(|claim| claim.key.id)
    }

    fn claim_key(&mut self) -> ClaimKey {
        let mut id = || uuid::Uuid::from_u64_pair(self.dice.any(), self.dice.any());
        ClaimKey {
            incarnation: id(),
            id: ClaimId(id()),
        }
    }

    /// Asks for the claim: it is granted, or the question is ignored as `expected`.
    fn ask_claim(
        &mut self,
        at: usize,
        (step, attempt): (StepKey, u32),
        key: ClaimKey,
        expected: Option<&Ignored>,
    ) -> Result<(), String> {
        let event = Event::Claim {
            step,
            attempt,
            worker: "w1".to_owned(),
            key,
        };
        let (now, limits) = (self.now, self.limits.clone());
        match decide(&mut self.runs[at].state, event, Surroundings { now, limits: &limits }) {
            Decision::Apply(apply) if expected.is_none() => self.append(at, &apply, "claim"),
            Decision::Ignored(why) if expected == Some(&why) => Ok(()),
            other @ (Decision::Apply(_) | Decision::Ignored(_)) => Err(format!(
                "a claim on {step} attempt {attempt} is answered {other:?}, not {expected:?}"
            )),
        }
    }

    pub(super) fn lose_claim(&mut self, at: usize, step: StepKey, attempt: u32, claim: ClaimId) -> Result<(), String> {
        self.lost_claims = true;
        self.tell(at, Event::ClaimLost { step, attempt, claim }, "claim lost")
    }
}
