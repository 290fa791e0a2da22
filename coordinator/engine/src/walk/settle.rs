//! Decides joins.

use rejoin_shared::delta::Delta;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::set::check_context_size;
use crate::env::eval;
use crate::join::failure::branches_failed;
use crate::join::merge::merged;
use crate::join::results;
use crate::join::settle::{Counted, Verdict};
use crate::machine::Machine;
use crate::record::{Fact, Joined, ScopeJoined};
use crate::retry::next_try;

impl Machine<'_> {
    pub(super) fn settle(&mut self, id: u64) {
        let def = self.state.def.clone();
        let scope = &self.state.scopes[&id];
        let counted = Counted {
            activated: scope.activated(),
            ok: scope.ok,
            failed: scope.failed,
            cancelled: scope.cancelled,
        };
        let result = match counted.verdict(scope.quota, scope.join(&def).on_error) {
            Verdict::Open => return,
            Verdict::Succeeds => self.join(id),
            Verdict::Fails => Err(branches_failed(&def, scope)),
        };
        match result {
            Ok(changes) => self.emit_joined(id, Joined::Ok(changes)),
            Err(error) => self.fail_scope(id, error),
        }
    }

    fn emit_joined(&mut self, id: u64, result: Joined) {
        let path = self.state.scopes[&id].path.to_string();
        self.emit(Fact::ScopeJoined(ScopeJoined {
            scope: id,
            path,
            result,
            snapshot: None,
        }));
    }

    /// The scope fails, unless its `retry` allows another try.
    pub(super) fn fail_scope(&mut self, id: u64, error: ErrorValue) {
        let def = self.state.def.clone();
        let random = self.draw();
        let scope = &self.state.scopes[&id];
        let again = next_try(
            scope.retry(&def),
            &scope.carried.allowed,
            &error,
            None,
            random,
            self.around.now,
        );
        match again {
            None => self.emit_joined(id, Joined::Failed(error)),
            Some(retry) => {
                let (thread, path) = (scope.parent, scope.path.to_string());
                let begun = scope.active.iter().filter(|(_, thread)| thread.end.is_none());
                let begun = begun.map(|(branch, _)| *branch);
                let begun = ranges(begun);
                self.emit(Fact::NodeRetryScheduled {
                    begun,
                    thread,
                    depth: None,
                    error,
                    policy: retry.policy,
                    until: retry.at,
                    path,
                });
            }
        }
    }

    /// The merged context, as changes against the base.
    fn join(&self, id: u64) -> Result<Delta, ErrorValue> {
        let def = &self.state.def;
        let scope = &self.state.scopes[&id];
        let ctx = match &scope.join(def).into {
            None => merged(def, scope)?,
            Some(writes) => {
                let mut results = scope.base_results.clone();
                results
                    .object_mut()
                    .insert(def.node(scope.node).name.clone(), results::entry(def, scope));
                let env = self.state.env_of(scope.base.clone(), results, scope.parent);
                let values: Vec<Json> = writes
                    .iter()
                    .map(|(_, expr)| eval(expr, &env, self.around.limits, &scope.path))
                    .collect::<Result<_, _>>()?;
                let mut ctx = scope.base.clone();
                writes
                    .iter()
                    .zip(values)
                    .for_each(|((key, _), value)| key.write(&mut ctx, value));
                ctx
            }
        };
        let changes = Delta::between(&scope.base, &ctx);
        if !changes.is_empty() {
            check_context_size(&ctx, self.around.limits.context_bytes_max, &scope.path)?;
        }
        Ok(changes)
    }
}

/// Rising numbers as ranges, their ends included.
fn ranges(numbers: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            Some(_) | None => found.push((number, number)),
        }
    }
    found
}
