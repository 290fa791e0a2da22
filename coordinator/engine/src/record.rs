//! The records of a journal: facts, each folded by `RunState::apply` without evaluating anything.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::delta::Delta;
use rejoin_shared::ids::{RunId, StepKey};
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, Outcome, RunStatus};
use rejoin_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

mod done;
mod edit;
mod encoding;
mod lineage;
mod runs;
mod scopes;
mod steps;
mod waits;
pub use done::spelled_out;
pub use edit::{Edits, RunEdited, Width};
pub use encoding::{Parts, UnreadableRecord};
pub use lineage::RunForked;
pub use runs::{RunFinished, RunStarted, UndoneChild};
pub use scopes::{Branches, Joined, Quota, ScopeJoined, ScopeOpened, Share};
pub use steps::{CheckpointStored, Choice, Claimed, NodeRetry, StepCompleted, StepFailed};
pub use waits::{Awaited, EventReceived};

/// One fact about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    /// When it was decided, by the owner's clock.
    pub decided_at: Timestamp,
    /// What.
    pub fact: Fact,
}

/// Names a flow's point of control: a branch of an open scope, or the outermost flow (`scope` 0, `branch` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ThreadKey {
    /// Sequence number of the record that opened the scope; 0 for the outermost flow.
    pub scope: u64,
    /// Index of the branch.
    pub branch: u32,
}

impl ThreadKey {
    /// The outermost flow.
    pub const ROOT: ThreadKey = ThreadKey { scope: 0, branch: 0 };

    /// The branch a step visit lies in.
    #[must_use]
    pub fn of(step: StepKey) -> ThreadKey {
        ThreadKey {
            scope: step.scope,
            branch: step.branch,
        }
    }
}

/// What a record says. Facts about a node name its thread: they are about the node that thread stands at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Fact {
    /// The run began.
    RunStarted(RunStarted),
    /// A run that was to begin later begins.
    RunBegun,
    /// A step (or a decision by handler) is to run: only where its `when` had to be read.
    StepOpened {
        /// Where.
        thread: ThreadKey,
    },
    /// A node's `when` did not hold.
    NodeSkipped {
        /// Where.
        thread: ThreadKey,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A worker has the only right to run an attempt.
    StepClaimed(Claimed),
    /// A worker gave its claim back without having begun the attempt.
    ClaimReturned(Claimed),
    /// An attempt that goes on has stored something, for itself should its worker die, and for the next one.
    CheckpointStored(CheckpointStored),
    /// An attempt succeeded.
    StepCompleted(StepCompleted),
    /// An attempt failed; either another follows at `retry_at`, or the step has failed.
    StepFailed(StepFailed),
    /// An operator tries a step again that was parked, or that failed.
    StepRetried {
        /// Which.
        step: StepKey,
        /// What it gets in place of its `with`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Json>,
        /// The step's path.
        #[serde(skip)]
        path: String,
    },
    /// An operator goes on behind a parked or failed step with this value.
    StepSkipped {
        /// Which.
        step: StepKey,
        /// Its value.
        #[serde(skip)]
        output: Json,
        /// The step's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// An operator lets a parked step fail, or a failed one with another error.
    StepGivenUp {
        /// Which.
        step: StepKey,
        /// With what.
        error: ErrorValue,
        /// The step's path.
        #[serde(skip)]
        path: String,
    },
    /// A group is entered: only where its `when` had to be read.
    GroupOpened {
        /// Where.
        thread: ThreadKey,
    },
    /// A fork.
    ScopeOpened(ScopeOpened),
    /// A branch began whose condition had to be read after the fork (a graph's node).
    BranchStarted {
        /// The scope.
        scope: u64,
        /// The branch.
        branch: u32,
        /// Whether its `when` held.
        active: bool,
    },
    /// A flow failed for good: nothing around what failed in it handles the error, or its start failed.
    FlowFailed {
        /// Which.
        thread: ThreadKey,
        /// Why.
        error: ErrorValue,
    },
    /// A scope's branches were merged, or its join failed.
    ScopeJoined(ScopeJoined),
    /// A branch chose a case, a decision chose a target.
    Chosen {
        /// Where.
        thread: ThreadKey,
        /// What.
        choice: Choice,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A `set` wrote.
    ContextSet {
        /// Where.
        thread: ThreadKey,
        /// What changed.
        changes: Delta,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A node that calls no handler failed: an expression, a limit, a `fail`.
    NodeFailed {
        /// Where.
        thread: ThreadKey,
        /// Why.
        error: ErrorValue,
    },
    /// A group or scope failed for which its `retry` allows another try.
    NodeRetryScheduled {
        /// The thread that holds the node.
        thread: ThreadKey,
        /// How many frames of the thread lie outside the node (a group), or `None` for the scope it waits at.
        depth: Option<usize>,
        /// Why it failed.
        error: ErrorValue,
        /// Which policy allowed it.
        policy: usize,
        /// When it begins again.
        until: Timestamp,
        /// Ranges, their ends included, of the branches that had begun and not ended well: most of them without a record, and yet
        /// what they visited counts in the next try.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        begun: Vec<(u32, u32)>,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A group or scope begins again.
    NodeRetried {
        /// The thread that holds the node.
        thread: ThreadKey,
    },
    /// A sleep began.
    TimerSet {
        /// Where.
        thread: ThreadKey,
        /// When it ends.
        until: Timestamp,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A sleep ended.
    TimerFired {
        /// Where.
        thread: ThreadKey,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A wait began.
    WaitOpened {
        /// Where.
        thread: ThreadKey,
        /// For what.
        awaited: Awaited,
        /// When it times out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// An event came that some wait of the run takes, or that is kept for one.
    EventReceived(EventReceived),
    /// An event that another run sent was for this one, which keeps as many as it may.
    EventRefused {
        /// Its name.
        event: String,
        /// What the sender calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Who sent it.
        sender: RunId,
    },
    /// A wait takes an event that was kept.
    EventTaken {
        /// Where the wait is.
        thread: ThreadKey,
        /// Sequence number of the record of the event's arrival.
        from: u64,
    },
    /// Somebody answered an input.
    InputAnswered {
        /// Where.
        thread: ThreadKey,
        /// The answer.
        #[serde(skip)]
        value: Json,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A wait took too long: the record behind this one says what follows.
    WaitTimedOut {
        /// Where.
        thread: ThreadKey,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A wait has all it waited for, or its time-out gives it a value.
    WaitEnded {
        /// Where.
        thread: ThreadKey,
        /// Its value.
        #[serde(skip)]
        output: Json,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// Another run was called.
    ChildStarted {
        /// Where.
        thread: ThreadKey,
        /// Its id.
        child: RunId,
        /// The workflow it runs.
        workflow: String,
        /// The version it was asked for; the newest by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// How long the call may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored: of a detached call only.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A run that was called has ended.
    ChildFinished {
        /// Where.
        thread: ThreadKey,
        /// Its id.
        child: RunId,
        /// Why it failed, if it did; what follows stands in the next record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorValue>,
        /// It failed so that it can be resumed.
        #[serde(default)]
        is_resumable: bool,
        /// What it did was to be undone, and something could not be.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_left_undone: bool,
        /// Its output.
        #[serde(skip)]
        output: Json,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// An event was sent.
    EventEmitted {
        /// Where.
        thread: ThreadKey,
        /// Its name.
        event: String,
        /// What it carries.
        #[serde(skip)]
        payload: Json,
        /// The run it is for; without one every run that waits for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<RunId>,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A catch of a try handles the failure of what it guards.
    ErrorCaught {
        /// Where.
        thread: ThreadKey,
        /// How many frames of the thread lie outside the try.
        depth: usize,
        /// Which catch.
        catch: u32,
        /// What is handled.
        error: ErrorValue,
        /// The try's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A failure leaves a try: its finally runs first.
    TryFailed {
        /// Where.
        thread: ThreadKey,
        /// How many frames of the thread lie outside the try.
        depth: usize,
        /// The try's path.
        #[serde(skip)]
        path: String,
    },
    /// A `finish` inside a try: finallies run before the run ends.
    Finishing {
        /// Where.
        thread: ThreadKey,
        /// The run's output.
        output: Json,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A repeat begins its next round.
    RoundStarted {
        /// Where.
        thread: ThreadKey,
        /// The node's path.
        #[serde(skip)]
        path: String,
    },
    /// A repeat asks for no further round.
    RepeatEnded {
        /// Where.
        thread: ThreadKey,
        /// The node's path.
        #[serde(skip)]
        path: String,
        /// Snapshot of the branch that ended with this, as stored.
        #[serde(skip)]
        snapshot: Option<Json>,
    },
    /// A completion that changes nothing any more.
    Late {
        /// The step visit.
        step: StepKey,
        /// The attempt.
        #[serde(skip)]
        attempt: u32,
        /// Who ran it.
        #[serde(skip)]
        worker: Option<Arc<str>>,
        /// How it had ended.
        #[serde(skip)]
        outcome: Option<Outcome>,
    },
    /// The run is to end so; what it did is undone first.
    CompensationStarted {
        /// `failed` or `cancelled`.
        status: RunStatus,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorValue>,
        /// Why an operator cancelled it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Runs that it had called, whose ends come first: what they did is newer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        children: Vec<UndoneChild>,
    },
    /// One of those has ended.
    ChildUndone {
        /// Which.
        child: RunId,
        /// Something that it did could not be undone.
        is_left_undone: bool,
        /// The call's path.
        #[serde(skip)]
        path: String,
    },
    /// Nothing new is dispatched.
    RunPaused,
    /// An operator edited an open scope.
    RunEdited(RunEdited),
    /// A paused run goes on, or a failed one tries its failed and missing steps again.
    RunResumed {
        /// Of the failed steps only these.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<StepKey>,
    },
    /// All before this is the past of another run, which this one shares.
    RunForked(RunForked),
    /// The run ended.
    RunFinished(RunFinished),
}
