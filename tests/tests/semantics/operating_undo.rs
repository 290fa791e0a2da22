//! What operators do about single compensations, so that none of them can hold a run up for ever.

use rejoin_engine::decision::Ignored;
use rejoin_engine::event::{Event, StepOperation, Steps};
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_tests::simulate::script::{Script, json};

const HOTEL: &str = "/hotel/compensate";
const CAR: &str = "/car/compensate";

/// At work at the undoing of its hotel, before that of its car.
fn undoing() -> Script {
    let document = "workflow: w
steps:
  - { step: car, compensate: { uses: cancel_car } }
  - { step: hotel, compensate: { uses: cancel_hotel, retry: { max_attempts: 2, initial: 1s } } }
  - step: flight
";
    let mut run = Script::start(document, "{}");
    run.done("/car");
    run.done("/hotel");
    run.fails("/flight", "app.full");
    assert_eq!(run.outstanding(), [HOTEL]);
    run
}

/// Two that are undone side by side, and one before them.
fn undoing_two() -> Script {
    let document = "workflow: w
steps:
  - { step: car, compensate: { uses: undo } }
  - parallel: p
    branches:
      a: [ { step: s, compensate: { uses: undo } } ]
      b: [ { step: s, compensate: { uses: undo } } ]
  - step: flight
";
    let mut run = Script::start(document, "{}");
    for path in ["/car", "/p/a/s", "/p/b/s"] {
        run.done(path);
    }
    run.fails("/flight", "app.full");
    run
}

fn tell(run: &mut Script, path: &str, what: StepOperation) -> Option<Ignored> {
    let steps = Steps::At(vec![path.to_owned()]);
    let told = run.tell(Event::Operate { steps, what });
    run.restart();
    told
}

fn refused(run: &mut Script, path: &str, what: StepOperation) -> String {
    match tell(run, path, what) {
        Some(Ignored::NotAllowed(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn skip() -> StepOperation {
    StepOperation::Skip { value: json("null") }
}

fn fail() -> StepOperation {
    let error = ErrorValue::new("app.given_up", "nobody serves it", "");
    StepOperation::Fail { error }
}

fn retry() -> StepOperation {
    StepOperation::Retry { input: None }
}

#[test]
fn one_at_work_is_given_up_and_a_resume_tries_it_again() {
    let mut run = undoing();
    assert_eq!(tell(&mut run, HOTEL, fail()), None);
    assert_eq!(run.status(), RunStatus::CompensationFailed);
    let details = run.assert_failed("app.full", "/flight");
    let expected = r#"{"compensation":{"done":[],"left":["/hotel","/car"]}}"#;
    assert_eq!(details, json(expected));
    run.resume();
    assert_eq!(
        (run.outstanding(), run.attempt(HOTEL)),
        (vec![HOTEL.to_owned()], Some(2))
    );
    run.done(HOTEL);
    run.done(CAR);
    assert!(run.state.is_compensated());
    assert_eq!(run.state.progress().failed, 1, "the flight alone");
}

#[test]
fn what_its_worker_says_once_it_was_skipped_is_late() {
    let mut run = undoing_two();
    let before = run.held();
    assert_eq!(tell(&mut run, "/p/a/s/compensate", skip()), None);
    run.hold(before);
    let done = run.state.progress().done;
    run.done("/p/a/s/compensate");
    assert_eq!(run.state.progress().done, done, "recorded, and counted once");
    run.done("/p/b/s/compensate");
    assert_eq!(run.outstanding(), [CAR]);
}

#[test]
fn one_that_was_undone_by_hand_is_skipped_and_what_is_older_follows() {
    let mut run = undoing();
    run.fails(HOTEL, "app.busy");
    assert_eq!(run.outstanding(), Vec::<String>::new(), "it waits for its next attempt");
    assert_eq!(tell(&mut run, HOTEL, skip()), None);
    assert_eq!(run.outstanding(), [CAR]);
    run.done(CAR);
    run.assert_failed("app.full", "/flight");
    assert!(run.state.is_compensated());
}

#[test]
fn one_that_failed_for_good_is_skipped_and_the_compensation_goes_on() {
    let mut run = undoing();
    assert_eq!(tell(&mut run, HOTEL, fail()), None);
    assert_eq!(tell(&mut run, HOTEL, skip()), None);
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::Compensating, vec![CAR.to_owned()])
    );
    run.done(CAR);
    assert!(run.state.is_compensated());
    assert_eq!(run.state.progress().failed, 1, "the flight alone");
}

#[test]
fn of_two_that_failed_one_alone_is_tried_again() {
    let mut run = undoing_two();
    run.fails("/p/a/s/compensate", "app.bad");
    run.fails("/p/b/s/compensate", "app.bad");
    assert_eq!(run.status(), RunStatus::CompensationFailed);
    assert_eq!(tell(&mut run, "/p/a/s/compensate", retry()), None);
    assert_eq!(run.outstanding(), ["/p/a/s/compensate"]);
    run.done("/p/a/s/compensate");
    let details = run.assert_failed("app.full", "/flight");
    let expected = r#"{"compensation":{"done":["/p/a/s"],"left":["/p/b/s","/car"]}}"#;
    assert_eq!(details, json(expected));
    assert_eq!(tell(&mut run, "/p/b/s/compensate", skip()), None);
    run.done(CAR);
    assert!(run.state.is_compensated());
}

#[test]
fn one_that_failed_beside_another_at_work_is_skipped() {
    let mut run = undoing_two();
    run.fails("/p/a/s/compensate", "app.bad");
    assert_eq!(tell(&mut run, "/p/a/s/compensate", skip()), None);
    run.done("/p/b/s/compensate");
    assert_eq!(run.outstanding(), [CAR], "nothing has failed");
}

#[test]
fn what_cannot_be_done_about_one_says_why_and_changes_nothing() {
    let mut run = undoing();
    let seq = run.state.last_seq();
    let why = refused(&mut run, HOTEL, retry());
    assert!(why.contains("once it has failed"), "{why}");
    let why = refused(&mut run, "/flight", skip());
    assert!(why.contains("no compensation that is at work"), "{why}");
    let why = refused(&mut run, CAR, skip());
    assert!(why.contains("no compensation that is at work"), "{why}");
    let input = Some(json("{}"));
    let why = refused(&mut run, HOTEL, StepOperation::Retry { input });
    assert!(why.contains("input"), "{why}");
    assert_eq!(run.state.last_seq(), seq);
    assert_eq!(tell(&mut run, HOTEL, fail()), None);
    let why = refused(&mut run, HOTEL, fail());
    assert!(why.contains("is not at work"), "{why}");
}

#[test]
fn two_in_one_operation_leave_nothing_older_undone() {
    let mut run = undoing_two();
    run.fails("/p/b/s/compensate", "app.bad");
    let steps = Steps::At(vec!["/p/a/s/compensate".to_owned(), "/p/b/s/compensate".to_owned()]);
    let told = run.tell(Event::Operate { steps, what: skip() });
    assert_eq!(told, None);
    run.restart();
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::Compensating, vec![CAR.to_owned()])
    );
    run.done(CAR);
    assert!(run.state.is_compensated());
}

#[test]
fn of_all_with_an_error_those_are_given_up_that_are_at_work() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      a: [ { step: s, compensate: { uses: undo, retry: { max_attempts: 2, initial: 1h } } } ]
      b: [ { step: s, compensate: { uses: undo } } ]
  - step: flight
";
    let mut run = Script::start(document, "{}");
    run.done("/p/a/s");
    run.done("/p/b/s");
    run.fails("/flight", "app.full");
    run.fails("/p/a/s/compensate", "app.bad");
    run.fails("/p/b/s/compensate", "app.bad");
    let steps = Steps::WithError("app.bad".to_owned());
    assert_eq!(run.tell(Event::Operate { steps, what: fail() }), None);
    assert_eq!(run.status(), RunStatus::CompensationFailed);
}
