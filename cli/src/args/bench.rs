//! What `rejoin bench` measures.

use clap::{Args, ValueEnum, value_parser};

use super::ServerArgs;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure [default: all but cost, join, slow, compute and takeover]
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Coordinator processes
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub coordinators: u32,
    /// Worker processes
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Attempts at once, of each worker
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// How often each scenario is measured
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Branches of a fan-out; may be repeated
    #[arg(long = "branches", default_values_t = [1_000, 20_000], value_parser = value_parser!(u32).range(1..))]
    pub branches: Vec<u32>,
    /// Runs that are started at once
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Runs one after the other
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..))]
    pub latency_runs: u32,
    /// Branches of the run that is killed, and of the one that small runs are beside
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(1..))]
    pub giant: u32,
    /// Runs that sleep
    #[arg(long, default_value_t = 100_000)]
    pub sleepers: u32,
    /// Runs beside them that wake at one time
    #[arg(long, default_value_t = 10_000)]
    pub due: u32,
    /// Runs that are at work when their coordinators are killed
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..))]
    pub active: u32,
}

/// A workload of `bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One run of many no-op branches
    Fanout,
    /// Many runs of three steps and a parallel of four
    Runs,
    /// Runs of three parallel branches, one after the other
    Latency,
    /// Fan-outs from a base context of 1 KiB and of 4 MiB
    Context,
    /// Small runs alone, and beside one giant fan-out
    Mixed,
    /// Many runs asleep, and more that wake at one time
    Sleepers,
    /// The limit: a program that only passes messages and inserts rows
    Composed,
    /// Processor time and bytes of a branch, by the number of branches
    Cost,
    /// From the durable join of a fan-out to the dispatch of the next step
    Join,
    /// Branches that sleep for 20 ms
    Slow,
    /// Branches that compute for 5 ms in Python, beside as many processes without workers
    Compute,
    /// Many runs at work whose coordinators are killed and started anew
    Takeover,
    /// One run whose processes are all killed at nine tenths, and started anew
    Resume,
}

impl Scenario {
    /// What is measured if nothing is named.
    pub const USUAL: [Scenario; 8] = [
        Scenario::Fanout,
        Scenario::Runs,
        Scenario::Latency,
        Scenario::Resume,
        Scenario::Context,
        Scenario::Mixed,
        Scenario::Sleepers,
        Scenario::Composed,
    ];
}
