//! Spans on their way to a collector: OTLP over HTTP.
//!
//! ```text
//! worker, coordinator ── Tracer::export ─▶ queue (bounded; what it cannot take is dropped and counted)
//!                                            │ a thread of its own
//!                                            ▼
//!                                     delivery ─ POST ─▶ collector
//! ```
//! Off, a [`Tracer`] is a `None`: no thread, no queue, and nothing is built that would go into one.

mod delivery;
mod tally;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};

use self::delivery::exporter;
use self::tally::Tally;
use super::{TraceParent, is_in_share};
use crate::config::Tracing;
use crate::ids::RunId;
use crate::time::Timestamp;

pub use opentelemetry::KeyValue;

/// Spans that wait for the collector at most.
const QUEUE_MAX: usize = 8_192;
/// Spans in one request at most.
const BATCH_MAX: usize = 512;
/// Longest wait of a span for others to go with.
const BATCH_DELAY: Duration = Duration::from_secs(2);
/// Longest wait at the end of the process for what is still queued.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// A span of ours.
pub enum Of {
    /// A run, from begin to end.
    Run {
        /// The run that called it.
        parent: Option<RunId>,
        /// The span of the request that started it.
        request: Option<TraceParent>,
    },
    /// An attempt on a worker.
    Attempt {
        /// The step's path.
        path: String,
        /// Counted from 1.
        attempt: u32,
    },
}

/// A span that has ended.
pub struct Span {
    /// What it is of.
    pub of: Of,
    /// Few different ones: what it is of stands in the attributes.
    pub name: Arc<str>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What else there is to know.
    pub attributes: Vec<KeyValue>,
    /// Kind of the error it ended with.
    pub error: Option<String>,
}

/// Exports spans, or does nothing. Clones export to the same place.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Exporting>>);

struct Exporting {
    share: f64,
    scope: InstrumentationScope,
    processor: BatchSpanProcessor,
    tally: Arc<Tally>,
}

impl Tracer {
    /// A tracer that does nothing.
    #[must_use]
    pub fn off() -> Tracer {
        Tracer(None)
    }

    /// Begins to export as configured; without an address it is off. To be called in a tokio runtime, over which requests go.
    ///
    /// # Errors
    /// Text that names the setting that cannot be used.
    pub fn start(settings: &Tracing, service: &'static str) -> Result<Tracer, String> {
        if !settings.is_on() {
            return Ok(Tracer::off());
        }
        let tally = Arc::new(Tally::new(QUEUE_MAX));
        let exporter = exporter(settings, tally.clone())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY);
        let mut processor = BatchSpanProcessor::new(exporter, batches.build());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(service).with_attribute(version);
        processor.set_resource(&resource.build());
        Ok(Tracer(Some(Arc::new(Exporting {
            share: settings.sample_ratio,
            scope: InstrumentationScope::builder("rejoin").build(),
            processor,
            tally,
        }))))
    }

    /// Whether it exports at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it exports the spans of this run.
    #[must_use]
    pub fn samples(&self, run: RunId) -> bool {
        self.0
            .as_ref()
            .is_some_and(|exporting| is_in_share(run, exporting.share))
    }

    /// The header of a message about this run; none while it is off.
    #[must_use]
    pub fn header(&self, run: RunId) -> Option<String> {
        let exporting = self.0.as_ref()?;
        Some(TraceParent::of_run(run, is_in_share(run, exporting.share)).to_string())
    }

    /// Takes a span of `run`, which is made only if it is wanted. Never waits: what the queue cannot hold is dropped and counted.
    pub fn export(&self, run: RunId, span: impl FnOnce() -> Span) {
        let Some(exporting) = self.0.as_ref().filter(|exporting| is_in_share(run, exporting.share)) else {
            return;
        };
        if exporting.tally.admit() {
            exporting
                .processor
                .on_end(span().into_data(run, exporting.scope.clone()));
        }
    }

    /// Sends what is queued, for a few seconds at most; then nothing more is exported.
    pub async fn close(&self) {
        let Some(exporting) = self.0.clone() else { return };
        let closing = tokio::task::spawn_blocking(move || {
            let closed = exporting.processor.shutdown_with_timeout(CLOSE_MAX);
            exporting.tally.tell_rest(closed.is_err());
        });
        // Nobody waits for spans when the runtime itself ends.
        closing.await.ok();
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("share", &self.0.as_ref().map(|exporting| exporting.share))
            .finish()
    }
}

impl Span {
    fn into_data(self, run: RunId, scope: InstrumentationScope) -> SpanData {
        let root = TraceParent::of_run(run, true);
        let (own, parent, kind, linked) = match self.of {
            Of::Run { parent, request } => {
                let parent = parent.map(|parent| TraceParent::of_run(parent, true));
                (root, SpanId::INVALID, SpanKind::Internal, [parent, request])
            }
            Of::Attempt { path, attempt } => {
                let own = TraceParent::of_attempt(run, &path, attempt, true);
                (
                    own,
                    SpanId::from_bytes(root.span_id()),
                    SpanKind::Consumer,
                    [None, None],
                )
            }
        };
        let mut links = SpanLinks::default();
        let each = linked.into_iter().flatten();
        links
            .links
            .extend(each.map(|link| Link::with_context(context(link, true))));
        SpanData {
            span_context: context(own, false),
            parent_span_is_remote: parent != SpanId::INVALID,
            parent_span_id: parent,
            span_kind: kind,
            name: self.name.to_string().into(),
            start_time: system_time(self.started_at),
            end_time: system_time(self.ended_at.max(self.started_at)),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        }
    }
}

fn context(span: TraceParent, is_remote: bool) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(span.trace_id()),
        SpanId::from_bytes(span.span_id()),
        TraceFlags::default().with_sampled(span.is_sampled),
        is_remote,
        TraceState::NONE,
    )
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or_default())
}
