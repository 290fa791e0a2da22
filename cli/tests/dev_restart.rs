//! `rejoin dev` on its own store and broker, stopped while steps run, and started again in the same folder.

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::program;
use tempfile::TempDir;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const ITEMS: usize = 24;

/// A step that may not run twice fails its run where its completion got lost.
const WORKFLOW: &str = "workflow: wide
steps:
  - foreach: each
    items: '24'
    concurrency: 8
    steps:
      - { step: keyed, uses: work }
      - { step: once, uses: work, idempotent: false }
";

/// Says when it begins, and takes its time.
const PROGRAM: &str = "cat > /dev/null\necho \"$REJOIN_PATH\" >> begun\nsleep 0.2\necho null\n";

struct Dev {
    server: String,
    process: Child,
}

impl Dev {
    fn start(folder: &Path) -> Dev {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let process = program(&["dev", ".", "--listen", &address])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let dev = Dev {
            server: format!("http://{address}"),
            process: process.expect("the program"),
        };
        until("the workflow is there", || {
            dev.says(&["workflow", "show", "wide"]).0 == Some(0)
        });
        dev
    }

    /// The exit code and the output of a client command.
    fn says(&self, line: &[&str]) -> (Option<i32>, String) {
        let output = program(line).env("REJOIN_SERVER", &self.server).output();
        let output = output.expect("the program");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("signalled");
    }

    /// The exit code, once it has ended.
    fn code(&mut self) -> Option<i32> {
        self.process.wait().expect("ended").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn folder(program: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let handlers = "concurrency: 4\nhandlers: { work: { exec: [sh, work.sh] } }\n";
    for (name, text) in [
        ("handlers.yaml", handlers),
        ("wide.yaml", WORKFLOW),
        ("work.sh", program),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

/// How often each step has begun, by path.
fn begun(folder: &Path) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for path in std::fs::read_to_string(folder.join("begun"))
        .unwrap_or_default()
        .lines()
    {
        *times.entry(path.to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn what_ran_when_dev_was_told_to_stop_is_recorded_and_does_not_run_again() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = folder(PROGRAM);
        let mut dev = Dev::start(folder.path());
        assert_eq!(dev.says(&["run", "start", "wide"]).0, Some(0));
        until("steps run", || begun(folder.path()).len() >= 6);
        dev.signal(signal);
        assert_eq!(dev.code(), Some(0));
        let before = begun(folder.path()).len();
        assert!(before < 2 * ITEMS, "it was stopped in the middle");
        let dev = Dev::start(folder.path());
        let (code, ended) = dev.says(&["run", "wait", "@latest", "-o", "json"]);
        assert_eq!(code, Some(0), "{ended}");
        let begun = begun(folder.path());
        assert_eq!(begun.len(), 2 * ITEMS);
        assert!(begun.values().all(|times| *times == 1), "{signal:?}: {begun:?}");
    }
}

#[test]
fn a_second_signal_ends_dev_at_once() {
    let folder = folder("cat > /dev/null\necho \"$REJOIN_PATH\" >> begun\nexec sleep 20\n");
    let mut dev = Dev::start(folder.path());
    assert_eq!(dev.says(&["run", "start", "wide"]).0, Some(0));
    until("steps run", || begun(folder.path()).len() == 4);
    let began = Instant::now();
    dev.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(dev.process.try_wait().expect("a process").is_none(), "it drains");
    dev.signal(Signal::INT);
    assert_eq!(dev.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5));
}
