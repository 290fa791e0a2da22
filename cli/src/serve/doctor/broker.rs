//! The broker: reachable, with all rights; queues as they are to be, consumed by whom they are for.

use std::sync::Arc;
use std::time::Duration;

use rejoin_shared::config::{SecretUrl, Settings};
use rejoin_shared::ids::{Namespace, Partition};
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Address, Depth, Link, LinkError, LinkState, Message, QueueSpec};
use rejoin_shared::topology::Topology;
use tokio::time::{sleep, timeout};

use super::{Finding, Fix};
use crate::exit::Failure;
use crate::serve::amqp_config;

/// What a finding is about that tells of the broker itself.
pub const WHAT: &str = "broker";
/// Longest wait for the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(8);
/// A broker that refused is asked again for so long: it may just be starting.
const REFUSED_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether it did.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait until a message is taken, or the broker says that it takes none.
const TAKEN_MAX: Duration = Duration::from_secs(5);
/// No queue has this name: what is sent there comes back.
const NOWHERE: &str = "rejoin.doctor.nowhere";
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
            return vec![Finding::new(WHAT, false, e.to_string(), "correct the section [amqp]")];
        }
    };
    let link = AmqpLink::connect(config.clone());
    let seen = state(&link).await;
    let mut findings = vec![match seen {
        LinkState::Up(_) => taken(url, config).await,
        LinkState::Blocked(_) => blocked(url),
        LinkState::Down => {
            let late = || format!("no connection within {} s", BROKER_TIMEOUT.as_secs());
            let found = format!("{url}: {}", link.failure().unwrap_or_else(late));
            let advice = "check that RabbitMQ runs there, and the user, password and vhost in amqp.url; with TLS its certificate and amqp.tls_ca";
            Finding::new(WHAT, false, found, advice)
        }
    }];
    // Where nobody can publish, queues show what follows from that.
    if findings.iter().all(|finding| finding.ok) {
        findings.extend(queues(settings, &link, event_queues).await);
    }
    link.close().await;
    findings
}

/// The state once it is connected, or the broker has refused again and again.
async fn state(link: &AmqpLink) -> LinkState {
    let mut state = link.state();
    let up = timeout(BROKER_TIMEOUT, state.wait_for(|s| *s != LinkState::Down));
    let refused = async {
        while link.failure().is_none() {
            sleep(LOOK_EVERY).await;
        }
        sleep(REFUSED_MAX).await;
    };
    tokio::select! {
        biased;
        up = up => up.ok().and_then(Result::ok).map_or(LinkState::Down, |s| *s),
        () = refused => LinkState::Down,
    }
}

/// Whether the broker takes messages: it tells a connection of an alarm only once that publishes. On a link of its own, since one
/// that is refused loses its channel.
async fn taken(url: &SecretUrl, config: AmqpConfig) -> Finding {
    let link = AmqpLink::connect(config);
    state(&link).await;
    let mut shown = link.state();
    let nowhere = Address::Queue(NOWHERE.to_owned());
    let published = link.publish(&nowhere, Message::new("doctor", false, Vec::new()));
    let finding = tokio::select! {
        // Unroutable as it is, or refused for want of rights, it was read.
        answer = timeout(TAKEN_MAX, published) => match answer {
            Ok(_) => Finding::new(WHAT, true, format!("{url} answers"), ""),
            Err(_) => {
                let found = format!("{url} answers, and took no message within {} s", TAKEN_MAX.as_secs());
                Finding::new(WHAT, false, found, "see RabbitMQ's log, and `rabbitmq-diagnostics alarms`")
            }
        },
        Ok(_) = shown.wait_for(|state| matches!(state, LinkState::Blocked(_))) => blocked(url),
    };
    link.close().await;
    finding
}

fn blocked(url: &SecretUrl) -> Finding {
    let found = format!("{url} blocks publishers: it has a memory or disk alarm");
    let advice =
        "`rabbitmq-diagnostics alarms` says which; coordinators and workers go on by themselves once it is over";
    Finding::new(WHAT, false, found, advice)
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
    state(&link).await;
    for queue in queues {
        if anew {
            link.delete_queue(&queue.name).await.map_err(failed)?;
        }
        link.declare(queue).await.map_err(failed)?;
    }
    link.close().await;
    Ok(())
}
