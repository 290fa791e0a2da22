//! INTERFACE 8: failed steps can be retried, skipped and failed one by one, as parked ones can.

use rejoin_engine::decision::Ignored;
use rejoin_engine::event::{Event, ScopeEdit, StepOperation, Steps};
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_tests::simulate::script::{Script, json};

const FAN: &str = "workflow: w
steps:
  - foreach: each
    items: '4'
    concurrency: unbounded
    on_error: complete_all
    need: all
    collect_as: all
    steps: [ { step: s, with: '= index', into: null } ]
  - step: last
    into: null
";

/// Items 1 and 2 have failed; item 3 is under way.
fn two_failed() -> Script {
    let mut run = Script::start(FAN, "{}");
    run.reply("/each[0]/s", "0", "{}", &[]);
    run.fails("/each[1]/s", "app.bad");
    run.fails("/each[2]/s", "app.worse");
    run
}

fn failed() -> Script {
    let mut run = two_failed();
    run.reply("/each[3]/s", "3", "{}", &[]);
    run.assert_failed("rejoin.branches_failed", "/each");
    run
}

fn at(paths: &[&str]) -> Steps {
    Steps::At(paths.iter().map(|path| (*path).to_owned()).collect())
}

fn tell(run: &mut Script, steps: Steps, what: StepOperation) -> Option<Ignored> {
    let told = run.tell(Event::Operate { steps, what });
    run.restart();
    told
}

fn retry() -> StepOperation {
    StepOperation::Retry { input: None }
}

fn skip(value: &str) -> StepOperation {
    StepOperation::Skip { value: json(value) }
}

fn fail(kind: &str) -> StepOperation {
    StepOperation::Fail {
        error: ErrorValue::new(kind, "given up", ""),
    }
}

#[test]
fn failed_steps_of_a_failed_run_are_skipped_one_after_the_other() {
    let mut run = failed();
    assert_eq!(tell(&mut run, at(&["/each[1]/s"]), skip("\"one\"")), None);
    assert_eq!(run.status(), RunStatus::Failed, "the other one fails it still");
    assert_eq!(tell(&mut run, at(&["/each[2]/s"]), skip("\"two\"")), None);
    assert_eq!(run.outstanding(), ["/last"]);
    run.done("/last");
    run.assert_completed(r#"{"all":[0,"one","two",3]}"#);
    assert_eq!(run.state.progress().failed, 0);
}

#[test]
fn all_failed_steps_with_an_error_are_skipped_at_once() {
    let mut run = Script::start(FAN, "{}");
    run.reply("/each[0]/s", "0", "{}", &[]);
    for n in 1..4 {
        run.fails(&format!("/each[{n}]/s"), "app.bad");
    }
    assert_eq!(tell(&mut run, Steps::WithError("app.bad".into()), skip("9")), None);
    run.done("/last");
    run.assert_completed(r#"{"all":[0,9,9,9]}"#);
}

#[test]
fn a_retry_of_some_leaves_the_others_failed() {
    let mut run = failed();
    assert_eq!(tell(&mut run, at(&["/each[1]/s"]), retry()), None);
    assert_eq!(run.outstanding(), ["/each[1]/s"]);
    assert_eq!(run.attempt("/each[1]/s"), Some(2));
    run.reply("/each[1]/s", "1", "{}", &[]);
    let details = run.assert_failed("rejoin.branches_failed", "/each");
    assert_eq!(details.get("by_type"), Some(&json(r#"{"app.worse":1}"#)));
}

#[test]
fn a_retry_that_cannot_keep_the_run_from_failing_at_once_is_refused() {
    let document = FAN.replace("complete_all\n    need: all", "fail_fast\n    need: 1");
    let mut run = Script::start(&document, "{}");
    run.fails("/each[1]/s", "app.bad");
    run.fails("/each[2]/s", "app.worse");
    let edit = ScopeEdit {
        need: Some(json("4")),
        ..ScopeEdit::default()
    };
    let path = "/each".to_owned();
    assert_eq!(run.tell(Event::Edit { path, edit }), None);
    run.assert_failed("rejoin.branches_failed", "/each");
    let rows = run.journal.len();
    let refused = tell(&mut run, at(&["/each[1]/s"]), retry());
    assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    assert_eq!((run.journal.len(), run.status()), (rows, RunStatus::Failed));
    assert_eq!(tell(&mut run, at(&["/each[1]/s", "/each[2]/s"]), retry()), None);
    assert_eq!(run.outstanding().len(), 4, "those that were cancelled go on too");
}

#[test]
fn a_step_that_failed_behind_a_finally_is_not_skipped_before_that_has_run() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { parallel: p, branches: { a: [ step: s ] } } ]
    finally: [ step: tidy ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/t/p/a/s", "app.bad");
    run.fails("/t/finally/tidy", "app.worse");
    for what in [skip("1"), fail("app.no")] {
        let refused = tell(&mut run, at(&["/t/p/a/s"]), what);
        assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    }
    assert_eq!(tell(&mut run, at(&["/t/finally/tidy"]), skip("1")), None);
    assert_eq!(
        run.outstanding(),
        ["/t/p/a/s"],
        "behind the finally what failed goes on"
    );
}

#[test]
fn a_retry_of_one_is_enough_where_the_join_asks_for_no_more() {
    let document = FAN.replace("need: all", "need: 3");
    let mut run = Script::start(&document, "{}");
    run.reply("/each[0]/s", "0", "{}", &[]);
    for n in 1..3 {
        run.fails(&format!("/each[{n}]/s"), "app.bad");
    }
    run.reply("/each[3]/s", "3", "{}", &[]);
    run.assert_failed("rejoin.branches_failed", "/each");
    assert_eq!(tell(&mut run, at(&["/each[2]/s"]), retry()), None);
    assert_eq!(run.outstanding(), ["/each[2]/s"]);
    run.reply("/each[2]/s", "2", "{}", &[]);
    run.done("/last");
    run.assert_completed(r#"{"all":[0,null,2,3]}"#);
}

#[test]
fn a_failed_step_in_an_open_scope_is_retried_skipped_and_failed_while_the_run_goes_on() {
    let mut run = two_failed();
    assert_eq!(tell(&mut run, at(&["/each[1]/s"]), retry()), None);
    assert_eq!(run.outstanding(), ["/each[1]/s", "/each[3]/s"]);
    assert_eq!(tell(&mut run, at(&["/each[2]/s"]), fail("app.hopeless")), None);
    assert_eq!(tell(&mut run, at(&["/each[2]/s"]), skip("2")), None);
    run.reply("/each[1]/s", "1", "{}", &[]);
    run.reply("/each[3]/s", "3", "{}", &[]);
    run.done("/last");
    run.assert_completed(r#"{"all":[0,1,2,3]}"#);
}

#[test]
fn what_is_wrong_with_one_is_told_before_anything_is_done_to_any() {
    let mut run = two_failed();
    let rows = run.journal.len();
    for what in [retry(), skip("1"), fail("app.no")] {
        let refused = tell(&mut run, at(&["/each[1]/s", "/each[3]/s"]), what);
        assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    }
    assert_eq!(run.journal.len(), rows);
}

#[test]
fn a_failed_step_below_a_scope_that_failed_reopens_all_that_stopped_because_of_it() {
    let document = "workflow: w
steps:
  - parallel: out
    on_error: complete_all
    collect_as: all
    branches:
      a: [ { foreach: in, items: '2', concurrency: unbounded, steps: [ { step: s, into: null } ] } ]
      b: [ { step: b, into: null } ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/out/a/in[0]/s", "app.bad");
    assert_eq!(run.outstanding(), ["/out/b/b"], "its sibling was cancelled");
    assert_eq!(tell(&mut run, at(&["/out/a/in[0]/s"]), skip("7")), None);
    assert_eq!(run.outstanding(), ["/out/a/in[1]/s", "/out/b/b"]);
    run.reply("/out/a/in[1]/s", "8", "{}", &[]);
    run.reply("/out/b/b", "9", "{}", &[]);
    run.assert_completed(r#"{"all":{"a":[7,8],"b":9}}"#);
}

#[test]
fn nodes_of_a_graph_that_need_a_failed_one_start_once_it_is_skipped() {
    let document = "workflow: w
steps:
  - graph: g
    on_error: complete_all
    nodes:
      a: { steps: [ { step: s } ] }
      b: { needs: [a], steps: [ { step: s } ] }
      c: { steps: [ { step: s } ] }
";
    let mut run = Script::start(document, "{}");
    run.fails("/g/a/s", "app.bad");
    assert_eq!(run.outstanding(), ["/g/c/s"]);
    assert_eq!(tell(&mut run, at(&["/g/a/s"]), skip(r#"{"a":1}"#)), None);
    assert_eq!(run.outstanding(), ["/g/b/s", "/g/c/s"]);
    run.done("/g/b/s");
    run.done("/g/c/s");
    run.assert_completed(r#"{"a":1}"#);
}

#[test]
fn a_failure_that_was_caught_is_over() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { step: s } ]
    catch: [ { errors: ['app.*'], steps: [ { step: mend } ] } ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/t/s", "app.bad");
    for what in [retry(), skip("1"), fail("app.no")] {
        let refused = tell(&mut run, at(&["/t/s"]), what);
        assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    }
    assert_eq!(run.outstanding(), ["/t/catch[0]/mend"]);
}

#[test]
fn failed_with_another_error_a_step_may_be_caught() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { step: s } ]
    catch: [ { errors: [app.known], steps: [ { step: mend } ] } ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/t/s", "app.bad");
    run.assert_failed("app.bad", "/t/s");
    assert_eq!(tell(&mut run, at(&["/t/s"]), fail("app.known")), None);
    assert_eq!(run.outstanding(), ["/t/catch[0]/mend"]);
}

#[test]
fn a_failed_decision_is_retried_and_never_skipped() {
    let document = "workflow: w\nsteps: [ { decision: d, uses: h }, { step: s } ]\n";
    let mut run = Script::start(document, "{}");
    run.fails("/d", "app.bad");
    let refused = tell(&mut run, at(&["/d"]), skip("null"));
    assert!(matches!(refused, Some(Ignored::NotAllowed(_))), "{refused:?}");
    assert_eq!(tell(&mut run, at(&["/d"]), retry()), None);
    run.reply("/d", r#"{"goto":null}"#, "{}", &[]);
    assert_eq!(run.outstanding(), ["/s"]);
}
