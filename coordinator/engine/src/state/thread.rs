//! One point of control: the outermost flow, or a branch of an open scope.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::definition::model::{FlowId, NodeId};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;
use rejoin_shared::time::Timestamp;

use super::claim::Claim;
use super::scope::Carried;
use super::undo::Done;
use crate::record::Awaited;

/// One point of control.
#[derive(Clone, Debug)]
pub struct Thread {
    /// The flows it stands in, outermost first; empty once its flow has ended.
    pub(crate) frames: Vec<Frame>,
    /// The context it began with: its changes are counted against this.
    pub(crate) base: Json,
    pub(crate) ctx: Json,
    pub(crate) results: Json,
    /// Of the last node that ran and has one.
    pub(crate) output: Json,
    /// At most so many bytes is the context's JSON text.
    pub(crate) ctx_bytes_max: usize,
    /// Steps it began.
    pub(crate) pos: u32,
    pub(crate) leaf: Leaf,
    /// What completed in it and can be undone, in order.
    pub(crate) done: Vec<Done>,
    /// Set when it stopped for good; frames and leaf then say where, for a resume.
    pub(crate) end: Option<ThreadEnd>,
}

/// A flow that a thread stands in.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub flow: FlowId,
    /// Index of the node it stands at, within the flow.
    pub at: usize,
    /// What the paths of its nodes begin with.
    pub path: Arc<str>,
    pub visits: Vec<Visits>,
    pub kind: FrameKind,
}

/// How often a node was met under this path, and since the last round or retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visits {
    pub node: NodeId,
    /// Numbers the path.
    pub of_path: u32,
    /// Counts towards `max_visits`.
    pub counted: u32,
}

impl Visits {
    /// Of a node that was met for the first time.
    pub fn once(node: NodeId) -> Visits {
        Visits {
            node,
            of_path: 1,
            counted: 1,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum FrameKind {
    /// The outermost flow of a run or branch.
    Body,
    /// A case of a branch.
    Case,
    /// A group, with what it began with.
    Group(Box<GroupEntry>),
    /// A round of a repeat, counted from 1.
    Round(u32),
    /// The steps of a try.
    Try(Guard),
    /// A catch of a try, with the error it handles.
    Catch(Guard, Json),
    /// The finally of a try.
    Finally(Box<Leaving>),
}

/// The try that a frame belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub node: NodeId,
    /// The try's own path.
    pub path: Arc<str>,
    /// Its finally has run for the failure under way.
    pub is_done: bool,
    /// Visits of the finally's nodes: after a resume it may run once more, and its paths go on counting.
    pub finally_visits: Vec<Visits>,
}

/// What a finally runs before.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub how: Way,
    /// The flow's output before it: a finally has none.
    pub output: Json,
}

/// How control leaves a try.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Its steps, or those of a catch, have ended.
    End,
    /// To a node outside.
    Goto(NodeId),
    /// The run finishes with this output.
    Finish(Json),
    /// With an error.
    Error(Stopped),
}

/// Where the steps of a try, or of a catch, stopped: a resume goes on from there.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub error: ErrorValue,
    pub frames: Vec<Frame>,
    pub leaf: Leaf,
    /// The run was resumed since: what stopped goes on behind the finally.
    pub goes_on: bool,
}

/// What a group began with, for another try.
#[derive(Clone, Debug)]
pub(crate) struct GroupEntry {
    pub ctx: Json,
    pub results: Json,
    pub output: Json,
    /// Failures that each retry policy allowed.
    pub allowed: Vec<u32>,
}

/// What a thread does or waits for.
#[derive(Clone, Debug)]
pub enum Leaf {
    /// Its node is to be evaluated.
    Ready(Entered),
    /// A step, or a decision by handler.
    Step(Box<StepState>),
    /// The scope of this id.
    Scope(u64),
    /// The failed node (a group, or the scope node it stands at) is tried again then.
    Backoff(Box<Backoff>),
    /// A sleep.
    Sleep(Box<Sleep>),
    /// An event or an answer.
    Wait(Box<Wait>),
    /// The end of another run.
    Call(Box<Call>),
    /// Its flow has ended.
    Done,
}

/// A node that control has reached.
#[derive(Clone, Debug)]
pub struct Entered {
    /// Its path.
    pub(crate) path: String,
    /// Why it cannot run at all.
    pub(crate) problem: Option<EntryProblem>,
    /// What an earlier try of this scope node left.
    pub(crate) carried: Option<Box<Carried>>,
    /// Rounds of this repeat that are over; `None` at the first meeting.
    pub(crate) rounds: Option<Box<Rounds>>,
}

/// What the next round of a repeat knows of those before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    /// How many were begun.
    pub begun: u32,
    /// Visits of the body's nodes, so that their paths go on counting.
    pub visits: Vec<Visits>,
}

/// A sleep under way.
#[derive(Clone, Debug)]
pub struct Sleep {
    /// Sequence number of the record that began it.
    pub(crate) seq: u64,
    pub(crate) path: String,
    pub(crate) until: Timestamp,
}

/// A wait under way.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Sequence number of the record that opened it.
    pub(crate) seq: u64,
    pub(crate) path: String,
    pub(crate) awaited: Awaited,
    pub(crate) until: Option<Timestamp>,
    /// What came so far, by event.
    pub(crate) received: BTreeMap<String, Json>,
}

/// A call under way, or one that failed.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) path: String,
    pub(crate) child: RunId,
    pub(crate) timeout: Option<Duration>,
    pub(crate) until: Option<Timestamp>,
    /// Failures that each retry policy allowed.
    pub(crate) allowed: Vec<u32>,
    pub(crate) end: Option<CallEnd>,
}

/// How a call stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// Its child failed, and can go on.
    Resumable,
    /// Its child is of no use any more.
    Over,
    /// The same, and something that it did could not be undone.
    LeftUndone,
}

impl CallEnd {
    /// Of a child that failed.
    pub fn of(is_resumable: bool, is_left_undone: bool) -> CallEnd {
        match (is_resumable, is_left_undone) {
            (true, _) => CallEnd::Resumable,
            (false, true) => CallEnd::LeftUndone,
            (false, false) => CallEnd::Over,
        }
    }
}

/// Why a node that control has reached cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryProblem {
    VisitLimit,
    PathTooLong,
}

/// A step that is not done yet.
#[derive(Clone, Debug)]
pub struct StepState {
    pub(crate) path: String,
    /// How many steps the thread began before it.
    pub(crate) pos: u32,
    pub(crate) attempt: u32,
    /// The attempt goes out no earlier.
    pub(crate) not_before: Option<Timestamp>,
    /// Failures that each retry policy allowed.
    pub(crate) allowed: Vec<u32>,
    pub(crate) last_error: Option<ErrorValue>,
    /// It failed for good.
    pub(crate) has_failed: bool,
    /// It waits for an operator.
    pub(crate) is_parked: bool,
    /// What an operator gave it in place of its `with`.
    pub(crate) input: Option<Json>,
    /// When its first attempt started, by the worker's clock.
    pub(crate) first_started: Option<Timestamp>,
    /// What an attempt before stored for this one.
    pub(crate) checkpoint: Option<Box<Json>>,
    /// Who has the only right to run the attempt.
    pub(crate) claim: Option<Box<Claim>>,
}

/// A group or scope between two tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    pub(crate) path: String,
    pub(crate) until: Timestamp,
    pub(crate) error: ErrorValue,
    /// What the last try of the scope leaves for the next; `None` for a group.
    pub(crate) carried: Option<Box<Carried>>,
}

/// How a thread stopped for good.
#[derive(Clone, Debug, PartialEq)]
pub enum ThreadEnd {
    /// An error that nothing in it handled, or that is being handled.
    Failed(ErrorValue),
    /// Its scope, or the run, no longer needs it.
    Cancelled,
}

impl ThreadEnd {
    /// Bytes of its error, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            ThreadEnd::Failed(error) => error.bytes(),
            ThreadEnd::Cancelled => 0,
        }
    }
}

impl Thread {
    pub(crate) fn new(flow: FlowId, path: Arc<str>, ctx: Json, results: Json) -> Thread {
        Thread {
            frames: vec![Frame {
                flow,
                at: 0,
                path,
                visits: Vec::new(),
                kind: FrameKind::Body,
            }],
            base: ctx.clone(),
            ctx_bytes_max: usize::MAX,
            ctx,
            results,
            output: Json::Null,
            pos: 0,
            leaf: Leaf::Done,
            done: Vec::new(),
            end: None,
        }
    }

    pub(crate) fn frame(&self) -> &Frame {
        self.frames.last().expect("a thread that is not done stands in a frame")
    }

    pub(crate) fn frame_mut(&mut self) -> &mut Frame {
        self.frames
            .last_mut()
            .expect("a thread that is not done stands in a frame")
    }

    pub(crate) fn step(&self) -> Option<&StepState> {
        if let Leaf::Step(step) = &self.leaf {
            Some(step)
        } else {
            None
        }
    }

    /// Path of the node it stands at or waits for, as far as the thread itself knows it.
    pub(crate) fn entered(&self) -> Option<&Entered> {
        if let Leaf::Ready(entered) = &self.leaf {
            Some(entered)
        } else {
            None
        }
    }

    /// Whether something around the failing node, within this thread, may handle an error.
    pub(crate) fn may_handle(&self, def: &rejoin_shared::definition::model::Definition) -> bool {
        self.frames.iter().any(|frame| match &frame.kind {
            FrameKind::Group(_) => group_retries(def, frame.flow),
            FrameKind::Try(guard) | FrameKind::Catch(guard, _) => !guard.is_done,
            FrameKind::Body | FrameKind::Case | FrameKind::Round(_) | FrameKind::Finally(_) => false,
        })
    }

    /// The failed scopes it holds on to: the one it stands at, and those that stopped what a finally runs for.
    pub(crate) fn scopes(&self) -> Vec<u64> {
        let mut found = scopes_of(&self.frames);
        found.extend(self.leaf.scope());
        found
    }
}

/// Whether the group that holds `flow` has a `retry`.
pub(crate) fn group_retries(def: &rejoin_shared::definition::model::Definition, flow: FlowId) -> bool {
    use rejoin_shared::definition::model::{FlowRole, NodeKind};
    let FlowRole::Group(node) = def.flow(flow).role else {
        return false;
    };
    matches!(&def.node(node).kind, NodeKind::Group(group) if !group.retry.is_empty())
}

/// The scopes at which what these frames hold had stopped.
pub(crate) fn scopes_of(frames: &[Frame]) -> Vec<u64> {
    let mut found = Vec::new();
    for frame in frames {
        if let FrameKind::Finally(leaving) = &frame.kind
            && let Way::Error(stopped) = &leaving.how
        {
            found.extend(scopes_of(&stopped.frames));
            found.extend(stopped.leaf.scope());
        }
    }
    found
}

impl Leaf {
    /// The scope it waits for.
    pub(crate) fn scope(&self) -> Option<u64> {
        if let Leaf::Scope(id) = self { Some(*id) } else { None }
    }
}

impl Frame {
    /// The try it belongs to, as long as that one's finally has not run for the failure under way.
    pub fn guard(&self) -> Option<&Guard> {
        match &self.kind {
            FrameKind::Try(guard) | FrameKind::Catch(guard, _) => Some(guard).filter(|guard| !guard.is_done),
            FrameKind::Body | FrameKind::Case | FrameKind::Round(_) | FrameKind::Group(_) | FrameKind::Finally(_) => {
                None
            }
        }
    }

    /// Counts one more visit of `node`.
    pub fn visit(&mut self, node: NodeId) -> Visits {
        match self.visits.iter_mut().find(|visits| visits.node == node) {
            Some(visits) => {
                visits.of_path += 1;
                visits.counted += 1;
                *visits
            }
            None => {
                let first = Visits::once(node);
                self.visits.push(first);
                first
            }
        }
    }

    /// Begins to count towards `max_visits` anew.
    pub fn forget_counts(&mut self) {
        for visits in &mut self.visits {
            visits.counted = 0;
        }
    }
}
