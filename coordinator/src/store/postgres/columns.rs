//! A batch as the columns that `rejoin_append` takes: one array a column, one round trip for all of it.

use std::collections::BTreeMap;

use rejoin_shared::ids::RunId;
use rejoin_shared::run::{Counts, Progress};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::{
    Batch, Claim, InboxMessage, JOURNAL_FORMAT, JournalRow, NewestVersion, RunChange, RunRow, StoreError, priority,
};
use super::values::{At, bigint, integer, outcome_number};

type Result<T> = std::result::Result<T, StoreError>;
type Param<'a> = &'a (dyn ToSql + Sync);
type Texts<'a> = Vec<&'a str>;
type MaybeTexts<'a> = Vec<Option<&'a str>>;
type Bodies<'a> = Vec<&'a [u8]>;
type MaybeBodies<'a> = Vec<Option<&'a [u8]>>;

/// All columns of a batch.
pub(super) struct Columns<'a> {
    claims: Claims,
    created: Created<'a>,
    tags: Tags<'a>,
    rows: Rows<'a>,
    changed: Changed<'a>,
    sent: Sent<'a>,
    received: Vec<i64>,
    answered: Vec<i64>,
    verdicts: Bodies<'a>,
    newest: Newest<'a>,
    waits: Option<Waits<'a>>,
    forks: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    /// Lays out `batch`; `kinds` holds the number of each row's kind, `changes` comes from [`fold_changes`].
    pub(super) fn of(batch: &'a Batch, kinds: Vec<i16>, changes: &'a [RunChange]) -> Result<Columns<'a>> {
        let ids = |ids: &mut dyn Iterator<Item = u64>| ids.map(bigint).collect::<Result<Vec<i64>>>();
        Ok(Columns {
            claims: Claims::of(&batch.claims)?,
            created: Created::of(&batch.created)?,
            tags: Tags::of(&batch.created),
            rows: Rows::of(&batch.rows, kinds)?,
            changed: Changed::of(changes)?,
            sent: Sent::of(&batch.sent),
            received: ids(&mut batch.received.iter().copied())?,
            answered: ids(&mut batch.answered.iter().map(|(id, _)| *id))?,
            verdicts: batch.answered.iter().map(|(_, verdict)| &**verdict).collect(),
            newest: Newest::of(&batch.newest)?,
            waits: Waits::of(batch)?,
            forks: forks_of(batch),
        })
    }

    /// The parameters in the order of `rejoin_append`.
    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut params: Vec<Param<'_>> = Vec::with_capacity(85);
        self.claims.push_to(&mut params);
        self.created.push_to(&mut params);
        self.tags.push_to(&mut params);
        self.rows.push_to(&mut params);
        self.changed.push_to(&mut params);
        self.sent.push_to(&mut params);
        params.extend([&self.received as Param<'_>, &self.answered, &self.verdicts]);
        if self.has_newest() || self.has_waits() {
            self.newest.push_to(&mut params);
        }
        if let Some(waits) = &self.waits {
            waits.push_to(&mut params);
        }
        if self.has_forks() {
            params.push(&self.forks);
        }
        params
    }

    /// Whether there is something for `rejoin_expect_newest`, whose parameters then follow those of `rejoin_append`.
    pub(super) fn has_newest(&self) -> bool {
        !self.newest.versions.is_empty()
    }

    /// Whether there are forks, which `rejoin_begin_forks` marks; the parameters of `rejoin_put_waits` and `rejoin_put_joins` are
    /// there too then.
    pub(super) fn has_forks(&self) -> bool {
        !self.forks.is_empty()
    }

    /// Whether there is something for `rejoin_put_waits` or `rejoin_put_joins`, whose parameters then follow those of
    /// `rejoin_expect_newest`.
    pub(super) fn has_waits(&self) -> bool {
        self.waits.is_some()
    }
}

/// Versions that runs begin with as the newest.
struct Newest<'a> {
    namespaces: Texts<'a>,
    workflows: Texts<'a>,
    versions: Vec<i32>,
}

impl<'a> Newest<'a> {
    fn of(newest: &'a [NewestVersion]) -> Result<Newest<'a>> {
        let versions = newest.iter().map(|one| integer(one.version));
        Ok(Newest {
            namespaces: newest.iter().map(|one| &*one.namespace.0).collect(),
            workflows: newest.iter().map(|one| one.workflow.as_str()).collect(),
            versions: versions.collect::<Result<_>>()?,
        })
    }

    fn push_to<'b>(&'b self, params: &mut Vec<Param<'b>>) {
        params.extend([&self.namespaces as Param<'b>, &self.workflows, &self.versions]);
    }
}

/// Created runs that share the past of another one.
fn forks_of(batch: &Batch) -> Vec<Uuid> {
    let forks = batch.created.iter().filter(|run| run.forked_from.is_some());
    forks.map(|run| run.id.0).collect()
}

/// One change a run, sorted by run: what several changes of one batch come to.
pub(super) fn fold_changes(changes: &[RunChange]) -> Vec<RunChange> {
    let mut folded: BTreeMap<RunId, RunChange> = BTreeMap::new();
    for change in changes {
        let next = match folded.remove(&change.run) {
            Some(earlier) => fold(earlier, change.clone()),
            None => change.clone(),
        };
        folded.insert(change.run, next);
    }
    folded.into_values().collect()
}

fn fold(earlier: RunChange, later: RunChange) -> RunChange {
    RunChange {
        ended: if later.reopened {
            later.ended
        } else {
            later.ended.or(earlier.ended)
        },
        reopened: later.reopened || earlier.reopened,
        ..later
    }
}

#[derive(Default)]
struct Claims {
    partitions: Vec<i16>,
    epochs: Vec<i64>,
    tokens: Vec<i64>,
    batches: Vec<i64>,
}

impl Claims {
    fn of(claims: &[Claim]) -> Result<Claims> {
        let mut sorted = claims.to_vec();
        sorted.sort_unstable_by_key(|claim| claim.partition);
        let mut columns = Claims::default();
        for claim in sorted {
            columns.partitions.push(i16::from(claim.partition.0));
            columns.epochs.push(claim.epoch.count);
            columns.tokens.push(claim.epoch.token);
            columns.batches.push(bigint(claim.batch)?);
        }
        Ok(columns)
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([&self.partitions as Param<'p>, &self.epochs, &self.tokens, &self.batches]);
    }
}

/// Progress and counts, nine numbers a run in one array.
fn push_numbers(numbers: &mut Vec<i64>, p: &Progress, c: &Counts) -> Result<()> {
    let all = [
        p.total,
        p.done,
        p.failed,
        p.running,
        p.waiting,
        c.dispatched,
        c.redelivered,
        c.duplicate,
        c.late,
    ];
    for number in all {
        numbers.push(bigint(number)?);
    }
    Ok(())
}

#[derive(Default)]
struct Created<'a> {
    ids: Vec<Uuid>,
    namespaces: Texts<'a>,
    workflows: Texts<'a>,
    versions: Vec<i32>,
    statuses: Texts<'a>,
    priorities: Texts<'a>,
    inputs: Bodies<'a>,
    contexts: MaybeBodies<'a>,
    outputs: MaybeBodies<'a>,
    errors: MaybeBodies<'a>,
    compensated: Vec<bool>,
    keys: MaybeTexts<'a>,
    parents: Vec<Option<Uuid>>,
    numbers: Vec<i64>,
    wake_at: Vec<Option<At>>,
    created_at: Vec<At>,
    started_at: Vec<Option<At>>,
    finished_at: Vec<Option<At>>,
}

impl<'a> Created<'a> {
    fn of(runs: &'a [RunRow]) -> Result<Created<'a>> {
        let mut columns = Created::default();
        for run in runs {
            columns.push(run)?;
        }
        Ok(columns)
    }

    fn push(&mut self, run: &'a RunRow) -> Result<()> {
        self.ids.push(run.id.0);
        self.namespaces.push(&run.namespace.0);
        self.workflows.push(&run.workflow);
        self.versions.push(integer(run.version)?);
        self.statuses.push(run.status.as_str());
        self.priorities.push(priority::name_of(run.priority));
        self.inputs.push(&run.input);
        self.contexts.push(run.context.as_deref());
        self.outputs.push(run.output.as_deref());
        self.errors.push(run.error.as_deref());
        self.compensated.push(run.compensated);
        self.keys.push(run.idempotency_key.as_deref());
        self.parents.push(run.parent.map(|parent| parent.0));
        self.wake_at.push(run.wake_at.map(At));
        self.created_at.push(At(run.created_at));
        self.started_at.push(run.started_at.map(At));
        self.finished_at.push(run.finished_at.map(At));
        push_numbers(&mut self.numbers, &run.progress, &run.counts)
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([
            &self.ids as Param<'p>,
            &self.namespaces,
            &self.workflows,
            &self.versions,
            &self.statuses,
            &self.priorities,
            &self.inputs,
            &self.contexts,
            &self.outputs,
            &self.errors,
            &self.compensated,
            &self.keys,
            &self.parents,
            &self.numbers,
            &self.wake_at,
            &self.created_at,
            &self.started_at,
            &self.finished_at,
        ]);
    }
}

#[derive(Default)]
struct Tags<'a> {
    runs: Vec<Uuid>,
    namespaces: Texts<'a>,
    keys: Texts<'a>,
    values: Texts<'a>,
}

impl<'a> Tags<'a> {
    fn of(runs: &'a [RunRow]) -> Tags<'a> {
        let mut columns = Tags::default();
        for (run, (key, value)) in runs.iter().flat_map(|run| run.tags.iter().map(move |tag| (run, tag))) {
            columns.runs.push(run.id.0);
            columns.namespaces.push(&run.namespace.0);
            columns.keys.push(key);
            columns.values.push(value);
        }
        columns
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([&self.runs as Param<'p>, &self.namespaces, &self.keys, &self.values]);
    }
}

#[derive(Default)]
struct Rows<'a> {
    format: i16,
    runs: Vec<Uuid>,
    seqs: Vec<i64>,
    kinds: Vec<i16>,
    paths: MaybeTexts<'a>,
    attempts: Vec<Option<i32>>,
    outcomes: Vec<Option<i16>>,
    workers: MaybeTexts<'a>,
    bodies: Bodies<'a>,
    outputs: MaybeBodies<'a>,
    snapshots: MaybeBodies<'a>,
    logs: MaybeBodies<'a>,
}

impl<'a> Rows<'a> {
    fn of(rows: &'a [JournalRow], kinds: Vec<i16>) -> Result<Rows<'a>> {
        let mut columns = Rows {
            format: JOURNAL_FORMAT,
            kinds,
            ..Rows::default()
        };
        for row in rows {
            columns.runs.push(row.run.0);
            columns.seqs.push(bigint(row.seq)?);
            columns.paths.push(row.path.as_deref());
            columns.attempts.push(row.attempt.map(integer).transpose()?);
            columns.outcomes.push(row.outcome.map(outcome_number));
            columns.workers.push(row.worker.as_deref());
            columns.bodies.push(&row.body);
            columns.outputs.push(row.output.as_deref());
            columns.snapshots.push(row.snapshot.as_deref());
            columns.logs.push(row.logs.as_deref());
        }
        Ok(columns)
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([
            &self.format as Param<'p>,
            &self.runs,
            &self.seqs,
            &self.kinds,
            &self.paths,
            &self.attempts,
            &self.outcomes,
            &self.workers,
            &self.bodies,
            &self.outputs,
            &self.snapshots,
            &self.logs,
        ]);
    }
}

#[derive(Default)]
struct Changed<'a> {
    runs: Vec<Uuid>,
    statuses: Texts<'a>,
    numbers: Vec<i64>,
    wake_at: Vec<Option<At>>,
    reopened: Vec<bool>,
    ended: Vec<bool>,
    contexts: MaybeBodies<'a>,
    outputs: MaybeBodies<'a>,
    errors: MaybeBodies<'a>,
    compensated: Vec<bool>,
}

impl<'a> Changed<'a> {
    fn of(changes: &'a [RunChange]) -> Result<Changed<'a>> {
        let mut columns = Changed::default();
        for change in changes {
            let end = change.ended.as_ref();
            columns.runs.push(change.run.0);
            columns.statuses.push(change.status.as_str());
            push_numbers(&mut columns.numbers, &change.progress, &change.counts)?;
            columns.wake_at.push(change.wake_at.map(At));
            columns.reopened.push(change.reopened);
            columns.ended.push(end.is_some());
            columns.contexts.push(end.and_then(|end| end.context.as_deref()));
            columns.outputs.push(end.and_then(|end| end.output.as_deref()));
            columns.errors.push(end.and_then(|end| end.error.as_deref()));
            columns.compensated.push(end.is_some_and(|end| end.compensated));
        }
        Ok(columns)
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([
            &self.runs as Param<'p>,
            &self.statuses,
            &self.numbers,
            &self.wake_at,
            &self.reopened,
            &self.ended,
            &self.contexts,
            &self.outputs,
            &self.errors,
            &self.compensated,
        ]);
    }
}

#[derive(Default)]
struct Sent<'a> {
    partitions: Vec<i16>,
    runs: Vec<Uuid>,
    kinds: Texts<'a>,
    bodies: Bodies<'a>,
    keys: MaybeTexts<'a>,
    wants: Vec<bool>,
}

impl<'a> Sent<'a> {
    /// Sorted by run, so that two senders meet the unique keys in one order; messages to one run keep theirs.
    fn of(messages: &'a [InboxMessage]) -> Sent<'a> {
        let mut sorted: Vec<&InboxMessage> = messages.iter().collect();
        sorted.sort_by_key(|message| message.run);
        let mut columns = Sent::default();
        for message in sorted {
            columns.partitions.push(i16::from(message.partition.0));
            columns.runs.push(message.run.0);
            columns.kinds.push(&message.kind);
            columns.bodies.push(&message.body);
            columns.keys.push(message.dedupe_key.as_deref());
            columns.wants.push(message.wants_verdict);
        }
        columns
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([
            &self.partitions as Param<'p>,
            &self.runs,
            &self.kinds,
            &self.bodies,
            &self.keys,
            &self.wants,
        ]);
    }
}

/// Open waits, and what goes to all that wait for an event.
#[derive(Default)]
struct Waits<'a> {
    over_runs: Vec<Uuid>,
    over_seqs: Vec<i64>,
    runs: Vec<Uuid>,
    seqs: Vec<i64>,
    namespaces: Texts<'a>,
    workflows: Texts<'a>,
    names: Texts<'a>,
    paths: Texts<'a>,
    kinds: Texts<'a>,
    bodies: Bodies<'a>,
    until: Vec<Option<At>>,
    event_runs: Vec<Uuid>,
    event_seqs: Vec<i64>,
    event_namespaces: Texts<'a>,
    event_names: Texts<'a>,
    cast_namespaces: Texts<'a>,
    cast_events: Texts<'a>,
    cast_kinds: Texts<'a>,
    cast_bodies: Bodies<'a>,
    cast_keys: MaybeTexts<'a>,
    join_runs: Vec<Uuid>,
    join_opened: Vec<i64>,
    join_joined: Vec<i64>,
    join_paths: Texts<'a>,
}

impl<'a> Waits<'a> {
    /// `None` where a batch has nothing of this, as most have.
    fn of(batch: &'a Batch) -> Result<Option<Waits<'a>>> {
        let has_waits = !batch.waits.is_empty() || !batch.waits_over.is_empty() || !batch.broadcasts.is_empty();
        if !has_waits && batch.joins.is_empty() && forks_of(batch).is_empty() {
            return Ok(None);
        }
        let mut columns = Waits::default();
        for (run, seq) in &batch.waits_over {
            columns.over_runs.push(run.0);
            columns.over_seqs.push(bigint(*seq)?);
        }
        for wait in &batch.waits {
            columns.runs.push(wait.run.0);
            columns.seqs.push(bigint(wait.seq)?);
            columns.namespaces.push(&wait.namespace.0);
            columns.workflows.push(&wait.workflow);
            columns.names.push(&wait.name);
            columns.paths.push(&wait.path);
            columns.kinds.push(wait.kind.as_str());
            columns.bodies.push(&wait.body);
            columns.until.push(wait.until.map(At));
            for event in &wait.events {
                columns.event_runs.push(wait.run.0);
                columns.event_seqs.push(bigint(wait.seq)?);
                columns.event_namespaces.push(&wait.namespace.0);
                columns.event_names.push(event);
            }
        }
        for cast in &batch.broadcasts {
            columns.cast_namespaces.push(&cast.namespace.0);
            columns.cast_events.push(&cast.event);
            columns.cast_kinds.push(&cast.kind);
            columns.cast_bodies.push(&cast.body);
            columns.cast_keys.push(cast.dedupe_key.as_deref());
        }
        for join in &batch.joins {
            columns.join_runs.push(join.run.0);
            columns.join_opened.push(bigint(join.opened)?);
            columns.join_joined.push(bigint(join.joined)?);
            columns.join_paths.push(&join.path);
        }
        Ok(Some(columns))
    }

    fn push_to<'p>(&'p self, params: &mut Vec<Param<'p>>) {
        params.extend([
            &self.over_runs as Param<'p>,
            &self.over_seqs,
            &self.runs,
            &self.seqs,
            &self.namespaces,
            &self.workflows,
            &self.names,
            &self.paths,
            &self.kinds,
            &self.bodies,
            &self.until,
            &self.event_runs,
            &self.event_seqs,
            &self.event_namespaces,
            &self.event_names,
            &self.cast_namespaces,
            &self.cast_events,
            &self.cast_kinds,
            &self.cast_bodies,
            &self.cast_keys,
            &self.join_runs,
            &self.join_opened,
            &self.join_joined,
            &self.join_paths,
        ]);
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::ids::Partition;
    use rejoin_shared::run::RunStatus;

    use super::super::super::RunEnd;
    use super::*;

    fn change(run: RunId, status: RunStatus, ends: bool, reopened: bool) -> RunChange {
        let end = RunEnd {
            context: None,
            output: None,
            error: None,
            compensated: false,
        };
        RunChange {
            run,
            status,
            progress: Progress::default(),
            counts: Counts::default(),
            wake_at: None,
            ended: ends.then_some(end),
            reopened,
        }
    }

    #[test]
    fn an_end_survives_a_later_change_of_the_batch_but_not_a_reopening() {
        let run = RunId::new_in(Partition(1));
        let end = change(run, RunStatus::Failed, true, false);
        let late = change(run, RunStatus::Failed, false, false);
        let resume = change(run, RunStatus::Running, false, true);
        assert!(fold_changes(&[end.clone(), late]).iter().all(|c| c.ended.is_some()));
        let folded = fold_changes(&[end, resume.clone()]);
        assert_eq!(folded, vec![resume]);
    }
}
