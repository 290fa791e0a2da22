//! Runs of every sort without pause, while faults strike at random: when it is over, every run that was accepted has ended as
//! its sort says, and nothing is left of any.
//!
//! `REJOIN_SOAK_SECONDS` says how long faults strike, `REJOIN_SOAK_SEED` which ones and when (`scripts/faults soak`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rejoin_tests::dice::Dice;
use serde_json::json;

use super::evidence::evidence;
use super::fleet::Fleet;
use super::load::{Accepted, Load};
use super::memory::{MIB, Memory};
use super::settled::{
    broker_connections, connections_are_as_before, journals_are_sound, nobody_panicked, nothing_is_left, wait_for_all,
};
use super::sorts::{NOTED, SORTS, Sort, outcomes};
use super::story::{executions_in, fleet_of, fresh_seed};
use super::strikes::{Strike, heal};
use super::{ALONE, asked};

const SECONDS: u64 = 40;
/// From here on the strikes that take long by themselves come too.
const LONG_SECONDS: u64 = 300;
/// Between two strikes, in milliseconds: from 1,000 to this.
const PAUSE_MS_MAX: usize = 4_000;
/// However slow the machine is, so many fall.
const STRIKES_MIN: usize = 3;
/// What a process may hold at any moment. The cache of a coordinator alone may have 256 MiB; a fleet that leaks goes past it.
const MEMORY_MAX: Memory = Memory {
    coordinator: 448 * MIB,
    worker: 192 * MIB,
};

/// What was seen.
struct Report {
    seed: u64,
    accepted: Accepted,
    states: BTreeMap<String, i64>,
    strikes: BTreeMap<Strike, usize>,
    executions: usize,
    repeated: usize,
    memory_before: Memory,
    memory_peak: Memory,
    memory_after: Memory,
    took: Duration,
    settled_in: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strikes: Vec<String> = self
            .strikes
            .iter()
            .map(|(strike, n)| format!("{strike:?} {n}"))
            .collect();
        writeln!(
            f,
            "soak, seed {}: {} runs started, {} cancelled and {} too late for it; with those they called {:?}",
            self.seed,
            self.accepted.started.len(),
            self.accepted.cancelled.len(),
            self.accepted.late,
            self.states,
        )?;
        writeln!(
            f,
            "{} strikes: {}",
            self.strikes.values().sum::<usize>(),
            strikes.join(", ")
        )?;
        writeln!(
            f,
            "{} noted executions, {} of steps that were not recorded when they ran again, none after its record",
            self.executions, self.repeated
        )?;
        write!(
            f,
            "resident at the start: {}; most at any time: {}; at the end: {}; {:.0} s, all settled {:.1} s after the last strike",
            self.memory_before,
            self.memory_peak,
            self.memory_after,
            self.took.as_secs_f64(),
            self.settled_in.as_secs_f64()
        )
    }
}

/// Every strike comes once before any comes again.
struct Deck {
    all: Vec<Strike>,
    left: Vec<Strike>,
}

impl Deck {
    fn new(is_long: bool) -> Deck {
        let all = Strike::ALL.into_iter().filter(|strike| is_long || !strike.is_long());
        Deck {
            all: all.collect(),
            left: Vec::new(),
        }
    }

    fn draw(&mut self, dice: &mut Dice) -> Strike {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        self.left.swap_remove(dice.below(self.left.len()))
    }
}

/// Lets strikes fall until the time is over: how many of each kind, and the most memory that was seen before each.
async fn storm(
    fleet: &mut Fleet,
    load: &Load,
    dice: &mut Dice,
    seconds: u64,
) -> Result<(BTreeMap<Strike, usize>, Memory)> {
    let (began, mut deck) = (Instant::now(), Deck::new(seconds >= LONG_SECONDS));
    let (mut strikes, mut peak) = (BTreeMap::new(), Memory::default());
    loop {
        let pause = u64::try_from(1_000 + dice.below(PAUSE_MS_MAX - 1_000))?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        peak = peak.max(Memory::peak(fleet)?);
        ensure!(!load.has_failed(), "the load has ended by itself");
        let struck: usize = strikes.values().sum();
        if began.elapsed().as_secs() >= seconds && struck >= STRIKES_MIN {
            return Ok((strikes, peak));
        }
        let strike = deck.draw(dice);
        println!("{:4} s: {strike:?}", began.elapsed().as_secs());
        strike.fall(fleet, dice).await.with_context(|| format!("{strike:?}"))?;
        *strikes.entry(strike).or_default() += 1;
    }
}

/// Of the ids in $1: how many are there and have ended, and how many were cancelled.
const FATE: &str = "SELECT count(r.finished_at), count(*) FILTER (WHERE r.status = 'cancelled') \
    FROM unnest($1::text[]) AS given JOIN runs r ON r.id = given::uuid";
/// Runs that the load started, by their keys, and children that were cancelled though their parent was not.
const STRAY: &str = "SELECT count(*) FILTER (WHERE r.idempotency_key LIKE 'soak-%'), \
    count(*) FILTER (WHERE r.status = 'cancelled' AND p.status <> 'cancelled') \
    FROM runs r LEFT JOIN runs p ON p.id = r.parent";

async fn fate(fleet: &Fleet, ids: &[&str]) -> Result<(usize, usize)> {
    let rows = fleet.database.query(FATE, &[&ids]).await?;
    let row = rows.first().context("a count")?;
    Ok((row.get::<_, i64>(0).try_into()?, row.get::<_, i64>(1).try_into()?))
}

/// Every run that was accepted is there once and has ended, and those are cancelled whose cancel was accepted, and no others.
async fn nothing_accepted_is_lost(fleet: &Fleet, accepted: &Accepted) -> Result<()> {
    let ids: HashSet<&str> = accepted.started.iter().map(String::as_str).collect();
    ensure!(ids.len() == accepted.started.len(), "two starts were given one run");
    let cancelled: Vec<&str> = accepted.cancelled.iter().map(String::as_str).collect();
    let all: Vec<&str> = ids.into_iter().collect();
    let (ended, stopped) = fate(fleet, &all).await?;
    ensure!(
        (ended, stopped) == (all.len(), cancelled.len()),
        "{ended} of {} runs have ended, {stopped} are cancelled of {}",
        all.len(),
        cancelled.len()
    );
    let (_, stopped) = fate(fleet, &cancelled).await?;
    ensure!(
        stopped == cancelled.len(),
        "{stopped} of {} whose cancel was accepted are cancelled",
        cancelled.len()
    );
    let rows = fleet.database.query(STRAY, &[]).await?;
    let row = rows.first().context("a count")?;
    let (keyed, orphans): (i64, i64) = (row.get(0), row.get(1));
    ensure!(
        usize::try_from(keyed)? == accepted.started.len(),
        "{keyed} runs have a key, {} were started",
        accepted.started.len()
    );
    ensure!(orphans == 0, "{orphans} children were cancelled without their parents");
    Ok(())
}

const RECORDED: &str = "SELECT c.run_id::text, c.path, (extract(epoch FROM c.recorded_at) * 1000000)::bigint \
    FROM rejoin_completions c JOIN runs r ON r.id = c.run_id WHERE r.workflow = $1 AND c.outcome = 'ok'";

/// No step began after it was recorded as completed: how many began, and how many of them again.
async fn none_began_after_its_record(fleet: &Fleet, sort: &Sort) -> Result<(usize, usize)> {
    let mut recorded: HashMap<(String, String), i64> = HashMap::new();
    for row in fleet.database.query(RECORDED, &[&sort.workflow]).await? {
        recorded.insert((row.get(0), row.get(1)), row.get(2));
    }
    let executions = executions_in(fleet)?;
    ensure!(!recorded.is_empty() && !executions.is_empty(), "nothing was noted");
    let mut distinct = HashSet::new();
    for execution in &executions {
        let step = (execution.run.clone(), execution.path.clone());
        if let Some(at) = recorded.get(&step) {
            ensure!(
                execution.at <= *at,
                "{execution:?} began {} µs after its record; logs in {:?}",
                execution.at - at,
                fleet.keep_logs()
            );
        }
        distinct.insert((step, execution.attempt));
    }
    Ok((executions.len(), executions.len() - distinct.len()))
}

/// One run of each sort, so that what every process needs is in its memory.
async fn warm_up(fleet: &Fleet, sorts: &[Sort]) -> Result<()> {
    for sort in sorts {
        let run = fleet.start_run(sort.workflow, json!({})).await?;
        fleet.wait_for_end(&run, Duration::from_secs(60)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_under_load_survives_faults_at_random() -> Result<()> {
    let _alone = ALONE.lock().await;
    let seconds = asked("REJOIN_SOAK_SECONDS", SECONDS)?;
    let seed = asked("REJOIN_SOAK_SEED", fresh_seed())?;
    println!("soak: {seconds} s of faults, REJOIN_SOAK_SEED={seed}");
    let mut sorts = SORTS.to_vec();
    sorts.push(NOTED);
    let documents: Vec<&str> = sorts.iter().map(|sort| sort.document).collect();
    let mut fleet = fleet_of(2, 3, &documents).await?;
    warm_up(&fleet, &sorts).await?;
    let (began, memory_before, connections) = (Instant::now(), Memory::resident(&fleet)?, broker_connections()?);
    let load = Load::begin(&fleet, sorts.clone(), format!("soak-{seed}"));
    let struck = storm(&mut fleet, &load, &mut Dice::of(seed, "soak"), seconds).await;
    if struck.is_err() {
        heal()?;
    }
    let (strikes, peak) =
        struck.with_context(|| format!("seed {seed}; logs in {:?}\n{}", fleet.keep_logs(), evidence(&fleet)))?;
    let calm = Instant::now();
    let accepted = load.end().await.context("the load")?;
    wait_for_all(&fleet).await?;
    nothing_is_left(&fleet).await?;
    let settled_in = calm.elapsed();
    nothing_accepted_is_lost(&fleet, &accepted).await?;
    journals_are_sound(&fleet).await?;
    let (executions, repeated) = none_began_after_its_record(&fleet, &NOTED).await?;
    let report = Report {
        seed,
        states: outcomes(&fleet, &sorts).await?,
        accepted,
        executions,
        repeated,
        memory_before,
        memory_peak: peak.max(Memory::peak(&fleet)?),
        memory_after: Memory::resident(&fleet)?,
        took: began.elapsed(),
        settled_in,
        strikes,
    };
    println!("{report}");
    connections_are_as_before(&fleet, connections).await?;
    nobody_panicked(&mut fleet)?;
    ensure!(!report.accepted.cancelled.is_empty(), "all cancels were too late");
    report.memory_peak.is_below(MEMORY_MAX, "the memory")?;
    fleet.end().await
}
