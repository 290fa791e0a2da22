//! Coordinators and workers as real processes on real servers, and the means to hurt them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::evidence::evidence;

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the project")
        .to_owned()
}

fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("REJOIN_BIN") {
        return named.into();
    }
    let exe = std::env::current_exe().expect("a test has a file");
    exe.ancestors().nth(2).expect("target/PROFILE/deps/test").join("rejoin")
}

/// A process of the fleet. Dropped, it is killed.
pub struct Process {
    pub name: String,
    child: Child,
}

impl Process {
    fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Process> {
        let out = std::fs::File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process {
            name: name.to_owned(),
            child,
        })
    }

    /// Sends a signal by name.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(anyhow!("kill -{signal} {} failed", self.name))
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits until it has ended by itself.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        self.signal("TERM")?;
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() > within {
                bail!("{} did not end within {within:?} of SIGTERM", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            // Nothing is left to do about a process that cannot be killed.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Coordinators and workers that share one database and one broker prefix.
pub struct Fleet {
    pub dir: tempfile::TempDir,
    pub coordinators: Vec<(Process, u16)>,
    pub workers: Vec<Process>,
    pub database_url: String,
    /// How the processes to come reach the servers.
    pub routes: Routes,
    admin_url: String,
    database: String,
    prefix: String,
    client: reqwest::Client,
    started: usize,
}

/// The addresses that a process is given.
#[derive(Clone)]
pub struct Routes {
    pub database_url: String,
    pub amqp_url: String,
}

impl Routes {
    /// Where the real servers listen: database, broker.
    pub fn servers(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((address(&self.database_url)?, address(&self.amqp_url)?))
    }

    /// The database behind a port of this machine.
    pub fn database_at(&mut self, port: u16) -> Result<()> {
        self.database_url = at_port(&self.database_url, port)?;
        Ok(())
    }

    /// The broker behind a port of this machine.
    pub fn broker_at(&mut self, port: u16) -> Result<()> {
        self.amqp_url = at_port(&self.amqp_url, port)?;
        Ok(())
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    let url = reqwest::Url::parse(url)?;
    let (host, port) = (url.host_str().context("no host")?, url.port().context("no port")?);
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    Ok(SocketAddr::new(host.parse()?, port))
}

fn at_port(url: &str, port: u16) -> Result<String> {
    let mut url = reqwest::Url::parse(url)?;
    url.set_port(Some(port)).map_err(|()| anyhow!("{url} takes no port"))?;
    Ok(url.into())
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("{name} is not set: eval \"$(scripts/services env)\" first"))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
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
        services(&["pg", "restore", &fleet.database, &backup.to_string_lossy()])?;
        Ok(fleet)
    }

    /// Backs the database up into this file of the fleet's folder.
    pub fn back_up(&self, name: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(name);
        services(&["pg", "dump", &self.database, &file.to_string_lossy()])?;
        Ok(file)
    }

    async fn without_tables() -> Result<Fleet> {
        let admin_url = variable("REJOIN_TEST_DATABASE_URL")?;
        let amqp_url = variable("REJOIN_TEST_AMQP_URL")?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let database = format!("rejoin_faults_{}", &id[..12]);
        let (client, connection) = tokio_postgres::connect(&admin_url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        drop(client);
        connection.await??;
        let base = admin_url
            .rsplit_once('/')
            .ok_or_else(|| anyhow!("no database in {admin_url}"))?
            .0
            .to_owned();
        Ok(Fleet {
            dir: tempfile::tempdir()?,
            coordinators: Vec::new(),
            workers: Vec::new(),
            database_url: format!("{base}/{database}"),
            routes: Routes {
                database_url: format!("{base}/{database}"),
                amqp_url,
            },
            admin_url,
            database,
            prefix: format!("f{}.", &id[..8]),
            client: reqwest::Client::builder()
                .tls_backend_preconfigured(rejoin_shared::tls::of_nobody())
                .timeout(Duration::from_secs(15))
                .build()?,
            started: 0,
        })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(binary());
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
            .env_remove("REJOIN_SERVICES_DIR");
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

    /// Asks any coordinator that answers; `None`: none does.
    pub async fn ask(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        for (_, port) in &self.coordinators {
            let mut request = self
                .client
                .request(method.clone(), format!("http://127.0.0.1:{port}{path}"));
            if let Some(body) = body {
                request = request.json(body);
            }
            let Ok(response) = request.send().await else { continue };
            let status = response.status().as_u16();
            if let Ok(value) = response.json().await {
                return Some((status, value));
            }
        }
        None
    }

    /// Asks until the answer is one of success.
    pub async fn insist(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut last = None;
        for _ in 0..300 {
            match self.ask(method.clone(), path, body).await {
                Some((200..=299, value)) => return Ok(value),
                other => last = other,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{path} gave no success within 30 s: {last:?}")
    }

    pub async fn register(&self, document: &Value) -> Result<()> {
        self.insist(reqwest::Method::PUT, "/v1/workflows", Some(document))
            .await
            .map(|_| ())
    }

    /// Registers a document in YAML.
    pub async fn register_text(&self, document: &str) -> Result<()> {
        for _ in 0..300 {
            for (_, port) in &self.coordinators {
                let request = self.client.put(format!("http://127.0.0.1:{port}/v1/workflows"));
                let request = request
                    .header("content-type", "application/yaml")
                    .body(document.to_owned());
                let Ok(response) = request.send().await else { continue };
                match response.status().as_u16() {
                    200..=299 => return Ok(()),
                    400..=499 => bail!("the document is refused: {}", response.text().await?),
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the document could not be registered within 30 s")
    }

    pub async fn start_run(&self, workflow: &str, input: Value) -> Result<String> {
        let key = uuid::Uuid::new_v4().to_string();
        let body = json!({ "input": input, "idempotency_key": key });
        let run = self
            .insist(
                reqwest::Method::POST,
                &format!("/v1/workflows/{workflow}/runs"),
                Some(&body),
            )
            .await?;
        run["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("no id in {run}"))
    }

    /// Waits until the run has recorded `done` steps.
    pub async fn wait_for_progress(&self, run: &str, done: u64, within: Duration) -> Result<()> {
        self.wait(run, within, |view| {
            view["progress"]["done"].as_u64().unwrap_or(0) >= done
        })
        .await
        .map(|_| ())
    }

    /// Waits until the run has ended.
    pub async fn wait_for_end(&self, run: &str, within: Duration) -> Result<Value> {
        self.wait(run, within, |view| {
            matches!(
                view["state"].as_str(),
                Some("completed" | "failed" | "cancelled" | "compensation_failed")
            )
        })
        .await
    }

    async fn wait(&self, run: &str, within: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < within {
            if let Some((200, view)) = self.ask(reqwest::Method::GET, &format!("/v1/runs/{run}"), None).await {
                if holds(&view) {
                    return Ok(view);
                }
                last = Some(view);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let why = self
            .ask(reqwest::Method::GET, &format!("/v1/runs/{run}/why"), None)
            .await;
        bail!(
            "run {run} did not get there within {within:?}; last seen: {last:?}; why: {why:?}; logs in {:?}\n{}",
            self.keep_logs(),
            evidence(self)
        )
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

    /// What runs that have ended left in the database, and what waits in the queues: none of it should be there.
    pub async fn left_behind(&self) -> Result<Vec<String>> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let rows = client
            .query(
                "SELECT 'wait ' || w.name FROM waits w JOIN runs r ON r.id = w.run_id WHERE r.finished_at IS NOT NULL \
                 UNION ALL SELECT 'inbox ' || i.kind FROM inbox i WHERE i.verdict IS NULL \
                 UNION ALL SELECT 'timer of ' || id FROM runs WHERE finished_at IS NOT NULL AND wake_at IS NOT NULL",
                &[],
            )
            .await?;
        drop(client);
        connection.await??;
        let mut left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if let Some((200, queues)) = self.ask(reqwest::Method::GET, "/v1/queues", None).await {
            let all = queues["items"].as_array().cloned().unwrap_or_default();
            let busy = all
                .iter()
                .filter(|queue| queue["outstanding"] != 0 || queue["busy"] != 0);
            left.extend(busy.map(|queue| format!("queue {queue}")));
        }
        Ok(left)
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

    /// Recorded completions of a run: path → when, in microseconds since 1970, by the database's clock.
    pub async fn completions(&self, run: &str) -> Result<Vec<(String, i64)>> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let rows = client
            .query(
                "SELECT path, (extract(epoch FROM recorded_at) * 1000000)::bigint FROM rejoin_completions \
                 WHERE run_id = $1::text::uuid AND outcome = 'ok' ORDER BY seq",
                &[&run],
            )
            .await?;
        drop(client);
        connection.await??;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Moves the folder out of the way of its removal, for a person to read.
    pub fn keep_logs(&self) -> PathBuf {
        let kept = root().join("target").join("fault-logs").join(&self.database);
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
        let (client, connection) = tokio_postgres::connect(&self.admin_url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        client
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database))
            .await?;
        drop(client);
        connection.await??;
        Ok(())
    }
}

/// A blow to all queues that RabbitMQ holds ready: `rabbitmqctl` takes seconds to start, in which the run would end.
pub struct Blow {
    verb: &'static str,
    child: Child,
    /// What the node waits for. Where its user can see it, which the fleet's folder is not.
    trigger: PathBuf,
}

impl Blow {
    /// `scripts/services rabbit VERB`, which waits for [`Blow::strike`].
    pub fn arm(verb: &'static str) -> Result<Blow> {
        let name = format!("rejoin-strike-{}", uuid::Uuid::new_v4().simple());
        let trigger = std::env::temp_dir().join(name);
        let child = Command::new(root().join("scripts/services"))
            .args(["rabbit", verb])
            .arg(&trigger)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut blow = Blow { verb, child, trigger };
        let armed = blow.armed();
        while !armed.exists() {
            if let Some(status) = blow.child.try_wait()? {
                return Err(anyhow!(
                    "scripts/services rabbit {verb} ended before it was armed: {status}"
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(armed)?;
        Ok(blow)
    }

    /// The file that is there once it can strike.
    fn armed(&self) -> PathBuf {
        PathBuf::from(format!("{}.armed", self.trigger.display()))
    }

    /// Strikes; a fault is one only if it hit messages or queues.
    pub fn strike(self) -> Result<()> {
        std::fs::write(&self.trigger, "")?;
        let output = self.child.wait_with_output();
        std::fs::remove_file(&self.trigger)?;
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        let hit: u64 = text
            .trim()
            .parse()
            .with_context(|| format!("scripts/services rabbit {} printed {text:?}", self.verb))?;
        println!("{} hit {hit}", self.verb);
        if hit > 0 {
            Ok(())
        } else {
            Err(anyhow!("nothing was there to be hit: the fault did not strike"))
        }
    }
}

/// `scripts/services WHAT…`, and what it printed.
pub fn services_say(what: &[&str]) -> Result<String> {
    let output = Command::new(root().join("scripts/services"))
        .args(what)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(anyhow!(
            "scripts/services {what:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// `scripts/services WHAT…`: stops, starts, empties the servers.
pub fn services(what: &[&str]) -> Result<()> {
    let status = Command::new(root().join("scripts/services"))
        .args(what)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(anyhow!("scripts/services {what:?} failed"))
    }
}
