//! Builds and runs a worker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::clock::{Clock, SystemClock};
use rejoin_shared::dice::{Dice, SystemDice};
use rejoin_shared::ids::{Namespace, is_name};
use rejoin_shared::limits::Limits;
use rejoin_shared::link::Link;
use rejoin_shared::topology::Topology;
use rejoin_shared::trace::export::Tracer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{HandlerName, StepContext, StepError, Typed};
use crate::builtin;
use crate::handler::{Handle, Handlers};
use crate::run::{self, Probe, Question, Setup, WorkerError};

/// Most attempts that a worker may run at once.
pub const CONCURRENCY_MAX: u32 = 65_536;

/// A worker, ready to run.
pub struct Worker {
    setup: Setup,
    link: Arc<dyn Link>,
    probe: Probe,
    asked: mpsc::Receiver<Question>,
}

/// Collects what a worker is.
pub struct WorkerBuilder {
    name: Option<String>,
    namespace: Namespace,
    queues: Vec<String>,
    concurrency: u32,
    drain: Duration,
    topology: Topology,
    limits: Limits,
    handlers: Handlers,
    tracer: Tracer,
    clock: Arc<dyn Clock>,
    dice: Arc<dyn Dice>,
}

/// Why a worker cannot be built.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A queue's name breaks the rule of names.
    #[error("`{0}` cannot name a queue: a letter, then up to 63 letters, digits, `_` or `-`")]
    QueueName(String),
    /// The namespace's name breaks the rule of names.
    #[error("`{0}` cannot name a namespace")]
    Namespace(String),
    /// A handler has a name of the built-in ones.
    #[error("handler `{0}`: names that begin with `rejoin.` are those of the built-in handlers")]
    HandlerName(String),
    /// Concurrency is out of range.
    #[error("concurrency is {0}; it must be 1 to {CONCURRENCY_MAX}")]
    Concurrency(u32),
}

impl Worker {
    /// A builder with the defaults: queue `default`, 16 attempts at once, 30 s to drain.
    #[must_use]
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder {
            name: None,
            namespace: Namespace::default_name(),
            queues: Vec::new(),
            concurrency: 16,
            drain: Duration::from_secs(30),
            topology: Topology::default(),
            limits: Limits::default(),
            handlers: Handlers::new(),
            tracer: Tracer::off(),
            clock: Arc::new(SystemClock),
            dice: Arc::new(SystemDice),
        }
    }

    /// What to ask whether it works, for whoever watches over the process.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Runs until `cancellation`, then drains: nothing new is begun, what runs may finish, the rest goes back.
    ///
    /// # Errors
    /// [`WorkerError`] if the broker refuses the worker's queues for good.
    pub async fn run(self, cancellation: CancellationToken) -> Result<(), WorkerError> {
        // Without anybody else's probe there is nobody to ask.
        drop(self.probe);
        Box::pin(run::run(self.setup, self.link, self.asked, cancellation)).await
    }
}

impl WorkerBuilder {
    /// A stable name; default: host name and process id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The namespace whose runs it serves.
    #[must_use]
    pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.namespace = Namespace(namespace.as_ref().into());
        self
    }

    /// A task queue it consumes; may be called several times.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Attempts it runs at once at most.
    #[must_use]
    pub fn concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// How long running attempts may take once it is told to stop.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// The prefix of all queue names.
    #[must_use]
    pub fn topology(mut self, prefix: impl Into<String>) -> Self {
        self.topology = Topology { prefix: prefix.into() };
        self
    }

    /// Limits other than the defaults; to be called before [`Self::handler`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Exports a span for each attempt. Who makes the tracer closes it, once the worker has ended.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// What tells it the time; a simulator has its own.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where its random numbers come from; a simulator has its own.
    #[must_use]
    pub fn dice(mut self, dice: Arc<dyn Dice>) -> Self {
        self.dice = dice;
        self
    }

    /// A handler: an async function over typed values. Names that begin with `rejoin.` are those of the built-in handlers.
    #[must_use]
    pub fn handler<F, Fut, I, O>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, StepError>> + Send + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        let bytes_max = self.limits.output_bytes_max;
        self.handle(name, Arc::new(Typed::new(function, bytes_max)))
    }

    /// A handler under a name that holds its types; the workflow may call it by the same one.
    #[must_use]
    pub fn serve<F, Fut, I, O>(self, name: HandlerName<I, O>, function: F) -> Self
    where
        F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, StepError>> + Send + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        self.handler(name, function)
    }

    /// A handler that works on the attempt itself.
    #[must_use]
    pub fn handle(mut self, name: impl Into<String>, handler: Arc<dyn Handle>) -> Self {
        self.handlers.insert(name.into(), handler);
        self
    }

    /// Checks what was given.
    ///
    /// # Errors
    /// [`BuildError`] names what is wrong.
    pub fn build(mut self, link: Arc<dyn Link>) -> Result<Worker, BuildError> {
        if self.queues.is_empty() {
            self.queues.push("default".to_owned());
        }
        self.queues.sort();
        self.queues.dedup();
        self.check()?;
        builtin::add_to(&mut self.handlers);
        let setup = Setup {
            name: self.name.unwrap_or_else(default_name),
            namespace: self.namespace,
            queues: self.queues,
            concurrency: self.concurrency,
            drain: self.drain,
            topology: self.topology,
            limits: self.limits,
            handlers: self.handlers,
            tracer: self.tracer,
            clock: self.clock,
            dice: self.dice,
        };
        let (probe, asked) = Probe::new();
        Ok(Worker {
            setup,
            link,
            probe,
            asked,
        })
    }

    fn check(&self) -> Result<(), BuildError> {
        if let Some(bad) = self.queues.iter().find(|queue| !is_name(queue)) {
            return Err(BuildError::QueueName(bad.clone()));
        }
        if !Namespace::is_valid(&self.namespace.0) {
            return Err(BuildError::Namespace(self.namespace.to_string()));
        }
        if let Some(reserved) = self.handlers.keys().find(|name| builtin::is_reserved(name)) {
            return Err(BuildError::HandlerName(reserved.clone()));
        }
        if self.concurrency == 0 || self.concurrency > CONCURRENCY_MAX {
            return Err(BuildError::Concurrency(self.concurrency));
        }
        Ok(())
    }
}

fn default_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}-{}", std::process::id())
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.setup.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rejoin_shared::link::memory::MemoryBroker;

    use super::*;

    #[test]
    fn no_handler_takes_the_place_of_a_built_in_one() {
        let own = |name: &str| {
            let handler = |_: StepContext, (): ()| async { Ok::<_, StepError>(()) };
            let built = Worker::builder().handler(name, handler);
            built.build(MemoryBroker::new().link("worker"))
        };
        for name in ["rejoin.echo", "rejoin.mine"] {
            let wrong = own(name).expect_err("reserved");
            assert_eq!(wrong, BuildError::HandlerName(name.to_owned()));
        }
        assert!(own("rejoin_mine").is_ok());
    }
}
