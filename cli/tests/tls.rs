//! A fleet that encrypts everything, on servers of its own that speak TLS, where `REJOIN_TEST_SERVICES` names the script that
//! makes them; and what is refused.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rejoin_shared::json::Json;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(90);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// Writes `NAME.pem` and `NAME.key`: a certificate of `ca` for the person or server `common`.
fn issue(ca: &Ca, dir: &Path, name: &str, common: &str, hosts: &[&str]) {
    let hosts = hosts.iter().map(|host| (*host).to_owned());
    let mut params = CertificateParams::new(hosts.collect::<Vec<_>>()).expect("hosts");
    params.distinguished_name.push(DnType::CommonName, common);
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, ca).expect("a certificate");
    std::fs::write(dir.join(format!("{name}.pem")), cert.pem()).expect("written");
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("written");
}

/// Servers that speak TLS, and the certificates of all. The servers' names are `localhost`, and nothing else.
struct Encrypted {
    dir: tempfile::TempDir,
    script: PathBuf,
    database_port: String,
    database_password: String,
    amqps_port: String,
    http_port: u16,
    processes: Vec<Child>,
}

impl Encrypted {
    /// None where no servers are wanted.
    fn new() -> Option<Encrypted> {
        let Some(script) = std::env::var_os("REJOIN_TEST_SERVICES") else {
            assert!(
                std::env::var_os("REJOIN_TEST_REQUIRE_SERVERS").is_none(),
                "servers are required"
            );
            return None;
        };
        let dir = tempfile::tempdir().expect("a folder");
        let (ours, strange) = (authority("ours"), authority("strange"));
        std::fs::write(dir.path().join("ca.pem"), ours.pem()).expect("written");
        std::fs::write(dir.path().join("strange.pem"), strange.pem()).expect("written");
        issue(&ours, dir.path(), "server", "server", &["localhost"]);
        issue(&ours, dir.path(), "client", "certified", &["client"]);
        issue(&strange, dir.path(), "stranger", "certified", &["client"]);
        let mut servers = Encrypted {
            script: script.into(),
            database_port: String::new(),
            database_password: String::new(),
            amqps_port: String::new(),
            http_port: free_port(),
            processes: Vec::new(),
            dir,
        };
        servers.services(&["up"]);
        let variables = servers.services(&["env"]);
        let of = |name: &str| {
            let line = variables
                .lines()
                .find_map(|line| line.strip_prefix(&format!("export {name}='")));
            line.and_then(|rest| rest.strip_suffix('\''))
                .expect("a variable")
                .to_owned()
        };
        let database = of("REJOIN_TEST_DATABASE_URL");
        let (user, place) = database.split_once('@').expect("a user");
        servers.database_password = user.rsplit_once(':').expect("a password").1.to_owned();
        let port = place.split_once(':').and_then(|(_, rest)| rest.split_once('/'));
        servers.database_port = port.expect("a port").0.to_owned();
        servers.amqps_port = of("REJOIN_TEST_AMQP_TLS_PORT");
        servers.services(&["pg", "psql", "-qc", "create role certified login superuser"]);
        Some(servers)
    }

    fn services(&self, line: &[&str]) -> String {
        let output = Command::new(&self.script)
            .args(line)
            .env("REJOIN_SERVICES_DIR", self.dir.path().join("servers"))
            .env("REJOIN_SERVICES_TLS", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("the script");
        assert!(
            output.status.success(),
            "{line:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The program, told how to reach everything encrypted, with the certificates of a member of the fleet.
    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command.args(line).stdin(Stdio::null()).current_dir(self.dir.path());
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_")) {
            command.env_remove(key);
        }
        let database = format!(
            "postgres://certified@localhost:{}/rejoin?sslmode=verify-full",
            self.database_port
        );
        command
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("REJOIN_DATABASE__URL", database)
            .env(
                "REJOIN_AMQP__URL",
                format!("amqps://guest:guest@localhost:{}/%2f", self.amqps_port),
            )
            .env("REJOIN_HTTP__LISTEN", format!("localhost:{}", self.http_port))
            .env("REJOIN_HTTP__ACCESS", "tokens")
            .env("REJOIN_HTTP__TLS_CERT", self.file("server.pem"))
            .env("REJOIN_HTTP__TLS_KEY", self.file("server.key"))
            .env("REJOIN_HTTP__TLS_CLIENT_CA", self.file("ca.pem"))
            .env("REJOIN_SERVER", format!("https://localhost:{}", self.http_port))
            .env("REJOIN_CA_FILE", self.file("ca.pem"))
            .env("REJOIN_CLIENT_CERT", self.file("client.pem"))
            .env("REJOIN_CLIENT_KEY", self.file("client.key"));
        for section in ["DATABASE", "AMQP"] {
            command
                .env(format!("REJOIN_{section}__TLS_CA"), self.file("ca.pem"))
                .env(format!("REJOIN_{section}__TLS_CERT"), self.file("client.pem"))
                .env(format!("REJOIN_{section}__TLS_KEY"), self.file("client.key"));
        }
        command
    }

    fn says(&self, line: &[&str], token: &str) -> String {
        let output = self
            .command(line)
            .env("REJOIN_TOKEN", token)
            .output()
            .expect("the program");
        assert!(output.status.success(), "{line:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What it says about a failure, with these variables set otherwise; `None` takes one away.
    fn refuses(&self, line: &[&str], variables: &[(&str, Option<&str>)]) -> String {
        let mut command = self.command(line);
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.output().expect("the program");
        assert!(
            !output.status.success(),
            "{line:?} with {variables:?}: {}",
            said(&output)
        );
        said(&output)
    }

    fn start(&mut self, mut command: Command, log: &str) {
        let log = std::fs::File::create(self.dir.path().join(log)).expect("a log");
        command.stdout(Stdio::null()).stderr(log);
        self.processes.push(command.spawn().expect("started"));
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Waits until the fleet's API says that it is ready.
    fn await_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self
            .command(&["run", "list"])
            .output()
            .expect("the program")
            .status
            .code()
            .eq(&Some(4))
        {
            assert!(Instant::now() < deadline, "not ready: {}", self.log("coordinator.log"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().ok();
            process.wait().ok();
        }
        self.services(&["reset"]);
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn free_port() -> u16 {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.expect("a free port").port()
}

#[test]
fn a_fleet_with_tls_and_tokens_everywhere_does_the_order_workflow_and_strangers_are_refused() {
    let Some(mut fleet) = Encrypted::new() else { return };
    fleet.says(&["migrate"], "");
    let made = fleet.says(&["token", "create", "shop", "--scope", "admin", "-o", "json"], "");
    let made = Json::parse(made.as_bytes()).expect("JSON");
    let token = made.get("token").and_then(Json::as_str).expect("a token").to_owned();
    let coordinator = fleet.command(&["coordinator"]);
    fleet.start(coordinator, "coordinator.log");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/order_processing");
    let handlers = example.join("handlers.yaml").display().to_string();
    let worker = fleet.command(&["worker", "--handlers", &handlers]);
    fleet.start(worker, "worker.log");
    fleet.await_ready();

    let file = |name: &str| example.join(name).display().to_string();
    fleet.says(&["workflow", "apply", &file("order_processing.yaml")], &token);
    let input = format!("@{}", file("inputs/physical.json"));
    let line = [
        "run",
        "start",
        "order_processing",
        "--input",
        &input,
        "--wait",
        "-o",
        "json",
    ];
    let run = Json::parse(fleet.says(&line, &token).as_bytes()).expect("JSON");
    assert_eq!(run.get("state"), Some(&Json::str("completed")), "{run}");
    let total = run.get("output").and_then(|output| output.get("total_cents"));
    assert_eq!(total, Some(&Json::Int(12_300)), "{run}");
    assert!(fleet.says(&["doctor"], &token).contains("ok     broker"));
    fleet.says(&["gc", "--dry-run"], "");

    refused_by_the_database(&fleet);
    refused_by_the_broker(&fleet);
    refused_by_the_api(&fleet);
}

fn refused_by_the_database(fleet: &Encrypted) {
    let strange = fleet.file("strange.pem");
    let at = |host: &str, rest: &str| format!("postgres://{host}:{}/rejoin{rest}", fleet.database_port);
    for line in [
        &["migrate", "--check"][..],
        &["gc", "--dry-run"],
        &["doctor"],
        &["coordinator"],
    ] {
        let told = fleet.refuses(line, &[("REJOIN_DATABASE__TLS_CA", Some(&strange))]);
        assert!(told.contains("UnknownIssuer"), "{line:?}: {told}");
    }
    let elsewhere = at("certified@127.0.0.1", "?sslmode=verify-full");
    let told = fleet.refuses(&["migrate", "--check"], &[("REJOIN_DATABASE__URL", Some(&elsewhere))]);
    assert!(told.contains("not valid for name \"127.0.0.1\""), "{told}");
    let anonymous = [("REJOIN_DATABASE__TLS_CERT", None), ("REJOIN_DATABASE__TLS_KEY", None)];
    let told = fleet.refuses(&["migrate", "--check"], &anonymous);
    assert!(told.contains("certificate"), "{told}");
    // With a password instead of a certificate: verified all the same, and never in plain text by chance.
    let known = at(&format!("rejoin:{}@localhost", fleet.database_password), "");
    let mut command = fleet.command(&["migrate", "--check"]);
    command
        .env("REJOIN_DATABASE__URL", &known)
        .env_remove("REJOIN_DATABASE__TLS_CERT");
    let admitted = command
        .env_remove("REJOIN_DATABASE__TLS_KEY")
        .output()
        .expect("the program");
    assert!(admitted.status.success(), "{}", said(&admitted));
    let missing = [("REJOIN_DATABASE__TLS_CA", Some("/nowhere/ca.pem"))];
    let told = fleet.refuses(&["migrate", "--check"], &missing);
    assert!(told.contains("/nowhere/ca.pem: No such file"), "{told}");
}

fn refused_by_the_broker(fleet: &Encrypted) {
    let strange = fleet.file("strange.pem");
    let told = fleet.refuses(&["doctor"], &[("REJOIN_AMQP__TLS_CA", Some(&strange))]);
    assert!(
        told.contains("WRONG  broker") && told.contains("UnknownIssuer"),
        "{told}"
    );
    let elsewhere = format!("amqps://guest:guest@127.0.0.1:{}/%2f", fleet.amqps_port);
    let told = fleet.refuses(&["doctor"], &[("REJOIN_AMQP__URL", Some(&elsewhere))]);
    assert!(told.contains("not valid for name \"127.0.0.1\""), "{told}");
    let anonymous = [("REJOIN_AMQP__TLS_CERT", None), ("REJOIN_AMQP__TLS_KEY", None)];
    let told = fleet.refuses(&["doctor"], &anonymous);
    assert!(told.contains("WRONG  broker"), "{told}");
    let plain = format!("amqp://guest:guest@localhost:{}/%2f", fleet.amqps_port);
    let told = fleet.refuses(
        &["worker", "--handlers", "none.yaml"],
        &[("REJOIN_AMQP__URL", Some(&plain))],
    );
    assert!(told.contains("amqp.tls_*"), "{told}");
}

fn refused_by_the_api(fleet: &Encrypted) {
    let list = ["run", "list"];
    let strange = fleet.file("strange.pem");
    let told = fleet.refuses(&list, &[("REJOIN_CA_FILE", Some(&strange))]);
    assert!(told.contains("UnknownIssuer"), "{told}");
    let elsewhere = format!("https://127.0.0.1:{}", fleet.http_port);
    let told = fleet.refuses(&list, &[("REJOIN_SERVER", Some(&elsewhere))]);
    assert!(told.contains("not valid for name \"127.0.0.1\""), "{told}");
    let anonymous = [("REJOIN_CLIENT_CERT", None), ("REJOIN_CLIENT_KEY", None)];
    let told = fleet.refuses(&list, &anonymous);
    assert!(told.contains("CertificateRequired"), "{told}");
    let (cert, key) = (fleet.file("stranger.pem"), fleet.file("stranger.key"));
    let stranger = [("REJOIN_CLIENT_CERT", Some(&*cert)), ("REJOIN_CLIENT_KEY", Some(&*key))];
    let told = fleet.refuses(&list, &stranger);
    assert!(told.contains("UnknownCA") || told.contains("DecryptError"), "{told}");
    let plain = format!("http://localhost:{}", fleet.http_port);
    fleet.refuses(&list, &[("REJOIN_SERVER", Some(&plain))]);
    let mismatched = [
        ("REJOIN_HTTP__TLS_KEY", Some(&*key)),
        ("REJOIN_HTTP__LISTEN", Some("localhost:0")),
    ];
    let told = fleet.refuses(&["coordinator"], &mismatched);
    assert!(told.contains("the key is not the certificate's"), "{told}");
}
