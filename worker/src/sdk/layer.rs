//! Captures tracing events of handlers into their steps' logs.
//!
//! An event belongs to the attempt whose handler emits it, or, in tasks that the handler started, to the attempt in
//! which the span it stands in was made.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::attempt::LogSink;

tokio::task_local! {
    /// The logs of the attempt that this task runs.
    pub(crate) static CURRENT_LOGS: LogSink;
}

/// A layer that copies what handlers log into the logs of their steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLayer;

/// The layer that an application adds to its subscriber, so that `tracing` events of handlers show in the steps' logs.
#[must_use]
pub fn log_layer() -> LogLayer {
    LogLayer
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, _: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Ok(logs) = CURRENT_LOGS.try_with(Clone::clone) else {
            return;
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(logs);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let logs = CURRENT_LOGS.try_with(Clone::clone).ok().or_else(|| {
            let mut spans = context.event_scope(event)?;
            spans.find_map(|span| span.extensions().get::<LogSink>().cloned())
        });
        if let Some(logs) = logs {
            logs.push(&line_of(event));
        }
    }
}

fn line_of(event: &Event<'_>) -> String {
    let mut line = Line::default();
    event.record(&mut line);
    format!("{} {}{}", event.metadata().level(), line.message, line.fields)
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("writing to a String cannot fail");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
