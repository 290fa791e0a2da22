//! What replacing the processes one after the other costs: how long each stop takes, and what the records tell of the rest.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::fanout::Fanout;
use super::process::Process;

/// Longest stop: more than what draining may take.
const STOP_MAX: Duration = Duration::from_secs(40);

/// Branches: enough for a while before, the restart, and a while after it.
pub const BRANCHES: usize = 6_000;
/// Branches that are recorded before the restart begins.
pub const BEFORE: u64 = 1_000;
/// Branches that are recorded after each replacement before the next.
const BETWEEN: u64 = 300;

/// A restart under way, and what was seen of it.
pub struct Rolling {
    began_us: i64,
    stops: Vec<(String, Duration)>,
}

fn now_us() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}

impl Rolling {
    /// Begins when the fan-out is well under way.
    pub async fn begin(f: &Fanout) -> Result<Rolling> {
        f.reach(BEFORE).await?;
        Ok(Rolling {
            began_us: now_us()?,
            stops: Vec::new(),
        })
    }

    /// The one that was replaced is left behind when so many more are recorded; only then the next is.
    pub async fn settle(&self, f: &Fanout) -> Result<()> {
        f.reach(f.progress().await? + BETWEEN).await
    }

    /// SIGTERM, until the process has ended.
    pub async fn stop(&mut self, mut process: Process) -> Result<()> {
        let began = Instant::now();
        process.end(STOP_MAX).await?;
        self.stops.push((process.name.clone(), began.elapsed()));
        Ok(())
    }

    /// All are replaced: waits for the run's end, and prints what the restart cost.
    pub async fn tell(self, f: &Fanout) -> Result<()> {
        let ended_us = now_us()?;
        let view = f.fleet.wait_for_end(&f.run, Duration::from_secs(180)).await?;
        ensure!(view["state"] == "completed", "{view}");
        let recorded = f.fleet.completions(&f.run).await?;
        let times: Vec<i64> = recorded.iter().map(|(_, at)| *at).collect();
        let first = times.first().copied().unwrap_or(self.began_us);
        let last = times.last().copied().unwrap_or(ended_us);
        let phases = [(first, self.began_us), (self.began_us, ended_us), (ended_us, last)];
        let [before, during, after] = phases.map(|(from, to)| Phase::of(&times, from, to));
        ensure!(during.records > 0, "nothing was recorded while processes were replaced");
        for (name, took) in &self.stops {
            println!("{name} ended {:.2} s after SIGTERM", took.as_secs_f64());
        }
        println!("before: {before}; while processes were replaced: {during}; after: {after}");
        Ok(())
    }
}

/// A part of the run, by the times of its records.
struct Phase {
    records: usize,
    took_s: f64,
    longest_gap_s: f64,
}

impl Phase {
    fn of(times: &[i64], from: i64, to: i64) -> Phase {
        let seconds = |us: i64| Duration::from_micros(us.max(0).unsigned_abs()).as_secs_f64();
        let mut own: Vec<i64> = times.iter().copied().filter(|at| (from..=to).contains(at)).collect();
        let records = own.len();
        // A gap may begin before the phase, or last beyond it.
        own.extend([from, to]);
        own.sort_unstable();
        let gaps = own.windows(2).map(|pair| pair[1] - pair[0]);
        Phase {
            records,
            took_s: seconds(to - from),
            longest_gap_s: seconds(gaps.max().unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Phase {
            records,
            took_s,
            longest_gap_s,
        } = self;
        if *records == 0 {
            return write!(f, "none was left to record");
        }
        let rate = *records as f64 / took_s;
        write!(
            f,
            "{records} records in {took_s:.1} s, {rate:.0} a second, longest time without one {longest_gap_s:.2} s"
        )
    }
}
