//! Opens scopes, and begins branches whose first node must be evaluated.

use rejoin_shared::definition::model::{Foreach, Graph, Items, Join, Parallel, Snapshots};
use rejoin_shared::expr::Env;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use super::quota::{concurrency, quota};
use crate::env::{eval, eval_bool, wrong_type};
use crate::machine::Machine;
use crate::record::{Branches, Edits, Fact, ScopeOpened, ThreadKey};

/// A scope whose base times branches exceeds this is refused under `snapshots: full`.
const FULL_SNAPSHOT_BYTES_MAX: usize = 1 << 30;

impl Machine<'_> {
    pub(super) fn open_parallel(&mut self, thread: ThreadKey, path: String, parallel: &Parallel) {
        let env = self.state.env(thread);
        let limits = self.around.limits;
        let mut inactive = Vec::new();
        for (index, branch) in (0..).zip(&parallel.branches) {
            match branch
                .when
                .as_ref()
                .map_or(Ok(true), |when| eval_bool(when, &env, limits, &path))
            {
                Ok(true) => {}
                Ok(false) => inactive.push(index),
                Err(error) => return self.fail_node(thread, error),
            }
        }
        let activated = parallel.branches.len() - inactive.len();
        self.open(
            thread,
            path,
            Branches::Named { inactive },
            activated,
            &parallel.join,
            &env,
        );
    }

    pub(super) fn open_graph(&mut self, thread: ThreadKey, path: String, graph: &Graph) {
        let env = self.state.env(thread);
        self.open(
            thread,
            path,
            Branches::Named { inactive: Vec::new() },
            graph.nodes.len(),
            &graph.join,
            &env,
        );
    }

    pub(super) fn open_foreach(&mut self, thread: ThreadKey, path: String, foreach: &Foreach) {
        let env = self.state.env(thread);
        match self.items(&path, foreach, &env) {
            Ok((branches, count)) => self.open(thread, path, branches, count, &foreach.join, &env),
            Err(error) => self.fail_node(thread, error),
        }
    }

    fn items(&self, path: &str, foreach: &Foreach, env: &Env) -> Result<(Branches, usize), ErrorValue> {
        let expr = match &foreach.items {
            Items::Literal(items) => return Ok((Branches::List(Json::List(items.clone())), items.len())),
            Items::Expr(expr) => expr,
        };
        let value = eval(expr, env, self.around.limits, path)?;
        match &value {
            Json::List(items) => Ok((Branches::List(value.clone()), items.len())),
            Json::Object(map) => Ok((Branches::Map(value.clone()), map.len())),
            Json::Int(n) => match usize::try_from(*n) {
                Ok(count) => Ok((Branches::Count(u32::try_from(count).unwrap_or(u32::MAX)), count)),
                Err(_) => Err(wrong_type(expr, "a list, a map or an integer from 0", &value, path)),
            },
            Json::Null | Json::Bool(_) | Json::Float(_) | Json::Str(_) => {
                Err(wrong_type(expr, "a list, a map or an integer from 0", &value, path))
            }
        }
    }

    fn open(&mut self, thread: ThreadKey, path: String, branches: Branches, count: usize, join: &Join, env: &Env) {
        let limits = self.around.limits;
        let edits = self.edits(thread);
        let opened = self.check_branches(thread, &path, count).and_then(|()| {
            let is_loop = join.concurrency.is_none() && !matches!(branches, Branches::Named { .. });
            Ok(ScopeOpened {
                thread,
                quota: match edits.quota {
                    Some(quota) => quota,
                    None => quota(join, env, limits, &path)?,
                },
                concurrency: match (is_loop, edits.concurrency) {
                    (true, _) => Some(1),
                    (false, Some(width)) => width.most(),
                    (false, None) => concurrency(join.concurrency.as_ref(), env, limits, &path)?,
                },
                path: path.clone(),
                branches,
            })
        });
        match opened {
            Ok(opened) => self.emit(Fact::ScopeOpened(opened)),
            Err(error) => self.fail_node(thread, error),
        }
    }

    /// What an operator made different in an earlier try of the node.
    fn edits(&self, thread: ThreadKey) -> Edits {
        let entered = self.state.thread(thread).and_then(|thread| thread.entered());
        let carried = entered.and_then(|entered| entered.carried.as_ref());
        carried.map(|carried| carried.edits.clone()).unwrap_or_default()
    }

    fn check_branches(&self, thread: ThreadKey, path: &str, count: usize) -> Result<(), ErrorValue> {
        let most = self.around.limits.branches_max as usize;
        if count > most {
            let message = format!("{count} branches are more than the limit of {most} a scope");
            return Err(ErrorValue::new("rejoin.too_large", message, path));
        }
        let full = self.state.def.snapshots == Snapshots::Full;
        let ctx = &self.state.thread(thread).expect("walked").ctx;
        if full && ctx.text_len().saturating_mul(count) > FULL_SNAPSHOT_BYTES_MAX {
            let message =
                "full snapshots of this scope would exceed 1 GiB (context times branches); use `snapshots: delta`";
            return Err(ErrorValue::new("rejoin.too_large", message, path));
        }
        Ok(())
    }

    /// Begins the next branch whose first node must be evaluated, if there is room. Whether it did.
    pub(super) fn begin_evaluated(&mut self) -> bool {
        let window = self.around.limits.in_flight_per_run_max as u64;
        if self.state.tally.outstanding >= window || self.state.phase != crate::state::Phase::Active {
            return false;
        }
        match self.state.next_evaluated() {
            Some(key) if self.state.is_recordless(key) => {
                self.emit(Fact::BranchStarted {
                    scope: key.scope,
                    branch: key.branch,
                    active: true,
                });
                true
            }
            Some(key) => {
                self.state.begin_branch(key);
                true
            }
            None => false,
        }
    }
}

impl crate::state::RunState {
    /// The next branch that may begin and whose first node must be evaluated.
    pub(crate) fn next_evaluated(&self) -> Option<ThreadKey> {
        self.agenda.open.iter().find_map(|id| {
            let scope = self.scopes.get(id)?;
            let key = ThreadKey {
                scope: *id,
                branch: scope.begun,
            };
            (self.has_room(*id) && self.may_begin(key) && !self.starts_plain(key)).then_some(key)
        })
    }
}
