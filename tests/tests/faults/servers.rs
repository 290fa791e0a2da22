//! The broker and the database killed, frozen, started again and again, full, or tired of their clients.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::fanout::Fanout;
use super::services::{services, services_say};
use super::{BRANCHES, LONG, survives};

fault!(a_fan_out_survives_a_killed_broker, async |_: &mut Fanout| {
    services(&["rabbit", "kill"])?;
    services(&["rabbit", "start"])
});

/// Starts replicas of queues from nothing, as the broker does after a kill that came right after their declaration (its directory of
/// replicas is written lazily): followers that nobody ever makes leaders.
const LOSE_LEADERS: &str = "lists:foreach(fun(Name) -> \
    {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, Name)), Id = amqqueue:get_pid(Q), \
    ra:force_delete_server(quorum_queues, Id), rabbit_quorum_queue:recover(<<\"/\">>, [Q]) end, [QUEUES]).";

fault!(
    /// RabbitMQ answers, and some queues take nothing and give nothing.
    a_fan_out_survives_event_queues_without_a_leader,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        let queues = f.fleet.event_queues()?;
        let names: Vec<String> = queues.iter().map(|name| format!("<<\"{name}\">>")).collect();
        services(&["rabbit", "ctl", "eval", &LOSE_LEADERS.replace("QUEUES", &names.join(", "))])?;
        let struck = f.progress().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let later = f.progress().await?;
        ensure!(!queues.is_empty() && later < LONG as u64 && later - struck < 1_000, "it went on: {struck}, {later}");
        Ok(())
    }
);

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
