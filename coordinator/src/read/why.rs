//! What a run waits for, in words and in ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rejoin_engine::state::view::OpenScope;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::steps::{StepState, Visit};
use super::waits::WaitView;
use super::{locate, ranges};

/// Groups listed at most; the counts are of all.
const GROUPS_MAX: usize = 1000;

/// The answer of `GET /v1/runs/{id}/why`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Why {
    pub run: RunId,
    pub state: RunStatus,
    /// One sentence.
    pub summary: String,
    /// Steps without a recorded end.
    pub missing_count: usize,
    /// The same in groups, those nobody can run first.
    pub missing: Vec<Missing>,
    /// Open scopes, outermost first: their branches that have not ended well.
    pub scopes: Vec<ScopeView>,
    /// Sleeps, and waits for events and answers; what ends by itself comes first.
    pub waits: Vec<WaitView>,
    /// Of a run that has failed.
    pub error: Option<ErrorValue>,
}

/// A scope that is not joined.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct ScopeView {
    pub path: String,
    pub total: u32,
    pub ok: u32,
    pub failed: u32,
    pub cancelled: u32,
    pub running: u32,
    /// Indices of branches, as `0-41,43`.
    pub missing: String,
}

impl ScopeView {
    /// Shows a scope.
    #[must_use]
    pub fn of(scope: OpenScope) -> ScopeView {
        ScopeView {
            missing: ranges::text_of_ranges(&scope.awaited),
            path: scope.path,
            total: scope.total,
            ok: scope.ok,
            failed: scope.failed,
            cancelled: scope.cancelled,
            running: scope.running,
        }
    }
}

/// Steps of one node that wait for the same.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Missing {
    /// Path of the first of them.
    pub path: String,
    /// The path with `*` for items.
    pub node: String,
    /// Indices of the branches in their scope, as `0-41,43`; absent outside scopes.
    pub branches: Option<String>,
    pub count: usize,
    pub handler: Option<String>,
    pub queue: Option<String>,
    pub state: StepState,
    pub attempt: u32,
    pub worker: Option<String>,
    pub next_retry_at: Option<Timestamp>,
    pub last_error: Option<ErrorValue>,
    /// Why it does not run now.
    pub reason: String,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    served: bool,
    node: String,
    scope: u64,
    state: StepState,
    attempt: u32,
    worker: Option<Arc<str>>,
    error: Option<String>,
}

/// Who is there for steps that wait.
pub struct Reach<'a> {
    /// Whether some worker of a queue serves a handler.
    pub serves: &'a dyn Fn(&str, &str) -> bool,
    /// Why nothing reaches any worker from this coordinator now.
    pub trouble: Option<Trouble>,
}

/// What is wrong with the way to the workers.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// One sentence.
    pub text: &'static str,
    /// No worker is heard of either: who serves what is not known.
    pub is_deaf: bool,
}

/// Explains a run by its `steps`.
#[must_use]
pub fn why(
    run: RunId,
    state: RunStatus,
    error: Option<ErrorValue>,
    steps: &[Visit],
    scopes: Vec<ScopeView>,
    waits: Vec<WaitView>,
    reach: &Reach<'_>,
) -> Why {
    let mut groups: BTreeMap<Key, (Missing, BTreeSet<u32>)> = BTreeMap::new();
    for step in steps.iter().filter(|s| is_missing(s)) {
        let served = step
            .called()
            .is_none_or(|(handler, queue)| (reach.serves)(queue, handler));
        let (missing, branches) = groups
            .entry(key(step, served))
            .or_insert_with(|| (first(step, state, served, reach.trouble), BTreeSet::new()));
        missing.count += 1;
        missing.next_retry_at = earliest(missing.next_retry_at, step.next_retry_at);
        branches.extend(step.step.filter(|s| s.scope > 0).map(|s| s.branch));
    }
    let missing: Vec<Missing> = groups.into_values().map(finished).collect();
    Why {
        run,
        state,
        summary: summary(state, error.as_ref(), &missing, &waits),
        missing_count: missing.iter().map(|m| m.count).sum(),
        missing: missing.into_iter().take(GROUPS_MAX).collect(),
        scopes,
        waits,
        error,
    }
}

/// Convenience over a fleet.
#[must_use]
pub fn no_worker(handler: &str, queue: &str, namespace: &Namespace) -> String {
    match namespace.is_default() {
        true => format!("no worker serves handler {handler} on queue {queue}"),
        false => format!("no worker serves handler {handler} on queue {queue} of namespace {namespace}"),
    }
}

fn is_missing(step: &Visit) -> bool {
    match step.state {
        StepState::Pending | StepState::Running | StepState::Retrying | StepState::Parked => true,
        StepState::Completed | StepState::Failed | StepState::Cancelled | StepState::Skipped => false,
    }
}

fn key(step: &Visit, served: bool) -> Key {
    Key {
        served,
        node: locate::pattern(&step.path),
        scope: step.step.map_or(0, |s| s.scope),
        state: step.state,
        attempt: step.attempt,
        worker: step.worker.clone(),
        error: step.error.as_ref().map(|e| e.kind.clone()),
    }
}

fn first(step: &Visit, run: RunStatus, served: bool, trouble: Option<Trouble>) -> Missing {
    Missing {
        path: step.path.to_string(),
        node: locate::pattern(&step.path),
        branches: None,
        count: 0,
        handler: step.called().map(|(handler, _)| handler.to_owned()),
        queue: step.called().map(|(_, queue)| queue.to_owned()),
        state: step.state,
        attempt: step.attempt,
        worker: step.worker.as_deref().map(str::to_owned),
        next_retry_at: step.next_retry_at,
        last_error: step.error.as_deref().cloned(),
        reason: reason(step, run, served, trouble),
    }
}

fn reason(step: &Visit, run: RunStatus, served: bool, trouble: Option<Trouble>) -> String {
    let (handler, queue) = step.called().unwrap_or(("?", "?"));
    match step.state {
        StepState::Running => match &step.claim {
            Some(claim) => format!("claimed by worker {}: no other may run this attempt", claim.worker),
            None => format!("runs on worker {}", step.worker.as_deref().unwrap_or("?")),
        },
        StepState::Parked => "parked: waits for an operator".to_owned(),
        _ if run == RunStatus::Paused => "the run is paused".to_owned(),
        _ if !served && trouble.is_none_or(|trouble| !trouble.is_deaf) => {
            no_worker(handler, queue, &Namespace::default_name())
        }
        StepState::Retrying => "waits for its next attempt".to_owned(),
        StepState::Pending | StepState::Completed | StepState::Failed | StepState::Cancelled | StepState::Skipped => {
            match trouble {
                Some(trouble) => trouble.text.to_owned(),
                None => format!("waits for a free slot on queue {queue}"),
            }
        }
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn finished((mut missing, branches): (Missing, BTreeSet<u32>)) -> Missing {
    if !branches.is_empty() {
        missing.branches = Some(ranges::text(&branches));
    }
    missing
}

fn summary(state: RunStatus, error: Option<&ErrorValue>, missing: &[Missing], waits: &[WaitView]) -> String {
    let count: usize = missing.iter().map(|m| m.count).sum();
    match state {
        RunStatus::Completed => "the run has completed".to_owned(),
        RunStatus::Cancelled => "the run was cancelled".to_owned(),
        RunStatus::Failed | RunStatus::CompensationFailed => match error {
            Some(e) => format!(
                "the run failed at {}: {}: {}",
                e.path.as_deref().unwrap_or("/"),
                e.kind,
                e.message
            ),
            None => "the run failed".to_owned(),
        },
        RunStatus::Paused => format!("the run is paused; {} begun and not done", steps(count)),
        RunStatus::Scheduled | RunStatus::Running | RunStatus::Waiting | RunStatus::Compensating => {
            match (missing.first(), waits.first()) {
                (None, Some(wait)) => wait.in_words(),
                (None, None) => "the coordinator is about to go on".to_owned(),
                (Some(only), _) if missing.len() == 1 => {
                    format!("{} of {}: {}", steps(only.count), only.node, only.reason)
                }
                (Some(worst), _) => format!("{} missing; {}: {}", steps(count), worst.node, worst.reason),
            }
        }
    }
}

fn steps(count: usize) -> String {
    match count {
        1 => "1 step".to_owned(),
        n => format!("{n} steps"),
    }
}
