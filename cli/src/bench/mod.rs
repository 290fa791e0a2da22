//! `rejoin bench`: measures this machine on given servers, with a coordinator and workers as processes of its own, beside
//! the limit of a program that does nothing but pass messages and insert rows (`composed`).
//!
//! ```text
//! Fleet (own database, own prefix) ─▶ scenario, once to warm up, then --repeat times ─▶ Measure ─▶ table or JSON
//! ```
//! A value of what is over within milliseconds is of several in a row ([`VALUE_MIN`]): what one of them takes depends on what
//! else the machine does in just that moment.

mod composed;
mod compute;
mod cost;
mod database;
mod fleet;
mod report;
mod resume;
mod scenario;
mod sleepers;
mod takeover;
mod versions;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;

use crate::args::{BenchArgs, Global, Scenario};
use crate::exit::{self, Failure};
use crate::serve;

use fleet::Fleet;
use report::{Measure, Report, Unit};

/// Branches of a fan-out that nobody measures: connections, plans and caches are warm after it.
const WARM_UP_BRANCHES: u32 = 2_000;
/// Steps in one message of the composed limit, and the most that it passes so: one a message takes its time.
const COMPOSED_PACKS: [(u32, u32); 2] = [(1, 20_000), (50, 100_000)];
/// A value is of as many fan-outs in a row as take at least so long.
const VALUE_MIN: Duration = Duration::from_millis(250);

/// Runs the scenarios and prints their medians.
pub async fn run(global: &Global, args: BenchArgs) -> Result<u8, Failure> {
    let settings = serve::settings(&args.servers)?;
    // Whoever stops it finds nothing left behind.
    let stopping = serve::stopping()?;
    let mut fleet = Fleet::new(&settings).await?;
    let measured = tokio::select! {
        biased;
        () = stopping.cancelled() => Err(Failure::general("stopped before the end")),
        measured = measure(&mut fleet, &args) => measured,
    };
    let report = measured.map(|measures| fleet.report(&args, measures));
    let ended = fleet.end().await;
    report?.print(global.output)?;
    ended.map(|()| exit::OK)
}

async fn measure(fleet: &mut Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    fleet.migrate().await?;
    let mut measures = Vec::new();
    let scenarios: &[Scenario] = match args.scenarios.as_slice() {
        [] => &Scenario::USUAL,
        named => named,
    };
    let wanted = |scenario| scenarios.contains(&scenario);
    if wanted(Scenario::Composed) {
        measures.extend(measure_composed(fleet, args).await?);
    }
    if scenarios.iter().any(|scenario| *scenario != Scenario::Composed) {
        fleet.start(args).await?;
        scenario::register(fleet.client()?).await?;
        scenario::fanout(fleet.client()?, WARM_UP_BRANCHES).await?;
    }
    // In this order: the last ones kill the fleet.
    for scenario in Scenario::value_variants() {
        if wanted(*scenario) {
            measures.extend(measure_one(*scenario, fleet, args).await?);
        }
    }
    Ok(measures)
}

async fn measure_one(scenario: Scenario, fleet: &mut Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    Ok(match scenario {
        // Measured before there is a fleet.
        Scenario::Composed => Vec::new(),
        Scenario::Fanout => measure_fanout(fleet, args).await?,
        Scenario::Runs => vec![measure_runs(fleet, args).await?],
        Scenario::Latency => measure_latency(fleet, args).await?.into(),
        Scenario::Context => measure_context(fleet, args).await?,
        Scenario::Mixed => measure_mixed(fleet, args).await?.into(),
        Scenario::Sleepers => sleepers::measure(fleet, args).await?,
        Scenario::Cost => cost::measure(fleet, args).await?,
        Scenario::Join => vec![measure_join(fleet, args).await?],
        Scenario::Slow => vec![measure_slow(fleet, args).await?],
        Scenario::Compute => compute::measure(fleet, args).await?.into(),
        Scenario::Takeover => takeover::measure(fleet, args).await?.into(),
        Scenario::Resume => resume::measure(fleet, args).await?.into(),
    })
}

async fn measure_fanout(fleet: &Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    let mut measures = Vec::new();
    for branches in &args.branches {
        let mut measure = Measure::new(format!("fanout {branches}"), Unit::BranchesPerSecond);
        let client = fleet.client()?;
        for _ in 0..args.repeat {
            measure.add(rate_of(*branches, async || scenario::fanout(client, *branches).await).await?);
        }
        measures.push(measure);
    }
    Ok(measures)
}

/// Branches a second of one value: of so many branches each time, as often as it takes.
async fn rate_of(branches: u32, mut pass: impl AsyncFnMut() -> Result<Duration, Failure>) -> Result<f64, Failure> {
    let (mut took, mut passed) = (Duration::ZERO, 0.0);
    while took < VALUE_MIN {
        took += pass().await?;
        passed += f64::from(branches);
    }
    Ok(passed / took.as_secs_f64())
}

async fn measure_join(fleet: &Fleet, args: &BenchArgs) -> Result<Measure, Failure> {
    let name = format!("join of {} branches: to the next dispatch", args.giant);
    let mut measure = Measure::new(name, Unit::Milliseconds);
    for _ in 0..args.repeat {
        measure.add(scenario::join(fleet, args.giant).await?);
    }
    Ok(measure)
}

async fn measure_slow(fleet: &Fleet, args: &BenchArgs) -> Result<Measure, Failure> {
    // Of two seconds, if nothing but the branches took time.
    let each = (100 * args.workers * args.concurrency).div_ceil(scenario::SLOW_RUNS);
    let branches = each * scenario::SLOW_RUNS;
    let mut measure = Measure::new(format!("slow: {branches} branches of 20 ms"), Unit::BranchesPerSecond);
    scenario::slow(fleet, each.div_ceil(10)).await?;
    for _ in 0..args.repeat {
        let took = scenario::slow(fleet, each).await?;
        measure.add(f64::from(branches) / took.as_secs_f64());
    }
    Ok(measure)
}

async fn measure_context(fleet: &Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    let database = database::connect(&fleet.database_url, None).await?;
    let mut measures = Vec::new();
    for (name, bytes) in [("1 KiB", 1 << 10), ("4 MiB", 4 << 20)] {
        let name = format!("context of {name}, 1000 branches");
        let mut whole = Measure::new(name.clone(), Unit::BranchesPerSecond);
        let mut fork_to_join = Measure::new(format!("{name}, from fork to join"), Unit::BranchesPerSecond);
        let mut bytes_sent = Measure::new(format!("{name}: messages of a branch"), Unit::Bytes);
        for _ in 0..args.repeat {
            let before = fleet.metric("rejoin_broker_bytes_total").await?;
            let took = scenario::context(fleet, &database, bytes).await?;
            whole.add(1_000.0 / took.0.as_secs_f64());
            fork_to_join.add(1_000.0 / took.1.as_secs_f64());
            bytes_sent.add((fleet.metric("rejoin_broker_bytes_total").await? - before) / 1_000.0);
        }
        measures.extend([whole, fork_to_join, bytes_sent]);
    }
    Ok(measures)
}

/// Small runs alone and beside a giant; of those that began after the giant had ended nothing is said.
async fn measure_mixed(fleet: &Fleet, args: &BenchArgs) -> Result<[Measure; 2], Failure> {
    const SMALL_RUNS: u32 = 100;
    let client = fleet.client()?;
    let mut alone = Measure::new(
        format!("mixed: {SMALL_RUNS} small runs alone (p99)"),
        Unit::Milliseconds,
    );
    let mut beside = Measure::new(
        format!("mixed: small runs beside one of {} branches (p99)", args.giant),
        Unit::Milliseconds,
    );
    scenario::small_runs(client, 10).await?;
    for _ in 0..args.repeat {
        alone.add(report::quantile(&scenario::small_runs(client, SMALL_RUNS).await?, 0.99));
        let giant = scenario::begin_giant(client, args.giant).await?;
        let mut took = Vec::new();
        for _ in 0..SMALL_RUNS {
            let one = scenario::small_runs(client, 1).await?;
            if scenario::state_of(client, &giant).await? == "completed" {
                break;
            }
            took.extend(one);
        }
        scenario::await_end(client, &giant).await?;
        beside.add(report::quantile(&took, 0.99));
    }
    Ok([alone, beside])
}

async fn measure_runs(fleet: &Fleet, args: &BenchArgs) -> Result<Measure, Failure> {
    let mut measure = Measure::new(format!("runs {}", args.runs), Unit::RunsPerSecond);
    scenario::runs(fleet, args.runs.min(100)).await?;
    for _ in 0..args.repeat {
        let took = scenario::runs(fleet, args.runs).await?;
        measure.add(f64::from(args.runs) / took.as_secs_f64());
    }
    Ok(measure)
}

async fn measure_latency(fleet: &Fleet, args: &BenchArgs) -> Result<[Measure; 2], Failure> {
    let name = |quantile| format!("latency {} ({quantile})", args.latency_runs);
    let mut p50 = Measure::new(name("p50"), Unit::Milliseconds);
    let mut p99 = Measure::new(name("p99"), Unit::Milliseconds);
    scenario::latency(fleet.client()?, 10).await?;
    for _ in 0..args.repeat {
        let took = scenario::latency(fleet.client()?, args.latency_runs).await?;
        p50.add(report::quantile(&took, 0.50));
        p99.add(report::quantile(&took, 0.99));
    }
    Ok([p50, p99])
}

async fn measure_composed(fleet: &mut Fleet, args: &BenchArgs) -> Result<Vec<Measure>, Failure> {
    let mut pipeline = composed::Pipeline::open(fleet).await?;
    let mut measures = Vec::new();
    for (pack, most) in COMPOSED_PACKS {
        pipeline.pass(WARM_UP_BRANCHES, pack).await?;
        let sizes: BTreeSet<u32> = args.branches.iter().map(|branches| (*branches).min(most)).collect();
        for steps in sizes {
            let mut measure = Measure::new(format!("composed {steps}, {pack} a message"), Unit::BranchesPerSecond);
            for _ in 0..args.repeat {
                measure.add(rate_of(steps, async || pipeline.pass(steps, pack).await).await?);
            }
            measures.push(measure);
        }
    }
    pipeline.close().await;
    Ok(measures)
}

/// A report of what the fleet is and what was measured.
impl Fleet {
    fn report(&self, args: &BenchArgs, measures: Vec<Measure>) -> Report {
        Report {
            versions: self.versions.clone(),
            workers: args.workers,
            concurrency: args.concurrency,
            coordinators: args.coordinators,
            repeat: args.repeat,
            measures,
        }
    }
}
