//! What of a step stands only in the journal: read for the steps that are shown, and for no others.

use std::collections::BTreeMap;

use rejoin_engine::record::{Fact, Record};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::run::Outcome;

use super::journal::{ReadError, record};
use super::steps::{AttemptView, Ended, Output, StepView, Visit};
use crate::store::{PAGE_BYTES_MAX, Store};

/// Steps whose records are in memory at once.
const STEPS_AT_ONCE: usize = 16;
/// Records that nobody asked for and that are read with others: a query costs more than they do.
const GAP_MAX: u64 = 32;
/// Rows fetched at a time.
const PAGE_ROWS: usize = 512;

/// As many of these steps as a page takes, at least one: it ends after the step with which it holds [`PAGE_BYTES_MAX`].
///
/// # Errors
/// The store's, and those of a record that cannot be read.
pub async fn views(store: &dyn Store, run: RunId, visits: Vec<Visit>) -> Result<Vec<StepView>, ReadError> {
    let mut views = Vec::with_capacity(visits.len());
    let mut bytes = 0;
    let mut visits = visits.into_iter().peekable();
    while visits.peek().is_some() {
        let some: Vec<Visit> = visits.by_ref().take(STEPS_AT_ONCE).collect();
        let found = find(store, run, &some).await?;
        for visit in some {
            if bytes >= PAGE_BYTES_MAX {
                return Ok(views);
            }
            bytes += seqs(&visit)
                .filter_map(|seq| found.get(&seq))
                .map(|found| found.bytes)
                .sum::<usize>();
            views.push(view(visit, &found));
        }
    }
    Ok(views)
}

/// A record, and how large it is.
struct Found {
    record: Record,
    bytes: usize,
}

type Records = BTreeMap<u64, Found>;

fn seqs(visit: &Visit) -> impl Iterator<Item = u64> {
    visit.attempts.iter().filter_map(|ended| match ended {
        Ended::At(seq) => Some(*seq),
        Ended::CutOff(_) => None,
    })
}

/// The records of these steps' attempts.
async fn find(store: &dyn Store, run: RunId, visits: &[Visit]) -> Result<Records, ReadError> {
    let mut wanted: Vec<u64> = visits.iter().flat_map(seqs).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = Records::new();
    let mut rest = wanted.as_slice();
    while let Some(first) = rest.first() {
        let near = 1 + rest.windows(2).take_while(|pair| pair[1] - pair[0] <= GAP_MAX).count();
        let rows = rest[near - 1] - first + 1;
        let rows = usize::try_from(rows).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
        let page = store.journal(run, first - 1, rows).await?;
        let Some(last) = page.last().map(|stored| stored.row.seq) else {
            return Ok(found); // the run was deleted meanwhile
        };
        for stored in page.iter().filter(|stored| rest.binary_search(&stored.row.seq).is_ok()) {
            let bytes = stored.row.payload_bytes();
            let record = record(stored)?;
            found.insert(stored.row.seq, Found { record, bytes });
        }
        rest = &rest[rest.partition_point(|seq| *seq <= last)..];
    }
    Ok(found)
}

fn view(visit: Visit, found: &Records) -> StepView {
    let output = match visit.output {
        Output::None => None,
        Output::Is(output) => Some(*output),
        Output::At(seq) => found.get(&seq).and_then(|found| output_of(&found.record.fact)),
    };
    let (handler, queue) = visit
        .call
        .as_ref()
        .map(|call| (call.handler.clone(), call.queue.clone()))
        .unzip();
    StepView {
        path: visit.path.into(),
        handler,
        queue,
        state: visit.state,
        attempt: visit.attempt,
        worker: visit.worker.as_deref().map(str::to_owned),
        next_retry_at: visit.next_retry_at,
        output,
        error: visit.error.map(|error| *error),
        attempts: visit
            .attempts
            .into_iter()
            .filter_map(|ended| attempt(ended, found))
            .collect(),
        claim: visit.claim.map(|claim| *claim),
    }
}

fn output_of(fact: &Fact) -> Option<Json> {
    let Fact::StepCompleted(completed) = fact else {
        return None;
    };
    Some(completed.output.clone())
}

fn attempt(ended: Ended, found: &Records) -> Option<AttemptView> {
    let seq = match ended {
        Ended::At(seq) => seq,
        Ended::CutOff(view) => return Some(*view),
    };
    let fact = &found.get(&seq)?.record.fact;
    if let Fact::StepCompleted(c) = fact {
        return Some(AttemptView {
            attempt: c.attempt,
            outcome: Some(Outcome::Ok),
            error: None,
            worker: c.worker.as_deref().map(str::to_owned),
            started_at: Some(c.started_at),
            finished_at: Some(c.finished_at),
            logs: c.logs.clone(),
        });
    }
    let Fact::StepFailed(f) = fact else { return None };
    Some(AttemptView {
        attempt: f.attempt,
        outcome: f.outcome,
        error: Some(f.error.clone()),
        worker: f.worker.as_deref().map(str::to_owned),
        started_at: f.started_at,
        finished_at: f.finished_at,
        logs: f.logs.clone(),
    })
}
