//! Schedules under the faults of the shell: every coordinator attends to them, and dies, stands still, loses answers; at times none
//! lives for minutes, and the clock of the database jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_coordinator::services::schedules::spec::{Overlap, Spec};
use rejoin_coordinator::services::schedules::{change, read};
use rejoin_coordinator::store::ScheduleRow;
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;

use super::shell::{Shell, in_simulated_time};
use super::shell_fires::{Count, Plan};
use super::shell_process::Planted;
use crate::dice::Dice;
use crate::generate::{Case, Profile};

/// Turns with faults.
const TURNS: usize = 60;
/// Simulated time within which a healed world must have started what was taken, and ended all runs.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Its runs last from a second up to `input.length` times three.
const TICKED: &str = "workflow: generated
steps:
  - { step: first, uses: calm }
  - { sleep: pause, for: \"= string((run.started_at.getSeconds() % 4) * input.length) + 's'\" }
  - { step: last, uses: calm }
";

/// Lets schedules of `seed` tick through faults; returns what became of the ticks.
///
/// # Errors
/// The first thing that a schedule did and had not to, or the other way round.
pub fn simulate_schedules(seed: u64, planted: Option<Planted>) -> Result<Count, String> {
    let case = Case::of(seed, TICKED.to_owned(), Vec::new(), Profile::Resumable);
    in_simulated_time(live(&case, planted)).map_err(|why| format!("seed {seed}: {why}"))
}

async fn live(case: &Case, planted: Option<Planted>) -> Result<Count, String> {
    let mut shell = Shell::new(case, planted, true).await;
    let plans = make_all(&shell, &mut Dice::of(case.seed, "schedules")).await?;
    let told =
        |shell: &Shell<'_>, why: String| format!("{why}\n--- {plans:#?}\n--- history\n{}", shell.database.history());
    for _ in 0..TURNS {
        shell.harm();
        pass_time(&shell).await;
        shell.replace_the_dead();
    }
    shell.heal();
    let mut count = Count::default();
    for plan in &plans {
        let until = stop(&shell, plan).await?;
        come_to_rest(&mut shell, plan).await.map_err(|why| told(&shell, why))?;
        let of_plan = shell.database.fires.check(plan, until);
        let of_plan = of_plan.map_err(|why| told(&shell, why))?;
        count.fired += of_plan.fired;
        count.passed += of_plan.passed;
    }
    match shell.database.broken.lock().expect("the reports").first() {
        Some(broken) => Err(told(&shell, broken.clone())),
        None => Ok(count),
    }
}

/// A moment, or the minutes in which no coordinator lives; and the clock of the database may jump meanwhile.
async fn pass_time(shell: &Shell<'_>) {
    let below = |n: usize| u64::try_from(shell.dice.below(n)).unwrap_or(0);
    match below(30) {
        0 => {
            shell.black_out();
            tokio::time::sleep(Duration::from_secs(10 + below(240))).await;
        }
        1 => shell.database.jump(i64::try_from(below(90_000)).unwrap_or(0)),
        2 => shell.database.jump(-i64::try_from(below(20_000)).unwrap_or(0)),
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(200 + below(3_000))).await;
}

async fn make_all(shell: &Shell<'_>, dice: &mut Dice) -> Result<Vec<Plan>, String> {
    let mut plans = Vec::new();
    let policies = [Overlap::Skip, Overlap::Queue, Overlap::Allow, Overlap::CancelPrevious];
    for n in 0..1 + dice.below(3) {
        let seconds = |n: usize| Duration::from_secs(u64::try_from(n).unwrap_or(0));
        let plan = Plan {
            name: format!("s{n}"),
            every: seconds(8 + dice.below(25)),
            overlap: *dice.pick(&policies),
            catch_up: *dice.pick(&[0, 120, 7_200].map(seconds)),
            anchor_at: shell.database.now(),
        };
        let length = i64::try_from(dice.below(8)).unwrap_or(0);
        make(shell, &plan, length).await?;
        plans.push(plan);
    }
    Ok(plans)
}

async fn make(shell: &Shell<'_>, plan: &Plan, length: i64) -> Result<(), String> {
    let spec = Spec {
        workflow: "generated".to_owned(),
        version: None,
        input: Json::from_entries([("length", Json::Int(length))]),
        cron: None,
        every: Some(format!("{}s", plan.every.as_secs())),
        timezone: "UTC".to_owned(),
        overlap: plan.overlap,
        catch_up: format!("{}s", plan.catch_up.as_secs()),
        tags: BTreeMap::new(),
    };
    let row = ScheduleRow {
        namespace: Namespace::default_name(),
        name: plan.name.clone(),
        spec: spec.to_bytes().into(),
        revision: 0,
        is_paused: false,
        anchor_at: plan.anchor_at,
        next_at: None,
        pending: Vec::new(),
        caught_up: 0,
        last_run: None,
        open_runs: Vec::new(),
        failures: 0,
        last_error: None,
        wake_at: None,
    };
    let mut progress = read(row).map_err(|e| e.to_string())?;
    progress.aim(plan.anchor_at);
    progress.sleep(None);
    let added = shell.database.store.add_schedule(&progress.row).await;
    added.map(drop).map_err(|e| e.to_string())
}

/// No more ticks; those that are taken go on. Returns the first that nobody has taken.
async fn stop(shell: &Shell<'_>, plan: &Plan) -> Result<Timestamp, String> {
    let namespace = Namespace::default_name();
    let mut until = None;
    let changed = change(&*shell.database.store, &namespace, &plan.name, |progress| {
        until = progress.row.next_at.take();
        progress.row.wake_at
    });
    changed.await.map_err(|e| e.to_string())?;
    until.ok_or_else(|| format!("{} ticks no more", plan.name))
}

async fn come_to_rest(shell: &mut Shell<'_>, plan: &Plan) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    loop {
        let row = shell
            .database
            .store
            .schedule(&Namespace::default_name(), &plan.name)
            .await;
        let row = row.map_err(|e| e.to_string())?.ok_or("the schedule is gone")?;
        if row.pending.is_empty() && row.open_runs.is_empty() {
            return Ok(());
        }
        if waited > PATIENCE {
            return Err(format!("the schedule does not come to rest: {row:?}"));
        }
        let pause = Duration::from_secs(5);
        waited += pause;
        tokio::time::sleep(pause).await;
        shell.replace_the_dead();
    }
}
