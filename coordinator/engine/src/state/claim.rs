//! Who has the only right to run an attempt of a step with `idempotent: false`.

use rejoin_shared::definition::model::Definition;
use rejoin_shared::ids::{ClaimKey, StepKey};
use rejoin_shared::time::Timestamp;

use super::RunState;
use super::undo::is_undo;
use crate::record::ThreadKey;

/// Whether any step of the definition is claimed before it runs.
pub(crate) fn claims(def: &Definition) -> bool {
    let mut steps = def.nodes.iter().filter_map(|node| node.kind.as_step());
    steps.any(|step| !step.idempotent)
}

/// A claim that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The worker's name.
    pub worker: String,
    /// Which worker, and which delivery.
    pub key: ClaimKey,
    /// When it was granted.
    pub at: Timestamp,
}

impl RunState {
    /// Whether attempts of this step, which the branch stands at, are claimed before they run.
    pub(crate) fn is_claimed_first(&self, step: StepKey) -> bool {
        let node = self.node_of(ThreadKey::of(step)).filter(|_| !is_undo(step));
        let step = node.and_then(|node| self.def.node(node).kind.as_step());
        step.is_some_and(|step| !step.idempotent)
    }

    /// Whether attempts of this step have to be claimed before they run. Its branch is begun if nobody has taken it yet.
    pub fn wants_claim(&mut self, step: StepKey) -> bool {
        if !self.has_claims {
            return false;
        }
        self.materialize(step);
        self.is_claimed_first(step)
    }

    /// The claim on this attempt, if it has one.
    #[must_use]
    pub fn claim(&self, step: StepKey, attempt: u32) -> Option<&Claim> {
        if is_undo(step) {
            return None;
        }
        let state = self.thread(ThreadKey::of(step))?.step()?;
        let is_it = state.pos == step.pos && state.attempt == attempt;
        state.claim.as_deref().filter(|_| is_it)
    }

    /// All claims on outstanding attempts.
    pub fn claims(&self) -> impl Iterator<Item = (StepKey, u32, &Claim)> + '_ {
        let branches = self.scopes.iter().flat_map(|(id, scope)| {
            scope.active.keys().map(move |branch| ThreadKey {
                scope: *id,
                branch: *branch,
            })
        });
        let threads = std::iter::once(ThreadKey::ROOT).chain(branches);
        threads.filter_map(|key| {
            let state = self.thread(key)?.step()?;
            let step = StepKey {
                scope: key.scope,
                branch: key.branch,
                pos: state.pos,
            };
            let claim = state.claim.as_deref()?;
            self.is_outstanding(step, state.attempt)
                .then_some((step, state.attempt, claim))
        })
    }
}
