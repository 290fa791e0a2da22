//! The roles of `deploy/postgres/roles`, tried on a real PostgreSQL where `REJOIN_TEST_SERVICES` names the script that runs one: the owner
//! migrates, the app works and makes no table, the reader reads three views.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Link as _, LinkState};
use rejoin_shared::topology::Topology;
use tokio_postgres::NoTls;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKFLOW: &str = "workflow: w\nsteps:\n  - step: e\n    uses: rejoin.echo\n    with: { a: 1 }\n";
/// SQLSTATE of what a role may not do.
const NO_PRIVILEGE: &str = "42501";

struct Installation {
    script: String,
    admin_url: String,
    amqp_url: String,
    name: String,
    processes: Vec<Child>,
}

impl Installation {
    async fn new() -> Option<Installation> {
        let variable = |name: &str| std::env::var(name).ok();
        let urls = (variable("REJOIN_TEST_DATABASE_URL"), variable("REJOIN_TEST_AMQP_URL"));
        let (Some(script), (Some(admin_url), Some(amqp_url))) = (variable("REJOIN_TEST_SERVICES"), urls) else {
            assert!(
                variable("REJOIN_TEST_REQUIRE_SERVERS").is_none(),
                "servers are required"
            );
            return None;
        };
        let name = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let installation = Installation {
            script,
            admin_url,
            amqp_url,
            name,
            processes: Vec::new(),
        };
        let made = format!("create database {}", installation.database());
        installation
            .sql_at(&installation.admin_url, &made)
            .await
            .expect("created");
        Some(installation)
    }

    fn database(&self) -> String {
        format!("rejoin_{}", self.name)
    }

    fn role(&self, what: &str) -> String {
        format!("{what}_{}", self.name)
    }

    /// Runs the script's SQL in the database, as a superuser.
    fn set_roles_up(&self) {
        let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/roles");
        let names = ["owner", "app", "reader"].map(|what| self.role(what));
        let printed = Command::new(roles).args(names).output().expect("the script");
        assert!(printed.status.success(), "{}", told(&printed));
        let mut psql = Command::new(&self.script);
        psql.args(["pg", "psql", "-d", &self.database(), "-q", "-v", "ON_ERROR_STOP=1"]);
        let pipes = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("psql");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(&printed.stdout).expect("written");
        for what in ["owner", "app", "reader"] {
            writeln!(input, "ALTER ROLE {} PASSWORD 'secret';", self.role(what)).expect("written");
        }
        drop(input);
        let done = child.wait_with_output().expect("psql");
        assert!(done.status.success(), "{}", told(&done));
    }

    fn url_as(&self, what: &str) -> String {
        let (_, host) = self.admin_url.split_once('@').expect("a user");
        let (host, _) = host.split_once('/').expect("a database");
        format!("postgres://{}:secret@{host}/{}", self.role(what), self.database())
    }

    async fn sql_at(&self, url: &str, statement: &str) -> Result<usize, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let done = client.simple_query(statement).await;
        drop(client);
        drop(driver.await);
        let is_row =
            |one: &&tokio_postgres::SimpleQueryMessage| matches!(one, tokio_postgres::SimpleQueryMessage::Row(_));
        done.map(|all| all.iter().filter(is_row).count())
    }

    /// The statement is refused for want of a privilege.
    async fn refuses(&self, what: &str, statement: &str) {
        let refused = self.sql_at(&self.url_as(what), statement).await.expect_err(statement);
        let code = refused.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some(NO_PRIVILEGE), "{what}: {statement}: {refused}");
    }

    fn topology(&self) -> Topology {
        Topology {
            prefix: format!("{}.", self.name),
        }
    }

    fn command(&self, line: &[&str], what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command
            .args(line)
            .stdin(Stdio::null())
            .current_dir(std::env::temp_dir());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_")) {
            command.env_remove(key);
        }
        command
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("REJOIN_DATABASE__URL", self.url_as(what))
            .env("REJOIN_AMQP__URL", &self.amqp_url)
            .env("REJOIN_AMQP__PREFIX", self.topology().prefix);
        command
    }

    fn run(&self, line: &[&str], what: &str) -> Output {
        self.command(line, what).output().expect("the program")
    }

    fn start(&mut self, line: &[&str]) {
        let mut command = self.command(line, "app");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(child.expect("started"));
    }

    async fn end(mut self) {
        for process in &mut self.processes {
            process.kill().expect("killed");
            process.wait().expect("ended");
        }
        let link = AmqpLink::connect(AmqpConfig::new(&self.amqp_url, "test"));
        let mut state = link.state();
        let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
        up.await.expect("connected");
        link.delete_all(&self.topology(), &["default"]).await.expect("deleted");
        link.close().await;
        let gone = format!("drop database {} with (force)", self.database());
        self.sql_at(&self.admin_url, &gone).await.expect("dropped");
        for what in ["owner", "app", "reader"] {
            let gone = format!("drop role {}", self.role(what));
            self.sql_at(&self.admin_url, &gone).await.expect("dropped");
        }
    }
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_migrates_the_app_works_and_makes_no_table_and_the_reader_reads_three_views() {
    let Some(mut installation) = Installation::new().await else {
        return;
    };
    installation.set_roles_up();
    let refused = installation.run(&["migrate"], "app");
    assert!(!refused.status.success(), "{}", told(&refused));
    let migrated = installation.run(&["migrate"], "owner");
    assert!(migrated.status.success(), "{}", told(&migrated));
    // The views are there now.
    installation.set_roles_up();
    assert!(installation.run(&["migrate", "--check"], "app").status.success());

    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let listen = format!("127.0.0.1:{}", port.expect("a free port").port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (handlers, document) = (file("handlers.yaml", "handlers: {}\n"), file("w.yaml", WORKFLOW));
    installation.start(&["coordinator", "--listen", &listen]);
    installation.start(&["worker", "--handlers", &handlers]);
    let server = format!("http://{listen}");
    let deadline = Instant::now() + PATIENCE;
    let apply = ["workflow", "apply", &document, "--server", &server];
    while !installation.run(&apply, "app").status.success() {
        assert!(
            Instant::now() < deadline,
            "no coordinator: {}",
            told(&installation.run(&apply, "app"))
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let started = installation.run(&["run", "start", "w", "--wait", "--server", &server], "app");
    assert!(started.status.success(), "{}", told(&started));
    assert!(installation.run(&["token", "create", "t"], "app").status.success());
    assert!(installation.run(&["gc", "--yes"], "app").status.success());
    let seen = told(&installation.run(&["doctor", "--server", &server], "app"));
    assert!(seen.contains("ok     rights"), "{seen}");

    what_the_app_may_not(&installation).await;
    what_the_reader_may(&installation).await;
    installation.end().await;
}

async fn what_the_app_may_not(installation: &Installation) {
    for statement in [
        "create table t (n int)",
        "create function f() returns int language sql as 'select 1'",
        "drop table runs",
        "alter table runs add column n int",
        "truncate journal",
        "create schema s",
        "create role r",
        "insert into refinery_schema_history (version) values (99)",
    ] {
        installation.refuses("app", statement).await;
    }
}

async fn what_the_reader_may(installation: &Installation) {
    let url = installation.url_as("reader");
    for view in ["rejoin_runs", "rejoin_steps", "rejoin_completions"] {
        let rows = installation.sql_at(&url, &format!("select * from {view}")).await;
        assert!(rows.expect(view) >= 1, "{view}");
    }
    for statement in [
        "select * from journal",
        "select * from runs",
        "select * from tokens",
        "delete from rejoin_runs",
        "create table t (n int)",
        "select rejoin_broadcast('default', 'e', 'k', '', 'x')",
    ] {
        installation.refuses("reader", statement).await;
    }
}
