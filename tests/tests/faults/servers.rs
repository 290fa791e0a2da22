//! The broker and the database killed, frozen, started again and again, full, or tired of their clients.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::fanout::Fanout;
use super::fleet::{services, services_say};
use super::{BRANCHES, LONG, survives};

fault!(a_fan_out_survives_a_killed_broker, async |_: &mut Fanout| {
    services(&["rabbit", "kill"])?;
    services(&["rabbit", "start"])
});

fault!(a_fan_out_survives_a_frozen_broker, async |_: &mut Fanout| {
    services(&["rabbit", "freeze"])?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    services(&["rabbit", "thaw"])
});

fault!(
    a_fan_out_survives_all_connections_closed,
    LONG,
    armed with || Ok(()),
    async |_: &mut Fanout, ()| services(&["rabbit", "close-all"])
);

fault!(
    /// RabbitMQ blocks publishers while it has an alarm.
    a_fan_out_survives_a_memory_alarm,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        services(&["rabbit", "alarm-on"])?;
        let before = f.progress().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let during = f.progress().await?;
        services(&["rabbit", "alarm-off"])?;
        ensure!(during < LONG as u64, "it ended in spite of the alarm, which did not strike: {before}, {during}");
        Ok(())
    }
);

fault!(a_fan_out_survives_a_killed_database, async |_: &mut Fanout| {
    services(&["pg", "kill"])?;
    services(&["pg", "start"])
});

fault!(a_fan_out_survives_a_frozen_database, async |_: &mut Fanout| {
    services(&["pg", "freeze"])?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    services(&["pg", "thaw"])
});

fault!(
    a_fan_out_survives_a_database_that_stops_again_and_again,
    async |_: &mut Fanout| {
        for _ in 0..3 {
            services(&["pg", "stop-immediate"])?;
            services(&["pg", "start"])?;
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        Ok(())
    }
);

fault!(a_fan_out_survives_terminated_backends, async |_: &mut Fanout| {
    let mut hit = 0;
    for _ in 0..3 {
        let said = services_say(&[
            "pg",
            "psql",
            "-At",
            "-c",
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname like 'rejoin_faults%'",
        ])?;
        hit += said.trim().parse::<u32>()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{hit} backends terminated");
    ensure!(hit > 0, "nobody was connected: the fault did not strike");
    Ok(())
});
