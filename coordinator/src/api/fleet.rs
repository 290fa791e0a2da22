//! Workers and queues.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::extract::{InNamespace, Params};
use super::page::Page;
use super::problem::Problem;
use crate::owner::views;

/// A worker.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Worker")]
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
    /// Of its program, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    last_seen_at: Timestamp,
}

/// A task queue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Queue")]
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
            version: worker.version,
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

impl QueueView {
    fn idle(name: &str) -> QueueView {
        QueueView {
            name: name.to_owned(),
            depth: 0,
            waiting: 0,
            outstanding: 0,
            workers: 0,
            slots: 0,
            busy: 0,
            unserved: Vec::new(),
        }
    }
}

/// Pages by name, since the fleet is held in memory and sorted so.
fn page<T>(all: Vec<T>, name: impl Fn(&T) -> &str, params: &Params) -> Result<Page<T>, Problem> {
    let limit = params.limit()?;
    let after = params.get("after").unwrap_or_default();
    let behind = all.into_iter().filter(|item| name(item) > after);
    Ok(Page::cut(behind.take(limit + 1).collect(), limit, |item| {
        name(item).to_owned()
    }))
}

/// Adds the queues that workers consume and on which nothing was dispatched yet.
fn add_idle(queues: &mut Vec<QueueView>, workers: &[views::WorkerView]) {
    let dispatched = queues.len();
    for worker in workers {
        for name in &worker.queues {
            if queues[..dispatched].iter().any(|queue| queue.name == *name) {
                continue;
            }
            let known = queues.iter().position(|queue| queue.name == *name);
            let index = known.unwrap_or_else(|| {
                queues.push(QueueView::idle(name));
                queues.len() - 1
            });
            let queue = &mut queues[index];
            queue.workers += 1;
            queue.slots += worker.slots;
            queue.busy += worker.busy;
        }
    }
}

/// `GET /v1/queues`
pub async fn queues(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<QueueView>>, Problem> {
    let fleet = api.backend.whole_fleet().await;
    let of_namespace = fleet.queues.into_iter().filter(|q| q.namespace == namespace);
    let mut mine: Vec<QueueView> = of_namespace.map(QueueView::from).collect();
    let workers: Vec<views::WorkerView> = fleet.workers.into_iter().filter(|w| w.namespace == namespace).collect();
    add_idle(&mut mine, &workers);
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

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_shared::ids::Namespace;

    fn worker(name: &str, queues: &[&str]) -> views::WorkerView {
        views::WorkerView {
            name: name.to_owned(),
            incarnation: uuid::Uuid::nil(),
            namespace: Namespace::default_name(),
            queues: queues.iter().map(|q| (*q).to_owned()).collect(),
            handlers: Vec::new(),
            slots: 4,
            busy: 1,
            held: 0,
            version: None,
            draining: false,
            takes_work: true,
            started_at: Timestamp(1),
            seen_at: Timestamp(1),
        }
    }

    #[test]
    fn a_queue_that_is_consumed_and_idle_is_listed_once_with_all_its_workers() {
        let used = QueueView {
            workers: 2,
            slots: 8,
            ..QueueView::idle("used")
        };
        let mut queues = vec![used];
        add_idle(&mut queues, &[worker("a", &["used", "idle"]), worker("b", &["idle"])]);
        let shown: Vec<_> = queues.iter().map(|q| (&*q.name, q.workers, q.slots, q.busy)).collect();
        assert_eq!(shown, [("used", 2, 8, 0), ("idle", 2, 8, 2)]);
    }
}
