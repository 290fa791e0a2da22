//! Steps that compute: a stream handler in Python, beside the same program fed by the bench itself.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::fleet::Fleet;
use super::report::{Measure, Unit};
use super::scenario;
use crate::args::BenchArgs;
use crate::exit::Failure;

/// Computes for 5 ms of its own processor time a line.
pub const PROGRAM: &str = "import sys, time
for _ in sys.stdin:
    until = time.thread_time() + 0.005
    while time.thread_time() < until:
        pass
    print('null', flush=True)
";
/// Its file, in the bench's folder.
pub const FILE: &str = "compute.py";
/// As handlers files say it.
pub const HANDLERS: &str = "handlers: { bench.compute: { exec: [python3, compute.py], mode: stream } }\n";
/// Steps of one value, at least.
const STEPS: u32 = 2_000;

/// Steps a second of as many processes as there are slots, each given the next line as soon as it has answered one; and by workers.
pub async fn measure(fleet: &Fleet, args: &BenchArgs) -> Result<[Measure; 2], Failure> {
    let slots = args.workers * args.concurrency;
    let each = STEPS.div_ceil(slots);
    let mut alone = Measure::new(format!("compute: {slots} processes alone"), Unit::StepsPerSecond);
    let mut by_workers = Measure::new(format!("compute: {slots} slots of workers"), Unit::StepsPerSecond);
    scenario::compute(fleet.client()?, 10 * slots).await?;
    for _ in 0..args.repeat {
        let rate = |took: Duration| f64::from(each * slots) / took.as_secs_f64();
        alone.add(rate(by_processes(fleet, slots, each).await?));
        by_workers.add(rate(scenario::compute(fleet.client()?, each * slots).await?));
    }
    Ok([alone, by_workers])
}

async fn by_processes(fleet: &Fleet, count: u32, each: u32) -> Result<Duration, Failure> {
    let mut processes = try_join_all((0..count).map(|_| Computer::start(fleet))).await?;
    // The first line of each is not counted: it waits for Python to start.
    try_join_all(processes.iter_mut().map(|process| process.answer(1))).await?;
    let began = Instant::now();
    try_join_all(processes.iter_mut().map(|process| process.answer(each))).await?;
    Ok(began.elapsed())
}

struct Computer {
    input: tokio::process::ChildStdin,
    output: BufReader<tokio::process::ChildStdout>,
    _process: tokio::process::Child,
}

impl Computer {
    async fn start(fleet: &Fleet) -> Result<Computer, Failure> {
        let mut command = Command::new("python3");
        command.arg(FILE).current_dir(fleet.folder()).kill_on_drop(true);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|e| Failure::general(format!("python3: {e}")))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (input, output) = pipes.ok_or_else(|| Failure::general("python3 has no pipes"))?;
        Ok(Computer {
            input,
            output: BufReader::new(output),
            _process: process,
        })
    }

    async fn answer(&mut self, lines: u32) -> Result<(), Failure> {
        let broken = |e: std::io::Error| Failure::general(format!("python3: {e}"));
        let mut answer = String::new();
        for _ in 0..lines {
            self.input.write_all(b"{}\n").await.map_err(broken)?;
            answer.clear();
            if self.output.read_line(&mut answer).await.map_err(broken)? == 0 {
                return Err(Failure::general("python3 ended"));
            }
        }
        Ok(())
    }
}
