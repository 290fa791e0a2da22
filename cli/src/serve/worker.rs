//! `rejoin worker`

use rejoin_shared::link::amqp::AmqpLink;
use rejoin_worker::{GenericWorkerConfig, run_generic};

use super::{amqp_config, settings, signals, start_logs};
use crate::args::WorkerArgs;
use crate::exit::Failure;

/// Runs a generic worker until it is told to stop and has drained.
pub async fn run(args: WorkerArgs) -> Result<(), Failure> {
    let settings = settings(&args.servers)?;
    start_logs(&settings)?;
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
    };
    let stopping = signals::stopping()?;
    let link = AmqpLink::connect(amqp);
    let outcome = run_generic(config, link.clone(), stopping).await;
    rejoin_shared::link::Link::close(&*link).await;
    outcome.map_err(|e| Failure::general(e.to_string()))
}
