//! The span of a run, once its end is durable: the root of its trace.

use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_shared::trace::export::{KeyValue, Of, Span, Tracer};

use super::run::Run;

/// Exports it, if this run's spans are exported. A run that ends again, after a resume, is exported again, from the same begin.
pub(super) fn export(tracer: &Tracer, run: &Run, status: RunStatus, now: Timestamp) {
    tracer.export(run.id, || span_of(run, status, now));
}

fn span_of(run: &Run, status: RunStatus, now: Timestamp) -> Span {
    let workflow = &run.definition.workflow;
    let error = match status {
        RunStatus::Failed | RunStatus::CompensationFailed => {
            let error = run.state.result().1;
            Some(error.map_or_else(|| status.as_str().to_owned(), |error| error.kind))
        }
        RunStatus::Completed
        | RunStatus::Cancelled
        | RunStatus::Scheduled
        | RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Compensating => None,
    };
    let mut attributes = vec![
        KeyValue::new("rejoin.namespace", run.namespace.0.clone()),
        KeyValue::new("rejoin.workflow", workflow.clone()),
        KeyValue::new("rejoin.version", i64::from(run.version)),
        KeyValue::new("rejoin.run", run.id.to_string()),
        KeyValue::new("rejoin.state", status.as_str()),
    ];
    attributes.extend(error.clone().map(|kind| KeyValue::new("error.type", kind)));
    Span {
        of: Of::Run {
            parent: run.state.parent(),
            request: run.state.traceparent(),
        },
        name: workflow.clone(),
        started_at: run.state.started_at(),
        ended_at: now,
        attributes,
        error,
    }
}
