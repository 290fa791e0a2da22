//! What a machine does to those who live on it: disks that are full, clocks that are set, a broker that loses its patience.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::fanout::Fanout;
use super::fleet::Fleet;
use super::services::{services, services_say};
use super::{ALONE, LONG, MANY, rounds, survives};

/// How often these logs say something.
fn said(logs: impl IntoIterator<Item = PathBuf>, what: &str) -> usize {
    let times = |log: PathBuf| std::fs::read_to_string(log).map_or(0, |text| text.matches(what).count());
    logs.into_iter().map(times).sum()
}

/// Waits until it holds that the fault has struck.
async fn struck(what: &str, has_struck: impl Fn() -> bool) -> Result<()> {
    for _ in 0..300 {
        if has_struck() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{what} did not happen within 30 s: the fault did not strike")
}

/// Waits until processes of the fleet have said something so often.
async fn heard(f: &Fleet, what: &str, times: usize) -> Result<()> {
    struck(what, || said(f.names().map(|name| f.log(name)), what) >= times).await
}

fault!(
    /// RabbitMQ blocks publishers while it believes that its disk is full.
    a_fan_out_survives_a_disk_alarm,
    LONG,
    armed with || Ok(()),
    async |f: &mut Fanout, ()| {
        services(&["rabbit", "ctl", "set_disk_free_limit", "1000000000000000"])?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let during = f.progress().await?;
        services(&["rabbit", "ctl", "set_disk_free_limit", "50MB"])?;
        ensure!(during < LONG as u64, "it ended in spite of the alarm, which did not strike");
        Ok(())
    }
);

/// How long RabbitMQ waits for an acknowledgement, and how often it looks, in milliseconds: of channels that are opened from now on.
fn broker_waits(patience: u64, look: u64) -> Result<()> {
    let set = format!(
        "application:set_env(rabbit, consumer_timeout, {patience}), application:set_env(rabbit, channel_tick_interval, {look})."
    );
    services(&["rabbit", "ctl", "-q", "eval", &set])
}

fault!(
    /// RabbitMQ closes the channels of workers that keep a message for more than 200 ms, which each of them does.
    a_fan_out_survives_a_broker_without_patience,
    MANY,
    armed with || broker_waits(200, 100),
    async |_: &mut Fanout, ()| {
        let log = services_say(&["rabbit", "ctl", "-q", "eval", "io:format(\"~s\", [hd(rabbit:log_locations())])."])?;
        let log = PathBuf::from(log.lines().next().unwrap_or_default().trim_end_matches("ok"));
        let closed = || said([log.clone()], "timed out. Timeout value used: 200 ms");
        let before = closed();
        struck("the end of the broker's patience", || closed() >= before + 3).await?;
        broker_waits(1_800_000, 60_000)?;
        services(&["rabbit", "close-all"])
    }
);

/// A file system of its own for one table of a fleet's database.
struct Disk {
    place: PathBuf,
    tablespace: String,
}

impl Disk {
    /// So small a one, with the journal on it.
    async fn small(f: &Fleet) -> Result<Disk> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (place, tablespace) = (
            std::env::temp_dir().join(format!("rejoin-disk-{id}")),
            format!("small_{id}"),
        );
        std::fs::create_dir(&place)?;
        let disk = Disk { place, tablespace };
        let kind = ["-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs"].map(Path::new);
        mount(&[&kind[..], &[&disk.place]].concat())?;
        let data = disk.place.join("data");
        let owner = services_say(&["pg", "psql", "-Atc", "show data_directory"])?;
        let like = format!("--reference={}", owner.trim());
        std::fs::create_dir(&data)?;
        run(Command::new("chown").arg(like).arg(&data))?;
        let (name, at) = (&disk.tablespace, data.display());
        f.database
            .query(&format!("CREATE TABLESPACE {name} LOCATION '{at}'"), &[])
            .await?;
        f.database
            .query(&format!("ALTER TABLE journal SET TABLESPACE {name}"), &[])
            .await?;
        Ok(disk)
    }

    fn grow(&self) -> Result<()> {
        mount(&[Path::new("-o"), Path::new("remount,size=256m"), &self.place])
    }

    /// After its database has gone.
    fn end(self) -> Result<()> {
        let drop = format!("DROP TABLESPACE {}", self.tablespace);
        services(&["pg", "psql", "-qc", &drop])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.place)).ok();
        std::fs::remove_dir(&self.place).ok();
    }
}

fn mount(arguments: &[&Path]) -> Result<()> {
    run(Command::new("mount").args(arguments)).context("this test needs the right to mount a file system in memory")
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// The database's disk is full, until it is made larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_survives_a_full_disk() -> Result<()> {
    let name = "a_fan_out_survives_a_full_disk";
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let mut fanout = Fanout::start(LONG).await?;
        fanout.reach(100).await?;
        let disk = Disk::small(&fanout.fleet).await?;
        heard(&fanout.fleet, "53100", 3).await?;
        let full = fanout.progress().await?;
        disk.grow()?;
        ensure!(full < LONG as u64, "it had ended before its disk was full");
        let report = fanout.check().await?;
        println!("{name}, full at {full}, round {round}: {report}");
        fanout.end().await?;
        disk.end()?;
    }
    Ok(())
}

/// Between a program of ours and the machine's clock: what a file says is added. The handlers' own clocks stay as they are.
const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const volatile long long *ahead_s;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("AHEAD_FILE");
    if (!path || strcmp(program_invocation_short_name, "rejoin")) return;
    int file = open(path, O_RDONLY);
    void *seen = mmap(0, sizeof(long long), PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) ahead_s = seen;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (!result && clock == CLOCK_REALTIME && ahead_s) time->tv_sec += *ahead_s;
    return result;
}
"#;

/// The clock of processes to come, which can be set while they run.
struct Shifted {
    file: PathBuf,
    library: PathBuf,
}

impl Shifted {
    /// Ahead of the machine's by so many seconds.
    fn by(f: &Fleet, name: &str, ahead_s: i64) -> Result<Shifted> {
        let library = f.dir.path().join("shifted.so");
        if !library.exists() {
            let source = f.write("shifted.c", SHIFTED)?;
            let mut cc = Command::new("cc");
            run(cc
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .args([&library, &source])
                .arg("-ldl"))?;
        }
        let file = f.dir.path().join(format!("{name}.ahead"));
        std::fs::write(&file, ahead_s.to_ne_bytes())?;
        Ok(Shifted { file, library })
    }

    /// Sets it.
    fn set(&self, ahead_s: i64) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::options().write(true).open(&self.file)?;
        Ok(file.write_all_at(&ahead_s.to_ne_bytes(), 0)?)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![("LD_PRELOAD", text(&self.library)), ("AHEAD_FILE", text(&self.file))]
    }
}

/// Clocks that are apart from the beginning, and are set while the run is under way: the owner's by a minute and a half, and back by
/// an hour, the workers' too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_survives_clocks_that_are_set() -> Result<()> {
    let name = "a_fan_out_survives_clocks_that_are_set";
    let _alone = ALONE.lock().await;
    for round in 1..=rounds(name) {
        let mut fleet = Fleet::new().await?;
        let mut clocks = Vec::new();
        for ahead_s in [0, 40] {
            let clock = Shifted::by(&fleet, &format!("coordinator{ahead_s}"), ahead_s)?;
            fleet.settings = clock.settings();
            fleet.add_coordinator(None)?;
            clocks.push(clock);
        }
        let workers = Shifted::by(&fleet, "workers", -40)?;
        fleet.settings = workers.settings();
        let mut fanout = Fanout::on(fleet, LONG).await?;
        fanout.reach(100).await?;
        let owner = fanout.fleet.owner_of(&fanout.run).await?;
        let before = if owner == 0 { 0 } else { 40 };
        clocks[owner].set(before + 90)?;
        heard(&fanout.fleet, "clock was set by", 1).await?;
        workers.set(20)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        clocks[owner].set(before - 3_600)?;
        heard(&fanout.fleet, "clock was set by", 2).await?;
        workers.set(-20)?;
        let report = fanout.check().await?;
        println!("{name}, round {round}: {report}");
        fanout.end().await?;
    }
    Ok(())
}
