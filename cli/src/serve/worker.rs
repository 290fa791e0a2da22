//! `rejoin worker`

use std::sync::Arc;

use rejoin_shared::link::Link;
use rejoin_shared::link::amqp::AmqpLink;
use rejoin_worker::generic::GenericError;
use rejoin_worker::{GenericWorkerConfig, WorkerBuilder, generic};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::supervised::{Supervised, tell};
use super::{amqp_config, settings, signals, start_logs, start_traces};
use crate::args::WorkerArgs;
use crate::exit::Failure;

/// Runs a generic worker until it is told to stop and has drained.
pub async fn run(args: WorkerArgs) -> Result<(), Failure> {
    let settings = settings(&args.servers)?;
    start_logs(&settings)?;
    let tracer = start_traces(&settings, "rejoin-worker")?;
    let amqp = amqp_config(&settings, "rejoin worker")?;
    let config = GenericWorkerConfig {
        handlers: args.handlers,
        queues: args.queues,
        concurrency: args.concurrency,
        name: args.name,
        namespace: std::env::var("REJOIN_NAMESPACE").ok().filter(|n| !n.is_empty()),
        drain: args.drain,
        prefix: settings.amqp.prefix.clone(),
        limits: settings.limits.clone(),
        tracer: tracer.clone(),
    };
    // Read before anybody is connected to: a file that cannot be used is told at once, and alone.
    let builder = generic::builder(&config).map_err(|e| Failure::general(e.to_string()))?;
    let stopping = signals::stopping()?;
    let link = AmqpLink::connect(amqp);
    let outcome = work(builder, link.clone(), stopping).await;
    link.close().await;
    tracer.close().await;
    outcome.map_err(|e| Failure::general(e.to_string()))
}

async fn work(builder: WorkerBuilder, link: Arc<dyn Link>, stopping: CancellationToken) -> Result<(), GenericError> {
    let worker = builder.build(link)?;
    let _told = tell(Supervised::Worker(worker.probe()), stopping.clone());
    // On a thread of the runtime, where attempts start and end beside it: none of these handlers keeps a thread to itself.
    let running = AbortOnDropHandle::new(tokio::spawn(worker.run(stopping)));
    match running.await {
        Ok(ended) => Ok(ended?),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends: nobody is left to tell.
            Err(_) => Ok(()),
        },
    }
}
