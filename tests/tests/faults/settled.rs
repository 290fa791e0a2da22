//! What must hold of many runs at once when all have ended: nothing of them is left but what they recorded (G6).

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use reqwest::Method;

use super::evidence::evidence;
use super::fleet::Fleet;
use super::services::services_say;

/// Longest time without any change: a lease, a sweep, and 30 s.
const STANDSTILL_MAX: Duration = Duration::from_secs(45);
/// For what goes by itself a while after the last run has ended.
const LEFTOVERS_MAX: Duration = Duration::from_secs(90);

/// Runs that have not ended, by an index of their own: workflow, state, how many, one of them.
const OPEN: &str = "SELECT coalesce(string_agg(o, '; '), '') FROM (SELECT workflow || ' ' || status || ' ' || count(*) || ' ' \
    || min(id::text) AS o FROM runs WHERE status IN ('scheduled', 'running', 'waiting', 'paused', 'compensating') \
    GROUP BY workflow, status ORDER BY workflow, status) open";

/// Waits until all runs have ended; fails where nothing has changed for long, and says what hangs.
pub async fn wait_for_all(fleet: &Fleet) -> Result<()> {
    let (mut last, mut since) = (String::new(), Instant::now());
    loop {
        let open: String = fleet.database.value(OPEN, &[]).await?;
        if open.is_empty() {
            return Ok(());
        }
        if open != last {
            (last, since) = (open, Instant::now());
        }
        if since.elapsed() > STANDSTILL_MAX {
            let run = last.rsplit(' ').next().unwrap_or_default();
            let why = fleet.ask(Method::GET, &format!("/v1/runs/{run}/why"), None).await;
            bail!(
                "nothing has ended for {STANDSTILL_MAX:?}: {last}; the last one: {why:?}; logs in {:?}\n{}",
                fleet.keep_logs(),
                evidence(fleet)
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Branches' snapshots that the workflow said to drop: they go a while after their join.
const SNAPSHOTS: &str = "SELECT count(*) FROM joined_scopes WHERE next_seq < joined";

/// Waits until no wait, no timer, no command, no dropped snapshot and no message is there any more.
pub async fn nothing_is_left(fleet: &Fleet) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut left = fleet.left_behind().await?;
        for (what, count) in [
            ("snapshots of joined scopes", SNAPSHOTS),
            ("events waited for", "SELECT count(*) FROM wait_events"),
        ] {
            let count: i64 = fleet.database.value(count, &[]).await?;
            left.extend((count > 0).then(|| format!("{count} {what}")));
        }
        // Reports come and go; whatever is left stays. It is asked last, because the broker's tool takes a second.
        if left.is_empty() {
            left = fleet.messages()?;
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            began.elapsed() < LEFTOVERS_MAX,
            "left behind: {left:?}; logs in {:?}",
            fleet.keep_logs()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Journal rows that changed a run after its first end: there must be none where no run is resumed.
const CHANGED: &str = "SELECT count(*) FROM journal j JOIN journal_kinds k ON k.id = j.kind \
    JOIN (SELECT j.run_id, min(j.seq) AS seq FROM journal j JOIN journal_kinds k ON k.id = j.kind \
        WHERE k.name = 'run_finished' GROUP BY j.run_id) ended ON ended.run_id = j.run_id \
    WHERE j.seq > ended.seq AND k.name <> 'late'";

/// Paths of a run that have more than one recorded success.
const TWICE: &str = "SELECT count(*) FROM (SELECT FROM rejoin_completions WHERE outcome = 'ok' \
    GROUP BY run_id, path HAVING count(*) > 1) twice";

/// Sleeps that ended before their time.
const EARLY: &str = "SELECT count(*) FROM journal fired JOIN journal_kinds f ON f.id = fired.kind AND f.name = 'timer_fired' \
    JOIN journal slept ON slept.run_id = fired.run_id AND slept.path = fired.path \
    JOIN journal_kinds s ON s.id = slept.kind AND s.name = 'timer_set' \
    WHERE fired.at < (convert_from(slept.body, 'UTF8')::jsonb ->> 'until')::timestamptz - interval '5 ms'";

/// No run was changed after its end, no path was recorded twice, and no sleep was too short.
pub async fn journals_are_sound(fleet: &Fleet) -> Result<()> {
    let early: i64 = fleet.database.value(EARLY, &[]).await?;
    ensure!(early == 0, "{early} sleeps ended before their time");
    let changed: i64 = fleet.database.value(CHANGED, &[]).await?;
    ensure!(changed == 0, "{changed} records came after the end of their run");
    let twice: i64 = fleet.database.value(TWICE, &[]).await?;
    ensure!(twice == 0, "{twice} paths were recorded twice");
    Ok(())
}

/// Connections of each coordinator to the database at most: its pool, its appends, its lease.
const DATABASE_MAX: usize = 16 + 4;

/// How many connections the broker has; nobody else uses it.
pub fn broker_connections() -> Result<usize> {
    let said = services_say(&["rabbit", "ctl", "-q", "list_connections", "pid"])?;
    Ok(said.lines().filter(|line| line.starts_with('<')).count())
}

/// Waits until no connection is left of processes that have gone: as many to the broker as there were, and no more to the database
/// than those who live may have.
pub async fn connections_are_as_before(fleet: &Fleet, to_broker: usize) -> Result<()> {
    const OPEN: &str =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let began = Instant::now();
    loop {
        let database: i64 = fleet.database.value(OPEN, &[]).await?;
        let (broker, most) = (broker_connections()?, DATABASE_MAX * fleet.coordinators.len());
        if broker <= to_broker && usize::try_from(database)? <= most {
            println!("connections: {broker} to the broker, {database} to the database");
            return Ok(());
        }
        ensure!(
            began.elapsed() < LEFTOVERS_MAX,
            "{broker} connections to the broker, {to_broker} before; {database} to the database, {most} may be"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The processes that are there live, and none that ever was has panicked.
pub fn nobody_panicked(fleet: &mut Fleet) -> Result<()> {
    let coordinators = fleet.coordinators.iter_mut().map(|(process, _)| process);
    for process in coordinators.chain(&mut fleet.workers) {
        ensure!(process.is_alive(), "{} has ended by itself", process.name);
    }
    for entry in std::fs::read_dir(fleet.dir.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let said = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let panic = said.lines().find(|line| line.contains("panicked at"));
            ensure!(panic.is_none(), "{}: {panic:?}", path.display());
        }
    }
    Ok(())
}
