//! Forks and joins.

use super::Misfit;
use crate::record::{Joined, ScopeJoined, ScopeOpened};
use crate::state::scope::ScopeKind;
use crate::state::{Leaf, RunState, Scope, ThreadEnd, Todo};

impl RunState {
    pub(super) fn open_scope(&mut self, opened: &ScopeOpened, id: u64) -> Result<(), Misfit> {
        let def = self.def.clone();
        self.ready(opened.thread)?;
        let node = self
            .thread(opened.thread)
            .and_then(|thread| self.node_at(thread))
            .ok_or("no node")?;
        let thread = self.thread_mut(opened.thread).expect("checked by ready");
        let Leaf::Ready(entered) = &mut thread.leaf else {
            return Err("not at a node".to_owned());
        };
        let carried = entered.carried.take().map(|carried| *carried).unwrap_or_default();
        thread.leaf = Leaf::Scope(id);
        let scope = Scope::open(&def, opened, node, thread, carried);
        let (kind, total) = (scope.kind, scope.activated());
        self.scopes.insert(id, scope);
        if kind == ScopeKind::Graph {
            // A node counts until it is skipped: more than there are can never succeed, whatever is skipped next.
            self.push_todo(Todo::Settle(id));
            self.push_todo(Todo::StartNodes(id));
        } else if total > 0 {
            let scope = self.scopes.get_mut(&id).expect("inserted just above");
            scope.advance_mark();
            self.agenda.open.insert(id);
        }
        self.push_todo(Todo::Settle(id));
        Ok(())
    }

    pub(super) fn join_scope(&mut self, joined: &ScopeJoined) -> Result<(), Misfit> {
        if !self.is_scope_live(joined.scope) {
            return Err(format!("scope {} is not open", joined.scope));
        }
        self.cancel_branches(joined.scope);
        self.put_results(joined.scope);
        let parent = self.scopes[&joined.scope].parent;
        match &joined.result {
            Joined::Ok(changes) => {
                let output = self.collected(joined.scope);
                self.drop_scope(joined.scope);
                let thread = self.thread_mut(parent).expect("a live scope has a parent");
                if !changes.is_empty() {
                    changes.apply(&mut thread.ctx);
                    thread.ctx_bytes_max = thread.ctx.text_len();
                }
                thread.output = output;
                self.go_on(parent);
            }
            Joined::Failed(error) => {
                let scope = self.scopes.get_mut(&joined.scope).expect("checked above");
                scope.failed_with = Some(error.clone());
                self.stop_thread(parent, ThreadEnd::Failed(error.clone()));
            }
        }
        Ok(())
    }

    /// Puts the scope's entry into the `results` of the thread that forked, where expressions read it.
    fn put_results(&mut self, id: u64) {
        let scope = &self.scopes[&id];
        let Some(name) = crate::join::results::kept_name(&self.def, scope.node) else {
            return;
        };
        let entry = crate::join::results::entry(&self.def, scope);
        let parent = scope.parent;
        let thread = self.thread_mut(parent).expect("a live scope has a parent");
        thread.results.object_mut().insert(name, entry);
    }
}
