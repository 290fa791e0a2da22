//! What a worker's user of RabbitMQ can do once `deploy/rabbitmq/permissions` was applied: its work, and nothing else. Tried by
//! attacking, on real servers, where `REJOIN_TEST_SERVICES` names the script that runs them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use rejoin_shared::json::Json;
use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Address, Link as _, LinkState, Message};
use rejoin_shared::topology::Topology;
use rejoin_shared::wire::kind;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKFLOW: &str = "workflow: w\nsteps:\n  - parallel: all\n    branches:\n      a: [ { step: x, uses: rejoin.echo, with: { a: 1 } } ]\n      b: [ { step: y, uses: rejoin.echo, with: { b: 1 } } ]\n";

/// A database and users of its own: `c…` for coordinators, `w…` for workers of the queue `default`, `o…` who may publish to anything.
struct Installation {
    script: String,
    admin_url: String,
    amqp_url: String,
    name: String,
    topology: Topology,
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
        let name = uuid::Uuid::new_v4().simple().to_string();
        let installation = Installation {
            script,
            admin_url,
            amqp_url,
            topology: Topology {
                prefix: format!("{name}."),
            },
            name,
            processes: Vec::new(),
        };
        installation
            .sql(&format!("create database rejoin_{}", installation.name))
            .await;
        for user in ["c", "w", "o"] {
            installation.rabbitmqctl(&["add_user", &installation.user(user), "secret"]);
        }
        installation.permit(&["coordinator", &installation.user("c")]);
        installation.permit(&["worker", &installation.user("w"), "default"]);
        installation.rabbitmqctl(&["set_permissions", &installation.user("o"), "", ".*", ""]);
        Some(installation)
    }

    fn user(&self, letter: &str) -> String {
        format!("{letter}{}", &self.name[..12])
    }

    fn rabbitmqctl(&self, line: &[&str]) {
        let done = Command::new(&self.script)
            .args(["rabbit", "ctl", "-q"])
            .args(line)
            .output();
        let done = done.expect("the script");
        assert!(done.status.success(), "{line:?}: {}", told(&done));
    }

    fn permit(&self, line: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rabbitmq/permissions");
        let done = Command::new(script)
            .args(["--prefix", &self.topology.prefix, "--apply"])
            .args(line)
            .env("RABBITMQCTL", format!("{} rabbit ctl -q", self.script))
            .output()
            .expect("the script");
        assert!(done.status.success(), "{line:?}: {}", told(&done));
    }

    async fn sql(&self, statement: &str) {
        let (client, connection) = tokio_postgres::connect(&self.admin_url, tokio_postgres::NoTls)
            .await
            .expect("the database");
        let driver = tokio::spawn(connection);
        client.batch_execute(statement).await.expect("the statement");
        drop(client);
        drop(driver.await);
    }

    fn amqp_as(&self, letter: &str) -> String {
        let (_, host) = self.amqp_url.split_once('@').expect("a user");
        format!("amqp://{}:secret@{host}", self.user(letter))
    }

    fn command(&self, line: &[&str], user: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command
            .args(line)
            .stdin(Stdio::null())
            .current_dir(std::env::temp_dir());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_")) {
            command.env_remove(key);
        }
        let (server, _) = self.admin_url.rsplit_once('/').expect("a database's name");
        command
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("REJOIN_DATABASE__URL", format!("{server}/rejoin_{}", self.name))
            .env("REJOIN_AMQP__URL", self.amqp_as(user))
            .env("REJOIN_AMQP__PREFIX", &self.topology.prefix)
            .env("REJOIN_AMQP__WORKER_USERS", self.user("w"));
        command
    }

    fn says(&self, line: &[&str]) -> String {
        let output = self.command(line, "c").output().expect("the program");
        assert!(output.status.success(), "{line:?}: {}", told(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn start(&mut self, line: &[&str], user: &str) {
        let mut command = self.command(line, user);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(child.expect("started"));
    }

    /// A link as one of the users has it.
    async fn link(&self, letter: &str) -> std::sync::Arc<AmqpLink> {
        let config = AmqpConfig {
            names_user: true,
            ..AmqpConfig::new(&self.amqp_as(letter), "test")
        };
        let link = AmqpLink::connect(config);
        let mut state = link.state();
        let up = state.wait_for(|state| matches!(state, LinkState::Up(_)));
        up.await.expect("connected");
        link
    }

    async fn end(mut self) {
        for process in &mut self.processes {
            process.kill().expect("killed");
            process.wait().expect("ended");
        }
        let link = self.link("c").await;
        link.delete_all(&self.topology, &["default"]).await.expect("deleted");
        link.close().await;
        for user in ["c", "w", "o"] {
            self.rabbitmqctl(&["delete_user", &self.user(user)]);
        }
        self.sql(&format!("drop database rejoin_{} with (force)", self.name))
            .await;
    }
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The broker's code for a refusal.
fn code_of<T: std::fmt::Debug>(answer: lapin::Result<T>) -> u16 {
    let error = answer.expect_err("it was refused");
    let ErrorKind::ProtocolError(said) = error.kind() else {
        panic!("{error}");
    };
    said.get_id()
}

/// One who has a worker's password, and tries what it is good for.
struct Attacker(Connection);

impl Attacker {
    /// A channel of its own each time: a refusal closes it.
    async fn channel(&self) -> Channel {
        let channel = self.0.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        channel
    }

    async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties) -> u16 {
        let channel = self.channel().await;
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties);
        let confirm = sent.await.expect("sent");
        // The broker answers a publish that it refuses by closing the channel.
        code_of(confirm.await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_user_can_do_its_work_and_nothing_else() {
    let Some(mut installation) = Installation::new().await else {
        return;
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let listen = format!("127.0.0.1:{}", port.expect("a free port").port());
    let server = format!("http://{listen}");
    installation.says(&["migrate"]);
    let folder = tempfile::tempdir().expect("a folder");
    let handlers = folder.path().join("handlers.yaml");
    std::fs::write(&handlers, "handlers: {}\n").expect("written");
    // The worker first: it makes none of the queues that it reads.
    installation.start(&["worker", "--handlers", &handlers.display().to_string()], "w");
    installation.start(&["coordinator", "--listen", &listen], "c");
    let document = folder.path().join("w.yaml");
    std::fs::write(&document, WORKFLOW).expect("written");
    let deadline = Instant::now() + PATIENCE;
    let apply = [
        "workflow",
        "apply",
        &document.display().to_string(),
        "--server",
        &server,
    ];
    while !installation
        .command(&apply, "c")
        .output()
        .expect("the program")
        .status
        .success()
    {
        assert!(Instant::now() < deadline, "no coordinator");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let start = ["run", "start", "w", "--wait", "-o", "json", "--server", &server];
    let run = installation.says(&start);
    let state = |run: &str| Json::parse(run.as_bytes()).expect("JSON").get("state").cloned();
    assert_eq!(state(&run), Some(Json::str("completed")), "{run}");

    attack(&installation).await;
    foreign_completions_are_turned_away(&installation, &server).await;
    assert_eq!(state(&installation.says(&start)), Some(Json::str("completed")));
    installation.end().await;
}

async fn attack(installation: &Installation) {
    let url = installation.amqp_as("w");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await;
    let attacker = Attacker(connection.expect("a worker may connect"));
    let name = |rest: &str| format!("{}rejoin.{rest}", installation.topology.prefix);
    let plain = BasicProperties::default;

    // Publishing to other queues and exchanges.
    for (exchange, key) in [
        (String::new(), name("tasks.default")),
        (String::new(), name("dead")),
        (String::new(), name("events.0")),
        (name("workers"), String::new()),
        ("amq.direct".to_owned(), "x".to_owned()),
        ("amq.topic".to_owned(), "x".to_owned()),
    ] {
        assert_eq!(
            attacker.publish(&exchange, &key, plain()).await,
            403,
            "{exchange:?} {key:?}"
        );
    }
    // As somebody else.
    let other = plain().with_user_id(installation.user("c").into());
    assert_eq!(attacker.publish(&name("events"), "x", other).await, 406);

    for queue in [
        name("events.0"),
        name("dead"),
        name("tasks.gpu"),
        name("tasks.other.default"),
    ] {
        let channel = attacker.channel().await;
        let consumed = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        assert_eq!(code_of(consumed.await.map(drop)), 403, "{queue}");
        let channel = attacker.channel().await;
        let got = channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
        assert_eq!(code_of(got.await.map(drop)), 403, "{queue}");
    }
    what_it_cannot_make_or_destroy(&attacker, &name).await;
    attacker.0.close(200, "bye".into()).await.ok();
}

async fn what_it_cannot_make_or_destroy(attacker: &Attacker, name: &impl Fn(&str) -> String) {
    let none = FieldTable::default;
    for queue in [name("tasks.new"), name("events.63"), "own".to_owned()] {
        let channel = attacker.channel().await;
        let made = channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), none());
        assert_eq!(code_of(made.await.map(drop)), 403, "{queue}");
    }
    let channel = attacker.channel().await;
    let made = channel.exchange_declare(
        name("own").as_str().into(),
        ExchangeKind::Fanout,
        ExchangeDeclareOptions::default(),
        none(),
    );
    assert_eq!(code_of(made.await), 403);
    let channel = attacker.channel().await;
    let deleted = channel.queue_delete(name("tasks.default").as_str().into(), QueueDeleteOptions::default());
    assert_eq!(code_of(deleted.await.map(drop)), 403);
    let channel = attacker.channel().await;
    let purged = channel.queue_purge(name("events.0").as_str().into(), QueuePurgeOptions::default());
    assert_eq!(code_of(purged.await.map(drop)), 403);
    // Listening to what others report, or to completions.
    for exchange in [name("reports"), name("events")] {
        let channel = attacker.channel().await;
        let own = name(&format!("worker.{}", uuid::Uuid::new_v4()));
        let made = channel.queue_declare(own.as_str().into(), QueueDeclareOptions::exclusive(), none());
        made.await.expect("its own queue is its to make");
        let bound = channel.queue_bind(
            own.as_str().into(),
            exchange.as_str().into(),
            "".into(),
            QueueBindOptions::default(),
            none(),
        );
        assert_eq!(code_of(bound.await), 403, "{exchange}");
    }
}

/// One who may publish to everything, and is no worker: what it sends completes nothing, and is to be found.
async fn foreign_completions_are_turned_away(installation: &Installation, server: &str) {
    let link = installation.link("o").await;
    let home = (0..64).map(|n| installation.topology.events(n));
    let mut sent = false;
    for queue in home {
        let message = Message::new(
            kind::COMPLETIONS,
            true,
            br#"{"worker":{"name":"x","incarnation":"01920000-0000-7000-8000-000000000000"},"items":[]}"#.to_vec(),
        );
        let published = link.publish(&Address::Queue(queue), message).await.expect("published");
        sent |= published == rejoin_shared::link::Published::Accepted;
    }
    assert!(sent, "some event queue is in use");
    let deadline = Instant::now() + PATIENCE;
    let list = ["dead-letter", "list", "-o", "json", "--server", server];
    while !installation.says(&list).contains("rejoin.completions") {
        assert!(
            Instant::now() < deadline,
            "it is among the dead letters: {}",
            installation.says(&list)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    link.close().await;
}
