//! Every metric name of the coordinator, in one place (INTERFACE 13). No ids in labels; counters start at 0 with the process.

use std::cell::RefCell;

use prometheus::core::Desc;
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};
use rejoin_shared::run::RunStatus;

const LATENCY_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Waits for a worker, beyond what [`LATENCY_S`] tells apart: an alert asks for more than a minute.
const WAIT_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];
const LONG_S: &[f64] = &[0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0];
const ROWS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0,
];

/// The metrics of one process.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // INTERFACE 13
pub struct Metrics {
    pub registry: Registry,
    pub runs_started: Counter,
    pub runs_finished: CounterVec,
    pub runs: GaugeVec,
    pub runs_left: GaugeVec,
    pub runs_deleted: CounterVec,
    pub run_duration_seconds: Histogram,
    pub steps_completed: CounterVec,
    pub step_duration_seconds: HistogramVec,
    pub dispatch_seconds: Histogram,
    pub completion_seconds: Histogram,
    /// Confirm by the broker to start on a worker, whose clock it is read from.
    pub queue_seconds: Histogram,
    pub join_seconds: Histogram,
    pub dispatches: CounterVec,
    pub branches_kept_on_resume: Counter,
    pub duplicate_completions: Counter,
    pub late_completions: Counter,
    pub journal_append_seconds: Histogram,
    pub journal_batch_size: Histogram,
    pub store_pool_connections: GaugeVec,
    pub store_pool_waiting: Gauge,
    pub broker_up: Gauge,
    pub broker_unconfirmed: Gauge,
    pub broker_bytes: CounterVec,
    pub partitions_owned: Gauge,
    pub timers_due: Gauge,
    pub queue_depth: GaugeVec,
    pub worker_slots: GaugeVec,
    pub events_unknown_run: Counter,
    pub messages_rejected: CounterVec,
    pub dead_letters: Gauge,
    pub steps_unserved: Gauge,
    pub build_info: GaugeVec,
    /// Names and labels of all of them.
    pub all: Vec<Desc>,
}

/// Makes metrics in a registry, and notes their names and labels.
struct Maker(Registry, RefCell<Vec<Desc>>);

impl Maker {
    fn keep<T: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let made = made.expect("a metric's name and labels are constants");
        self.1.borrow_mut().extend(made.desc().into_iter().cloned());
        self.0
            .register(Box::new(made.clone()))
            .expect("metric names are unique");
        made
    }
    fn counter(&self, name: &str, help: &str) -> Counter {
        self.keep(Counter::new(name, help))
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.keep(CounterVec::new(Opts::new(name, help), labels))
    }
    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.keep(Gauge::new(name, help))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }
    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        ))
    }
    fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        self.keep(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        ))
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All of them, from 0, in a registry of their own.
    ///
    /// # Panics
    /// If two metrics share a name, which a test excludes.
    #[must_use]
    pub fn new() -> Metrics {
        let m = Maker(Registry::new(), RefCell::default());
        let metrics = Metrics {
            runs_started: m.counter("rejoin_runs_started_total", "Runs started"),
            runs_finished: m.counters("rejoin_runs_finished_total", "Runs that ended", &["workflow", "state"]),
            runs_deleted: m.counters(
                "rejoin_runs_deleted_total",
                "Runs deleted as their retention was over",
                &["state"],
            ),
            runs: m.gauges(
                "rejoin_runs",
                "Runs by state; of ended ones those in memory",
                &["state"],
            ),
            runs_left: m.gauges(
                "rejoin_runs_left",
                "Runs that cannot be read here and stay as they are",
                &["reason"],
            ),
            run_duration_seconds: m.histogram("rejoin_run_duration_seconds", "Start to end of a run", LONG_S),
            steps_completed: m.counters(
                "rejoin_steps_completed_total",
                "Recorded ends of attempts",
                &["workflow", "handler", "queue", "outcome"],
            ),
            step_duration_seconds: m.histograms("rejoin_step_duration_seconds", "Of an attempt", LONG_S, &["queue"]),
            dispatch_seconds: m.histogram("rejoin_dispatch_seconds", "Hand-over to confirm", LATENCY_S),
            queue_seconds: m.histogram("rejoin_queue_seconds", "Confirm to start on a worker", WAIT_S),
            completion_seconds: m.histogram("rejoin_completion_seconds", "End to durable", LATENCY_S),
            join_seconds: m.histogram("rejoin_join_seconds", "Last branch durable to next dispatch", LATENCY_S),
            dispatches: m.counters("rejoin_dispatches_total", "Attempts published", &["reason"]),
            branches_kept_on_resume: m.counter(
                "rejoin_branches_kept_on_resume_total",
                "Recorded steps that a load kept",
            ),
            duplicate_completions: m.counter("rejoin_duplicate_completions_total", "Completions recorded already"),
            late_completions: m.counter("rejoin_late_completions_total", "Completions of ended branches"),
            journal_append_seconds: m.histogram("rejoin_journal_append_seconds", "Of a batch", LATENCY_S),
            journal_batch_size: m.histogram("rejoin_journal_batch_size", "Rows of a batch", ROWS),
            store_pool_connections: m.gauges(
                "rejoin_store_pool_connections",
                "Connections to the database, besides the append's",
                &["state"],
            ),
            store_pool_waiting: m.gauge("rejoin_store_pool_waiting", "Statements that wait for a connection"),
            broker_up: m.gauge("rejoin_broker_up", "1 if connected and not blocked"),
            broker_unconfirmed: m.gauge("rejoin_broker_unconfirmed", "Publishes that await their confirm"),
            broker_bytes: m.counters("rejoin_broker_bytes_total", "Bodies of messages", &["direction"]),
            partitions_owned: m.gauge("rejoin_partitions_owned", "Partitions this process owns"),
            timers_due: m.gauge("rejoin_timers_due", "Runs with a timer ahead"),
            queue_depth: m.gauges("rejoin_queue_depth", "Attempts that wait for credit or out", &["queue"]),
            worker_slots: m.gauges("rejoin_worker_slots", "Slots by state", &["queue", "state"]),
            events_unknown_run: m.counter("rejoin_events_unknown_run_total", "Events for runs that are not there"),
            messages_rejected: m.counters(
                "rejoin_messages_rejected_total",
                "Messages of workers that were not believed",
                &["reason"],
            ),
            dead_letters: m.gauge("rejoin_dead_letters", "Dead letters that wait, of the fleet"),
            steps_unserved: m.gauge(
                "rejoin_steps_unserved",
                "Handlers with ready steps that no worker serves",
            ),
            build_info: m.gauges("rejoin_build_info", "Always 1", &["version"]),
            registry: m.0,
            all: m.1.into_inner(),
        };
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        for reason in ["first", "retry", "resume", "lost"] {
            metrics.dispatched(reason, 0);
        }
        for reason in ["user", "token"] {
            metrics.messages_rejected.with_label_values(&[reason]).inc_by(0.0);
        }
        for status in RunStatus::ALL.iter().filter(|status| status.is_terminal()) {
            metrics.runs_deleted.with_label_values(&[status.as_str()]).inc_by(0.0);
        }
        metrics
    }

    /// Attempts left for a reason.
    pub fn dispatched(&self, reason: &str, count: usize) {
        self.dispatches.with_label_values(&[reason]).inc_by(as_f64(count));
    }

    /// The text that `/metrics` answers.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A count as metrics take it.
#[must_use]
pub fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What `docs/metrics.md` says in its table: names without the prefix, and labels.
    fn documented() -> BTreeMap<String, Vec<String>> {
        let rows = include_str!("../../docs/metrics.md").lines();
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        rows.map(|(name, rest)| {
            let kind = rest.split(" | ").next().unwrap_or_default();
            let labels = kind.split_once('{').and_then(|(_, labels)| labels.split_once('}'));
            let labels = labels.map_or(Vec::new(), |(labels, _)| {
                labels.split(", ").map(str::to_owned).collect()
            });
            (format!("rejoin_{name}"), labels)
        })
        .collect()
    }

    #[test]
    fn every_metric_stands_in_the_documentation_with_its_labels_and_no_other_does() {
        let metrics = Metrics::new();
        let served = metrics
            .all
            .iter()
            .map(|desc| (desc.fq_name.clone(), desc.variable_labels.clone()));
        let mut served: BTreeMap<String, Vec<String>> = served.collect();
        let mut documented = documented();
        served
            .values_mut()
            .chain(documented.values_mut())
            .for_each(|labels| labels.sort());
        assert_eq!(served, documented);
    }

    #[test]
    fn there_are_at_most_40_metrics_and_none_has_a_label_that_grows_with_runs() {
        let metrics = Metrics::new();
        assert!(metrics.all.len() <= 40, "{}", metrics.all.len());
        let bounded = [
            "workflow",
            "handler",
            "queue",
            "outcome",
            "state",
            "reason",
            "version",
            "direction",
        ];
        for desc in &metrics.all {
            assert!(
                desc.variable_labels
                    .iter()
                    .all(|label| bounded.contains(&label.as_str())),
                "{}: {:?}",
                desc.fq_name,
                desc.variable_labels
            );
        }
    }

    /// `histogram_quantile` never says more than the highest finite bound: an alert above it could not fire.
    #[test]
    fn every_alert_asks_for_a_latency_that_its_histogram_can_tell() {
        let metrics = Metrics::new();
        metrics.step_duration_seconds.with_label_values(&["default"]);
        let text = metrics.render();
        let rules = include_str!("../../deploy/prometheus/alerts.yaml");
        let asked = rules.lines().filter_map(|line| {
            let (_, rest) = line.split_once("rate(rejoin_")?;
            let (name, rest) = rest.split_once("_bucket[")?;
            Some((name, rest.rsplit_once("> ")?.1.trim().parse::<f64>().ok()?))
        });
        let asked: Vec<_> = asked.collect();
        assert!(asked.len() >= 5, "{asked:?}");
        for (name, threshold) in asked {
            let start = format!("rejoin_{name}_bucket{{");
            let own = text.lines().filter(|line| line.starts_with(&start));
            let bounds = own.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse::<f64>().ok());
            let bounds: Vec<f64> = bounds.filter(|bound| bound.is_finite()).collect();
            assert!(
                bounds.contains(&threshold),
                "{name} has no bound at {threshold}: {bounds:?}"
            );
            assert!(
                bounds.iter().any(|bound| *bound > threshold),
                "{name} ends at {threshold}"
            );
        }
    }

    #[test]
    fn counters_without_names_of_workflows_begin_at_0() {
        let text = Metrics::new().render();
        for name in [
            "rejoin_runs_started_total 0",
            "rejoin_dispatches_total{reason=\"lost\"} 0",
            "rejoin_duplicate_completions_total 0",
            "rejoin_join_seconds_count 0",
        ] {
            assert!(text.lines().any(|line| line == name), "{name} is missing in\n{text}");
        }
    }

    #[test]
    fn metric_names_are_unique_and_prefixed() {
        let text = Metrics::new().render();
        let names = text.lines().filter(|line| line.starts_with("# TYPE "));
        assert!(names.clone().count() > 5 && names.clone().all(|line| line.starts_with("# TYPE rejoin_")));
    }
}
