//! The HTTP API (INTERFACE 8).
//!
//! ```text
//! request ─▶ extract (namespace, query, body) ─▶ handler ─▶ store (reads), backend (commands) ─▶ view | Problem
//! ```
//! No handler knows a status code of an error: [`problem`] does. No read model is shaped here: [`crate::read`] does.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use rejoin_shared::limits::Limits;
use rejoin_shared::tls::ServerTls;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::console;
use crate::store::Store;

pub mod access;
pub mod backend;
mod batch;
mod bulk;
mod dead_letters;
mod definitions;
mod describe;
pub mod docs;
mod events;
pub mod extract;
mod find;
mod fleet;
mod fork;
mod inputs;
mod launch;
mod listen;
pub mod openapi;
mod operations;
mod page;
mod probes;
pub mod problem;
pub mod rates;
mod reads;
mod redacted;
mod routes;
pub mod rules;
mod runs;
mod schedules;
mod scopes;
mod start;
mod steps;
mod wait;
mod watch;
mod workflows;

use access::Access;
use backend::Backend;
use definitions::Definitions;
use describe::Route;
use listen::TlsListener;
use problem::{Code, Problem};
use redacted::masked;
use rules::Rules;

/// What every handler works with. Cloning shares it.
#[derive(Clone)]
pub struct Api {
    store: Arc<dyn Store>,
    backend: Arc<dyn Backend>,
    definitions: Arc<Definitions>,
    states: Arc<crate::read::states::States>,
    folds: Arc<crate::read::folds::Folds>,
    limits: Arc<Limits>,
    metrics: prometheus::Registry,
    body_bytes_max: usize,
    rules: Rules,
    has_console: bool,
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
            folds: Arc::default(),
            limits,
            metrics,
            body_bytes_max,
            rules: Rules::default(),
            has_console: true,
            stopping,
        }
    }

    /// The same for those only whom `access` admits.
    #[must_use]
    pub fn with_access(self, access: Access) -> Api {
        let rules = Rules { access, ..self.rules };
        Api { rules, ..self }
    }

    /// The same under other rules, for the same callers.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Api {
        let access = self.rules.access;
        let rules = Rules { access, ..rules };
        Api { rules, ..self }
    }

    /// The same with nothing but the API.
    #[must_use]
    pub fn without_console(self) -> Api {
        Api {
            has_console: false,
            ..self
        }
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let body_limit = DefaultBodyLimit::max(self.body_bytes_max);
        let mut routed = HashSet::new();
        let routes = routes::all();
        // Operations that are told apart by the end of a segment share a handler.
        let first = routes
            .iter()
            .filter(|route| routed.insert((&route.method, route.routed())));
        let beside = match self.has_console {
            true => console::router(),
            false => Router::new(),
        };
        first
            .fold(beside, |router, route| {
                router.route(route.routed(), route.checked(&self.rules))
            })
            .fallback(no_route)
            .method_not_allowed_fallback(no_method)
            .layer(body_limit)
            .layer(from_fn_with_state(self.rules.redactor.clone(), masked))
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(self.clone())
    }

    /// Serves until `stopping` and then until what is under way has been answered.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        self.serve_on(listener).await
    }

    /// The same over TLS only.
    ///
    /// # Errors
    /// The listener's, and what is wrong with the files of `tls`.
    pub async fn serve_tls(self, listener: TcpListener, tls: ServerTls) -> io::Result<()> {
        let encrypted = TlsListener::new(listener, tls).map_err(io::Error::other)?;
        self.serve_on(encrypted).await
    }

    async fn serve_on<L: Listener<Addr: std::fmt::Debug>>(self, listener: L) -> io::Result<()> {
        let stopping = self.stopping.clone();
        let stopped = async move { stopping.cancelled().await };
        axum::serve(listener, self.router())
            .with_graceful_shutdown(stopped)
            .await
    }
}

async fn no_route(uri: axum::http::Uri) -> Problem {
    Problem::new(Code::NoSuchRoute, format!("there is nothing at {}", uri.path()))
}

async fn no_method(method: Method, uri: axum::http::Uri) -> Problem {
    let routes = routes::all();
    let here: Vec<&Route> = routes.iter().filter(|route| route.is_at(uri.path())).collect();
    // The router prefers words to variables.
    let variables = |route: &&&Route| route.path.matches('{').count();
    let fewest = here.iter().map(|route| variables(&route)).min();
    let best = here.iter().filter(|route| Some(variables(route)) == fewest);
    let methods = best.flat_map(|route| match route.method {
        Method::GET => vec!["GET", "HEAD"],
        _ => vec![route.method.as_str()],
    });
    let mut methods: Vec<&str> = methods.collect();
    if methods.is_empty() {
        // The console's, which is no part of the table.
        methods = vec!["GET", "HEAD"];
    }
    let allow = methods.join(",");
    let problem = Problem::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()));
    problem.with_allow(HeaderValue::from_str(&allow).ok())
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
