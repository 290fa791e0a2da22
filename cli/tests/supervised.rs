//! What a service manager hears (`sd_notify(3)`) of `rejoin dev`, and, on real servers, of `rejoin coordinator` and `rejoin worker`.

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rejoin_shared::link::amqp::{AmqpConfig, AmqpLink};
use rejoin_shared::link::{Link, LinkState};
use rejoin_shared::topology::Topology;
use rustix::process::{Pid, Signal, kill_process};
use support::{Database, program};
use tempfile::TempDir;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// The limit that the processes are given, in microseconds: they tell twice a second that they move.
const LIMIT_US: &str = "1000000";

/// A service manager and the one process that it watches over.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
    process: Child,
}

impl Manager {
    /// Starts the program in a folder with a worker's file, and listens.
    fn start(line: &[&str], variables: &[(&str, &str)]) -> Manager {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("handlers.yaml"), "handlers: {}\n").expect("a file");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut command = program(line);
        command.current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", LIMIT_US);
        let process = command.envs(variables.iter().copied()).spawn().expect("started");
        Manager {
            folder,
            socket,
            process,
        }
    }

    fn hears(&self) -> String {
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).expect("told in time");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    }

    /// It is told READY first, that the process moves again and again, and STOPPING once it is asked to end, which it does.
    fn sees_a_life(mut self) {
        assert_eq!(self.hears(), "READY=1");
        assert_eq!([self.hears(), self.hears()], ["WATCHDOG=1", "WATCHDOG=1"]);
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), Signal::TERM).expect("signalled");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.hears().as_str() {
                "STOPPING=1" => break,
                "WATCHDOG=1" if Instant::now() < deadline => {}
                other => panic!("told {other}"),
            }
        }
        assert!(self.process.wait().expect("ended").success());
        drop(self.folder);
    }
}

#[test]
fn a_service_manager_hears_that_dev_is_ready_moves_and_stops() {
    Manager::start(&["dev", ".", "--listen", "127.0.0.1:0"], &[]).sees_a_life();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_the_same_of_a_coordinator_and_a_worker() {
    let url = |name: &str| std::env::var(name).ok();
    let (Some(database_url), Some(amqp_url)) = (url("REJOIN_TEST_DATABASE_URL"), url("REJOIN_TEST_AMQP_URL")) else {
        assert!(url("REJOIN_TEST_REQUIRE_SERVERS").is_none(), "servers are required");
        return;
    };
    let topology = Topology {
        prefix: format!("supervised-{}.", uuid::Uuid::new_v4().simple()),
    };
    let database = Database::new(&database_url).await;
    let variables = [
        ("REJOIN_DATABASE__URL", database.url.as_str()),
        ("REJOIN_AMQP__URL", &amqp_url),
        ("REJOIN_AMQP__PREFIX", &topology.prefix),
    ];
    let migrated = program(&["migrate", "--database-url", &database.url]).output();
    assert!(migrated.expect("the program").status.success());
    Manager::start(&["worker", "--handlers", "handlers.yaml"], &variables).sees_a_life();
    Manager::start(&["coordinator", "--listen", "127.0.0.1:0"], &variables).sees_a_life();
    let link = AmqpLink::connect(AmqpConfig::new(&amqp_url, "test"));
    link.state()
        .wait_for(|state| matches!(state, LinkState::Up(_)))
        .await
        .expect("connected");
    link.delete_all(&topology, &["default"]).await.expect("deleted");
    link.close().await;
    database.end().await;
}
