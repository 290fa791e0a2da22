//! Faults that strike a fleet at random. Each heals itself, and fails where it did not strike.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use rejoin_tests::dice::Dice;
use tokio::net::TcpStream;

use super::fleet::Fleet;
use super::services::{Blow, services, services_say};

/// A process that drains, on a machine that is busy with the fault before.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    /// SIGKILL, and a new one.
    WorkerKilled,
    CoordinatorKilled,
    /// SIGTERM, and a new one.
    WorkerRolled,
    CoordinatorRolled,
    /// SIGSTOP and SIGCONT: shorter than a lease.
    WorkerPaused,
    CoordinatorPaused,
    /// Past its lease, so that the other takes over.
    CoordinatorFrozen,
    /// Past the time within which it has to report to begin anything.
    WorkerMuted,
    /// Until it is given up.
    WorkerFrozen,
    BrokerRestarted,
    BrokerKilled,
    ConnectionsClosed,
    /// RabbitMQ blocks publishers.
    MemoryAlarm,
    QueuesPurged,
    QueuesDeleted,
    DatabaseStopped,
    DatabaseKilled,
    BackendsTerminated,
    DatabaseFrozen,
}

impl Strike {
    pub const ALL: [Strike; 19] = [
        Strike::WorkerKilled,
        Strike::CoordinatorKilled,
        Strike::WorkerRolled,
        Strike::CoordinatorRolled,
        Strike::WorkerPaused,
        Strike::CoordinatorPaused,
        Strike::CoordinatorFrozen,
        Strike::WorkerMuted,
        Strike::WorkerFrozen,
        Strike::BrokerRestarted,
        Strike::BrokerKilled,
        Strike::ConnectionsClosed,
        Strike::MemoryAlarm,
        Strike::QueuesPurged,
        Strike::QueuesDeleted,
        Strike::DatabaseStopped,
        Strike::DatabaseKilled,
        Strike::BackendsTerminated,
        Strike::DatabaseFrozen,
    ];

    /// Whether it takes more than half a minute by itself.
    pub fn is_long(self) -> bool {
        self == Strike::WorkerFrozen
    }

    /// Strikes, makes sure of it, and heals.
    pub async fn fall(self, fleet: &mut Fleet, dice: &mut Dice) -> Result<()> {
        match self {
            Strike::WorkerKilled => kill_worker(fleet, dice),
            Strike::CoordinatorKilled => kill_coordinator(fleet, dice),
            Strike::WorkerRolled => roll_worker(fleet, dice).await,
            Strike::CoordinatorRolled => roll_coordinator(fleet, dice).await,
            Strike::WorkerPaused => stop_worker(fleet, dice, Duration::from_secs(2)).await,
            Strike::CoordinatorPaused => stop_coordinator(fleet, dice, Duration::from_millis(1200)).await,
            Strike::CoordinatorFrozen => stop_coordinator(fleet, dice, Duration::from_secs(6)).await,
            Strike::WorkerMuted => stop_worker(fleet, dice, Duration::from_secs(12)).await,
            Strike::WorkerFrozen => stop_worker(fleet, dice, Duration::from_secs(35)).await,
            Strike::BrokerRestarted => bring_down(fleet, "rabbit", "stop").await,
            Strike::BrokerKilled => bring_down(fleet, "rabbit", "kill").await,
            Strike::ConnectionsClosed => close_connections(),
            Strike::MemoryAlarm => raise_alarm().await,
            Strike::QueuesPurged => purge(fleet).await,
            Strike::QueuesDeleted => Blow::arm("delete-all")?.strike(),
            Strike::DatabaseStopped => bring_down(fleet, "pg", "stop-immediate").await,
            Strike::DatabaseKilled => bring_down(fleet, "pg", "kill").await,
            Strike::BackendsTerminated => terminate_backends(),
            Strike::DatabaseFrozen => freeze_database(fleet).await,
        }
    }
}

/// Whatever was struck last: the servers answer again.
pub fn heal() -> Result<()> {
    // Neither is an error where nothing is frozen.
    services(&["pg", "thaw"]).ok();
    services(&["rabbit", "thaw"]).ok();
    services(&["pg", "start"])?;
    services(&["rabbit", "start"])?;
    services(&["rabbit", "alarm-off"])
}

fn kill_worker(fleet: &mut Fleet, dice: &mut Dice) -> Result<()> {
    let mut victim = fleet.workers.remove(dice.below(fleet.workers.len()));
    ensure!(victim.is_alive(), "{} was dead already", victim.name);
    victim.kill()?;
    fleet.add_worker()
}

fn kill_coordinator(fleet: &mut Fleet, dice: &mut Dice) -> Result<()> {
    let (mut victim, port) = fleet.coordinators.remove(dice.below(fleet.coordinators.len()));
    ensure!(victim.is_alive(), "{} was dead already", victim.name);
    victim.kill()?;
    fleet.add_coordinator(Some(port)).map(drop)
}

async fn roll_worker(fleet: &mut Fleet, dice: &mut Dice) -> Result<()> {
    fleet.add_worker()?;
    let mut old = fleet.workers.remove(dice.below(fleet.workers.len() - 1));
    ensure!(old.is_alive(), "{} was dead already", old.name);
    old.end(DRAINED_WITHIN).await
}

async fn roll_coordinator(fleet: &mut Fleet, dice: &mut Dice) -> Result<()> {
    let (mut old, port) = fleet.coordinators.remove(dice.below(fleet.coordinators.len()));
    ensure!(old.is_alive(), "{} was dead already", old.name);
    old.end(DRAINED_WITHIN).await?;
    fleet.add_coordinator(Some(port))?;
    fleet.is_ready(port).await
}

async fn stop_worker(fleet: &Fleet, dice: &mut Dice, time: Duration) -> Result<()> {
    dice.pick(&fleet.workers).stand_still(time).await
}

async fn stop_coordinator(fleet: &Fleet, dice: &mut Dice, time: Duration) -> Result<()> {
    dice.pick(&fleet.coordinators).0.stand_still(time).await
}

async fn bring_down(fleet: &Fleet, server: &str, verb: &str) -> Result<()> {
    let (database, broker) = fleet.routes.servers()?;
    services(&[server, verb])?;
    let is_down = is_refused(if server == "pg" { database } else { broker }).await;
    services(&[server, "start"])?;
    ensure!(is_down, "{server} answered after {verb}");
    Ok(())
}

/// Whether nobody listens there; the threads of a killed process may take a while to go.
async fn is_refused(server: SocketAddr) -> bool {
    for _ in 0..200 {
        if TcpStream::connect(server).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// The workers stand still meanwhile, so that something lies in the queues.
async fn purge(fleet: &Fleet) -> Result<()> {
    let blow = Blow::arm("purge-all")?;
    fleet.workers.iter().try_for_each(|worker| worker.signal("STOP"))?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let struck = blow.strike();
    fleet.workers.iter().try_for_each(|worker| worker.signal("CONT"))?;
    struck
}

fn close_connections() -> Result<()> {
    let open = services_say(&["rabbit", "ctl", "-q", "list_connections", "pid"])?;
    ensure!(open.contains("<rejoin@"), "nobody was connected: {open}");
    services(&["rabbit", "close-all"])
}

async fn raise_alarm() -> Result<()> {
    services(&["rabbit", "alarm-on"])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let alarms = services_say(&["rabbit", "ctl", "-q", "eval", "rabbit_alarm:get_alarms()."]);
    services(&["rabbit", "alarm-off"])?;
    let alarms = alarms?;
    ensure!(alarms.contains("memory"), "there was no alarm: {alarms}");
    Ok(())
}

fn terminate_backends() -> Result<()> {
    let said = services_say(&[
        "pg",
        "psql",
        "-At",
        "-c",
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname like 'rejoin_faults%'",
    ])?;
    ensure!(said.trim().parse::<u32>()? > 0, "nobody was connected");
    Ok(())
}

async fn freeze_database(fleet: &Fleet) -> Result<()> {
    services(&["pg", "freeze"])?;
    let asked = tokio::time::timeout(Duration::from_secs(4), fleet.database.query("SELECT 1", &[])).await;
    services(&["pg", "thaw"])?;
    ensure!(asked.is_err(), "a frozen database answered");
    Ok(())
}
