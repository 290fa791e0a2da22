//! What a run did and does: steps, journal, context, graph, why.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use rejoin_engine::state::RunState;
use rejoin_shared::definition::model::{Definition, SnapshotsAfterJoin};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::keypath::KeyPath;

use super::Api;
use super::extract::{InNamespace, Params, bad_parameter};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, Problem};
use crate::read::details::views;
use crate::read::graph::{GraphView, Open, graph as draw};
use crate::read::journal::{Entry, ReadError, each_record, entry};
use crate::read::replay::{Replayed, fold_in};
use crate::read::steps::{StepState, StepView, Visit};
use crate::read::waits::WaitView;
use crate::read::why::{Reach, ScopeView, Why, why as explain};
use crate::store::{PAGE_BYTES_MAX, RunRow, StoredRow};

/// Rows of a journal read at once.
const PAGE_ROWS: usize = 2_000;
/// Open scopes listed in an explanation.
const SCOPES_SHOWN_MAX: usize = 1000;

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        match error {
            ReadError::Store(error) => error.into(),
            // Another coordinator may be a newer one.
            error @ ReadError::Newer { .. } => Problem::new(Code::Unavailable, error.to_string()),
            ReadError::Unreadable { run, reason } => unreadable(run, &reason),
        }
    }
}

fn unreadable(run: RunId, reason: &str) -> Problem {
    tracing::error!(%run, reason, "a journal cannot be folded");
    Problem::new(
        Code::Internal,
        format!("the journal of run {run} cannot be read: {reason}"),
    )
}

impl Api {
    pub(super) async fn definition(&self, row: &RunRow) -> Result<Arc<Definition>, Problem> {
        let known = self
            .definitions
            .get(&*self.store, &row.namespace, &row.workflow, Some(row.version))
            .await?;
        Ok(Arc::clone(&known.definition))
    }

    /// The state that the run's records up to `until` give.
    pub(super) async fn state_of(&self, row: &RunRow, until: Option<u64>) -> Result<RunState, Problem> {
        let definition = self.definition(row).await?;
        let mut state = None;
        each_record(&*self.store, row.id, until, |record| {
            fold_in(&mut state, &definition, &record).map(drop)
        })
        .await?;
        state.ok_or_else(|| unreadable(row.id, "the journal is empty"))
    }

    /// The context at a position, or now.
    async fn context_at(&self, row: &RunRow, at: Option<u64>) -> Result<Json, Problem> {
        let state = self.state_of(row, at).await?;
        if let Some(at) = at.filter(|at| *at > state.last_seq()) {
            let detail = format!("{at}: the last is {}", state.last_seq());
            return Err(Problem::not_found("journal position", &detail));
        }
        Ok(state.context())
    }

    /// Refuses a position that was dropped after its scope's join, naming the readable ones around it.
    async fn check_kept(&self, row: &RunRow, at: u64) -> Result<(), Problem> {
        if self.definition(row).await?.snapshots_after_join == SnapshotsAfterJoin::Keep {
            return Ok(());
        }
        let scopes = self.store.joined_scopes(row.id).await?;
        let around = scopes.iter().filter(|scope| scope.opened < at && at < scope.joined);
        // The opening record of the outermost of them lies in none.
        let Some(first) = around.map(|scope| scope.opened).min() else {
            return Ok(());
        };
        let (mut before, mut is_dropped, mut after) = (None, false, first.saturating_sub(1));
        loop {
            let page = self.store.journal(row.id, after, PAGE_ROWS).await?;
            for stored in &page {
                let (seq, path) = (stored.row.seq, stored.row.path.as_deref());
                let dropped = scopes.iter().any(|scope| scope.has_dropped(seq, path));
                match (dropped, seq.cmp(&at)) {
                    (false, Ordering::Less) => before = Some(seq),
                    (false, Ordering::Equal) => return Ok(()),
                    (true, Ordering::Equal) => is_dropped = true,
                    (false, Ordering::Greater) => return Err(dropped_position(at, before.into_iter().chain([seq]))),
                    (true, Ordering::Less | Ordering::Greater) => {}
                }
            }
            match page.last() {
                Some(last) => after = last.row.seq,
                None if is_dropped => return Err(dropped_position(at, before)),
                None => return Ok(()),
            }
        }
    }

    /// Steps and state of the run.
    async fn replayed(&self, row: &RunRow) -> Result<Arc<Replayed>, Problem> {
        let definition = self.definition(row).await?;
        let held = self.backend.holders(row.id).await;
        let window = self.limits.in_flight_per_run_max;
        let looked = self.folds.look(&*self.store, &definition, row.id, window, &held).await;
        Ok(looked?)
    }
}

fn dropped_position(at: u64, nearest: impl IntoIterator<Item = u64>) -> Problem {
    let nearest: Vec<u64> = nearest.into_iter().collect();
    let readable: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    let detail = format!(
        "position {at} was dropped after its branches were joined (snapshots_after_join); the nearest readable: {}",
        readable.join(", ")
    );
    Problem::new(Code::Gone, detail).with_nearest(nearest)
}

/// `GET /v1/runs/{id}/steps`
pub async fn steps(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    params: Params,
) -> Result<Answer<Page<StepView>>, Problem> {
    let state = |name: String| {
        StepState::from_name(&name)
            .ok_or_else(|| bad_parameter("state", &name, "pending, running, retrying, completed, …"))
    };
    let states: Vec<StepState> = params.all("state").map(state).collect::<Result<_, _>>()?;
    let path = params.get("path");
    let after: usize = params.read("after", "the `next` of the page before")?.unwrap_or(0);
    let limit = params.limit()?;
    let row = api.run(&namespace, &id).await?;
    let run = api.replayed(&row).await?;
    let wanted = |step: &Visit| {
        (states.is_empty() || states.contains(&step.state)) && path.is_none_or(|p| is_at_or_below(&step.path, p))
    };
    let all = run.steps.iter().filter(|step| wanted(step));
    let mut visits: Vec<Visit> = all.skip(after).take(limit + 1).cloned().collect();
    let more = visits.len() > limit;
    visits.truncate(limit);
    let count = visits.len();
    let items = views(&*api.store, row.id, visits).await?;
    // Large outputs end a page early.
    let next = (more || items.len() < count).then(|| (after + items.len()).to_string());
    Ok(Answer(Page { items, next }))
}

/// Whether `path` is `above`, or lies inside it.
fn is_at_or_below(path: &str, above: &str) -> bool {
    let above = above.strip_suffix('/').unwrap_or(above);
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[', '#']))
}

/// `GET /v1/runs/{id}/journal`
pub async fn journal(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    params: Params,
) -> Result<Answer<Page<Entry>>, Problem> {
    let after = params.read("after", "a sequence number")?.unwrap_or(0);
    let limit = params.limit()?;
    let row = api.run(&namespace, &id).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    // The store's pages are bounded in bytes too, so one may be shorter than asked for; so is this one.
    while rows.len() <= limit && bytes < PAGE_BYTES_MAX {
        let from = rows.last().map_or(after, |r: &StoredRow| r.row.seq);
        let page = api.store.journal(row.id, from, limit + 1 - rows.len()).await?;
        if page.is_empty() {
            break;
        }
        bytes += page.iter().map(|stored| stored.row.payload_bytes()).sum::<usize>();
        rows.extend(page);
    }
    let ends_early = rows.len() <= limit && bytes >= PAGE_BYTES_MAX;
    let early = rows.last().filter(|_| ends_early).map(|last| last.row.seq.to_string());
    let mut page = Page::cut(rows, limit, |stored| stored.row.seq.to_string());
    page.next = page.next.or(early);
    Ok(Answer(page.map(|stored| entry(&stored))))
}

/// `GET /v1/runs/{id}/context`
pub async fn context(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
    params: Params,
) -> Result<Answer<Json>, Problem> {
    let at: Option<u64> = params.read("at", "a sequence number")?;
    let path = params.get("path").filter(|p| !p.is_empty());
    let path = path
        .map(|p| KeyPath::parse(p).ok_or_else(|| bad_parameter("path", p, "keys joined by dots")))
        .transpose()?;
    let row = api.run(&namespace, &id).await?;
    if at == Some(0) {
        return Err(Problem::not_found("journal position", "0: the first is 1"));
    }
    if let Some(at) = at {
        api.check_kept(&row, at).await?;
    }
    let context = match (&row.context, at) {
        // The row of an ended run has what its journal comes to.
        (Some(text), None) if row.status.is_terminal() => {
            Json::parse_own(text).map_err(|error| unreadable(row.id, &format!("its final context: {error}")))?
        }
        _ => api.context_at(&row, at).await?,
    };
    match path {
        None => Ok(Answer(context)),
        Some(path) => match path.read(&context) {
            Some(value) => Ok(Answer(value.clone())),
            None => Err(Problem::not_found("value at", params.get("path").unwrap_or_default())),
        },
    }
}

/// `GET /v1/runs/{id}/graph`
pub async fn graph(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
) -> Result<Answer<GraphView>, Problem> {
    let row = api.run(&namespace, &id).await?;
    let run = api.replayed(&row).await?;
    let definition = api.definition(&row).await?;
    Ok(Answer(draw(
        &definition,
        row.version,
        &run.drawn,
        &run.steps,
        &Open::of(&run.state),
    )))
}

/// `GET /v1/runs/{id}/why`
pub async fn why(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
) -> Result<Answer<Why>, Problem> {
    let row = api.run(&namespace, &id).await?;
    let fleet = api.backend.fleet().await;
    let run = api.replayed(&row).await?;
    let scopes = run
        .state
        .open_scopes()
        .take(SCOPES_SHOWN_MAX)
        .map(ScopeView::of)
        .collect();
    let reach = Reach {
        serves: &|queue: &str, handler: &str| fleet.serves(&namespace, queue, handler),
        trouble: api.backend.trouble(),
    };
    let error = row
        .error
        .as_ref()
        .and_then(|text| rejoin_shared::json::read_own(text).ok());
    let waits = WaitView::of(&run.state);
    Ok(Answer(explain(
        row.id, row.status, error, &run.steps, scopes, waits, &reach,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_filter_takes_the_node_its_visits_and_what_lies_inside() {
        for path in ["/a", "/a/b", "/a[3]/b", "/a#2"] {
            assert!(is_at_or_below(path, "/a"), "{path}");
        }
        assert!(!is_at_or_below("/ab", "/a"));
        assert!(is_at_or_below("/ab", "/"));
    }
}
