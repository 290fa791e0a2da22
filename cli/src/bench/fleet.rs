//! Coordinators and workers as processes of this program, with a database and a prefix of their own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rejoin_shared::config::{SecretUrl, Settings};
use rejoin_shared::json::Json;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Link, LinkState};
use rejoin_shared::topology::Topology;

use super::compute;
use super::database::{self, Connection, failure};
use super::versions::Versions;
use crate::args::{BenchArgs, Global};
use crate::client::Client;
use crate::exit::Failure;

/// Longest wait until coordinators and workers are there.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the broker.
const BROKER_MAX: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of Linux on every architecture that Rejoin is built for (`sysconf(_SC_CLK_TCK)`).
const TICKS_A_SECOND: f64 = 100.0;
/// Longest wait until a process has drained.
const END_MAX: Duration = Duration::from_secs(20);

/// Seconds of processor time, since the processes began.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub coordinators: f64,
    pub workers: f64,
}

/// A process; dropped, it is killed.
struct Process(Child);

impl Process {
    /// Tells it to stop.
    fn stop(&self) {
        let id = self.0.id().to_string();
        // If it is gone already, nothing is left to tell.
        Command::new("kill").args(["-TERM", &id]).status().ok();
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// A file of its folder in `/proc`.
    fn told(&self, file: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(&path)
            .map_err(|e| Failure::general(format!("what a process takes is read from {path}: {e}")))
    }

    /// Seconds of processor time.
    fn spent(&self) -> Result<f64, Failure> {
        let stat = self.told("stat")?;
        // After the name, which may hold anything: proc(5), fields 14 and 15, the first of these being the third.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let ticks = fields.map(|fields| {
            fields
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<f64>().ok())
                .sum::<f64>()
        });
        let ticks = ticks.ok_or_else(|| Failure::general("what a process takes cannot be read"))?;
        Ok(ticks / TICKS_A_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The servers, and the processes on them.
pub struct Fleet {
    pub versions: Versions,
    /// Of the bench's own database.
    pub database_url: String,
    pub amqp_url: String,
    pub topology: Topology,
    admin: Connection,
    database: String,
    dir: tempfile::TempDir,
    coordinators: Vec<(Process, u16)>,
    workers: Vec<Process>,
    clients: Vec<Client>,
}

impl Fleet {
    /// Nobody yet; both servers answer, and the database is there, empty. Whatever happens then, [`Fleet::end`] drops it.
    pub async fn new(settings: &Settings) -> Result<Fleet, Failure> {
        let url = settings.database.url.reveal();
        let admin = database::connect(url, None).await?;
        let amqp_url = settings.amqp.url.reveal().to_owned();
        connected(&amqp_url, "rejoin bench").await?.close().await;
        let versions = Versions::ask(&admin, &amqp_url).await?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        let database = format!("rejoin_bench_{id}");
        let database_url = database::url_of(url, &database)?;
        let dir = tempfile::tempdir().map_err(|e| Failure::general(format!("a folder for logs: {e}")))?;
        let created = admin.client.batch_execute(&format!("CREATE DATABASE {database}")).await;
        created.map_err(|e| failure(&e))?;
        Ok(Fleet {
            versions,
            database_url,
            amqp_url,
            topology: Topology {
                prefix: format!("bench-{}.", &id[20..]),
            },
            admin,
            database,
            dir,
            coordinators: Vec::new(),
            workers: Vec::new(),
            clients: Vec::new(),
        })
    }

    /// Gives the database its schema.
    pub async fn migrate(&self) -> Result<(), Failure> {
        let mut migrate = self.spawn("migrate", "migrate", &[])?;
        while migrate.is_alive() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let status = migrate.0.wait().map_err(|e| Failure::general(e.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed("rejoin migrate failed")),
        }
    }

    /// Starts the processes and waits until all are heard of.
    pub async fn start(&mut self, args: &BenchArgs) -> Result<(), Failure> {
        self.start_coordinators(args)?;
        let handlers = self.dir.path().join("handlers.yaml");
        let written = std::fs::write(&handlers, compute::HANDLERS);
        let written = written.and_then(|()| std::fs::write(self.dir.path().join(compute::FILE), compute::PROGRAM));
        written.map_err(|e| Failure::general(e.to_string()))?;
        let concurrency = args.concurrency.to_string();
        for number in 1..=args.workers {
            let name = format!("worker-{number}");
            let flags = [
                "--handlers",
                "handlers.yaml",
                "--name",
                &name,
                "--concurrency",
                &concurrency,
            ];
            let worker = self.spawn(&name, "worker", &flags)?;
            self.workers.push(worker);
        }
        self.wait_until_ready().await
    }

    fn add_coordinator(&mut self, number: u32) -> Result<(), Failure> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let name = format!("coordinator-{number}");
        let process = self.spawn(&name, "coordinator", &["--listen", &listen, "--name", &name])?;
        self.coordinators.push((process, port));
        self.clients.push(Client::of(&Global {
            server: Some(format!("http://{listen}")),
            ..Global::default()
        })?);
        Ok(())
    }

    fn spawn(&self, name: &str, verb: &str, flags: &[&str]) -> Result<Process, Failure> {
        let problem = |e: std::io::Error| Failure::general(format!("starting {name}: {e}"));
        let log = std::fs::File::create(self.dir.path().join(format!("{name}.log"))).map_err(problem)?;
        let mut command = Command::new(std::env::current_exe().map_err(problem)?);
        command
            .arg(verb)
            .args(flags)
            .current_dir(self.dir.path())
            // Not on the command line: everybody may read that.
            .env("REJOIN_DATABASE__URL", &self.database_url)
            .env("REJOIN_AMQP__URL", &self.amqp_url)
            .env("REJOIN_AMQP__PREFIX", &self.topology.prefix)
            .env_remove("REJOIN_CONFIG")
            .env_remove("REJOIN_NAMESPACE")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(problem)?)
            .stderr(log);
        command.spawn().map(Process).map_err(problem)
    }

    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < READY_MAX {
            if self.is_ready().await {
                return Ok(());
            }
            let all = self.coordinators.iter_mut().map(|(process, _)| process);
            if !all.chain(&mut self.workers).all(Process::is_alive) {
                return Err(self.failed("a process ended at once"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(self.failed("the fleet was not ready in time"))
    }

    async fn is_ready(&self) -> bool {
        for client in &self.clients {
            let ready = client.get("/readyz", &[("verbose", "true".to_owned())]).await.is_ok();
            if !ready {
                return false;
            }
            let Ok(workers) = client.get("/v1/workers", &[]).await else {
                return false;
            };
            let listed = workers
                .json
                .get("items")
                .and_then(Json::as_list)
                .map_or(0, <[Json]>::len);
            if listed < self.workers.len() {
                return false;
            }
        }
        true
    }

    /// Resident memory of the first coordinator, in MiB.
    pub fn memory_of_a_coordinator(&self) -> Result<f64, Failure> {
        let first = self.coordinators.first();
        let (process, _) = first.ok_or_else(|| Failure::general("no coordinator was started"))?;
        let status = process.told("status")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kibibytes
            .map(|kibibytes| kibibytes / 1024.0)
            .ok_or_else(|| Failure::general("the memory of a process cannot be read"))
    }

    /// Processor time of all that it started.
    pub fn spent(&self) -> Result<Spent, Failure> {
        let coordinators = self.coordinators.iter().map(|(process, _)| process);
        Ok(Spent {
            coordinators: coordinators.map(Process::spent).sum::<Result<f64, Failure>>()?,
            workers: self.workers.iter().map(Process::spent).sum::<Result<f64, Failure>>()?,
        })
    }

    /// The sum of a metric over its labels and all coordinators.
    pub async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for client in &self.clients {
            let request = client.request(reqwest::Method::GET, "/metrics");
            let text = client.open(request).await?.text().await;
            let text = text.map_err(|e| client.away(&e))?;
            let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
            let own = lines.filter(|(of, _)| of.split('{').next() == Some(name));
            sum += own.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(sum)
    }

    /// Kills every process where it stands.
    pub fn kill(&mut self) {
        self.kill_coordinators();
        self.workers.clear();
    }

    /// Kills the coordinators where they stand.
    pub fn kill_coordinators(&mut self) {
        self.coordinators.clear();
        self.clients.clear();
    }

    /// Starts the coordinators anew; they are not waited for.
    pub fn start_coordinators(&mut self, args: &BenchArgs) -> Result<(), Failure> {
        (1..=args.coordinators).try_for_each(|number| self.add_coordinator(number))
    }

    /// A failure with the ends of the logs.
    fn failed(&self, what: &str) -> Failure {
        let mut text = what.to_owned();
        let logs = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        for log in logs.filter(|entry| entry.path().extension().is_some_and(|e| e == "log")) {
            let lines = std::fs::read_to_string(log.path()).unwrap_or_default();
            let last: Vec<&str> = lines.lines().rev().take(5).collect();
            for line in last.into_iter().rev() {
                text.push_str(&format!("\n  {}: {line}", log.file_name().to_string_lossy()));
            }
        }
        Failure::general(text)
    }

    /// Where its processes have their files.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A client of the first coordinator.
    pub fn client(&self) -> Result<&Client, Failure> {
        let first = self.clients.first();
        first.ok_or_else(|| Failure::general("no coordinator was started"))
    }

    /// One client a coordinator.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// A link of the bench's own.
    pub async fn link(&self, name: &str) -> Result<std::sync::Arc<AmqpLink>, Failure> {
        connected(&self.amqp_url, name).await
    }

    /// Ends the processes, and drops database and queues.
    pub async fn end(mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.workers.iter().for_each(Process::stop);
        let coordinators = self.coordinators.iter_mut().map(|(process, _)| process);
        let mut all: Vec<&mut Process> = coordinators.chain(&mut self.workers).collect();
        all.iter().for_each(|process| process.stop());
        while began.elapsed() < END_MAX && all.iter_mut().any(|process| process.is_alive()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        (self.coordinators, self.workers) = (Vec::new(), Vec::new());
        // The database goes whatever became of the broker.
        let deleted = self.delete_queues().await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        self.admin.client.batch_execute(&drop).await.map_err(|e| failure(&e))?;
        deleted.map_err(|e| Failure::general(format!("the bench's queues are left behind: {e}")))
    }

    async fn delete_queues(&self) -> Result<(), Failure> {
        let link = self.link("rejoin bench").await?;
        let deleted = link.delete_all(&self.topology, &["default"]).await;
        link.close().await;
        deleted.map_err(|e| Failure::general(e.to_string()))
    }
}

/// A link that is up.
async fn connected(url: &str, name: &str) -> Result<std::sync::Arc<AmqpLink>, Failure> {
    let link = AmqpLink::connect(AmqpConfig::new(url, name));
    let mut state = link.state();
    let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
    if matches!(tokio::time::timeout(BROKER_MAX, up).await, Ok(Ok(_))) {
        return Ok(link);
    }
    let late = || format!("no connection within {} s", BROKER_MAX.as_secs());
    let failure = link.failure().unwrap_or_else(late);
    link.close().await;
    Err(Failure::general(format!("broker {}: {failure}", SecretUrl::new(url))))
}

fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|e| Failure::general(format!("no free port: {e}")))
}
