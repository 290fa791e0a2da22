//! Claims: who may run an attempt.

use rejoin_shared::time::Timestamp;

use super::Misfit;
use crate::record::{Claimed, ThreadKey};
use crate::state::claim::Claim;
use crate::state::{Leaf, RunState};

impl RunState {
    pub(super) fn claim_step(&mut self, claimed: &Claimed, at: Timestamp) -> Result<(), Misfit> {
        let key = self.outstanding_step(claimed.step, claimed.attempt)?;
        let Some(Leaf::Step(step)) = self.thread_mut(key).map(|thread| &mut thread.leaf) else {
            return Err("not at a step".to_owned());
        };
        if step.claim.is_some() {
            return Err(format!(
                "attempt {} of step {} is claimed twice",
                claimed.attempt, claimed.step
            ));
        }
        step.claim = Some(Box::new(Claim {
            worker: claimed.worker.clone(),
            key: claimed.key,
            at,
        }));
        // What waited for its time and is claimed was dispatched since, which leaves no record.
        if let Some(until) = step.not_before.take() {
            self.agenda.due.remove(&(until, claimed.step, claimed.attempt));
            self.tally.backing_off -= 1;
            self.tally.outstanding += 1;
            self.push_ready(key);
        }
        Ok(())
    }

    pub(super) fn return_claim(&mut self, returned: &Claimed) -> Result<(), Misfit> {
        let held = self.claim(returned.step, returned.attempt).map(|claim| claim.key);
        match self
            .thread_mut(ThreadKey::of(returned.step))
            .map(|thread| &mut thread.leaf)
        {
            Some(Leaf::Step(step)) if held == Some(returned.key) => {
                step.claim = None;
                Ok(())
            }
            Some(_) | None => Err(format!(
                "attempt {} of step {} has no such claim",
                returned.attempt, returned.step
            )),
        }
    }
}
