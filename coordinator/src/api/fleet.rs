//! Workers and queues.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_shared::time::Timestamp;
use serde::Serialize;

use super::Api;
use super::extract::{InNamespace, Params};
use super::problem::Problem;
use crate::owner::views;

/// A worker.
#[derive(Serialize)]
pub struct WorkerView {
    name: String,
    incarnation: uuid::Uuid,
    queues: Vec<String>,
    handlers: Vec<String>,
    slots: u32,
    busy: u32,
    held: usize,
    draining: bool,
    started_at: Timestamp,
    last_seen_at: Timestamp,
}

/// A task queue.
#[derive(Serialize)]
pub struct QueueView {
    name: String,
    /// Attempts dispatched and not recorded.
    depth: usize,
    /// Attempts that are due and not dispatched.
    waiting: usize,
    /// Both.
    outstanding: usize,
    workers: usize,
    slots: u32,
    busy: u32,
    /// Handlers with ready steps that no worker of the queue serves.
    unserved: Vec<String>,
}

impl From<views::WorkerView> for WorkerView {
    fn from(worker: views::WorkerView) -> WorkerView {
        WorkerView {
            name: worker.name,
            incarnation: worker.incarnation,
            queues: worker.queues,
            handlers: worker.handlers,
            slots: worker.slots,
            busy: worker.busy,
            held: worker.held,
            draining: worker.draining,
            started_at: worker.started_at,
            last_seen_at: worker.seen_at,
        }
    }
}

impl From<views::QueueView> for QueueView {
    fn from(queue: views::QueueView) -> QueueView {
        QueueView {
            name: queue.queue,
            depth: queue.out,
            waiting: queue.waiting,
            outstanding: queue.out + queue.waiting,
            workers: queue.workers,
            slots: queue.slots,
            busy: queue.busy,
            unserved: queue.unserved,
        }
    }
}

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
    let fleet = api.backend.fleet().await;
    let of_namespace = fleet.queues.into_iter().filter(|q| q.namespace == namespace);
    let mut mine: Vec<QueueView> = of_namespace.map(QueueView::from).collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    page(mine, |queue| &queue.name, &params).map(Answer)
}

/// `GET /v1/workers`
pub async fn workers(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<WorkerView>>, Problem> {
    let fleet = api.backend.fleet().await;
    let of_namespace = fleet.workers.into_iter().filter(|w| w.namespace == namespace);
    let mut mine: Vec<WorkerView> = of_namespace.map(WorkerView::from).collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    page(mine, |worker| &worker.name, &params).map(Answer)
}
