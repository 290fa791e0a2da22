//! Claims on attempts that run at most once (SPEC 5.2, DESIGN 4).
//!
//! ```text
//!            Claim                    completion
//!  unclaimed ─────▶ claimed ──────────────────────────▶ (the attempt has ended)
//!      ▲              │  │ ClaimLost: rejoin.outcome_unknown ▲
//!      └──────────────┘  └───────────────────────────────────┘
//!       ClaimReturned: it was not begun
//! ```
//!
//! A grant is the record: it leaves after its commit, and who asks again with the same key gets the same one. So nobody
//! starts the attempt but the one whom the journal names, whoever owns the run by then.

use rejoin_shared::ids::{ClaimId, ClaimKey, StepKey};
use rejoin_shared::run::{ErrorValue, Outcome};

use crate::decision::Ignored;
use crate::event::{Completed, End, Failure};
use crate::machine::Machine;
use crate::record::{Claimed, Fact, ThreadKey};
use crate::state::claim::Claim;

impl Machine<'_> {
    pub(super) fn claim(&mut self, step: StepKey, attempt: u32, worker: String, key: ClaimKey) -> Result<(), Ignored> {
        self.state.materialize(step);
        if !self.state.is_outstanding(step, attempt) || !self.state.is_claimed_first(step) {
            return Err(Ignored::NoSuchClaim);
        }
        match self.state.claim(step, attempt) {
            Some(held) if held.key == key => Err(Ignored::Granted),
            Some(_) => Err(Ignored::ClaimedElsewhere),
            None => {
                let path = self.path_of(step);
                self.emit(Fact::StepClaimed(Claimed {
                    step,
                    attempt,
                    path,
                    worker,
                    key,
                }));
                Ok(())
            }
        }
    }

    pub(super) fn claim_returned(&mut self, step: StepKey, attempt: u32, id: ClaimId) -> Result<(), Ignored> {
        let claim = self.held_claim(step, attempt, id)?;
        let path = self.path_of(step);
        self.emit(Fact::ClaimReturned(Claimed {
            step,
            attempt,
            path,
            worker: claim.worker,
            key: claim.key,
        }));
        Ok(())
    }

    /// Nobody knows how far the attempt came: it is not tried again unless a policy names this error.
    pub(super) fn claim_lost(&mut self, step: StepKey, attempt: u32, id: ClaimId) -> Result<(), Ignored> {
        let claim = self.held_claim(step, attempt, id)?;
        let message = format!(
            "worker {} had claimed the attempt and is gone; whether it did its work is not known",
            claim.worker
        );
        let failure = Failure {
            error: ErrorValue::new("rejoin.outcome_unknown", message, ""),
            outcome: Outcome::Lost,
            retryable: true,
            retry_after: None,
            checkpoint: None,
        };
        let random = self.draw();
        let lost = Completed {
            step,
            attempt,
            end: End::Error(failure.clone()),
            worker: Some(claim.worker.into()),
            started_at: claim.at,
            finished_at: self.around.now,
            logs: Vec::new(),
            random,
        };
        self.fail_attempt(lost, failure);
        Ok(())
    }

    /// The claim of this id, if the attempt is outstanding and it holds.
    fn held_claim(&self, step: StepKey, attempt: u32, id: ClaimId) -> Result<Claim, Ignored> {
        let is_wanted = self.state.is_outstanding(step, attempt);
        let claim = self
            .state
            .claim(step, attempt)
            .filter(|claim| is_wanted && claim.key.id == id);
        claim.cloned().ok_or(Ignored::NoSuchClaim)
    }

    pub(super) fn path_of(&self, step: StepKey) -> String {
        let thread = self.state.thread(ThreadKey::of(step));
        thread
            .and_then(|thread| thread.step())
            .map(|step| step.path.clone())
            .unwrap_or_default()
    }
}
