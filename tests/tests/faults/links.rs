//! The connections to the broker and to the database, through a proxy that delays, holds, cuts and resets them.

use std::time::Duration;

use anyhow::Result;

use super::fanout::Fanout;
use super::fleet::Fleet;
use super::proxy::{Mode, Proxy};
use super::{ALONE, BRANCHES, rounds};

/// Which server the proxy stands in front of.
#[derive(Clone, Copy)]
enum Server {
    Broker,
    Database,
}

/// Runs the fan-out with all processes behind a proxy, strikes when 100 branches are recorded, and checks what has to hold.
async fn survives_behind<F>(name: &str, server: Server, strike: F) -> Result<()>
where
    F: AsyncFn(&mut Fanout, &Proxy) -> Result<()>,
{
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let mut fleet = Fleet::new().await?;
        let (database, broker) = fleet.routes.servers()?;
        let proxy = match server {
            Server::Broker => {
                let proxy = Proxy::before(broker).await?;
                fleet.routes.broker_at(proxy.port())?;
                proxy
            }
            Server::Database => {
                let proxy = Proxy::before(database).await?;
                fleet.routes.database_at(proxy.port())?;
                proxy
            }
        };
        let mut fanout = Fanout::on(fleet, BRANCHES).await?;
        fanout.reach(100).await?;
        strike(&mut fanout, &proxy).await?;
        let report = fanout.check().await?;
        println!("{name}, round {round}: {report}");
        fanout.end().await?;
    }
    Ok(())
}

macro_rules! link_fault {
    ($(#[$doc:meta])* $name:ident, $server:expr, $strike:expr) => {
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            survives_behind(stringify!($name), $server, $strike).await
        }
    };
}

link_fault!(
    a_fan_out_survives_reset_connections_to_the_broker,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| {
        for _ in 0..3 {
            proxy.reset()?;
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        Ok(())
    }
);

link_fault!(
    a_fan_out_survives_a_broker_that_does_not_answer_for_a_while,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| proxy.misbehave(Mode::Blackhole, Duration::from_secs(15)).await
);

link_fault!(
    a_fan_out_survives_a_slow_way_to_the_broker,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| proxy
        .misbehave(Mode::Delay(Duration::from_millis(150)), Duration::from_secs(4))
        .await
);

link_fault!(
    a_fan_out_survives_a_narrow_way_to_the_broker,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| proxy.misbehave(Mode::Throttle(20_000), Duration::from_secs(5)).await
);

link_fault!(
    a_fan_out_survives_a_broker_that_stops_reading,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| proxy.misbehave(Mode::StopReading, Duration::from_secs(8)).await
);

link_fault!(
    /// In the middle of a frame, the next one too.
    a_fan_out_survives_connections_to_the_broker_cut_in_the_middle,
    Server::Broker,
    async |_: &mut Fanout, proxy: &Proxy| {
        proxy.set(Mode::CutAfter(4_000));
        proxy.has_struck(5, Duration::from_secs(60)).await?;
        proxy.set(Mode::Pass);
        proxy.assert_struck()
    }
);

link_fault!(
    a_fan_out_survives_reset_connections_to_the_database,
    Server::Database,
    async |_: &mut Fanout, proxy: &Proxy| {
        for _ in 0..3 {
            proxy.reset()?;
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        Ok(())
    }
);

link_fault!(
    a_fan_out_survives_a_database_that_does_not_answer_for_a_while,
    Server::Database,
    async |_: &mut Fanout, proxy: &Proxy| proxy.misbehave(Mode::Blackhole, Duration::from_secs(8)).await
);

link_fault!(
    a_fan_out_survives_a_slow_way_to_the_database,
    Server::Database,
    async |_: &mut Fanout, proxy: &Proxy| proxy
        .misbehave(Mode::Delay(Duration::from_millis(100)), Duration::from_secs(5))
        .await
);

link_fault!(
    /// What was appended is durable, and its owner does not know.
    a_fan_out_survives_commits_whose_answer_is_lost,
    Server::Database,
    async |_: &mut Fanout, proxy: &Proxy| {
        proxy.set(Mode::CutAnswers { request_bytes: 1_000, times: 3 });
        proxy.has_struck(3, Duration::from_secs(60)).await?;
        proxy.set(Mode::Pass);
        proxy.assert_struck()
    }
);

/// The owner alone is cut off from the database: the other takes over, and nothing that the first still believes is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_survives_an_owner_that_has_lost_its_database() -> Result<()> {
    let name = "a_fan_out_survives_an_owner_that_has_lost_its_database";
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let mut fleet = Fleet::new().await?;
        let (direct, (database, _)) = (fleet.routes.clone(), fleet.routes.servers()?);
        let mut proxies = Vec::new();
        for _ in 0..2 {
            let proxy = Proxy::before(database).await?;
            fleet.routes.database_at(proxy.port())?;
            fleet.add_coordinator(None)?;
            proxies.push(proxy);
        }
        fleet.routes = direct;
        let mut fanout = Fanout::on(fleet, BRANCHES).await?;
        fanout.reach(100).await?;
        let owner = fanout.fleet.owner_of(&fanout.run).await?;
        let other = fanout.fleet.coordinators[1 - owner].0.name.clone();
        proxies[owner].set(Mode::Blackhole);
        let cut_off = fanout.fleet.coordinators.remove(owner);
        fanout.wait_for_owner(&other, Duration::from_secs(60)).await?;
        proxies[owner].set(Mode::Pass);
        proxies[owner].assert_struck()?;
        fanout.fleet.coordinators.push(cut_off);
        let report = fanout.check().await?;
        println!("{name}, round {round}: {report}");
        fanout.end().await?;
    }
    Ok(())
}
