//! Each alert of `deploy/prometheus/alerts.yaml` fires in a Prometheus that watches a fleet to which its fault is done; it is
//! silent before, and again after healing.
//!
//! They need a Prometheus: `scripts/alerts live [NAME]` brings one along.

/// The test of an alert.
macro_rules! live {
    ($(#[$doc:meta])* $name:ident $body:block) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "needs a Prometheus: scripts/alerts live"]
        async fn $name() -> Result<()> $body
    };
}

mod latencies;
mod outcomes;
mod processes;
mod prometheus;
mod watch;
