//! Starts the nodes of a graph whose needs are done.

use rejoin_shared::definition::model::NodeKind;

use crate::apply::graph_ready;
use crate::env::eval_bool;
use crate::join::graph::{results_for, start_context};
use crate::join::results::kept_name;
use crate::machine::Machine;
use crate::record::{Fact, ThreadKey};

impl Machine<'_> {
    pub(super) fn start_nodes(&mut self, id: u64) {
        let def = self.state.def.clone();
        while let Some(scope) = self.state.scopes.get(&id).filter(|_| self.state.is_scope_live(id)) {
            let room = scope.concurrency.is_none_or(|most| scope.running < most);
            let Some(branch) = graph_ready(&def, scope).first().copied().filter(|_| room) else {
                return;
            };
            self.start_node(id, branch);
        }
    }

    fn start_node(&mut self, id: u64, branch: u32) {
        let def = self.state.def.clone();
        let scope = &self.state.scopes[&id];
        let NodeKind::Graph(graph) = &def.node(scope.node).kind else {
            return;
        };
        let path = scope
            .branch_path(&def, branch)
            .unwrap_or_else(|| scope.path.to_string());
        let ctx = match start_context(&def, scope, branch) {
            Ok(ctx) => ctx,
            // A conflict between nodes that this one needs is the graph's failure, not this node's.
            Err(error) => return self.fail_scope(id, error),
        };
        let started = match &graph.nodes[branch as usize].when {
            None => Ok(true),
            Some(when) => {
                let mut results = scope.base_results.clone();
                if let Some(name) = kept_name(&def, scope.node) {
                    results.object_mut().insert(name, results_for(&def, scope, branch));
                }
                let env = self.state.env_of(ctx, results, scope.parent);
                eval_bool(when, &env, self.around.limits, &path)
            }
        };
        match started {
            Ok(active) => self.emit(Fact::BranchStarted {
                scope: id,
                branch,
                active,
            }),
            Err(error) => self.emit(Fact::FlowFailed {
                thread: ThreadKey { scope: id, branch },
                error,
            }),
        }
    }
}
