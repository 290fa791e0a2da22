//! Servers that take connections and never answer, as a frozen process does: nothing waits for them for ever.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::program;

/// Longer than any limit of these commands; without a limit they would take minutes.
const PATIENCE: Duration = Duration::from_secs(25);

/// A port that takes connections into the kernel's queue, and the listener that nobody accepts from.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("its address").to_string();
    (listener, place)
}

/// The exit code of a command line, and what it said.
fn run(line: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let mut command = program(line);
    command
        .envs(variables.iter().copied())
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .current_dir(folder.path());
    let output = command.output().expect("the program");
    assert!(began.elapsed() < PATIENCE, "{line:?} took {:?}", began.elapsed());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_database_that_never_answers_is_given_up_after_its_connect_timeout() {
    let (_listener, place) = silent();
    let url = format!("postgres://me@{place}/d");
    let variables = [
        ("REJOIN_DATABASE__URL", url.as_str()),
        ("REJOIN_DATABASE__CONNECT_TIMEOUT", "1s"),
        ("REJOIN_AMQP__URL", "amqp://127.0.0.1:1/%2f"),
    ];
    for line in [
        &["migrate"][..],
        &["migrate", "--check"],
        &["doctor"],
        &["gc", "--yes"],
        &["token", "list"],
        &["coordinator", "--listen", "127.0.0.1:0"],
    ] {
        let (code, said) = run(line, &variables);
        assert_eq!(code, Some(1), "{line:?}: {said}");
        assert!(
            said.contains("the database is away: no ") && said.contains(" within 1s"),
            "{line:?}: {said}"
        );
    }
}

#[test]
fn the_bench_says_at_once_which_server_is_away() {
    let (_listener, place) = silent();
    let (code, said) = run(
        &["bench"],
        &[("REJOIN_DATABASE__URL", &format!("postgres://me@{place}/d"))],
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("database: no answer within 5 s"), "{said}");

    let Ok(database) = std::env::var("REJOIN_TEST_DATABASE_URL") else {
        return;
    };
    let variables = [
        ("REJOIN_DATABASE__URL", database.as_str()),
        ("REJOIN_AMQP__URL", "amqp://127.0.0.1:1/%2f"),
    ];
    let (code, said) = run(&["bench"], &variables);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("broker amqp://127.0.0.1:1/%2f: "), "{said}");
}

#[test]
fn who_waits_for_a_run_is_not_told_that_it_goes_on_by_a_server_that_never_answered() {
    let (_listener, place) = silent();
    let server = format!("http://{place}");
    for run_id in ["0198", "@latest"] {
        let (code, said) = run(
            &["run", "wait", run_id, "--timeout", "2s"],
            &[("REJOIN_SERVER", &server)],
        );
        assert_eq!(code, Some(7), "{said}");
        assert!(said.contains(&format!("no answer from {server} within 2 s")), "{said}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_an_error_of_the_configuration() {
    for verb in ["dev", "coordinator"] {
        for listen in ["foo", "127.0.0.1:99999", ":7070"] {
            let (code, said) = run(&[verb, "--listen", listen], &[]);
            assert_eq!(code, Some(2), "{verb}: {said}");
            assert!(said.contains(&format!("http.listen = {listen}: ")), "{said}");
        }
    }
}
