//! The HTTP API (INTERFACE 8).
//!
//! ```text
//! request ─▶ extract (namespace, query, body) ─▶ handler ─▶ store (reads), backend (commands) ─▶ view | Problem
//! ```
//! No handler knows a status code of an error: [`problem`] does. No read model is shaped here: [`crate::read`] does.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use rejoin_shared::limits::Limits;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::store::Store;

pub mod backend;
mod batch;
mod bulk;
mod dead_letters;
mod definitions;
mod events;
pub mod extract;
mod find;
mod fleet;
mod inputs;
mod launch;
mod operations;
mod probes;
pub mod problem;
mod reads;
mod runs;
mod schedules;
mod start;
mod steps;
mod wait;
mod watch;
mod workflows;

use backend::Backend;
use definitions::Definitions;
use problem::{Code, Problem};

/// What every handler works with. Cloning shares it.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    backend: Arc<dyn Backend>,
    definitions: Arc<Definitions>,
    states: Arc<crate::read::states::States>,
    limits: Arc<Limits>,
    metrics: prometheus::Registry,
    body_bytes_max: usize,
    /// Ends long requests (waits, watches) when the process stops.
    stopping: CancellationToken,
}

impl Api {
    /// Puts an API together.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        backend: Arc<dyn Backend>,
        limits: Arc<Limits>,
        metrics: prometheus::Registry,
        body_bytes_max: usize,
        stopping: CancellationToken,
    ) -> Api {
        Api {
            store,
            backend,
            definitions: Arc::new(Definitions::new(Arc::clone(&limits))),
            states: Arc::default(),
            limits,
            metrics,
            body_bytes_max,
            stopping,
        }
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let body_limit = DefaultBodyLimit::max(self.body_bytes_max);
        Router::new()
            .route("/v1/workflows", put(workflows::put).get(workflows::list))
            .route("/v1/workflows/{name}", get(workflows::newest))
            .route("/v1/workflows/{name}/versions/{version}", get(workflows::version))
            .route("/v1/workflows/{name}/graph", get(workflows::graph))
            .route("/v1/workflows/{name}/runs", post(start::start))
            .route("/v1/runs", get(runs::list))
            .route("/v1/runs:bulk", post(bulk::carry_out))
            .route("/v1/runs/batch", post(batch::start))
            .route("/v1/runs/{id}", get(runs::one).delete(operations::delete))
            .route("/v1/runs/{id}/steps", get(reads::steps))
            .route("/v1/runs/{id}/journal", get(reads::journal))
            .route("/v1/runs/{id}/context", get(reads::context))
            .route("/v1/runs/{id}/graph", get(reads::graph))
            .route("/v1/runs/{id}/why", get(reads::why))
            .route("/v1/runs/{id}/watch", get(watch::watch))
            .route("/v1/runs/{id}/cancel", post(operations::cancel))
            .route("/v1/runs/{id}/pause", post(operations::pause))
            .route("/v1/runs/{id}/resume", post(operations::resume))
            .route("/v1/runs/{id}/steps/retry", post(steps::retry))
            .route("/v1/runs/{id}/steps/skip", post(steps::skip))
            .route("/v1/runs/{id}/steps/fail", post(steps::fail))
            .route("/v1/runs/{id}/events", post(events::send))
            .route("/v1/events", post(events::broadcast))
            .route("/v1/runs/{id}/inputs/{name}", post(inputs::answer))
            .route("/v1/inputs", get(inputs::list))
            .route("/v1/schedules", post(schedules::create).get(schedules::list))
            .route(
                "/v1/schedules/{name}",
                get(schedules::one)
                    .put(schedules::replace)
                    .delete(schedules::delete)
                    .post(schedules::operate),
            )
            .route("/v1/schedules/{name}/next", get(schedules::next))
            .route("/v1/dead-letters", get(dead_letters::list))
            .route(
                "/v1/dead-letters/{id}",
                post(dead_letters::replay).delete(dead_letters::remove),
            )
            .route("/v1/queues", get(fleet::queues))
            .route("/v1/workers", get(fleet::workers))
            .route("/livez", get(probes::livez))
            .route("/readyz", get(probes::readyz))
            .route("/metrics", get(probes::metrics))
            .fallback(no_route)
            .method_not_allowed_fallback(no_method)
            .layer(body_limit)
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(self.clone())
    }

    /// Serves until `stopping` and then until what is under way has been answered.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        let stopping = self.stopping.clone();
        let stopped = async move { stopping.cancelled().await };
        serve_until(listener, self.router(), stopped).await
    }
}

async fn serve_until(
    listener: tokio::net::TcpListener,
    router: Router,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn no_route(uri: axum::http::Uri) -> Problem {
    Problem::new(Code::NoSuchRoute, format!("there is nothing at {}", uri.path()))
}

async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = text, "a request handler panicked");
    Problem::new(
        Code::Internal,
        "the request could not be handled; see the coordinator's log",
    )
    .into_response()
}

#[cfg(test)]
mod tests;
