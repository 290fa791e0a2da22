//! An operator edits open scopes, in ways that change nothing of how they end.

use rejoin_coordinator::read::locate;
use rejoin_engine::event::ScopeEdit;
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::{Definition, Merge, NodeId, NodeKind, OnError};
use rejoin_shared::json::Json;

/// An edit of one of the open scopes of a run, and its path, as `roll` has it; none where nothing can be edited without a
/// difference.
#[must_use]
pub fn harmless_edit(state: &RunState, def: &Definition, roll: u64) -> Option<(String, ScopeEdit)> {
    let live = state.open_scopes().filter(|scope| scope.is_live);
    let open: Vec<(String, NodeId)> = live
        .filter_map(|scope| Some((scope.path.clone(), locate::node(def, &scope.path)?)))
        .collect();
    let (which, roll) = split(roll, open.len())?;
    let (path, node) = open.get(which)?;
    Some((path.clone(), harmless(def, *node, roll)?))
}

/// A number below `n`, and what is left of the roll.
fn split(roll: u64, n: usize) -> Option<(usize, u64)> {
    let n = u64::try_from(n).ok()?;
    let part = roll.checked_rem(n)?;
    Some((usize::try_from(part).ok()?, roll / n))
}

/// More or fewer branches at once, where all of them settle anyhow and their order does not count; how many must succeed, and the
/// retries, as they are.
fn harmless(def: &Definition, node: NodeId, roll: u64) -> Option<ScopeEdit> {
    let join = def.join(node)?;
    let is_loop = matches!(def.node(node).kind, NodeKind::Foreach(_)) && join.concurrency.is_none();
    let may_widen = join.on_error == OnError::CompleteAll && !is_loop && join.merge != Merge::LastWins;
    let needs_all = join.on_error == OnError::FailFast && join.need.is_none() && join.tolerate.is_none();
    let (width, roll) = split(roll, 5)?;
    let (coin, _) = split(roll, 4)?;
    let widths = [Json::Int(1), Json::Int(2), Json::Int(7), Json::str("unbounded")];
    let edit = ScopeEdit {
        concurrency: widths.get(width).filter(|_| may_widen).cloned(),
        need: (needs_all && coin & 1 == 1).then(|| Json::str("all")),
        tolerate: None,
        retry: (!join.retry.is_empty() && coin & 2 == 2).then(|| join.retry.clone()),
    };
    (edit != ScopeEdit::default()).then_some(edit)
}
