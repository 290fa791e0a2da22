//! Alerts about what is not there: coordinators, partitions, the broker, workers, connections, the rest of an upgrade.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::super::services::services;
use super::watch::{Harm, Watch, fleet, sleepers};

/// Longest run of these.
const RUN_MAX: Duration = Duration::from_secs(180);
/// Branches of a load that lasts for longer than its test.
const ENDLESS: usize = 50_000;

live!(
    /// Without it the others would prove little: rules so quick might fire at anything.
    no_alert_fires_on_a_healthy_fleet_under_load {
        let mut watch = Watch::start(2, 2).await?;
        watch.is_silent("RejoinDown").await?;
        let began = Instant::now();
        let run = watch.run(&sleepers("load", "default", 3_000, 50)).await?;
        let view = watch.fleet.wait_for_end(&run, RUN_MAX).await?;
        ensure!(view["state"] == "completed", "{view}");
        let fired = watch.prometheus.fired_within(began.elapsed().as_secs()).await?;
        ensure!(fired.is_empty(), "{fired:?}");
        watch.end().await
    }
);

live!(
    down_fires_when_no_coordinator_answers {
        let mut watch = Watch::start(2, 0).await?;
        watch.is_silent("RejoinDown").await?;
        let port = watch.fleet.coordinators[0].1;
        watch.fleet.coordinators.iter_mut().try_for_each(|(process, _)| process.kill())?;
        watch.fires("RejoinDown").await?;
        watch.fleet.coordinators.clear();
        watch.fleet.add_coordinator(Some(port))?;
        watch.falls_silent("RejoinDown").await?;
        watch.end().await
    }
);

/// Makes the fleet's database refuse writes, as a fail-over may, or take them again.
fn set_read_only(watch: &Watch, is_read_only: bool) -> Result<()> {
    let database = watch.fleet.database.url.rsplit('/').next().unwrap_or_default();
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = {is_read_only}");
    // It counts for new connections.
    let part = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    services(&["pg", "psql", "-q", "-o", "/dev/null", "-c", &set, "-c", &part])
}

live!(
    partition_without_owner_fires_while_the_database_refuses_writes {
        let mut watch = Watch::start(2, 0).await?;
        watch.is_silent("RejoinPartitionWithoutOwner").await?;
        set_read_only(&watch, true)?;
        watch.fires("RejoinPartitionWithoutOwner").await?;
        set_read_only(&watch, false)?;
        watch.falls_silent("RejoinPartitionWithoutOwner").await?;
        watch.end().await
    }
);

async fn broker_is_away(harm: &[&str], heal: &'static [&'static str]) -> Result<()> {
    let mut watch = Watch::start(2, 1).await?;
    let run = watch.run(&sleepers("load", "default", ENDLESS, 50)).await?;
    watch.fleet.wait_for_progress(&run, 50, RUN_MAX).await?;
    watch.is_silent("RejoinBrokerAway").await?;
    let harm = Harm::done(harm, heal)?;
    watch.fires("RejoinBrokerAway").await?;
    harm.heal()?;
    watch.falls_silent("RejoinBrokerAway").await?;
    watch.end().await
}

live!(
    broker_away_fires_while_the_broker_is_frozen {
        broker_is_away(&["rabbit", "freeze"], &["rabbit", "thaw"]).await
    }
);

live!(
    broker_away_fires_while_the_broker_has_a_memory_alarm {
        broker_is_away(&["rabbit", "alarm-on"], &["rabbit", "alarm-off"]).await
    }
);

live!(
    no_worker_for_handler_fires_when_the_only_worker_that_has_it_is_stopped {
        let mut watch = Watch::start(2, 1).await?;
        watch.fleet.write("handlers.yaml", "queue: default\nhandlers: { act: { exec: [cat] } }\n")?;
        watch.fleet.add_worker()?;
        watch.workers_are_known().await?;
        let document = json!({ "workflow": "acts", "steps": [{ "step": "act" }] });
        let run = watch.run(&document).await?;
        let view = watch.fleet.wait_for_end(&run, RUN_MAX).await?;
        ensure!(view["state"] == "completed", "{view}");
        watch.is_silent("RejoinNoWorkerForHandler").await?;
        watch.fleet.workers.remove(1).end(RUN_MAX).await?;
        let run = watch.run(&document).await?;
        watch.fires("RejoinNoWorkerForHandler").await?;
        watch.fleet.add_worker()?;
        watch.fleet.wait_for_end(&run, RUN_MAX).await?;
        watch.falls_silent("RejoinNoWorkerForHandler").await?;
        watch.end().await
    }
);

live!(
    queue_not_served_fires_when_the_only_worker_of_a_queue_is_killed {
        let mut watch = Watch::start(2, 1).await?;
        watch.add_workers("gpu", 8, 1).await?;
        let run = watch.run(&sleepers("drawn", "gpu", ENDLESS, 50)).await?;
        watch.fleet.wait_for_progress(&run, 50, RUN_MAX).await?;
        watch.is_silent("RejoinQueueNotServed").await?;
        watch.fleet.workers.remove(1).kill()?;
        watch.fires("RejoinQueueNotServed").await?;
        watch.fleet.add_worker()?;
        watch.falls_silent("RejoinQueueNotServed").await?;
        watch.end().await
    }
);

live!(
    /// A coordinator that has recorded no step yet, as after a restart: its counters of steps are not there, and not 0.
    runs_stuck_fires_when_a_run_goes_on_with_nobody_and_no_step_was_recorded_yet {
        let mut watch = Watch::start(1, 0).await?;
        watch.is_silent("RejoinRunsStuck").await?;
        let run = watch.run(&sleepers("idle", "default", 3, 10)).await?;
        watch.fires("RejoinRunsStuck").await?;
        watch.add_workers("default", 8, 1).await?;
        watch.fleet.wait_for_end(&run, RUN_MAX).await?;
        watch.falls_silent("RejoinRunsStuck").await?;
        watch.end().await
    }
);

live!(
    store_pool_exhausted_fires_while_the_database_is_frozen_and_clients_go_on_asking {
        let (alone, mut fleet) = fleet().await?;
        fleet.settings.push(("REJOIN_DATABASE__POOL_MAX", "2".to_owned()));
        let mut watch = Watch::over((alone, fleet), 1).await?;
        let port = watch.fleet.coordinators[0].1;
        let _clients = clients(format!("http://127.0.0.1:{port}/v1/runs"));
        watch.is_silent("RejoinStorePoolExhausted").await?;
        let harm = Harm::done(&["pg", "freeze"], &["pg", "thaw"])?;
        watch.fires("RejoinStorePoolExhausted").await?;
        harm.heal()?;
        watch.falls_silent("RejoinStorePoolExhausted").await?;
        watch.end().await
    }
);

/// A dozen clients that ask this again as soon as they are answered, and have thought a little.
fn clients(url: String) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut asking = JoinSet::new();
        for _ in 0..12 {
            let url = url.clone();
            asking.spawn(async move {
                let builder = reqwest::Client::builder().tls_backend_preconfigured(rejoin_shared::tls::of_nobody());
                let client = builder.build().expect("a client without TLS");
                loop {
                    // Whatever it answers: it was asked.
                    client.get(&url).send().await.ok();
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        asking.join_all().await;
    }))
}

/// A copy of the program with another version in it: what a build of another release would show.
fn other_build(program: &Path, copy: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let last = version.chars().next_back().context("a version")?;
    let other = format!(
        "{}{}",
        &version[..version.len() - 1],
        if last == '9' { '8' } else { '9' }
    );
    let replace = format!("s/{}/{other}/g", version.replace('.', "[.]"));
    let status = Command::new("sed")
        .env("LC_ALL", "C")
        .arg(replace)
        .arg(program)
        .stdout(std::fs::File::create(copy)?)
        .status()?;
    ensure!(status.success(), "sed: {status}");
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

live!(
    versions_apart_fires_while_two_builds_run_side_by_side {
        let mut watch = Watch::start(1, 0).await?;
        let copy = watch.fleet.dir.path().join("rejoin-other");
        other_build(&watch.fleet.program, &copy)?;
        watch.is_silent("RejoinVersionsApart").await?;
        watch.fleet.program = copy;
        watch.fleet.add_coordinator(Some(watch.spare))?;
        watch.fires("RejoinVersionsApart").await?;
        watch.fleet.coordinators.remove(0).0.end(RUN_MAX).await?;
        watch.falls_silent("RejoinVersionsApart").await?;
        let (status, ready) = watch.fleet.ask(reqwest::Method::GET, "/readyz?verbose=true", None).await.context("no answer")?;
        ensure!(status == 200 && ready["ready"] == Value::Bool(true), "{ready}");
        watch.end().await
    }
);

/// Makes the records of a run those of a later version, or of this one again.
async fn change_format(watch: &Watch, run: &str, by: i32) -> Result<()> {
    let change = "UPDATE journal SET format = format + $2::int WHERE run_id = $1::text::uuid";
    watch.fleet.database.query(change, &[&run, &by]).await?;
    Ok(())
}

live!(
    runs_left_fires_when_a_run_comes_to_a_coordinator_that_is_older_than_its_records {
        let mut watch = Watch::start(1, 1).await?;
        let run = watch.run(&sleepers("load", "default", 5_000, 100)).await?;
        watch.fleet.wait_for_progress(&run, 10, RUN_MAX).await?;
        watch.is_silent("RejoinRunsLeft").await?;
        let port = watch.fleet.coordinators[0].1;
        for (by, fires) in [(1, true), (-1, false)] {
            watch.fleet.coordinators[0].0.kill()?;
            watch.fleet.coordinators.clear();
            change_format(&watch, &run, by).await?;
            watch.fleet.add_coordinator(Some(port))?;
            match fires {
                true => watch.fires("RejoinRunsLeft").await?,
                false => watch.falls_silent("RejoinRunsLeft").await?,
            }
        }
        watch.fleet.is_ready(port).await?;
        watch.cancel(&run).await?;
        watch.end().await
    }
);
