//! Faults on real processes and servers: the run completes by itself, and no branch that was recorded runs again.
//!
//! One round each by default, three of those in [`MOST_TELLING`]; `REJOIN_FAULT_ROUNDS` asks for more (`scripts/faults`). The
//! tests of this binary run one after the other: they stop the servers that all share.

/// The test of a fault. Without more, it strikes the fan-out of [`BRANCHES`].
macro_rules! fault {
    ($(#[$doc:meta])* $name:ident, $strike:expr) => {
        fault!($(#[$doc])* $name, BRANCHES, armed with || Ok(()), async |f: &mut Fanout, ()| $strike(f).await);
    };
    ($(#[$doc:meta])* $name:ident, $branches:expr, armed with $arm:expr, $strike:expr) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            survives(stringify!($name), $branches, $arm, $strike).await
        }
    };
}

mod alerts;
mod api;
mod backup;
mod claims;
mod database;
mod evidence;
mod fanout;
mod fleet;
mod forks;
mod garbage;
mod language;
mod links;
mod load;
mod memory;
mod mixed;
mod overload;
mod process;
mod processes;
mod proxy;
mod races;
mod rolling;
mod routes;
mod servers;
mod services;
mod settled;
mod soak;
mod sorts;
mod story;
mod strikes;
mod surroundings;

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use fanout::Fanout;
use services::{Blow, services};
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

/// Branches of the fan-out.
const BRANCHES: usize = 500;
/// More than the workers take beforehand, so that some wait in the queues.
const MANY: usize = 3000;

/// The number in a variable of the environment, or else `usual`.
fn asked<T: FromStr>(variable: &str, usual: T) -> Result<T>
where
    T::Err: Error + Send + Sync + 'static,
{
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is {text:?}")),
        Err(_) => Ok(usual),
    }
}

/// Those that say most of what is promised.
const MOST_TELLING: [&str; 10] = [
    "a_fan_out_survives_the_death_of_one_worker",
    "a_fan_out_survives_the_death_of_all_workers",
    "a_fan_out_survives_the_death_of_its_owner",
    "a_fan_out_survives_the_death_of_both_coordinators",
    "a_fan_out_survives_all_queues_purged",
    "a_fan_out_survives_all_queues_deleted",
    "a_fan_out_survives_a_restart_of_the_broker",
    "a_fan_out_survives_an_immediate_stop_of_the_database",
    "a_coordinator_frozen_past_its_lease_writes_nothing_after_the_takeover",
    "a_fan_out_survives_commits_whose_answer_is_lost",
];

/// How often a fault strikes.
fn rounds(name: &str) -> u64 {
    let usual = if MOST_TELLING.contains(&name) { 3 } else { 1 };
    asked("REJOIN_FAULT_ROUNDS", usual).expect("a number")
}

/// Branches of the fan-out where the fault takes seconds to come.
const LONG: usize = 6000;

/// Runs the fan-out, strikes when 100 branches are recorded, and checks what has to hold.
async fn survives<A, F>(name: &str, branches: usize, arm: impl Fn() -> Result<A>, strike: F) -> Result<()>
where
    F: AsyncFn(&mut Fanout, A) -> Result<()>,
{
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let armed = arm()?;
        let mut fanout = Fanout::start(branches).await?;
        fanout.reach(100).await?;
        strike(&mut fanout, armed).await?;
        let report = fanout.check().await?;
        println!("{name}, round {round}: {report}");
        fanout.end().await?;
    }
    Ok(())
}

fault!(an_undisturbed_fan_out_completes, async |_: &mut Fanout| Ok(()));

fault!(a_fan_out_survives_the_death_of_one_worker, async |f: &mut Fanout| f
    .fleet
    .workers[0]
    .kill());

fault!(a_fan_out_survives_the_death_of_all_workers, async |f: &mut Fanout| {
    f.fleet.workers.iter_mut().try_for_each(process::Process::kill)?;
    f.fleet.workers.clear();
    (0..3).try_for_each(|_| f.fleet.add_worker())
});

fault!(a_fan_out_survives_the_death_of_its_owner, async |f: &mut Fanout| {
    let owner = f.fleet.owner_of(&f.run).await?;
    f.fleet.coordinators[owner].0.kill()?;
    f.fleet.coordinators.remove(owner);
    Ok(())
});

fault!(
    a_fan_out_survives_the_death_of_both_coordinators,
    async |f: &mut Fanout| {
        f.fleet
            .coordinators
            .iter_mut()
            .try_for_each(|(process, _)| process.kill())?;
        let port = f.fleet.coordinators[0].1;
        f.fleet.coordinators.clear();
        f.fleet.add_coordinator(Some(port)).map(|_| ())
    }
);

fault!(
    a_fan_out_survives_all_queues_purged,
    MANY,
    armed with || Blow::arm("purge-all"),
    async |_: &mut Fanout, blow: Blow| blow.strike()
);

fault!(
    a_fan_out_survives_all_queues_deleted,
    MANY,
    armed with || Blow::arm("delete-all"),
    async |_: &mut Fanout, blow: Blow| blow.strike()
);

fault!(a_fan_out_survives_a_restart_of_the_broker, async |_: &mut Fanout| {
    services(&["rabbit", "stop"])?;
    services(&["rabbit", "start"])
});

fault!(
    a_fan_out_survives_an_immediate_stop_of_the_database,
    async |_: &mut Fanout| {
        services(&["pg", "stop-immediate"])?;
        services(&["pg", "start"])
    }
);

fault!(
    /// Frozen past its lease and thawed: the other owns its partitions, and nothing that it still believes is written.
    a_coordinator_frozen_past_its_lease_writes_nothing_after_the_takeover,
    async |f: &mut Fanout| {
        let owner = f.fleet.owner_of(&f.run).await?;
        let (frozen, port) = f.fleet.coordinators.remove(owner);
        frozen.signal("STOP")?;
        let other = f.fleet.coordinators[0].0.name.clone();
        f.wait_for_owner(&other, Duration::from_secs(60)).await?;
        frozen.signal("CONT")?;
        f.fleet.coordinators.push((frozen, port));
        Ok(())
    }
);
