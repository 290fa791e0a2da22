//! What a coordinator does by itself, beside its partitions. Each service is a `run` that waits around a `run_once` that works.

pub mod gauges;
pub mod retention;
pub mod runs;
pub mod schedules;
