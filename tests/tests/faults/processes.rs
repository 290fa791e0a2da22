//! Processes of the fleet frozen, and replaced one after the other while the run goes on.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::fanout::Fanout;
use super::{BRANCHES, LONG, survives};

fault!(
    /// Longer than a worker may be silent: what it held goes to the others, and it writes nothing when it wakes.
    a_fan_out_survives_a_worker_frozen_until_it_is_given_up,
    async |f: &mut Fanout| {
        f.fleet.workers[0].signal("STOP")?;
        tokio::time::sleep(Duration::from_secs(35)).await;
        f.fleet.workers[0].signal("CONT")
    }
);

fault!(
    a_fan_out_survives_a_worker_frozen_for_a_moment,
    async |f: &mut Fanout| {
        f.fleet.workers[0].signal("STOP")?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        f.fleet.workers[0].signal("CONT")
    }
);

fault!(
    /// SIGTERM: each hands over, and a new one takes its place.
    a_fan_out_survives_a_rolling_restart_of_the_coordinators,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        for _ in 0..2 {
            let (mut old, port) = f.fleet.coordinators.remove(0);
            old.end(Duration::from_secs(40)).await?;
            f.fleet.add_coordinator(Some(port))?;
            f.fleet.is_ready(port).await?;
        }
        Ok(())
    }
);

fault!(
    /// SIGTERM: what runs is finished, the rest goes back; nothing is executed twice.
    a_fan_out_survives_a_rolling_restart_of_the_workers,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        for _ in 0..3 {
            f.fleet.add_worker()?;
            f.fleet.workers.remove(0).end(Duration::from_secs(40)).await?;
        }
        let view = f.fleet.wait_for_end(&f.run, Duration::from_secs(120)).await?;
        ensure!(view["state"] == "completed", "{view}");
        let executions = f.executions()?.len();
        ensure!(executions == LONG, "{executions} executions of {LONG} branches");
        Ok(())
    }
);

fault!(
    /// Kills one worker after the other, each replaced.
    a_fan_out_survives_workers_that_die_again_and_again,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        for _ in 0..4 {
            f.fleet.workers.remove(0).kill()?;
            f.fleet.add_worker()?;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        Ok(())
    }
);
