//! Coordinators and workers as real processes on real servers, and the means to hurt them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};

use super::database::Database;
use super::process::{Process, binary};
use super::routes::Routes;
use super::services::{root, services, services_say};

/// Coordinators and workers that share one database and one broker prefix.
pub struct Fleet {
    pub dir: tempfile::TempDir,
    pub coordinators: Vec<(Process, u16)>,
    pub workers: Vec<Process>,
    pub database: Database,
    /// How the processes to come reach the servers.
    pub routes: Routes,
    /// The program of the processes to come.
    pub program: PathBuf,
    /// Settings of the processes to come, over those that all have.
    pub settings: Vec<(&'static str, String)>,
    admin: Database,
    database_name: String,
    /// Before every name at the broker.
    pub prefix: String,
    pub client: reqwest::Client,
    started: usize,
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("{name} is not set: eval \"$(scripts/services env)\" first"))
}

/// A port of this machine at which nobody listens: below those that connections take by themselves, one of which may have it by the
/// time a process comes to listen there.
pub fn free_port() -> Result<u16> {
    let mut any = (0..100).map(|_| 10_000 + u16::try_from(uuid::Uuid::new_v4().as_u128() % 10_000).unwrap_or(0));
    any.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| anyhow!("no port is free"))
}

impl Fleet {
    /// An empty fleet with a database of its own.
    pub async fn new() -> Result<Fleet> {
        let fleet = Fleet::without_tables().await?;
        let status = fleet.command("migrate").status()?;
        ensure!(status.success(), "rejoin migrate failed");
        Ok(fleet)
    }

    /// An empty fleet with what a backup holds, and nothing at the broker.
    pub async fn restored(backup: &Path) -> Result<Fleet> {
        let fleet = Fleet::without_tables().await?;
        services(&["pg", "restore", &fleet.database_name, &backup.to_string_lossy()])?;
        Ok(fleet)
    }

    /// Backs the database up into this file of the fleet's folder.
    pub fn back_up(&self, name: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(name);
        services(&["pg", "dump", &self.database_name, &file.to_string_lossy()])?;
        Ok(file)
    }

    async fn without_tables() -> Result<Fleet> {
        let admin_url = variable("REJOIN_TEST_DATABASE_URL")?;
        let amqp_url = variable("REJOIN_TEST_AMQP_URL")?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let database_name = format!("rejoin_faults_{}", &id[..12]);
        let base = admin_url.rsplit_once('/');
        let (base, _) = base.ok_or_else(|| anyhow!("no database in {admin_url}"))?;
        let url = format!("{base}/{database_name}");
        let admin = Database { url: admin_url };
        admin.query(&format!("CREATE DATABASE {database_name}"), &[]).await?;
        Ok(Fleet {
            dir: tempfile::tempdir()?,
            coordinators: Vec::new(),
            workers: Vec::new(),
            database: Database { url: url.clone() },
            routes: Routes {
                database_url: url,
                amqp_url,
            },
            program: binary(),
            settings: Vec::new(),
            admin,
            database_name,
            prefix: format!("f{}.", &id[..8]),
            client: reqwest::Client::builder()
                .tls_backend_preconfigured(rejoin_shared::tls::of_nobody())
                .timeout(Duration::from_secs(15))
                .build()?,
            started: 0,
        })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(verb)
            .current_dir(self.dir.path())
            .env("REJOIN_DATABASE__URL", &self.routes.database_url)
            .env("REJOIN_AMQP__URL", &self.routes.amqp_url)
            .env("REJOIN_AMQP__PREFIX", &self.prefix)
            .env("REJOIN_COORDINATOR__LEASE", "3s")
            .env(
                "REJOIN_LOG__FILTER",
                std::env::var("REJOIN_TEST_LOG").unwrap_or_else(|_| "info,lapin=off".to_owned()),
            )
            .env("RUST_BACKTRACE", "0")
            .envs(self.settings.iter().map(|(name, value)| (*name, value)));
        // What is for the tests and scripts, the programs refuse; settings have two underscores.
        for (name, _) in std::env::vars() {
            if name.starts_with("REJOIN_") && !name.contains("__") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Of all processes that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let coordinators = self.coordinators.iter().map(|(process, _)| process);
        coordinators.chain(&self.workers).map(|process| process.name.as_str())
    }

    /// Where a process of this name writes what it says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// Starts one more coordinator; its name stays the same if it is started again on the same port.
    pub fn add_coordinator(&mut self, port: Option<u16>) -> Result<u16> {
        let port = port.map_or_else(free_port, Ok)?;
        let name = format!("coordinator-{port}");
        let mut command = self.command("coordinator");
        command
            .env("REJOIN_HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("REJOIN_COORDINATOR__NAME", &name);
        let process = Process::spawn(&name, &mut command, &self.log(&name))?;
        self.coordinators.push((process, port));
        Ok(port)
    }

    /// Waits until the coordinator at this port is ready.
    pub async fn is_ready(&self, port: u16) -> Result<()> {
        for _ in 0..300 {
            let asked = self.client.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the coordinator at port {port} was not ready within 30 s")
    }

    /// Starts one more worker with the handlers file in the fleet's folder.
    pub fn add_worker(&mut self) -> Result<()> {
        self.started += 1;
        let name = format!("worker-{}", self.started);
        let mut command = self.command("worker");
        command.args(["--handlers", "handlers.yaml", "--name", &name]);
        let process = Process::spawn(&name, &mut command, &self.log(&name))?;
        self.workers.push(process);
        Ok(())
    }

    /// Writes a file into the fleet's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Index of the coordinator that owns the run; partitions that are just being shared out have no owner for a moment.
    pub async fn owner_of(&self, run: &str) -> Result<usize> {
        let mut owner = String::new();
        for _ in 0..300 {
            let path = format!("/v1/runs/{run}");
            let view = self.insist(reqwest::Method::GET, &path, None).await?;
            owner = view["owner"].as_str().unwrap_or_default().to_owned();
            let found = self.coordinators.iter().position(|(process, _)| process.name == owner);
            if let Some(found) = found {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("owner {owner:?} is none of the fleet")
    }

    /// Names of the event queues of the fleet.
    pub fn event_queues(&self) -> Result<Vec<String>> {
        let said = services_say(&["rabbit", "ctl", "-q", "list_queues", "name"])?;
        let prefix = format!("{}rejoin.events.", self.prefix);
        Ok(said
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .map(str::to_owned)
            .collect())
    }

    /// Queues of the fleet that hold messages: name, type, state, ready, unacknowledged, consumers.
    pub fn messages(&self) -> Result<Vec<String>> {
        let list = "rabbit ctl -q list_queues name type state messages_ready messages_unacknowledged consumers";
        let said = services_say(&list.split(' ').collect::<Vec<_>>())?;
        let own = said.lines().filter(|line| line.starts_with(&self.prefix));
        Ok(own
            .filter(|line| !line.contains("\t0\t0\t"))
            .map(str::to_owned)
            .collect())
    }

    /// Moves the folder out of the way of its removal, for a person to read.
    pub fn keep_logs(&self) -> PathBuf {
        let kept = root().join("target").join("fault-logs").join(&self.database_name);
        if let Some(parent) = kept.parent() {
            std::fs::create_dir_all(parent).ok();
        }
        Command::new("cp")
            .arg("-r")
            .arg(self.dir.path())
            .arg(&kept)
            .status()
            .ok();
        kept
    }

    /// Ends all processes and drops the database.
    pub async fn end(mut self) -> Result<()> {
        self.workers.clear();
        self.coordinators.clear();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database_name);
        self.admin.query(&drop, &[]).await?;
        Ok(())
    }
}
