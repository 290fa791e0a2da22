//! Edits of open scopes (SPEC 6).

use rejoin_shared::definition::model::Merge;
use rejoin_shared::delta::Delta;

use super::Misfit;
use crate::record::{Quota, RunEdited, ThreadKey};
use crate::state::scope::{Contribution, ScopeKind};
use crate::state::{RunState, Scope, Todo};

impl RunState {
    pub(super) fn edit_scope(&mut self, edited: &RunEdited) -> Result<(), Misfit> {
        if !self.is_scope_live(edited.scope) {
            return Err(format!("scope {} is not open", edited.scope));
        }
        let def = self.def.clone();
        for branch in edited.running.iter().copied() {
            self.materialize_thread(ThreadKey {
                scope: edited.scope,
                branch,
            });
        }
        let scope = self.scopes.get_mut(&edited.scope).expect("a live scope is there");
        if let Some(width) = edited.edits.concurrency {
            scope.concurrency = width.most();
        }
        if let Some(quota) = edited.edits.quota {
            // A collecting loop has kept what each item changed all along.
            if scope.join(&def).merge != Merge::Collect {
                remember_items(scope);
            }
            scope.quota = quota;
        }
        scope.carried.edits.add(edited.edits.clone());
        match scope.kind {
            ScopeKind::Graph => self.push_todo(Todo::StartNodes(edited.scope)),
            ScopeKind::Parallel | ScopeKind::FanOut | ScopeKind::Loop => {}
        }
        self.push_todo(Todo::Settle(edited.scope));
        Ok(())
    }
}

/// A loop of which all items have to succeed needs no changes of each; from now on a later item may succeed before an earlier
/// one, so what those before have changed together is kept as that of the last of them.
fn remember_items(scope: &mut Scope) {
    if scope.kind != ScopeKind::Loop || scope.quota != Quota::All {
        return;
    }
    if let (Some(last), Some(flowing)) = (scope.ok.checked_sub(1), &scope.flowing) {
        let kept = Contribution {
            changes: Delta::between(&scope.base, flowing),
            ..Contribution::default()
        };
        scope.contributions.insert(last, kept);
    }
}
