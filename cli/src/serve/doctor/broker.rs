//! The broker: reachable, with all rights; queues as they are to be, consumed by whom they are for.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::config::Settings;
use rejoin_shared::ids::{Namespace, Partition};
use rejoin_shared::link::amqp::AmqpLink;
use rejoin_shared::link::{Depth, Link, LinkError, LinkState, QueueSpec};
use rejoin_shared::topology::Topology;
use tokio::time::timeout;

use super::{Finding, Fix};
use crate::exit::Failure;
use crate::serve::amqp_config;

/// Longest wait for the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(8);
/// How the broker says that a queue exists with other arguments.
const OTHER_ARGUMENTS: &str = "PRECONDITION_FAILED";
/// The task queue of whoever names none.
const DEFAULT_QUEUE: &str = "default";

/// Looks at the broker, and at the event queues of these partitions.
pub async fn look(settings: &Settings, event_queues: &[Partition]) -> Vec<Finding> {
    let url = &settings.amqp.url;
    let config = match amqp_config(settings, "rejoin doctor") {
        Ok(config) => config,
        Err(e) => {
            return vec![Finding::new(
                "broker",
                false,
                e.to_string(),
                "correct the section [amqp]",
            )];
        }
    };
    let link = AmqpLink::connect(config);
    let seen = state(&*link).await;
    let mut findings = vec![match seen {
        LinkState::Up(_) => Finding::new("broker", true, format!("{url} answers"), ""),
        LinkState::Blocked(_) => {
            let advice = "RabbitMQ has a memory or disk alarm: `rabbitmq-diagnostics alarms`";
            Finding::new("broker", false, format!("{url} blocks publishers"), advice)
        }
        LinkState::Down => {
            let late = || format!("no connection within {} s", BROKER_TIMEOUT.as_secs());
            let found = format!("{url}: {}", link.failure().unwrap_or_else(late));
            let advice = "check that RabbitMQ runs there, and the user, password and vhost in amqp.url; with TLS its certificate and amqp.tls_ca";
            Finding::new("broker", false, found, advice)
        }
    }];
    if matches!(seen, LinkState::Up(_)) {
        findings.extend(queues(settings, &link, event_queues).await);
    }
    link.close().await;
    findings
}

async fn state(link: &dyn Link) -> LinkState {
    let mut state = link.state();
    let up = timeout(BROKER_TIMEOUT, state.wait_for(|s| *s != LinkState::Down)).await;
    up.ok().and_then(Result::ok).map_or(LinkState::Down, |s| *s)
}

/// A queue that has to be there, and how it is.
struct Queue {
    spec: QueueSpec,
    depth: Result<Option<Depth>, LinkError>,
    declared: Result<(), LinkError>,
}

/// What is there is declared again, which the broker refuses for other arguments; what is missing is not.
async fn queues(settings: &Settings, link: &Arc<AmqpLink>, event_queues: &[Partition]) -> Vec<Finding> {
    let topology = Topology {
        prefix: settings.amqp.prefix.clone(),
    };
    let events = event_queues.iter().map(|partition| topology.event_queue(partition.0));
    let tasks = topology.task_queue(&Namespace::default_name(), DEFAULT_QUEUE);
    let mut all = Vec::new();
    for spec in events.chain([topology.dead_queue(), tasks.clone()]) {
        let depth = link.depth(&spec.name).await;
        let is_there = matches!(depth, Ok(Some(_)));
        let declared = if is_there { link.declare(&spec).await } else { Ok(()) };
        all.push(Queue { spec, depth, declared });
    }
    let dead = topology.dead();
    vec![
        arguments(&all),
        missing(&all),
        orphaned(&all, &dead, &tasks.name),
        letters(&all, &dead),
    ]
}

fn arguments(all: &[Queue]) -> Finding {
    let refused = || {
        all.iter()
            .filter_map(|queue| Some((&queue.spec, queue.declared.as_ref().err()?)))
    };
    let found: Vec<String> = refused().map(|(_, error)| error.to_string()).collect();
    let shown = match found.as_slice() {
        [] => "queues are as they are to be".to_owned(),
        some => some.join("; "),
    };
    let others: Vec<QueueSpec> = refused()
        .filter(|(_, error)| error.to_string().contains(OTHER_ARGUMENTS))
        .map(|(spec, _)| spec.clone())
        .collect();
    let fix = (!others.is_empty()).then_some(Fix::Redeclare(others));
    let advice = "403: give the user configure, write and read rights on its vhost; 406: delete the queue, which loses no run: \
                  what was in it is published again";
    Finding::new("topology", found.is_empty(), shown, advice).mended_by(fix)
}

fn missing(all: &[Queue]) -> Finding {
    let missing: Vec<QueueSpec> = all
        .iter()
        .filter(|queue| matches!(queue.depth, Ok(None)))
        .map(|queue| queue.spec.clone())
        .collect();
    let names: Vec<&str> = missing.iter().map(|spec| spec.name.as_str()).collect();
    let found = match names.as_slice() {
        [] => "all are there".to_owned(),
        some => format!("not there: {}", some.join(", ")),
    };
    let fix = (!missing.is_empty()).then_some(Fix::Declare(missing));
    // They are made when they are first used.
    Finding::new("queues", true, found, "").mended_by(fix)
}

/// Messages that nobody takes: events of partitions without owner, tasks without a worker.
fn orphaned(all: &[Queue], dead: &str, tasks: &str) -> Finding {
    let waiting = all.iter().filter_map(|queue| {
        let depth = queue.depth.as_ref().ok().copied().flatten()?;
        let is_waiting = depth.messages > 0 && depth.consumers == 0 && queue.spec.name != dead;
        is_waiting.then_some((queue.spec.name.as_str(), depth.messages))
    });
    let waiting: Vec<(&str, u64)> = waiting.collect();
    let found = match waiting.as_slice() {
        [] => "somebody takes every message".to_owned(),
        some => some
            .iter()
            .map(|(name, n)| format!("{n} in {name}"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let advice = match waiting.iter().all(|(name, _)| *name == tasks) {
        true => "no worker consumes the queue: start one with `rejoin worker`",
        false => "events are taken by the owner of their partition: see coordinators and partitions above",
    };
    Finding::new("messages", waiting.is_empty(), found, advice)
}

fn letters(all: &[Queue], dead: &str) -> Finding {
    let depth = all
        .iter()
        .find(|queue| queue.spec.name == dead)
        .and_then(|queue| queue.depth.as_ref().ok().copied().flatten());
    let count = depth.unwrap_or_default().messages;
    let advice = "`rejoin dead-letter list` shows them; replay or drop them before they pile up";
    Finding::new("dead letters", count == 0, format!("{count} in {dead}"), advice)
}

/// Declares queues, those of other arguments anew.
pub async fn declare(settings: &Settings, queues: &[QueueSpec], anew: bool) -> Result<(), Failure> {
    let link = AmqpLink::connect(amqp_config(settings, "rejoin doctor")?);
    let failed = |e: LinkError| Failure::general(format!("queues: {e}"));
    state(&*link).await;
    for queue in queues {
        if anew {
            link.delete_queue(&queue.name).await.map_err(failed)?;
        }
        link.declare(queue).await.map_err(failed)?;
    }
    link.close().await;
    Ok(())
}
