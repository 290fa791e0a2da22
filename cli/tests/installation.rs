//! `rejoin doctor` and `rejoin token` on real servers, where `REJOIN_TEST_DATABASE_URL` and `REJOIN_TEST_AMQP_URL` name some.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rejoin_shared::json::Json;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Link, LinkState, QueueKind, QueueSpec};
use rejoin_shared::topology::Topology;
use tokio_postgres::NoTls;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

struct Installation {
    admin_url: String,
    database: String,
    database_url: String,
    amqp_url: String,
    topology: Topology,
}

impl Installation {
    /// An empty database, and a prefix of its own at the broker; none where no servers are named.
    async fn new() -> Option<Installation> {
        let url = |name: &str| std::env::var(name).ok();
        let (Some(admin_url), Some(amqp_url)) = (url("REJOIN_TEST_DATABASE_URL"), url("REJOIN_TEST_AMQP_URL")) else {
            assert!(url("REJOIN_TEST_REQUIRE_SERVERS").is_none(), "servers are required");
            return None;
        };
        let name = uuid::Uuid::new_v4().simple().to_string();
        let database = format!("rejoin_cli_{name}");
        sql(
            &admin_url,
            &format!("create database {database} encoding 'UTF8' template template0"),
        )
        .await;
        let (base, query) = admin_url
            .split_once('?')
            .map_or((&*admin_url, ""), |(base, query)| (base, query));
        let host = base.rsplit_once('/').expect("a database's name").0;
        let gap = if query.is_empty() { "" } else { "?" };
        Some(Installation {
            database_url: format!("{host}/{database}{gap}{query}"),
            admin_url,
            database,
            amqp_url,
            topology: Topology {
                prefix: format!("cli-{name}."),
            },
        })
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command
            .args(line)
            .stdin(Stdio::null())
            .current_dir(std::env::temp_dir());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_")) {
            command.env_remove(key);
        }
        command
            .env("REJOIN_DATABASE__URL", &self.database_url)
            .env("REJOIN_AMQP__URL", &self.amqp_url);
        command
            .env("REJOIN_AMQP__PREFIX", &self.topology.prefix)
            .env("XDG_CONFIG_HOME", "/nonexistent");
        command
    }

    fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().expect("the program")
    }

    fn says(&self, line: &[&str]) -> String {
        let output = self.run(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{line:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    async fn end(self) {
        sql(
            &self.admin_url,
            &format!("drop database {} with (force)", self.database),
        )
        .await;
    }
}

async fn sql(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database");
    let driver = tokio::spawn(connection);
    client.batch_execute(statement).await.expect("the statement");
    drop(client);
    drop(driver.await);
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_and_mends_migrations_and_queues_of_other_arguments() {
    let Some(installation) = Installation::new().await else {
        return;
    };
    let link = AmqpLink::connect(AmqpConfig::new(&installation.amqp_url, "test"));
    link.state()
        .wait_for(|state| matches!(state, LinkState::Up(_)))
        .await
        .expect("connected");
    let odd = QueueSpec {
        name: installation.topology.dead(),
        kind: QueueKind::Durable {
            delivery_limit: 7,
            dead_letters: None,
            exchange: None,
        },
    };
    link.declare(&odd).await.expect("declared");
    let found = installation.run(&["doctor"]);
    let text = out(&found);
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(text.contains("WRONG  migrations    pending: V1__journal"), "{text}");
    assert!(
        text.contains("WRONG  topology") && text.contains("inequivalent arg"),
        "{text}"
    );
    let mended = out(&installation.run(&["doctor", "--fix"]));
    assert!(
        mended.contains("mended migrations") && mended.contains("ok     migrations"),
        "{mended}"
    );
    assert!(
        mended.contains("deleted and declared") && mended.contains("ok     topology"),
        "{mended}"
    );
    assert!(
        mended.contains("ok     rights") && mended.contains("ok     clocks"),
        "{mended}"
    );
    assert!(
        mended.contains("WRONG  coordinators  none is alive"),
        "what only a human can do stays: {mended}"
    );
    let dead = installation.topology.dead_queue();
    link.declare(&dead).await.expect("it is as it is to be");
    link.delete_all(&installation.topology, &["default"])
        .await
        .expect("deleted");
    link.close().await;
    installation.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_others_reach_takes_tokens_until_they_are_revoked() {
    let Some(installation) = Installation::new().await else {
        return;
    };
    installation.says(&["migrate"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let listen = format!("0.0.0.0:{port}");
    let refused = installation.run(&["coordinator", "--listen", &listen]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("rejoin token create"), "{why}");
    let made = installation.says(&["token", "create", "ci", "--scope", "viewer", "-o", "json"]);
    let made = Json::parse(made.as_bytes()).expect("JSON");
    let part = |key: &str| made.get(key).and_then(Json::as_str).expect("a text").to_owned();
    let (token, id) = (part("token"), part("id"));
    let mut coordinator = installation.command(&["coordinator", "--listen", &listen]);
    let mut coordinator = coordinator
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    let server = format!("http://127.0.0.1:{port}");
    let list = |token: &[&str]| {
        let line = [&["run", "list", "--server", &server], token].concat();
        installation.run(&line).status.code().expect("an end")
    };
    let deadline = Instant::now() + PATIENCE;
    while list(&["--token", &token]) == 7 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((list(&["--token", &token]), list(&[])), (0, 4));
    let denied = installation.run(&["run", "start", "w", "--server", &server, "--token", &token]);
    assert_eq!(denied.status.code(), Some(4), "a viewer starts nothing");
    let listed = installation.says(&["token", "list", "-o", "json"]);
    assert!(listed.contains(&id) && !listed.contains(&token), "{listed}");
    installation.says(&["token", "revoke", &id]);
    assert_eq!(installation.run(&["token", "revoke", &id]).status.code(), Some(3));
    let deadline = Instant::now() + PATIENCE;
    while list(&["--token", &token]) == 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(list(&["--token", &token]), 4);
    coordinator.kill().expect("killed");
    coordinator.wait().expect("ended");
    let link = AmqpLink::connect(AmqpConfig::new(&installation.amqp_url, "test"));
    link.state()
        .wait_for(|state| matches!(state, LinkState::Up(_)))
        .await
        .expect("connected");
    link.delete_all(&installation.topology, &["default"])
        .await
        .expect("deleted");
    link.close().await;
    installation.end().await;
}

/// The databases of benches.
async fn bench_databases(url: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database");
    let driver = tokio::spawn(connection);
    let found = client
        .query(
            "select datname from pg_database where datname like 'rejoin_bench_%'",
            &[],
        )
        .await;
    let names = found.expect("listed").iter().map(|row| row.get(0)).collect();
    drop(client);
    drop(driver.await);
    names
}

/// The processes that a process has started and that live: each belongs to the thread that started it.
fn children(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_is_told_to_stop_leaves_no_database_and_no_process_behind() {
    let Some(installation) = Installation::new().await else {
        return;
    };
    let before = bench_databases(&installation.admin_url).await;
    let line = ["bench", "fanout", "--branches", "20000", "--repeat", "1000"];
    let mut command = installation.command(&line);
    let mut bench = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let began = Instant::now();
    // A coordinator and two workers.
    let started = loop {
        let started = children(bench.id());
        if started.len() == 3 {
            break started;
        }
        let has_ended = bench.try_wait().expect("its state").is_some();
        assert!(!has_ended && began.elapsed() < PATIENCE, "the bench has not begun");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let of_bench = async || {
        let now = bench_databases(&installation.admin_url).await;
        now.into_iter().filter(|name| !before.contains(name)).count()
    };
    assert_eq!(of_bench().await, 1, "it has a database of its own");
    let told = Command::new("kill").args(["-TERM", &bench.id().to_string()]).status();
    assert!(told.expect("kill").success());
    let ended = bench.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped before the end"), "{said}");
    assert_eq!(of_bench().await, 0, "{said}");
    for process in started {
        assert!(
            !std::path::Path::new(&format!("/proc/{process}")).exists(),
            "{process} lives: {said}"
        );
    }
    installation.end().await;
}
