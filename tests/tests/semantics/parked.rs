//! SPEC 5.3 (`total_timeout`) and 5.5: steps that wait for an operator.

use std::time::Duration;

use rejoin_engine::decision::Ignored;
use rejoin_engine::event::{Event, StepOperation, Steps};
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_tests::simulate::script::{Script, json};

const PARKS: &str = "workflow: w
steps:
  - foreach: each
    items: '3'
    concurrency: unbounded
    collect_as: all
    steps: [ { step: s, on_exhausted: park, retry: { max_attempts: 2, initial: 1s }, with: '= index', into: null } ]
";

fn parked() -> Script {
    let mut run = Script::start(PARKS, "{}");
    run.reply("/each[0]/s", "0", "{}", &[]);
    for n in [1, 2] {
        let path = format!("/each[{n}]/s");
        run.fails(&path, "app.bad");
    }
    run.wait();
    run.pass(Duration::from_secs(5));
    for n in [1, 2] {
        run.fails(&format!("/each[{n}]/s"), "app.bad");
    }
    assert_eq!((run.status(), run.outstanding()), (RunStatus::Waiting, vec![]));
    run.restart();
    run
}

fn at(path: &str) -> Steps {
    Steps::At(vec![path.to_owned()])
}

fn operate(run: &mut Script, steps: Steps, what: StepOperation) -> Option<Ignored> {
    run.tell(Event::Operate { steps, what })
}

#[test]
fn a_parked_step_keeps_its_join_open_and_is_tried_again_with_another_input() {
    let mut run = parked();
    let retry = StepOperation::Retry {
        input: Some(json(r#"{"mended":true}"#)),
    };
    assert_eq!(operate(&mut run, at("/each[1]/s"), retry), None);
    run.restart();
    assert_eq!(
        (run.outstanding(), run.attempt("/each[1]/s")),
        (vec!["/each[1]/s".to_owned()], Some(3))
    );
    assert_eq!(run.input("/each[1]/s"), json(r#"{"mended":true}"#));
    run.reply("/each[1]/s", "1", "{}", &[]);
    assert_eq!(run.status(), RunStatus::Waiting);
    assert_eq!(
        operate(
            &mut run,
            at("/each[2]/s"),
            StepOperation::Skip { value: json("\"two\"") }
        ),
        None
    );
    run.assert_completed(r#"{"all":[0,1,"two"]}"#);
}

#[test]
fn a_retried_step_has_a_fresh_budget_and_parks_again() {
    let mut run = parked();
    assert_eq!(
        operate(
            &mut run,
            Steps::WithError("app.bad".into()),
            StepOperation::Retry { input: None }
        ),
        None
    );
    assert_eq!(run.outstanding(), ["/each[1]/s", "/each[2]/s"]);
    run.fails("/each[1]/s", "app.bad");
    run.restart();
    run.wait();
    assert_eq!(run.attempt("/each[1]/s"), Some(4));
    run.fails("/each[1]/s", "app.worse");
    let done = operate(
        &mut run,
        Steps::WithError("app.bad".into()),
        StepOperation::Retry { input: None },
    );
    assert!(
        matches!(done, Some(Ignored::NotAllowed(_))),
        "it is parked with another error now: {done:?}"
    );
}

#[test]
fn a_parked_step_that_is_given_up_fails_its_join() {
    let mut run = parked();
    let error = ErrorValue::new("app.hopeless", "no", "");
    assert_eq!(operate(&mut run, at("/each[2]/s"), StepOperation::Fail { error }), None);
    let details = run.assert_failed("rejoin.branches_failed", "/each");
    assert_eq!(details.get("by_type"), Some(&json(r#"{"app.hopeless":1}"#)));
    assert!(matches!(
        operate(&mut run, at("/each[1]/s"), StepOperation::Skip { value: json("1") }),
        Some(Ignored::NotAllowed(_))
    ));
}

#[test]
fn a_failed_run_s_step_can_be_retried_with_another_input() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: s, with: 1 } ]\n", "{}");
    run.fails("/s", "app.bad");
    let retry = StepOperation::Retry { input: Some(json("2")) };
    assert_eq!(operate(&mut run, at("/s"), retry), None);
    run.restart();
    assert_eq!((run.attempt("/s"), run.input("/s")), (Some(2), json("2")));
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn what_is_neither_parked_nor_failed_cannot_be_operated_on() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: s } ]\n", "{}");
    let done = operate(&mut run, at("/s"), StepOperation::Retry { input: None });
    assert!(matches!(done, Some(Ignored::NotAllowed(_))));
    assert_eq!(run.outstanding(), ["/s"]);
}

#[test]
fn a_cancelled_run_has_nothing_parked() {
    let mut run = parked();
    run.cancel();
    assert_eq!(run.state.progress().waiting, 0);
}

#[test]
fn no_attempt_begins_after_the_total_time() {
    let document = "workflow: w
steps: [ { step: s, total_timeout: 10s, retry: { max_attempts: 9, backoff: constant, initial: 4s, jitter: false } } ]
";
    let mut run = Script::start(document, "{}");
    for _ in 0..2 {
        run.fails("/s", "app.bad");
        run.restart();
        run.wait();
    }
    assert_eq!(run.attempt("/s"), Some(3));
    run.fails("/s", "app.bad");
    run.assert_failed("rejoin.total_timeout", "/s");
}

#[test]
fn a_worker_s_clock_that_is_off_ends_no_step_before_or_after_its_total_time() {
    let document = "workflow: w
steps: [ { step: s, total_timeout: 10s, retry: { max_attempts: 9, backoff: constant, initial: 4s, jitter: false } } ]
";
    let hour = 3_600;
    for off_s in [-1_200 * hour, -hour, 0, hour, 1_200 * hour] {
        let mut run = Script::start(document, "{}");
        for _ in 0..2 {
            run.fails_on_clock("/s", "app.bad", off_s);
            run.restart();
            run.wait();
        }
        assert_eq!(run.attempt("/s"), Some(3), "{off_s} s off");
        let left = run.timeout("/s").expect("a time-out");
        assert!(
            left > Duration::from_millis(1_900) && left <= Duration::from_secs(2),
            "{off_s} s off: {left:?}"
        );
        run.fails_on_clock("/s", "app.bad", off_s);
        run.assert_failed("rejoin.total_timeout", "/s");
    }
}

#[test]
fn an_attempt_gets_no_more_time_than_is_left_in_all() {
    let document = "workflow: w
steps: [ { step: s, timeout: 8s, total_timeout: 10s, retry: { max_attempts: 9, backoff: constant, initial: 4s, jitter: false } } ]
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.timeout("/s"), Some(Duration::from_secs(8)));
    run.fails("/s", "app.bad");
    run.wait();
    let left = run.timeout("/s").expect("a time-out");
    assert!(
        left < Duration::from_secs(7) && left > Duration::from_secs(5),
        "{left:?}"
    );
}

#[test]
fn a_step_that_failed_behind_a_finally_gets_its_new_input_when_it_goes_on() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { parallel: p, branches: { a: [ step: s ], b: [ step: s ] } } ]
    finally: [ step: tidy ]
";
    let mut run = Script::start(document, "{}");
    run.done("/t/p/b/s");
    run.fails("/t/p/a/s", "app.bad");
    run.fails("/t/finally/tidy", "app.worse");
    assert_eq!(run.status(), RunStatus::Failed);
    let input = Some(json(r#"{"mended":true}"#));
    assert_eq!(operate(&mut run, at("/t/p/a/s"), StepOperation::Retry { input }), None);
    assert_eq!(run.outstanding(), ["/t/finally/tidy"]);
    run.restart();
    run.done("/t/finally/tidy");
    assert_eq!(run.input("/t/p/a/s"), json(r#"{"mended":true}"#));
    run.done("/t/p/a/s");
    run.done("/t/finally/tidy#2");
    run.assert_completed("{}");
}

#[test]
fn several_steps_are_skipped_all_or_none() {
    let deep = ["x"; 40].join(".");
    let document = format!(
        "workflow: w
steps:
  - parallel: p
    branches:
      a: [ {{ step: s, on_exhausted: park, into: null }} ]
      b: [ {{ step: s, on_exhausted: park, into: {deep} }} ]
"
    );
    let mut run = Script::start(&document, "{}");
    run.fails("/p/a/s", "app.bad");
    run.fails("/p/b/s", "app.bad");
    let both = Steps::At(vec!["/p/a/s".to_owned(), "/p/b/s".to_owned()]);
    // As deep as a value may be: where b's would lie it is deeper than a context may be.
    let value = json(&format!("{}{}", "[".repeat(128), "]".repeat(128)));
    let refused = operate(&mut run, both, StepOperation::Skip { value });
    assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    assert_eq!(run.status(), RunStatus::Waiting);
    run.restart();
    assert_eq!(
        operate(&mut run, at("/p/a/s"), StepOperation::Skip { value: json("1") }),
        None
    );
}
