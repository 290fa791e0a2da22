//! Processes of the fleet frozen, and replaced one after the other while the run goes on.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::fanout::Fanout;
use super::rolling::{self, Rolling};
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
    rolling::BRANCHES,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        let mut rolling = Rolling::begin(f).await?;
        for _ in 0..2 {
            let (old, port) = f.fleet.coordinators.remove(0);
            rolling.stop(old).await?;
            f.fleet.add_coordinator(Some(port))?;
            f.fleet.is_ready(port).await?;
            rolling.settle(f).await?;
        }
        rolling.tell(f).await
    }
);

fault!(
    /// SIGTERM: what runs is finished, the rest goes back; nothing is executed twice.
    a_fan_out_survives_a_rolling_restart_of_the_workers,
    rolling::BRANCHES,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        let mut rolling = Rolling::begin(f).await?;
        for _ in 0..3 {
            f.fleet.add_worker()?;
            rolling.stop(f.fleet.workers.remove(0)).await?;
            rolling.settle(f).await?;
        }
        rolling.tell(f).await?;
        let (executions, branches) = (f.executions()?.len(), rolling::BRANCHES);
        ensure!(executions == branches, "{executions} executions of {branches} branches");
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
