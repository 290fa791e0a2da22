//! SPEC 2 (`call`) and 5.9: runs that call runs.

use std::time::Duration;

use rejoin_engine::decision::{ChildEnd, Ignored, Sent};
use rejoin_engine::event::Event;
use rejoin_shared::ids::RunId;
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_tests::simulate::script::{Script, json};

const CALL: &str = "workflow: w
steps:
  - { call: c, workflow: other, with: { n: '= ctx.n' }, retry: { max_attempts: 2, initial: 1s }, timeout: 1h }
  - step: after
";

fn only_child(run: &Script) -> RunId {
    let called = run.called();
    assert_eq!(called.len(), 1, "{called:?}");
    called[0].1
}

fn failed(kind: &str) -> ChildEnd {
    ChildEnd::Error {
        error: ErrorValue::new(kind, "why", "/inner"),
        is_resumable: true,
        is_left_undone: false,
        is_gone: false,
    }
}

#[test]
fn a_call_starts_a_run_and_its_output_is_the_call_s() {
    let mut run = Script::start(CALL, r#"{"n":2}"#);
    let child = only_child(&run);
    assert_eq!(child.partition(), run.state.id().partition());
    let start = Sent::Start {
        child,
        workflow: "other".to_owned(),
        version: None,
        input: json(r#"{"n":2}"#),
        is_awaited: true,
    };
    assert_eq!(run.sent, [start]);
    assert_eq!(run.status(), RunStatus::Waiting);
    run.restart();
    assert_eq!(run.sent.len(), 1, "a restart starts nothing again");
    assert_eq!(run.child_ends(child, ChildEnd::Ok(json(r#"{"m":3}"#))), None);
    assert_eq!(
        run.child_ends(child, ChildEnd::Ok(json("{}"))),
        Some(Ignored::NothingDue)
    );
    run.done("/after");
    run.assert_completed(r#"{"n":2,"m":3}"#);
}

#[test]
fn a_failed_child_is_called_again_as_often_as_retry_allows() {
    let mut run = Script::start(CALL, r#"{"n":2}"#);
    let first = only_child(&run);
    run.child_ends(first, failed("app.bad"));
    assert_eq!(run.called(), []);
    run.restart();
    run.wait();
    let second = only_child(&run);
    assert_ne!(first, second);
    run.child_ends(second, failed("app.bad"));
    let details = run.assert_failed("app.bad", "/c");
    assert_eq!(details, json(&format!(r#"{{"run":"{second}"}}"#)));
}

#[test]
fn a_resume_lets_the_failed_child_go_on() {
    let mut run = Script::start(&CALL.replace("max_attempts: 2", "max_attempts: 1"), r#"{"n":2}"#);
    let child = only_child(&run);
    run.child_ends(child, failed("app.bad"));
    run.resume();
    assert_eq!(run.sent.last(), Some(&Sent::GoOn { child }));
    assert_eq!(only_child(&run), child);
    run.restart();
    run.child_ends(child, ChildEnd::Ok(json("null")));
    assert_eq!(run.outstanding(), ["/after"]);
}

#[test]
fn a_call_that_takes_too_long_fails_and_cancels_its_child() {
    let mut run = Script::start(&CALL.replace("max_attempts: 2", "max_attempts: 1"), r#"{"n":2}"#);
    let child = only_child(&run);
    run.pass(Duration::from_secs(3_599));
    assert_eq!(run.status(), RunStatus::Waiting);
    run.restart();
    run.wait();
    run.assert_failed("rejoin.timeout", "/c");
    assert_eq!(
        run.sent.last(),
        Some(&Sent::Cancel {
            child,
            compensate: false
        })
    );
    run.resume();
    assert_ne!(only_child(&run), child, "a cancelled child is of no use");
}

#[test]
fn children_of_cancelled_calls_are_cancelled_unless_they_are_abandoned() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      one: [ { call: a, workflow: other } ]
      two: [ { call: b, workflow: other, on_parent_close: abandon } ]
      three: [ { step: s } ]
";
    let mut run = Script::start(document, "{}");
    let a = run.called()[0].1;
    run.fails("/p/three/s", "app.bad");
    let cancelled: Vec<&Sent> = run
        .sent
        .iter()
        .filter(|sent| matches!(sent, Sent::Cancel { .. }))
        .collect();
    assert_eq!(
        cancelled,
        [&Sent::Cancel {
            child: a,
            compensate: false
        }]
    );
    let mut run = Script::start(document, "{}");
    run.cancel();
    assert_eq!(
        run.child_ends(run.called().first().map_or(a, |c| c.1), failed("x")),
        Some(Ignored::NothingDue)
    );
}

#[test]
fn a_detached_call_goes_on_at_once_with_the_run_s_id() {
    let document =
        "workflow: w\nsteps: [ { call: c, workflow: other, detached: true, version: '= 1 + 1', into: got } ]\n";
    let run = Script::start(document, "{}");
    let [
        Sent::Start {
            child,
            version,
            is_awaited,
            ..
        },
    ] = &run.sent[..]
    else {
        panic!("{:?}", run.sent);
    };
    assert_eq!((*version, *is_awaited), (Some(2), false));
    run.assert_completed(&format!(r#"{{"got":{{"run":"{child}"}}}}"#));
}

#[test]
fn a_child_s_error_can_be_caught() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { call: c, workflow: other } ]
    catch: [ { errors: ['rejoin.unknown_workflow'], steps: [ { set: s, values: { caught: '= error.type' } } ] } ]
";
    let mut run = Script::start(document, "{}");
    let child = only_child(&run);
    run.restart();
    let end = ChildEnd::Error {
        error: ErrorValue::new("rejoin.unknown_workflow", "none", ""),
        is_resumable: false,
        is_left_undone: false,
        is_gone: false,
    };
    run.child_ends(child, end);
    run.assert_completed(r#"{"caught":"rejoin.unknown_workflow"}"#);
}

#[test]
fn a_run_that_is_waited_for_tells_its_end_and_tells_it_again_when_asked() {
    let parent: RunId = "01a21492-bea0-7157-aaf0-8b2fc911b572".parse().expect("an id");
    let mut run = Script::called_by(parent, "workflow: w\nsteps: [ { step: s } ]\n", "{}");
    run.fails("/s", "app.bad");
    let [
        Sent::Ended {
            parent: to,
            end: ChildEnd::Error {
                error, is_resumable, ..
            },
            ..
        },
    ] = &run.sent[..]
    else {
        panic!("{:?}", run.sent);
    };
    assert_eq!((*to, &*error.kind, *is_resumable), (parent, "app.bad", true));
    assert_eq!(run.tell(Event::GoOn { parent }), None);
    assert_eq!(run.outstanding(), ["/s"]);
    run.sets("/s", r#"{"x":1}"#);
    assert_eq!(run.tell(Event::GoOn { parent }), None);
    let ends: Vec<&Sent> = run.sent.iter().skip(1).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.iter().all(|sent| matches!(
        sent,
        Sent::Ended {
            end: ChildEnd::Ok(_),
            ..
        }
    )));
    assert_eq!(run.status(), RunStatus::Completed);
}

#[test]
fn children_of_a_run_that_undoes_what_it_did_undo_what_they_did() {
    let document = "workflow: w
steps:
  - step: s
    compensate: { uses: undo }
  - call: c
    workflow: other
";
    for (compensate, has_undo) in [(true, true), (true, false), (false, true)] {
        let document = match has_undo {
            true => document.to_owned(),
            false => document.replace("    compensate: { uses: undo }\n", ""),
        };
        let mut run = Script::start(&document, "{}");
        run.done("/s");
        let child = only_child(&run);
        let reason = None;
        run.tell(Event::Cancel { reason, compensate });
        assert_eq!(run.sent.last(), Some(&Sent::Cancel { child, compensate }));
    }
}

#[test]
fn a_resume_calls_another_run_where_the_failed_one_is_gone_and_that_is_no_retry() {
    let mut run = Script::start(CALL, r#"{"n":2}"#);
    run.child_ends(only_child(&run), failed("app.bad"));
    run.wait();
    let last = only_child(&run);
    run.child_ends(last, failed("app.bad"));
    assert_eq!(run.status(), RunStatus::Failed);
    run.resume();
    let gone = ChildEnd::Error {
        error: ErrorValue::new("rejoin.cancelled", "deleted", ""),
        is_resumable: false,
        is_left_undone: false,
        is_gone: true,
    };
    assert_eq!(run.child_ends(last, gone), None);
    run.wait();
    run.restart();
    let next = only_child(&run);
    assert_ne!(next, last);
    // The budget is whole: two tries.
    run.child_ends(next, failed("app.bad"));
    run.wait();
    run.child_ends(only_child(&run), ChildEnd::Ok(json(r#"{"m":3}"#)));
    run.done("/after");
    run.assert_completed(r#"{"n":2,"m":3}"#);
}
