//! What a batch does to each run, until it is durable.

use bytes::Bytes;
use rejoin_engine::decision::{ChildEnd, Effect, Sent, WaitChange};
use rejoin_engine::record::{Awaited, Fact, Joined, Record};
use rejoin_shared::definition::model::{Snapshots, SnapshotsAfterJoin};
use rejoin_shared::ids::{AttemptKey, Partition, RunId};
use rejoin_shared::json::Json;
use rejoin_shared::map::HashMap;
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Verdict, WorkerId};
use uuid::Uuid;

use super::command::{CallRun, Command};
use super::inbound::{Answer, Item};
use super::run::Run;
use crate::broker::publisher::Outgoing;
use crate::read::waits::question;
use crate::store::{
    Batch, Broadcast, Claim, InboxMessage, JoinedScope, JournalRow, NewestVersion, RunChange, RunEnd, RunRow, WaitKind,
    WaitRow,
};

/// Everything a batch does to one run.
pub struct Draft {
    /// The run.
    pub run: RunId,
    /// Its row, if it begins.
    pub created: Option<RunRow>,
    /// The version it begins with, if it is to be the newest.
    pub expected: Option<NewestVersion>,
    /// New rows.
    pub rows: Vec<JournalRow>,
    rows_lent: usize,
    /// Its changed row.
    pub change: Option<RunChange>,
    /// Inbox rows that are done with.
    pub received: Vec<u64>,
    /// Inbox rows with their verdicts.
    pub answered: Vec<(u64, Bytes)>,
    /// What was judged, and what came of it.
    pub items: Vec<(Item, Answer)>,
    /// The engine's effects.
    pub effects: Vec<Effect>,
    /// Answers to workers' questions.
    pub verdicts: Vec<(WorkerId, Uuid, AttemptKey, Verdict)>,
    /// Waits that are over, by their opening records.
    pub waits_over: Vec<u64>,
    /// Waits that opened.
    pub waits: Vec<WaitRow>,
    /// Joined scopes whose snapshots go.
    pub joins: Vec<JoinedScope>,
    /// Messages to other runs.
    pub sent: Vec<InboxMessage>,
    /// Messages to all runs that wait for an event.
    pub broadcasts: Vec<Broadcast>,
    /// Other messages.
    pub outgoing: Vec<Outgoing>,
    /// When the attempts ended, by their workers' clocks, whose completions it records.
    pub ended_at: Vec<Timestamp>,
    /// Whether a scope of it was joined.
    pub has_joined: bool,
    /// Attempts of the run that had been packed before those that this batch makes ready, if these were while it was appended.
    pub dispatched_before: Option<u64>,
    /// Whether it ended: again perhaps, where an operation on one of its steps was all that was missing.
    pub has_finished: bool,
    /// Bytes of its rows.
    pub bytes: usize,
}

impl Draft {
    fn new(run: RunId) -> Draft {
        Draft {
            run,
            created: None,
            expected: None,
            rows: Vec::new(),
            rows_lent: 0,
            change: None,
            received: Vec::new(),
            answered: Vec::new(),
            items: Vec::new(),
            effects: Vec::new(),
            verdicts: Vec::new(),
            waits_over: Vec::new(),
            waits: Vec::new(),
            joins: Vec::new(),
            sent: Vec::new(),
            broadcasts: Vec::new(),
            outgoing: Vec::new(),
            ended_at: Vec::new(),
            has_joined: false,
            dispatched_before: None,
            has_finished: false,
            bytes: 0,
        }
    }

    /// Whether it has anything for the database.
    #[must_use]
    pub fn writes(&self) -> bool {
        let inbox = !self.received.is_empty() || !self.answered.is_empty() || !self.sent.is_empty();
        let waits = !self.waits.is_empty() || !self.waits_over.is_empty();
        self.created.is_some() || !self.rows.is_empty() || self.change.is_some() || waits || inbox
    }

    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.has_joined |= matches!(record.fact, Fact::ScopeJoined(_));
        self.has_finished |= matches!(record.fact, Fact::RunFinished(_));
        let row = row_of(self.run, record);
        let optional = [&row.output, &row.snapshot, &row.logs];
        let optional: usize = optional.into_iter().flatten().map(Bytes::len).sum();
        self.bytes += row.body.len() + optional + 128;
        self.rows.push(row);
    }

    /// Notes which waits opened and ended, for the table that others look into.
    pub fn keep_waits(&mut self, run: &Run, changes: Vec<WaitChange>) {
        for change in changes {
            match change {
                WaitChange::Over(seq) => {
                    // One that was put anew may stand there already.
                    self.waits.retain(|wait| wait.seq != seq);
                    self.waits_over.push(seq);
                }
                WaitChange::Opened(wait) => {
                    let kind = match wait.awaited {
                        Awaited::Input { .. } => WaitKind::Input,
                        Awaited::Event(_) | Awaited::Any(_) | Awaited::All(_) => WaitKind::Event,
                    };
                    let row = wait_row(run, kind, wait.seq, &question(&run.definition, &wait));
                    self.put_wait(WaitRow {
                        events: wait.awaited.events().to_vec(),
                        name: wait.name,
                        path: wait.path,
                        until: wait.until,
                        ..row
                    });
                }
                WaitChange::Slept(sleep) => {
                    let row = wait_row(run, WaitKind::Timer, sleep.seq, &Json::object());
                    self.put_wait(WaitRow {
                        name: sleep.name,
                        path: sleep.path,
                        until: Some(sleep.until),
                        ..row
                    });
                }
            }
        }
    }

    fn put_wait(&mut self, row: WaitRow) {
        self.bytes += row.body.len() + 256;
        self.waits.push(row);
    }

    /// Notes a joined scope whose snapshots go.
    pub fn keep_join(&mut self, run: &Run, record: &Record) {
        let def = &run.definition;
        if def.snapshots_after_join != SnapshotsAfterJoin::Drop || def.snapshots == Snapshots::None {
            return;
        }
        if let Fact::ScopeJoined(joined) = &record.fact
            && matches!(joined.result, Joined::Ok(_))
        {
            self.bytes += joined.path.len() + 64;
            self.joins.push(JoinedScope {
                run: run.id,
                opened: joined.scope,
                joined: record.seq,
                path: joined.path.clone(),
                next_seq: 0,
            });
        }
    }

    /// Puts messages to other runs beside the records that they belong to.
    pub fn send(&mut self, run: &Run, messages: Vec<Sent>) {
        for message in messages {
            match message {
                Sent::Event { to, event, payload, id } => self.send_event(run, to, event, payload, id),
                Sent::Start {
                    child,
                    workflow,
                    version,
                    input,
                    is_awaited,
                } => {
                    let call = CallRun {
                        namespace: run.namespace.clone(),
                        workflow,
                        version,
                        input,
                        priority: run.priority,
                        parent: run.id,
                        is_awaited,
                    };
                    self.put(child, &Command::Call(Box::new(call)), Some("call".to_owned()));
                }
                Sent::Cancel { child, compensate } => {
                    let reason = Some("the call that waited for it has ended".to_owned());
                    self.put(child, &Command::Cancel { reason, compensate }, None);
                }
                Sent::GoOn { child } => self.put(child, &Command::GoOn { parent: run.id }, None),
                Sent::Ended { parent, seq, end } => {
                    let key = format!("ended:{}:{seq}", run.id);
                    self.put(parent, &Command::ChildEnded { child: run.id, end }, Some(key));
                }
            }
        }
    }

    fn send_event(&mut self, run: &Run, to: Option<RunId>, event: String, payload: Json, id: String) {
        let command = Command::Signal {
            from: run.namespace.clone(),
            event: event.clone(),
            payload,
            id: Some(id.clone()),
            is_addressed: to.is_some(),
            sender: Some(run.id),
        };
        if let Some(to) = to {
            return self.put(to, &command, Some(id));
        }
        let body = text_of(&command);
        self.bytes += body.len() + 128;
        self.broadcasts.push(Broadcast {
            namespace: run.namespace.clone(),
            event,
            kind: command.kind().to_owned(),
            body,
            dedupe_key: Some(id),
        });
    }

    /// Tells a caller that the run it waits for again is not there any more.
    pub fn tell_parent_it_is_gone(&mut self, parent: RunId) {
        let error = ErrorValue::new("rejoin.cancelled", "the called run was deleted", "");
        let end = ChildEnd::Error {
            error,
            is_resumable: false,
            is_left_undone: false,
            is_gone: true,
        };
        self.put(parent, &Command::ChildEnded { child: self.run, end }, None);
    }

    fn put(&mut self, to: RunId, command: &Command, dedupe_key: Option<String>) {
        let body = text_of(command);
        self.bytes += body.len() + 128;
        self.sent.push(InboxMessage {
            partition: to.partition(),
            run: to,
            kind: command.kind().to_owned(),
            body,
            dedupe_key,
            wants_verdict: false,
        });
    }

    /// Writes the run's row anew if it has to be.
    pub fn close(&mut self, run: &mut Run, now: Timestamp) {
        let status = run.state.status();
        let is_due = run.row_stale && now.since(run.row_at).as_millis() >= 1_000;
        let ends = status.is_terminal() && (self.has_finished || !run.row_status.is_terminal());
        let wake_at = run.wake_at(now, ends);
        // Whoever loads runs that wait goes by this time alone.
        let wakes = matches!(status, RunStatus::Scheduled | RunStatus::Waiting) && wake_at != run.row_wake_at;
        if status == run.row_status && !is_due && !wakes && !ends {
            run.row_stale |= !self.rows.is_empty();
            return;
        }
        self.change = Some(RunChange {
            run: self.run,
            status,
            progress: run.progress(),
            counts: run.counts,
            wake_at,
            ended: ends.then(|| end_of(run)),
            reopened: !status.is_terminal() && run.row_status.is_terminal(),
        });
        (run.row_status, run.row_wake_at, run.row_at, run.row_stale) = (status, wake_at, now, false);
    }
}

fn text_of(command: &Command) -> Bytes {
    serde_json::to_vec(command).expect("a command is plain data").into()
}

fn end_of(run: &Run) -> RunEnd {
    let (output, error) = run.state.result();
    let text = |json: &Json| Bytes::from(json.to_bytes());
    let context = run.state.context();
    let is_context = run.state.status() == RunStatus::Completed && output.as_ref() == Some(&context);
    RunEnd {
        context: Some(text(&context)),
        output: output.filter(|_| !is_context).as_ref().map(text),
        error: error.map(|error| text(&error.to_json())),
        compensated: run.state.is_compensated(),
    }
}

fn wait_row(run: &Run, kind: WaitKind, seq: u64, body: &Json) -> WaitRow {
    WaitRow {
        run: run.id,
        seq,
        namespace: run.namespace.clone(),
        workflow: run.definition.workflow.to_string(),
        name: String::new(),
        path: String::new(),
        kind,
        events: Vec::new(),
        body: body.to_bytes().into(),
        opened_at: Timestamp(0),
        until: None,
    }
}

/// A record as a journal row.
#[must_use]
pub fn row_of(run: RunId, record: Record) -> JournalRow {
    let parts = record.into_parts();
    JournalRow {
        run,
        seq: parts.seq,
        kind: parts.kind.into(),
        path: parts.path,
        attempt: parts.attempt,
        outcome: parts.outcome,
        worker: parts.worker,
        body: parts.body.into(),
        output: parts.output.map(Bytes::from),
        snapshot: parts.snapshot.map(Bytes::from),
        logs: parts.logs.map(Bytes::from),
    }
}

/// The drafts of a batch, one a run.
#[derive(Default)]
pub struct Drafts {
    all: Vec<Draft>,
    places: HashMap<RunId, usize>,
    is_closed: bool,
    is_whole: bool,
}

impl Drafts {
    /// The draft of a run.
    pub fn of(&mut self, run: RunId) -> &mut Draft {
        let place = *self.places.entry(run).or_insert_with(|| {
            self.all.push(Draft::new(run));
            self.all.len() - 1
        });
        &mut self.all[place]
    }

    /// Takes a run's draft out: it is not part of this batch after all.
    pub fn remove(&mut self, run: RunId) -> Option<Draft> {
        let place = *self.places.get(&run)?;
        Some(std::mem::replace(&mut self.all[place], Draft::new(run)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes nothing more in: what comes next needs a batch of its own.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether nothing more is taken in.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// These are one: written together, or refused together.
    pub fn keep_whole(&mut self) {
        (self.is_closed, self.is_whole) = (true, true);
    }

    /// Whether they may not be halved.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Items, rows and bytes so far.
    pub fn size(&self) -> (usize, usize, usize) {
        self.all.iter().fold((0, 0, 0), |(items, rows, bytes), draft| {
            (items + draft.items.len(), rows + draft.rows.len(), bytes + draft.bytes)
        })
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Draft> {
        self.all
    }

    /// Each of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Draft> {
        self.all.iter_mut()
    }
}

/// The batch of these drafts, each partition's claim once, sorted. It borrows their rows: [`give_rows_back`] when it is done with.
///
/// # Errors
/// A partition that it would write to without a claim: what the claim does not prove nobody else may have written meanwhile.
pub fn batch_of(drafts: &mut [Draft], claim: impl Fn(Partition) -> Option<Claim>) -> Result<Batch, Partition> {
    let mut partitions: Vec<Partition> = drafts
        .iter()
        .filter(|d| d.writes())
        .map(|d| d.run.partition())
        .collect();
    partitions.sort();
    partitions.dedup();
    let claims = partitions
        .into_iter()
        .map(|partition| claim(partition).ok_or(partition));
    let mut batch = Batch {
        claims: claims.collect::<Result<_, _>>()?,
        ..Batch::default()
    };
    for draft in drafts {
        batch.created.extend(draft.created.clone());
        draft.rows_lent = draft.rows.len();
        batch.rows.append(&mut draft.rows);
        batch.changed.extend(draft.change.clone());
        batch.received.extend(&draft.received);
        batch.answered.extend(draft.answered.iter().cloned());
        batch
            .waits_over
            .extend(draft.waits_over.iter().map(|seq| (draft.run, *seq)));
        batch.waits.extend(draft.waits.iter().cloned());
        batch.sent.extend(draft.sent.iter().cloned());
        batch.broadcasts.extend(draft.broadcasts.iter().cloned());
        batch.joins.extend(draft.joins.iter().cloned());
        batch.newest.extend(draft.expected.clone());
    }
    // Of the many runs of one version it is asked once.
    batch.newest.sort();
    batch.newest.dedup();
    Ok(batch)
}

/// Gives the drafts the rows back that their batch borrowed.
pub fn give_rows_back(drafts: &mut [Draft], batch: &mut Batch) {
    let mut rows = std::mem::take(&mut batch.rows).into_iter();
    for draft in drafts {
        draft
            .rows
            .extend(rows.by_ref().take(std::mem::take(&mut draft.rows_lent)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_to_a_partition_without_a_claim_on_it() {
        let run = RunId::from_uuid_in(Uuid::nil(), Partition(31));
        let mut drafts = Drafts::default();
        let draft = drafts.of(run);
        assert!(!draft.writes());
        let mut silent = drafts.into_vec();
        assert!(batch_of(&mut silent, |_| None).is_ok());
        silent[0].received.push(1);
        assert_eq!(batch_of(&mut silent, |_| None).err(), Some(Partition(31)));
    }
}
