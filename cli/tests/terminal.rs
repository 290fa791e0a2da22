//! The command line against `rejoin dev`, as people have it: on a terminal, in pipes, with all its exit codes.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const HANDLERS: &str = "concurrency: 64\nhandlers:\n  unused: { exec: [\"true\"] }\n";

/// Workflows, each in a file of its own.
const WORKFLOWS: &[(&str, &str)] = &[
    (
        "wide",
        "workflow: wide
steps:
  - foreach: each
    items: '1100'
    concurrency: unbounded
    merge: discard
    steps:
      - step: work
        uses: rejoin.fail
        when: index < 5
        with: { type: app.busy, times: 1 }
        retry: { max_attempts: 3, backoff: constant, initial: 3s, jitter: false }
      - { step: rest, uses: rejoin.sleep, with: { ms: 20 } }
",
    ),
    ("good", "workflow: good\nsteps: [ { set: s, values: { x: 1 } } ]\n"),
    (
        "bad",
        "workflow: bad\nsteps: [ { fail: no, error: { type: app.no, message: never } } ]\n",
    ),
    (
        "undone",
        "workflow: undone
steps:
  - { step: s, uses: rejoin.noop, compensate: { uses: rejoin.noop } }
  - { fail: no, error: { type: app.no } }
",
    ),
    (
        "asks",
        "workflow: asks\nsteps: [ { wait: ok, input: { type: approval, prompt: 'Well?' } } ]\n",
    ),
    ("sleeps", "workflow: sleeps\nsteps: [ { sleep: nap, for: 1h } ]\n"),
];

/// Runs a program on a terminal of 24 rows and 80 columns, and passes on what it writes there and its exit code.
const ON_A_TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
deadline = time.monotonic() + float(sys.argv[1])
child, master = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
while time.monotonic() < deadline:
    if select.select([master], [], [], 0.1)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        os.write(1, data)
else:
    os.kill(child, 2)
status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 99)
"#;

struct Dev {
    dir: tempfile::TempDir,
    server: String,
    process: Child,
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// One of the output, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    clean(&mut command);
    command
}

/// Without what the environment of the test says.
fn clean(command: &mut Command) {
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_") || key == "NO_COLOR") {
        command.env_remove(key);
    }
    command
        .stdin(Stdio::null())
        .env("TERM", "xterm")
        .env("XDG_CONFIG_HOME", "/nonexistent");
}

impl Dev {
    fn start() -> Dev {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("handlers.yaml"), HANDLERS).expect("written");
        for (name, text) in WORKFLOWS {
            std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("written");
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let process = program()
            .args(["dev", ".", "--listen", &address])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let dev = Dev {
            dir,
            server: format!("http://{address}"),
            process: process.expect("the program"),
        };
        let began = Instant::now();
        let is_ready = || {
            let workflows = dev.says(&["workflow", "list", "-o", "jsonl"]).out.lines().count();
            let workers = dev.says(&["worker", "list", "-o", "jsonl"]).out.lines().count();
            workflows == WORKFLOWS.len() && workers == 1
        };
        while !is_ready() {
            assert!(began.elapsed() < PATIENCE, "rejoin dev is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        dev
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = program();
        command
            .args(line)
            .env("REJOIN_SERVER", &self.server)
            .current_dir(self.dir.path());
        command
    }

    fn says(&self, line: &[&str]) -> Said {
        Said::of(&self.command(line).output().expect("the program"))
    }

    /// On a terminal, for so many seconds at most, with more of an environment.
    fn shows(&self, seconds: u32, environment: &[(&str, &str)], line: &[&str]) -> Said {
        let mut command = Command::new("python3");
        clean(&mut command);
        command
            .args(["-c", ON_A_TERMINAL, &seconds.to_string(), env!("CARGO_BIN_EXE_rejoin")])
            .args(line)
            .env("REJOIN_SERVER", &self.server)
            .envs(environment.iter().copied());
        Said::of(&command.output().expect("python3"))
    }

    /// The id of a run that was started.
    fn started(&self, workflow: &str) -> String {
        let said = self.says(&["run", "start", workflow, "-o", "jsonl"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let run: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        run["id"].as_str().expect("an id").to_owned()
    }
}

#[test]
fn a_second_dev_on_one_folder_says_that_another_process_has_it_open() {
    let dev = Dev::start();
    let second = dev.says(&["dev", ".", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 1, "{}", second.err);
    let expected = "error: ./.rejoin/rejoin.redb: another process has it open; is there a second `rejoin dev`?\n";
    assert_eq!(second.err, expected);
}

/// What a terminal shows at the end of each picture: the lines after the last move upwards.
fn pictures(out: &str) -> Vec<String> {
    let plain = out.replace('\r', "").replace("\x1b[?7l", "").replace("\x1b[?7h", "");
    plain
        .split("\x1b[J")
        .map(|picture| picture.split("\x1b[").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_run_is_followed_as_a_live_tree_on_a_terminal_and_as_plain_lines_elsewhere() {
    let dev = Dev::start();
    let said = dev.shows(50, &[("NO_COLOR", "1")], &["run", "start", "wide", "--wait"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let pictures = pictures(&said.out);
    assert!(pictures.len() > 3, "it is drawn anew: {}", said.out);
    let of_branches = |picture: &&String| {
        picture
            .lines()
            .any(|line| line.starts_with("branches ") && line.contains("/1,100"))
    };
    let (on_the_way, retrying) = (pictures.iter().find(of_branches), "/1,100 · 5 retrying");
    let tree = on_the_way.expect("a picture on the way");
    assert!(tree.contains("each [foreach]") && tree.contains("work"), "{tree}");
    assert!(tree.lines().count() < 10, "1,100 branches are folded: {tree}");
    assert!(said.out.contains(retrying), "{}", said.out);
    assert!(said.out.contains("branches 1,100/1,100\r\n"), "{}", said.out);
    assert!(!said.out.contains("\x1b[3"), "NO_COLOR: {}", said.out);

    let coloured = dev.shows(50, &[], &["run", "watch", "@latest:wide"]);
    assert_eq!(coloured.code, 0, "{}", coloured.err);
    assert!(coloured.out.contains("\x1b[32m"), "{}", coloured.out);

    let piped = dev.says(&["run", "watch", "@latest:good"]);
    assert_eq!(piped.code, 3, "nothing has run yet: {}", piped.err);
    let piped = dev.says(&["run", "start", "good", "--wait"]);
    assert_eq!(piped.code, 0, "{}", piped.err);
    assert!(
        !piped.out.contains('\x1b') && !piped.err.contains('\x1b'),
        "{}{}",
        piped.out,
        piped.err
    );
    assert!(
        piped.err.lines().any(|line| line.contains("context_set /s")),
        "{}",
        piped.err
    );
    let watched = dev.says(&["run", "watch", "@latest:good", "-o", "json"]);
    let run: serde_json::Value = serde_json::from_str(&watched.out).expect("only data on standard output");
    assert_eq!(run["context"]["x"], 1);
}

#[test]
fn lists_are_shown_again_and_again_in_every_form_and_limited_to_what_is_recent() {
    let dev = Dev::start();
    let run = dev.started("good");
    let of_run = |what: &'static str| vec!["run", what, run.as_str()];
    let lists = [
        vec!["run", "list"],
        of_run("steps"),
        vec!["workflow", "list"],
        vec!["input", "list"],
        vec!["schedule", "list"],
        vec!["queue", "list"],
        vec!["worker", "list"],
        vec!["dead-letter", "list"],
    ];
    std::thread::scope(|scope| {
        for list in &lists {
            let dev = &dev;
            scope.spawn(move || {
                let said = dev.shows(5, &[], &[list.as_slice(), &["-w"]].concat());
                let pictures = said.out.matches("\x1b[2J").count();
                assert!(
                    pictures >= 2,
                    "{list:?} is shown {pictures} times: {}{}",
                    said.out,
                    said.err
                );
                for (form, begins) in [("table", ""), ("json", "["), ("jsonl", ""), ("yaml", "")] {
                    let said = dev.says(&[list.as_slice(), &["-o", form]].concat());
                    assert_eq!(said.code, 0, "{list:?} {form}: {}", said.err);
                    assert!(said.out.starts_with(begins), "{list:?} {form}: {}", said.out);
                }
            });
        }
    });
    let followed = dev.shows(5, &[], &["run", "journal", &run, "-w"]);
    assert_eq!(
        (followed.code, followed.out.contains("\x1b[2J")),
        (0, false),
        "{}",
        followed.err
    );
    assert!(followed.out.contains("run_finished"), "{}", followed.out);
    let recent = |since: &str| {
        dev.says(&["run", "list", "--since", since, "-o", "jsonl"])
            .out
            .lines()
            .count()
    };
    assert_eq!((recent("1h"), recent("1ms")), (1, 0));
    let yaml = dev.says(&["run", "show", "@latest:good", "-o", "yaml"]).out;
    assert!(yaml.contains("workflow: good"), "{yaml}");
}

#[test]
fn every_outcome_has_its_exit_code() {
    let dev = Dev::start();
    let code = |line: &[&str]| dev.says(line).code;
    assert_eq!(code(&["run", "start", "good", "--wait"]), 0);
    assert_eq!(code(&["workflow", "validate", "nothing.yaml"]), 1);
    assert_eq!(code(&["run", "start"]), 2);
    assert_eq!(code(&["run", "list", "--context", "none"]), 2);
    assert_eq!(code(&["run", "show", "00000000"]), 3);
    assert_eq!(code(&["run", "pause", "@latest:good"]), 5);
    assert_eq!(code(&["run", "start", "sleeps", "--wait", "--timeout", "300ms"]), 6);
    assert_eq!(code(&["run", "wait", "@latest:sleeps", "--timeout", "300ms"]), 6);
    assert_eq!(code(&["run", "list", "--server", "http://127.0.0.1:1"]), 7);
    assert_eq!(code(&["run", "start", "bad", "--wait"]), 10);
    assert_eq!(code(&["run", "wait", "@latest:bad"]), 10);
    let sleeping = dev.started("sleeps");
    assert_eq!(code(&["run", "cancel", &sleeping]), 0);
    assert_eq!(code(&["run", "watch", &sleeping[24..]]), 11);
    assert_eq!(code(&["run", "start", "undone", "--wait"]), 12);
    let asking = dev.started("asks");
    assert_eq!(
        code(&["run", "wait", &asking, "--until", "input", "--timeout", "30s"]),
        13
    );
    assert_eq!(code(&["input", "answer", &asking, "ok", "{\"approved\": 1}"]), 1);
    assert_eq!(code(&["input", "answer", &asking, "ok", "{\"approved\": true}"]), 0);
    assert_eq!(code(&["run", "wait", &asking]), 0);
}

#[test]
fn operations_on_many_runs_tell_first_ask_on_a_terminal_and_are_refused_without_anybody_to_ask() {
    let dev = Dev::start();
    let runs = [dev.started("sleeps"), dev.started("sleeps")];
    let bulk = ["run", "bulk", "cancel", "--workflow", "sleeps"];
    let dry = dev.says(&[&bulk[..], &["--dry-run"]].concat());
    assert_eq!(
        (dry.code, dry.out.as_str()),
        (0, "would cancel 2 runs, as far as their states allow it\n")
    );
    let nobody = dev.says(&bulk);
    assert_eq!(nobody.code, 2, "{}", nobody.err);
    assert!(nobody.err.contains("--yes"), "{}", nobody.err);
    let done = dev.says(&[&bulk[..], &["--yes", "--since", "1h", "-o", "json"]].concat());
    let done: serde_json::Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!((&done["matched"], &done["done"]), (&2.into(), &2.into()));
    for run in &runs {
        assert_eq!(dev.says(&["run", "wait", run]).code, 11);
    }
}

#[test]
fn a_context_of_the_file_names_the_server_and_flags_and_variables_come_before_it() {
    let dev = Dev::start();
    let home = dev.dir.path().join("home");
    let file = home.join(".config/rejoin/config.toml");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    let text = format!(
        "current = \"here\"\n[contexts.here]\nserver = \"{}\"\n[contexts.gone]\nserver = \"http://127.0.0.1:1\"\n[contexts.other]\nserver = \"{}\"\nnamespace = \"other\"\n",
        dev.server, dev.server
    );
    std::fs::write(&file, text).expect("written");
    let says = |line: &[&str], variables: &[(&str, &str)]| {
        let mut command = program();
        command.args(line).env_remove("XDG_CONFIG_HOME").env("HOME", &home);
        command.envs(variables.iter().copied());
        Said::of(&command.output().expect("the program"))
    };
    let list = ["workflow", "list", "-o", "jsonl"];
    assert_eq!(says(&list, &[]).out.lines().count(), WORKFLOWS.len());
    assert_eq!(says(&[&list[..], &["--context", "gone"]].concat(), &[]).code, 7);
    assert_eq!(says(&list, &[("REJOIN_CONTEXT", "gone")]).code, 7);
    let other = says(&[&list[..], &["--context", "other"]].concat(), &[]);
    assert_eq!((other.code, other.out.lines().count()), (0, 0));
    let named = ["--context", "other", "--namespace", "default"];
    assert_eq!(
        says(&[&list[..], &named].concat(), &[]).out.lines().count(),
        WORKFLOWS.len()
    );
    assert_eq!(says(&list, &[("REJOIN_SERVER", "http://127.0.0.1:1")]).code, 7);
    assert!(Path::new(&file).exists());
}
