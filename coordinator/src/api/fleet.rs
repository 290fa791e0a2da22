//! Workers and queues.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::backend::{QueueView, WorkerView};
use super::extract::{InNamespace, Params};
use super::problem::Problem;

/// A list that fits on one page.
#[derive(Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// Pages by name, since the fleet is held in memory and sorted so.
fn page<T>(all: Vec<T>, name: impl Fn(&T) -> &str, params: &Params) -> Result<Page<T>, Problem> {
    params.only(&["after", "limit"])?;
    let limit = params.limit()?;
    let after = params.get("after").unwrap_or_default();
    let mut items: Vec<T> = all
        .into_iter()
        .filter(|item| name(item) > after)
        .take(limit + 1)
        .collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| name(item).to_owned());
    Ok(Page { items, next })
}

/// `GET /v1/queues`
pub async fn queues(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<QueueView>>, Problem> {
    let fleet = api.backend.fleet(None).await;
    let mut mine: Vec<QueueView> = fleet.queues.into_iter().filter(|q| q.namespace == namespace).collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    page(mine, |queue| &queue.name, &params).map(Answer)
}

/// `GET /v1/workers`
pub async fn workers(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<WorkerView>>, Problem> {
    let fleet = api.backend.fleet(None).await;
    let mut mine: Vec<WorkerView> = fleet.workers.into_iter().filter(|w| w.namespace == namespace).collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    page(mine, |worker| &worker.name, &params).map(Answer)
}
