//! SPEC 4.3: what a resume dispatches.

use rejoin_engine::event::Event;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::Script;

const NESTED: &str = "workflow: w
steps:
  - step: first
  - parallel: p
    branches:
      a: [ { step: s }, { foreach: f, items: '3', concurrency: 3, steps: [ { step: t } ] } ]
      b: [ { step: s } ]
      c: [ { step: s } ]
  - step: last
";

#[test]
fn resume_dispatches_exactly_the_failed_and_the_missing_steps() {
    for restarts in [false, true] {
        let mut run = Script::start(NESTED, "{}");
        run.sets("/first", r#"{"n":0}"#);
        run.sets("/p/a/s", r#"{"n":1}"#);
        run.sets("/p/a/f[1]/t", r#"{"kept":true}"#);
        run.sets("/p/b/s", r#"{"b":1}"#);
        run.fails("/p/a/f[0]/t", "app.bad");
        run.assert_failed("rejoin.branches_failed", "/p");
        assert!(run.outstanding().is_empty());
        if restarts {
            run.restart();
        }
        run.tell(Event::Resume);
        assert_eq!(run.outstanding(), ["/p/a/f[0]/t", "/p/a/f[2]/t", "/p/c/s"]);
        assert_eq!(run.attempt("/p/a/f[0]/t"), Some(2));
        for path in run.outstanding() {
            run.done(&path);
        }
        run.done("/last");
        run.assert_completed(r#"{"n":1,"kept":true,"b":1}"#);
    }
}

#[test]
fn resume_gives_a_fresh_budget_of_retries() {
    let document = "workflow: w\nsteps: [ { step: s, retry: { max_attempts: 2 } } ]\n";
    let mut run = Script::start(document, "{}");
    run.fails("/s", "app.bad");
    run.wait();
    run.fails("/s", "app.bad");
    run.assert_failed("app.bad", "/s");
    run.tell(Event::Resume);
    assert_eq!(run.attempt("/s"), Some(3));
    run.fails("/s", "app.bad");
    run.wait();
    assert_eq!(run.attempt("/s"), Some(4));
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn a_paused_run_records_what_runs_and_dispatches_nothing_new() {
    let mut run = Script::start(NESTED, "{}");
    run.tell(Event::Pause);
    run.done("/first");
    assert!(run.outstanding().is_empty());
    run.restart();
    assert!(run.outstanding().is_empty());
    run.tell(Event::Resume);
    assert_eq!(run.outstanding(), ["/p/a/s", "/p/b/s", "/p/c/s"]);
    assert_eq!(run.context(), Json::object());
}

#[test]
fn a_running_run_cannot_be_resumed() {
    let mut run = Script::start(NESTED, "{}");
    assert!(run.tell(Event::Resume).is_some());
}

/// What was cancelled at the failure goes on as the same attempt: a coordinator that takes the run over must not take it from
/// its worker for what happened before the resume.
#[test]
fn a_branch_that_was_cancelled_and_resumed_is_left_alone_after_a_takeover() {
    let document = "workflow: w\nsteps:\n  - parallel: p\n    branches: { a: [ step: s ], b: [ step: s ] }\n";
    let mut run = Script::start(document, "{}");
    run.fails("/p/a/s", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/p");
    run.resume();
    run.restart();
    assert_eq!(run.outstanding(), ["/p/a/s", "/p/b/s"]);
    run.done("/p/a/s");
    assert_eq!(run.outstanding(), ["/p/b/s"]);
    run.done("/p/b/s");
    run.assert_completed("{}");
}

#[test]
fn a_paused_run_calls_nobody_and_undoes_nothing() {
    let document =
        "workflow: w\nsteps:\n  - { step: a, compensate: { uses: undo } }\n  - { call: c, workflow: other }\n";
    let mut run = Script::start(document, "{}");
    run.tell(Event::Pause);
    run.done("/a");
    assert_eq!((run.status(), run.called()), (RunStatus::Paused, vec![]));
    run.restart();
    assert!(run.called().is_empty());
    run.tell(Event::Resume);
    assert_eq!(run.called().len(), 1);

    let document = "workflow: w\nsteps:\n  - { step: a, compensate: { uses: undo } }\n  - step: b\n";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    run.tell(Event::Pause);
    run.fails("/b", "app.bad");
    run.restart();
    assert_eq!((run.status(), run.outstanding()), (RunStatus::Paused, vec![]));
    run.tell(Event::Resume);
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::Compensating, vec!["/a/compensate".to_owned()])
    );
}
