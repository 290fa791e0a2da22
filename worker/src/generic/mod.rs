//! The generic worker (SPEC 10): handlers in any language, named in a file by the worker's operator.

mod config;
mod exec;
mod http;
mod lines;
mod process;
mod request;
mod response;
mod strangers;
mod stream;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Link;
use rejoin_shared::tls::TlsError;
use rejoin_shared::trace::export::Tracer;
use tokio_util::sync::CancellationToken;

use self::config::{HandlerConfig, HandlerKind, HandlerName, HandlersFile, Mode};
use self::exec::Exec;
use self::http::Http;
use self::stream::{Pools, Stream};
use crate::attempt::Attempt;
use crate::handler::{Handle, Outcome};
use crate::run::WorkerError;
use crate::sdk::{BuildError, Worker, WorkerBuilder};

pub use self::config::ConfigError;

/// What `rejoin worker` is started with; what is given here overrides the file.
#[derive(Clone, Debug, Default)]
pub struct GenericWorkerConfig {
    /// The handlers file.
    pub handlers: PathBuf,
    /// Task queues; empty: those of the file, or `default`.
    pub queues: Vec<String>,
    /// Attempts at once.
    pub concurrency: Option<u32>,
    /// The worker's name.
    pub name: Option<String>,
    /// The namespace whose runs it serves.
    pub namespace: Option<String>,
    /// How long running attempts may take once it is told to stop.
    pub drain: Option<Duration>,
    /// The prefix of all queue names.
    pub prefix: String,
    /// Limits of outputs and logs.
    pub limits: Limits,
    /// Exports a span for each attempt.
    pub tracer: Tracer,
}

/// Why a generic worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum GenericError {
    /// The handlers file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the file says makes no worker.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The worker gave up.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Runs the worker that a handlers file describes until `cancellation` and the end of its drain.
///
/// # Errors
/// [`GenericError`] names what is wrong with the file, or why the worker gave up.
pub async fn run_generic(
    config: GenericWorkerConfig,
    link: Arc<dyn Link>,
    cancellation: CancellationToken,
) -> Result<(), GenericError> {
    let worker = builder(&config)?.build(link)?;
    Ok(worker.run(cancellation).await?)
}

/// The worker that a handlers file describes, to be built or given more handlers.
///
/// # Errors
/// [`ConfigError`] with file, line and column.
pub fn builder(config: &GenericWorkerConfig) -> Result<WorkerBuilder, ConfigError> {
    let file = HandlersFile::read(&config.handlers)?;
    let folder = folder_of(&config.handlers);
    let mut worker = Worker::builder()
        .limits(config.limits.clone())
        .topology(config.prefix.clone())
        .tracer(config.tracer.clone());
    let queues = if config.queues.is_empty() {
        file.all_queues()
    } else {
        config.queues.clone()
    };
    for queue in queues {
        worker = worker.queue(queue);
    }
    if let Some(concurrency) = config.concurrency.or(file.concurrency) {
        worker = worker.concurrency(concurrency);
    }
    if let Some(name) = config.name.clone().or(file.name) {
        worker = worker.name(name);
    }
    if let Some(namespace) = config.namespace.clone().or(file.namespace) {
        worker = worker.namespace(namespace);
    }
    if let Some(drain) = config.drain.or(file.drain.map(|drain| drain.0)) {
        worker = worker.drain(drain);
    }
    let mut pools = Pools::default();
    for (HandlerName(name), handler) in file.handlers {
        let made = handler_of(handler, &folder, &config.limits, &mut pools);
        let handler = made.map_err(|source| ConfigError::Tls {
            handler: name.clone(),
            source,
        })?;
        worker = worker.handle(name, handler);
    }
    Ok(worker)
}

fn handler_of(
    config: HandlerConfig,
    folder: &Path,
    limits: &Limits,
    pools: &mut Pools,
) -> Result<Arc<dyn Handle>, TlsError> {
    let bytes_max = limits.output_bytes_max;
    let handler: Arc<dyn Handle> = match config.kind {
        HandlerKind::Exec(argv, Mode::Plain) => Arc::new(Exec::new(argv, folder.to_owned(), bytes_max)),
        HandlerKind::Exec(argv, Mode::Stream) => Arc::new(Stream::new(pools.pool(argv, folder), bytes_max)),
        HandlerKind::Http(http) => Arc::new(Http::new(*http, folder, bytes_max)?),
    };
    Ok(match config.reads_context {
        true => handler,
        false => Arc::new(WithoutContext(handler)),
    })
}

/// A handler whose requests have `null` in place of the context.
struct WithoutContext(Arc<dyn Handle>);

#[async_trait]
impl Handle for WithoutContext {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        self.0.handle(attempt).await
    }

    fn reads_context(&self) -> bool {
        false
    }
}

/// The folder of the handlers file, in which its programs run.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
