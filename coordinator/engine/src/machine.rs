//! Decides, one record at a time: each is folded in before the next decision is made.

use rejoin_shared::definition::model::Snapshots;
use rejoin_shared::json::Json;
use rejoin_shared::run::ErrorValue;

use crate::decision::{Apply, Effect, Sent, Surroundings};
use crate::record::{Fact, Record, ThreadKey};
use crate::state::{EndedBranch, Phase, RunState};

/// Records of one decision at most; what is left waits for the next one.
pub(crate) const RECORDS_MAX: usize = 4096;

/// A decision under way.
pub(crate) struct Machine<'a> {
    pub state: &'a mut RunState,
    pub around: Surroundings<'a>,
    /// Random, for jitter; each use takes another number from it.
    pub random: u64,
    records: Vec<Record>,
    effects: Vec<Effect>,
    sent: Vec<Sent>,
}

impl<'a> Machine<'a> {
    pub fn new(state: &'a mut RunState, around: Surroundings<'a>, random: u64) -> Machine<'a> {
        Machine {
            state,
            around,
            random,
            records: Vec::new(),
            effects: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Sends something to other runs, together with the records.
    pub fn send(&mut self, message: Sent) {
        self.sent.push(message);
    }

    /// Appends a fact and folds it in.
    ///
    /// # Panics
    /// If the fact does not fit the state: a fault of the engine, for which the shell quarantines the run.
    pub fn emit(&mut self, fact: Fact) {
        let seq = self.state.last_seq + 1;
        let mut record = Record {
            seq,
            decided_at: self.around.now,
            fact: self.with_room(fact),
        };
        if let Err(misfit) = self.state.apply(&record) {
            panic!("a decided record does not fit: {misfit} ({})", record.fact.kind());
        }
        if let Some(ended) = self.state.agenda.just_ended.take() {
            put_snapshot(&mut record.fact, self.state.def.snapshots, ended);
        }
        self.records.push(record);
    }

    /// The node the thread stands at fails.
    pub fn fail_node(&mut self, thread: ThreadKey, error: ErrorValue) {
        self.emit(Fact::NodeFailed { thread, error });
    }

    /// Whether this decision has grown long enough.
    pub fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX
    }

    /// Whether something is to be sent.
    pub fn sends(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Another random number.
    pub fn draw(&mut self) -> u64 {
        // splitmix64 (Steele, Lea, Flood 2014): spreads the one number that came with the event.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn into_apply(mut self) -> Apply {
        let revoked = std::mem::take(&mut self.state.agenda.newly_revoked);
        if !revoked.is_empty() {
            self.effects.push(Effect::Revoke(revoked));
        }
        if let Phase::Ended { status, .. } = &self.state.phase {
            let just_now = self
                .records
                .iter()
                .any(|record| matches!(record.fact, Fact::RunFinished(_)));
            if just_now {
                self.effects.push(Effect::Ended(*status));
                self.sent.extend(self.state.report_to_parent());
            }
        }
        self.sent.append(&mut self.state.agenda.outbox);
        Apply {
            records: self.records,
            effects: self.effects,
            waits: std::mem::take(&mut self.state.agenda.wait_changes),
            sent: self.sent,
        }
    }
}

/// Stores with a record the snapshot of the branch that ended with it (SPEC 4.4).
fn put_snapshot(fact: &mut Fact, snapshots: Snapshots, ended: EndedBranch) {
    let snapshot = match snapshots {
        Snapshots::None => None,
        Snapshots::Full => Some(Json::from_entries([
            ("__output__", ended.output),
            ("__context__", ended.context),
        ])),
        Snapshots::Delta if ended.changes.is_empty() => None,
        Snapshots::Delta => serde_json::to_vec(&ended.changes)
            .ok()
            .and_then(|text| Json::parse_own(&text).ok()),
    };
    match fact {
        Fact::StepCompleted(completed) => completed.snapshot = snapshot,
        Fact::ScopeJoined(joined) => joined.snapshot = snapshot,
        Fact::Chosen { snapshot: place, .. }
        | Fact::ContextSet { snapshot: place, .. }
        | Fact::TimerFired { snapshot: place, .. }
        | Fact::InputAnswered { snapshot: place, .. }
        | Fact::WaitEnded { snapshot: place, .. }
        | Fact::EventEmitted { snapshot: place, .. }
        | Fact::StepSkipped { snapshot: place, .. }
        | Fact::ChildStarted { snapshot: place, .. }
        | Fact::ChildFinished { snapshot: place, .. }
        | Fact::ErrorCaught { snapshot: place, .. }
        | Fact::RepeatEnded { snapshot: place, .. } => *place = snapshot,
        Fact::RunStarted(_)
        | Fact::RunBegun
        | Fact::StepOpened { .. }
        | Fact::StepClaimed(_)
        | Fact::ClaimReturned(_)
        | Fact::CheckpointStored(_)
        | Fact::NodeSkipped { .. }
        | Fact::StepFailed(_)
        | Fact::GroupOpened { .. }
        | Fact::ScopeOpened(_)
        | Fact::BranchStarted { .. }
        | Fact::FlowFailed { .. }
        | Fact::NodeFailed { .. }
        | Fact::NodeRetryScheduled { .. }
        | Fact::NodeRetried { .. }
        | Fact::TimerSet { .. }
        | Fact::StepRetried { .. }
        | Fact::StepGivenUp { .. }
        | Fact::WaitOpened { .. }
        | Fact::EventReceived(_)
        | Fact::EventRefused { .. }
        | Fact::EventTaken { .. }
        | Fact::WaitTimedOut { .. }
        | Fact::TryFailed { .. }
        | Fact::Finishing { .. }
        | Fact::RoundStarted { .. }
        | Fact::Late { .. }
        | Fact::CompensationStarted { .. }
        | Fact::ChildUndone { .. }
        | Fact::RunPaused
        | Fact::RunEdited(_)
        | Fact::RunResumed { .. }
        | Fact::RunForked(_)
        | Fact::RunFinished(_) => {}
    }
}
