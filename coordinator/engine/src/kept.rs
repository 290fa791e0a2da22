//! Errors that `results` keeps count against the limit of the context as they arrive, as outputs do (SPEC 4.2).

use rejoin_shared::definition::model::Definition;
use rejoin_shared::run::ErrorValue;

use crate::join::results::kept_name;
use crate::machine::Machine;
use crate::record::{Fact, Joined, ThreadKey};
use crate::state::Scope;
use crate::state::undo::is_undo;

impl Machine<'_> {
    /// The fact, with an error for which `results` has room: a branch that ends with a larger one fails of the limit.
    pub(crate) fn with_room(&self, mut fact: Fact) -> Fact {
        if let Fact::FlowFailed { thread, error } = &mut fact {
            self.limit(*thread, error);
        } else if let Some((thread, error)) = self.failing(&mut fact) {
            let is_handled = self
                .state
                .thread(thread)
                .is_none_or(|thread| thread.may_handle(&self.state.def));
            if !is_handled {
                self.limit(thread, error);
            }
        }
        fact
    }

    /// The thread that stops with this fact, and its error.
    fn failing<'f>(&self, fact: &'f mut Fact) -> Option<(ThreadKey, &'f mut ErrorValue)> {
        if let Fact::StepFailed(failed) = fact {
            let is_final = failed.retry.is_none() && !failed.is_parked && !is_undo(failed.step);
            is_final.then_some((ThreadKey::of(failed.step), &mut failed.error))
        } else if let Fact::StepGivenUp { step, error, .. } = fact {
            (!is_undo(*step)).then_some((ThreadKey::of(*step), error))
        } else if let Fact::NodeFailed { thread, error } = fact {
            Some((*thread, error))
        } else if let Fact::ScopeJoined(joined) = fact
            && let Joined::Failed(error) = &mut joined.result
        {
            Some((self.state.scopes.get(&joined.scope)?.parent, error))
        } else {
            None
        }
    }

    fn limit(&self, key: ThreadKey, error: &mut ErrorValue) {
        let most = self.around.limits.context_bytes_max;
        let scope = self.state.scopes.get(&key.scope);
        let Some(scope) = scope.filter(|scope| kept_name(&self.state.def, scope.node).is_some()) else {
            return;
        };
        if scope.result_bytes(&self.state.def) + error.bytes() <= most {
            return;
        }
        let message = format!(
            "the results would have more than the limit of {most} bytes with the error of this branch, {}",
            error.kind
        );
        *error = ErrorValue {
            path: error.path.take(),
            attempt: error.attempt,
            ..ErrorValue::new("rejoin.context_limit", message, "")
        };
    }
}

impl Scope {
    /// Bytes that the limit of the context counts: of outputs, and of errors where `results` keeps them.
    pub(crate) fn result_bytes(&self, def: &Definition) -> usize {
        let keeps_errors = kept_name(def, self.node).is_some();
        self.kept_bytes + if keeps_errors { self.error_bytes } else { 0 }
    }
}
