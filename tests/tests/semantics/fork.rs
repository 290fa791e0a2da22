//! SPEC 6: a fork is a new run with the same past and a future of its own.

use std::time::Duration;

use rejoin_engine::decision::{ChildEnd, Ignored, Sent, WaitChange};
use rejoin_engine::event::Event;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

const FAN: &str = "workflow: w
steps:
  - step: first
  - parallel: p
    branches:
      a: [ { step: s, retry: { max_attempts: 2, initial: 1m, jitter: false } } ]
      b: [ { step: s } ]
      c: [ { step: s } ]
  - step: last
    with: '= input'
";

fn failed() -> Script {
    let mut run = Script::start(FAN, r#"{"k":1}"#);
    run.sets("/first", r#"{"n":0}"#);
    run.sets("/p/b/s", r#"{"b":1}"#);
    run.fails("/p/c/s", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/p");
    run
}

fn finish(mut fork: Script, context: &str) {
    fork.restart();
    for path in fork.outstanding() {
        fork.done(&path);
    }
    fork.done("/last");
    fork.assert_completed(context);
}

#[test]
fn a_fork_of_a_failed_run_dispatches_what_failed_and_what_is_missing() {
    let run = failed();
    let end = run.journal.len() as u64;
    let fork = run.fork(end, None).expect("a fork");
    assert_ne!(fork.state.id(), run.state.id());
    assert_eq!(fork.outstanding(), ["/p/a/s", "/p/c/s"]);
    assert_eq!((fork.attempt("/p/a/s"), fork.attempt("/p/c/s")), (Some(1), Some(2)));
    assert_eq!(run.status(), RunStatus::Failed, "its source is left alone");
    finish(fork, r#"{"k":1,"n":0,"b":1}"#);
}

#[test]
fn a_fork_before_a_failure_has_another_future() {
    let run = failed();
    let at = run.journal.position("step_failed", Some("/p/c/s")) - 1;
    let fork = run.fork(at, None).expect("a fork");
    assert_eq!(fork.attempt("/p/c/s"), Some(1), "the failure is not part of its past");
    finish(fork, r#"{"k":1,"n":0,"b":1}"#);
}

#[test]
fn a_fork_behind_the_failure_that_ends_the_run_tries_it_again() {
    let run = failed();
    let at = run.journal.position("step_failed", Some("/p/c/s"));
    for at in at..=run.journal.len() as u64 {
        let fork = run.fork(at, None).expect("a fork");
        assert_eq!(fork.attempt("/p/c/s"), Some(2), "at {at}");
        assert_eq!(fork.state.progress().running, 2, "at {at}");
        finish(fork, r#"{"k":1,"n":0,"b":1}"#);
    }
}

#[test]
fn at_every_position_of_a_run_its_fork_completes_and_repeats_nothing() {
    let mut run = failed();
    run.resume();
    for path in run.outstanding() {
        run.done(&path);
    }
    run.done("/last");
    run.assert_completed(r#"{"k":1,"n":0,"b":1}"#);
    for at in 1..run.journal.len() as u64 {
        // The journal of a script refuses a step that completes twice.
        let mut fork = run.fork(at, None).expect("a fork");
        fork.restart();
        while let Some(path) = fork.outstanding().first() {
            let set = match path.as_str() {
                "/first" => r#"{"n":0}"#,
                "/p/b/s" => r#"{"b":1}"#,
                _ => "{}",
            };
            fork.sets(path, set);
        }
        fork.assert_completed(r#"{"k":1,"n":0,"b":1}"#);
    }
}

#[test]
fn a_completed_run_has_no_future_at_its_end() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: s } ]\n", "{}");
    run.done("/s");
    let end = run.journal.len() as u64;
    assert!(matches!(run.fork(end, None), Err(Ignored::NotAllowed(_))));
    let fork = run.fork(1, None).expect("a fork");
    assert_eq!(fork.outstanding(), ["/s"]);
}

#[test]
fn a_fork_of_a_cancelled_run_goes_on_where_it_was_cut_off() {
    let mut run = Script::start(FAN, "{}");
    run.done("/first");
    run.done("/p/b/s");
    run.cancel();
    let fork = run.fork(run.journal.len() as u64, None).expect("a fork");
    assert_eq!(fork.outstanding(), ["/p/a/s", "/p/c/s"]);
}

#[test]
fn another_input_is_seen_from_the_position_on() {
    let run = failed();
    let mut fork = run
        .fork(run.journal.len() as u64, Some(r#"{"k":2,"more":true}"#))
        .expect("a fork");
    fork.restart();
    assert_eq!(fork.sees("/p/a/s"), json(r#"{"k":2,"more":true,"n":0}"#));
    fork.done("/p/a/s");
    fork.done("/p/c/s");
    assert_eq!(fork.input("/last"), json(r#"{"k":2,"more":true}"#));
    fork.done("/last");
    fork.assert_completed(r#"{"k":2,"more":true,"n":0,"b":1}"#);
}

#[test]
fn what_was_left_of_a_time_is_left_of_it_in_the_fork() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      sleeps: [ { sleep: z, for: 10m } ]
      waits: [ { wait: x, event: e, timeout: 10m, on_timeout: { value: 1 } } ]
      retries: [ { step: s, retry: { max_attempts: 2, initial: 10m, jitter: false } } ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/p/retries/s", "app.bad");
    let at = run.journal.len() as u64;
    run.pass(Duration::from_secs(3600));
    let mut fork = run.fork(at, None).expect("a fork");
    let opened = fork.wait_changes().iter();
    assert_eq!(
        opened.filter(|change| !matches!(change, WaitChange::Over(_))).count(),
        2
    );
    fork.restart();
    fork.pass(Duration::from_secs(9 * 60));
    assert_eq!((fork.status(), fork.outstanding()), (RunStatus::Waiting, vec![]));
    fork.pass(Duration::from_secs(61));
    assert_eq!(fork.outstanding(), ["/p/retries/s"]);
    fork.done("/p/retries/s");
    fork.assert_completed(r#"{"x":1}"#);
}

#[test]
fn a_fork_calls_runs_of_its_own() {
    let mut run = Script::start("workflow: w\nsteps: [ { call: c, workflow: other } ]\n", "{}");
    let (_, child) = run.called()[0].clone();
    let mut fork = run.fork(run.journal.len() as u64, None).expect("a fork");
    fork.restart();
    let (_, own) = fork.called()[0].clone();
    assert_ne!(own, child);
    assert!(matches!(&fork.sent[..], [Sent::Start { child, .. }] if *child == own));
    assert_eq!(
        fork.child_ends(child, ChildEnd::Ok(json("1"))),
        Some(Ignored::NothingDue),
        "the child of its source"
    );
    fork.child_ends(own, ChildEnd::Ok(json("2")));
    fork.assert_completed(r#"{"c":2}"#);
    run.child_ends(child, ChildEnd::Ok(json("1")));
    run.assert_completed(r#"{"c":1}"#);
}

#[test]
fn a_fork_of_a_paused_run_goes_on_and_keeps_the_events_that_wait() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: s }, { wait: x, event: e } ]\n", "{}");
    run.signal("e", "7", Some("once"));
    run.tell(Event::Pause);
    run.done("/s");
    let mut fork = run
        .fork(run.journal.position("run_paused", None), None)
        .expect("a fork");
    fork.restart();
    assert_eq!(fork.outstanding(), ["/s"]);
    fork.done("/s");
    fork.assert_completed(r#"{"x":7}"#);
}

#[test]
fn a_fork_undoes_what_it_did_itself_and_not_what_its_source_did() {
    let document = "workflow: w
steps:
  - step: a
    compensate: { uses: undo }
  - step: b
    compensate: { uses: undo }
  - step: c
";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    let mut fork = run.fork(run.journal.len() as u64, None).expect("a fork");
    fork.done("/b");
    fork.fails("/c", "app.bad");
    fork.restart();
    assert_eq!(fork.outstanding(), ["/b/compensate"]);
    assert!(matches!(
        fork.fork(fork.journal.len() as u64, None),
        Err(Ignored::NotAllowed(_))
    ));
    fork.done("/b/compensate");
    fork.assert_failed("app.bad", "/c");
}

#[test]
fn a_failure_that_nothing_can_follow_but_itself_fails_the_fork_too() {
    let document = "workflow: w\nsteps: [ { step: s }, { fail: no, error: { type: app.no } } ]\n";
    let mut run = Script::start(document, "{}");
    run.done("/s");
    let fork = run
        .fork(run.journal.position("step_completed", None), None)
        .expect("a fork");
    fork.assert_failed("app.no", "/no");
}
