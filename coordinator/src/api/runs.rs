//! Lists of runs, and one run.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::run::RunStatus;

use super::Api;
use super::extract::{InNamespace, Params, bad_parameter, split_unescaped};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, Problem};
use crate::read::run::RunView;
use crate::read::waits::{OpenSteps, WAITS_SHOWN_MAX, WaitView};
use crate::store::{RunFilter, RunRow, WaitKind};

/// Children shown of a run; all are listed by `?parent=`.
const CHILDREN_SHOWN_MAX: usize = 100;

/// What runs can be found by that they wait for it.
pub const WAITING: [&str; 4] = ["timer", "event", "input", "worker"];

/// `GET /v1/runs`
pub async fn list(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<RunView>>, Problem> {
    let filter = api.filter(&namespace, &params).await?;
    let before = params.read("after", "the `next` of the page before")?;
    let limit = params.limit()?;
    let rows = api.store.runs(&namespace, &filter, before, limit + 1).await?;
    let page = Page::cut(rows, limit, |row| row.id.to_string());
    Ok(Answer(page.map(RunView::of)))
}

fn filter(params: &Params) -> Result<RunFilter, Problem> {
    let waiting = match params.get("waiting") {
        None | Some("worker") => None,
        Some("event") => Some(WaitKind::Event),
        Some("input") => Some(WaitKind::Input),
        Some("timer") => Some(WaitKind::Timer),
        Some(other) => return Err(bad_parameter("waiting", other, &WAITING.join(", "))),
    };
    let state = |name: String| {
        RunStatus::from_name(&name).ok_or_else(|| {
            let known: Vec<&str> = RunStatus::ALL.iter().map(|s| s.as_str()).collect();
            bad_parameter("state", &name, &known.join(", "))
        })
    };
    Ok(RunFilter {
        workflows: params.all("workflow").collect(),
        statuses: params.all("state").map(state).collect::<Result<_, _>>()?,
        tags: params.all("tag").map(|text| tag(&text)).collect::<Result<_, _>>()?,
        since: params.time("since")?,
        until: params.time("until")?,
        parent: None,
        text: params.get("q").filter(|q| !q.is_empty()).map(str::to_owned),
        waiting,
        among: None,
    })
}

/// `key:value`; in the key `\:` is a colon.
fn tag(text: &str) -> Result<(String, String), Problem> {
    let key = split_unescaped(text, ':').swap_remove(0);
    // As it is written the key is longer by its backslashes.
    let written = key.len() + key.matches(':').count();
    match text[written..].strip_prefix(':') {
        Some(value) if !key.is_empty() => Ok((key, value.to_owned())),
        Some(_) | None => Err(bad_parameter("tag", text, "key:value")),
    }
}

/// `GET /v1/runs/{id}`
pub async fn one(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(id): Segments<String>,
) -> Result<Answer<RunView>, Problem> {
    let row = api.run(&namespace, &id).await?;
    Ok(Answer(api.show(row).await?))
}

impl Api {
    /// Runs that this one called, newest first; none where its workflow calls none.
    async fn children(&self, row: &RunRow) -> Result<Vec<RunId>, Problem> {
        let definition = self.definition(row).await?;
        if !definition.nodes.iter().any(|node| node.kind.as_call().is_some()) {
            return Ok(Vec::new());
        }
        let filter = RunFilter {
            parent: Some(row.id),
            ..RunFilter::default()
        };
        let rows = self
            .store
            .runs(&row.namespace, &filter, None, CHILDREN_SHOWN_MAX)
            .await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// What a list of runs is filtered by, as the query says it.
    pub(super) async fn filter(&self, namespace: &Namespace, params: &Params) -> Result<RunFilter, Problem> {
        let mut filter = filter(params)?;
        if let Some(parent) = params.get("parent") {
            filter.parent = Some(self.run_id(namespace, parent).await?);
        }
        if params.get("waiting") == Some("worker") {
            let unserved = self.backend.unserved().await;
            let silent = |who: String| {
                let detail = format!("which runs wait for a worker is not known as a whole: no answer from {who}");
                Problem::new(Code::Unavailable, detail)
            };
            filter.among = Some(unserved.map_err(silent)?);
        }
        Ok(filter)
    }

    /// What the steps of a run wait for that does not come by itself.
    async fn waits_of_steps(&self, run: RunId, namespace: &Namespace, mut steps: OpenSteps) -> Vec<WaitView> {
        if steps.has_ready() {
            let fleet = self.backend.fleet().await;
            steps = steps.without_served(|queue, handler| fleet.serves(namespace, queue, handler));
        }
        if steps.has_ready() {
            steps = steps.without_held(&self.backend.holders(run).await);
        }
        steps.waits(self.backend.trouble())
    }

    /// A run with what only its owner, or its journal, knows.
    pub(super) async fn show(&self, row: RunRow) -> Result<RunView, Problem> {
        let run = row.id;
        let owner = self.backend.owner(run).await;
        let children = self.children(&row).await?;
        if row.status.is_terminal() {
            return Ok(RunView {
                owner,
                children,
                ..RunView::of(row)
            });
        }
        let definition = self.definition(&row).await?;
        let look = |state: &rejoin_engine::state::RunState| {
            let waits = (WaitView::of(state), OpenSteps::of(state));
            (state.progress(), state.context(), waits)
        };
        let window = self.limits.in_flight_per_run_max;
        let seen = self.states.look(&*self.store, &definition, run, window, look).await?;
        let mut view = RunView {
            owner,
            children,
            ..RunView::of(row)
        };
        if let Some((progress, context, (waits, steps))) = seen {
            view.progress = progress;
            view.waits = waits;
            view.waits
                .extend(self.waits_of_steps(run, &view.namespace, steps).await);
            view.waits.truncate(WAITS_SHOWN_MAX);
            view.set_context(&context);
        }
        if let Some(live) = self.backend.explain(run).await {
            view.counts = live.counts;
            view.progress = view.progress.with_taken(live.attempts_total);
        }
        Ok(view)
    }
}
