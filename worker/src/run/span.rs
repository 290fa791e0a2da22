//! Traces on the worker: whose spans are kept, and the span of an attempt once it has ended.

use std::sync::Arc;

use rejoin_shared::ids::RunId;
use rejoin_shared::trace::export::{KeyValue, Of, Span, Tracer};
use rejoin_shared::wire::{AttemptEnd, Completion};

use super::Setup;
use crate::attempt::Attempt;

/// What traces tell of the message that brought an attempt.
#[derive(Debug)]
pub(super) struct Origin {
    /// The task queue it came by.
    pub queue: Arc<str>,
    /// Whether its sender keeps the run's span.
    pub is_sampled: bool,
}

/// Whether somebody keeps the spans of a run's attempts here: this worker if it exports any, else who sent them says so.
pub(super) fn is_sampled(tracer: &Tracer, origin: &Origin, run: RunId) -> bool {
    match tracer.is_on() {
        true => tracer.samples(run),
        false => origin.is_sampled,
    }
}

/// Exports it, if this run's are exported.
pub(super) fn export(setup: &Setup, origin: &Origin, attempt: &Attempt, completion: &Completion) {
    setup
        .tracer
        .export(completion.run, || span_of(setup, origin, attempt, completion));
}

fn span_of(setup: &Setup, origin: &Origin, attempt: &Attempt, completion: &Completion) -> Span {
    let order = attempt.order();
    let outcome = outcome_of(attempt, &completion.end);
    let error = match (&completion.end, outcome) {
        (AttemptEnd::Ok { .. }, _) | (AttemptEnd::Error(_), "cancelled") => None,
        (AttemptEnd::Error(failed), _) => Some(failed.kind.clone()),
    };
    let mut attributes = vec![
        KeyValue::new("rejoin.namespace", setup.namespace.0.clone()),
        KeyValue::new("rejoin.workflow", order.workflow.clone()),
        KeyValue::new("rejoin.run", order.run.to_string()),
        KeyValue::new("rejoin.path", order.path.clone()),
        KeyValue::new("rejoin.attempt", i64::from(order.attempt)),
        KeyValue::new("rejoin.handler", order.handler.clone()),
        KeyValue::new("rejoin.queue", origin.queue.clone()),
        KeyValue::new("rejoin.worker", setup.name.clone()),
        KeyValue::new("rejoin.outcome", outcome),
    ];
    attributes.extend(error.clone().map(|kind| KeyValue::new("error.type", kind)));
    Span {
        of: Of::Attempt {
            path: order.path.clone(),
            attempt: order.attempt,
        },
        name: order.handler.clone(),
        started_at: completion.started_at,
        ended_at: completion.finished_at,
        attributes,
        error,
    }
}

/// The words of INTERFACE 8.
fn outcome_of(attempt: &Attempt, end: &AttemptEnd) -> &'static str {
    if attempt.control.is_cancelled() {
        return "cancelled";
    }
    match end {
        AttemptEnd::Ok { .. } => "ok",
        AttemptEnd::Error(failed) => match failed.kind.as_str() {
            "rejoin.timeout" | "rejoin.heartbeat_lost" => "timeout",
            _ => "error",
        },
    }
}
