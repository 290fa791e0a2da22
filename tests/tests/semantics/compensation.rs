//! SPEC 5.6: what completed is undone, newest first, where the definition says how.

use rejoin_engine::decision::{ChildEnd, Ignored, Sent};
use rejoin_engine::event::Event;
use rejoin_shared::json::Json;
use rejoin_shared::run::{ErrorValue, RunStatus};
use rejoin_tests::simulate::script::{Script, json};

const TRIP: &str = "workflow: w
steps:
  - { step: car, compensate: { uses: cancel_car } }
  - step: nothing_to_undo
  - { step: hotel, compensate: { uses: cancel_hotel, with: { id: '= output.id', seen: '= ctx.n', why: '= error.type' } } }
  - { step: flight, compensate: { uses: cancel_flight } }
";

fn failing_trip() -> Script {
    let mut run = Script::start(TRIP, "{}");
    run.reply("/car", r#"{"id":1}"#, r#"{"n":1}"#, &[]);
    run.done("/nothing_to_undo");
    run.reply("/hotel", r#"{"id":2}"#, r#"{"n":2}"#, &[]);
    run.fails("/flight", "app.full");
    run
}

#[test]
fn what_completed_is_undone_newest_first_and_a_failed_step_has_nothing_to_undo() {
    let mut run = failing_trip();
    assert_eq!(run.status(), RunStatus::Compensating);
    assert_eq!(run.outstanding(), ["/hotel/compensate"]);
    let input = run.input("/hotel/compensate");
    assert_eq!(input, json(r#"{"id":2,"seen":2,"why":"app.full"}"#));
    run.restart();
    run.sets("/hotel/compensate", r#"{"n":99}"#);
    assert_eq!(run.outstanding(), ["/car/compensate"]);
    assert_eq!(
        run.input("/car/compensate"),
        json(r#"{"id":1}"#),
        "the output by default"
    );
    assert_eq!(
        run.sees("/car/compensate"),
        json(r#"{"n":1,"id":1}"#),
        "the context as the step left it"
    );
    run.restart();
    run.done("/car/compensate");
    run.assert_failed("app.full", "/flight");
    assert!(run.state.is_compensated());
    assert_eq!(run.context(), json(r#"{"n":2,"id":2}"#));
    assert!(
        matches!(run.tell(Event::Resume), Some(Ignored::NotAllowed(_))),
        "nothing is left to go on with"
    );
}

#[test]
fn a_compensation_is_tried_again_as_its_retry_says() {
    let document = "workflow: w
steps:
  - { step: a, compensate: { uses: undo, retry: { max_attempts: 2, initial: 1s } } }
  - step: b
";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    run.fails("/b", "app.bad");
    run.fails("/a/compensate", "app.busy");
    assert_eq!(run.outstanding(), Vec::<String>::new());
    run.restart();
    run.wait();
    assert_eq!(run.attempt("/a/compensate"), Some(2));
    run.done("/a/compensate");
    run.assert_failed("app.bad", "/b");
}

#[test]
fn one_that_fails_for_good_stops_the_older_ones_and_a_resume_continues() {
    let mut run = failing_trip();
    run.fails("/hotel/compensate", "app.bad");
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::CompensationFailed, vec![])
    );
    let details = run.assert_failed("app.full", "/flight");
    assert_eq!(
        details,
        json(r#"{"compensation":{"done":[],"left":["/hotel","/car"]}}"#)
    );
    assert!(!run.state.is_compensated());
    run.restart();
    run.resume();
    assert_eq!(run.status(), RunStatus::Compensating);
    assert_eq!(
        (run.outstanding(), run.attempt("/hotel/compensate")),
        (vec!["/hotel/compensate".to_owned()], Some(2))
    );
    run.done("/hotel/compensate");
    run.restart();
    run.done("/car/compensate");
    run.assert_failed("app.full", "/flight");
    assert!(run.state.is_compensated());
}

#[test]
fn parallel_siblings_are_undone_in_parallel_and_a_loop_backwards() {
    let document = "workflow: w
steps:
  - { step: first, compensate: { uses: undo } }
  - parallel: p
    branches:
      one: [ { step: a, compensate: { uses: undo } }, { step: b, compensate: { uses: undo } } ]
      two: [ { step: c, compensate: { uses: undo } } ]
  - foreach: each
    items: '2'
    steps: [ { step: d, compensate: { uses: undo } } ]
  - step: last
";
    let mut run = Script::start(document, "{}");
    for path in ["/first", "/p/one/a", "/p/two/c", "/p/one/b", "/each[0]/d", "/each[1]/d"] {
        run.done(path);
    }
    run.fails("/last", "app.bad");
    let mut order = Vec::new();
    while run.status() == RunStatus::Compensating {
        let open = run.outstanding();
        order.push(open.join(" "));
        run.restart();
        open.iter().for_each(|path| drop(run.done(path)));
    }
    let expected = [
        "/each[1]/d/compensate",
        "/each[0]/d/compensate",
        "/p/one/b/compensate /p/two/c/compensate",
        "/p/one/a/compensate",
        "/first/compensate",
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_a_failed_scope_a_caught_try_and_an_earlier_try_of_a_group_did_is_undone_too() {
    let document = "workflow: w
steps:
  - try: t
    steps:
      - group: g
        retry: { max_attempts: 2, initial: 1s }
        steps:
          - parallel: p
            branches:
              one: [ { step: a, compensate: { uses: undo } }, { step: b } ]
              two: [ { step: c, compensate: { uses: undo } }, { step: d } ]
    catch: [ { steps: [ { step: mend } ] } ]
  - step: last
";
    let mut run = Script::start(document, "{}");
    run.done("/t/g/p/one/a");
    run.done("/t/g/p/two/c");
    run.fails("/t/g/p/one/b", "app.bad");
    run.wait();
    run.done("/t/g/p#2/one/a");
    run.fails("/t/g/p#2/one/b", "app.bad");
    run.restart();
    run.done("/t/catch[0]/mend");
    run.fails("/last", "app.worse");
    let mut undone = Vec::new();
    while run.status() == RunStatus::Compensating {
        let open = run.outstanding();
        undone.extend(open.iter().cloned());
        open.iter().for_each(|path| drop(run.done(path)));
    }
    let expected = [
        "/t/g/p#2/one/a/compensate",
        "/t/g/p/one/a/compensate",
        "/t/g/p/two/c/compensate",
    ];
    assert_eq!(undone, expected);
    run.assert_failed("app.worse", "/last");
}

#[test]
fn a_cancel_undoes_what_was_done_only_if_it_says_so() {
    let cancelled = |compensate| {
        let mut run = Script::start(TRIP, "{}");
        run.done("/car");
        let cancel = Event::Cancel {
            reason: None,
            compensate,
        };
        assert_eq!(run.tell(cancel), None);
        run
    };
    assert_eq!(cancelled(false).status(), RunStatus::Cancelled);
    let mut run = cancelled(true);
    assert_eq!(run.outstanding(), ["/car/compensate"]);
    run.restart();
    run.done("/car/compensate");
    assert_eq!((run.status(), run.state.is_compensated()), (RunStatus::Cancelled, true));
    let mut run = cancelled(true);
    run.fails("/car/compensate", "app.bad");
    let (_, error) = run.state.result();
    assert_eq!(error.map(|error| error.kind), Some("rejoin.cancelled".to_owned()));
}

#[test]
fn a_completed_child_is_undone_by_its_call_s_compensation() {
    let document = "workflow: w
steps:
  - { call: c, workflow: other, compensate: { uses: undo_child } }
  - step: s
";
    let mut run = Script::start(document, "{}");
    let child = run.called()[0].1;
    run.child_ends(child, ChildEnd::Ok(json(r#"{"id":7}"#)));
    run.fails("/s", "app.bad");
    assert_eq!(run.outstanding(), ["/c/compensate"]);
    assert_eq!(run.input("/c/compensate"), json(r#"{"id":7}"#));
    run.done("/c/compensate");
    run.assert_failed("app.bad", "/s");
}

#[test]
fn a_child_that_has_compensated_itself_is_called_anew() {
    let parent = "01a21492-bea0-7157-aaf0-8b2fc911b572".parse().expect("an id");
    let mut run = Script::called_by(parent, TRIP, "{}");
    run.done("/car");
    run.done("/nothing_to_undo");
    run.fails("/hotel", "app.full");
    assert_eq!(run.sent, []);
    run.done("/car/compensate");
    let [
        Sent::Ended {
            end: ChildEnd::Error { is_resumable, .. },
            ..
        },
    ] = &run.sent[..]
    else {
        panic!("{:?}", run.sent);
    };
    assert!(!is_resumable);
}

#[test]
fn a_run_that_did_nothing_yet_has_nothing_to_undo_and_can_be_resumed() {
    let mut run = Script::start(TRIP, "{}");
    run.fails("/car", "app.bad");
    run.assert_failed("app.bad", "/car");
    assert!(!run.state.is_compensated());
    run.resume();
    assert_eq!(run.outstanding(), ["/car"]);
}

#[test]
fn a_run_whose_definition_undoes_nothing_fails_at_once() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: a }, { step: b } ]\n", "{}");
    run.done("/a");
    run.fails("/b", "app.bad");
    run.assert_failed("app.bad", "/b");
    assert!(!run.state.is_compensated());
}

#[test]
fn a_compensation_that_was_quarantined_goes_on_with_undoing_at_resume() {
    let mut run = failing_trip();
    assert_eq!(run.outstanding(), ["/hotel/compensate"]);
    let message = "the database refuses it".to_owned();
    run.tell(Event::Quarantine { message });
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::CompensationFailed, vec![])
    );
    run.restart();
    run.resume();
    run.restart();
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::Compensating, vec!["/hotel/compensate".to_owned()])
    );
    run.done("/hotel/compensate");
    run.done("/car/compensate");
    run.assert_failed("app.full", "/flight");
}

#[test]
fn what_a_finally_did_is_undone_before_what_the_scope_it_ran_for_did() {
    let document = "workflow: w
steps:
  - try: outer
    steps:
      - try: t
        steps:
          - parallel: p
            branches:
              one: [ { step: a, compensate: { uses: undo } }, { step: b } ]
        finally: [ { step: f, compensate: { uses: undo } } ]
    finally: [ { step: g, compensate: { uses: undo } }, { step: h, when: 'ctx.fails' } ]
";
    let undone = |fails: bool| {
        let mut run = Script::start(document, &format!(r#"{{"fails":{fails}}}"#));
        run.done("/outer/t/p/one/a");
        run.fails("/outer/t/p/one/b", "app.bad");
        run.done("/outer/t/finally/f");
        run.done("/outer/finally/g");
        if fails {
            run.fails("/outer/finally/h", "app.worse");
        }
        let mut undone = Vec::new();
        while run.status() == RunStatus::Compensating {
            let open = run.outstanding();
            undone.extend(open.iter().cloned());
            open.iter().for_each(|path| drop(run.done(path)));
        }
        undone
    };
    let expected = [
        "/outer/finally/g/compensate",
        "/outer/t/finally/f/compensate",
        "/outer/t/p/one/a/compensate",
    ];
    assert_eq!(undone(false), expected);
    assert_eq!(undone(true), expected, "also where the finally's error is another one");
}

#[test]
fn what_a_failed_item_of_a_loop_did_is_undone_in_its_turn() {
    let document = "workflow: w
steps:
  - foreach: each
    items: '[1, 2, 3]'
    on_error: complete_all
    steps:
      - { step: a, compensate: { uses: undo } }
      - step: b
  - step: last
";
    let mut run = Script::start(document, "{}");
    for item in 0..3 {
        run.done(&format!("/each[{item}]/a"));
        match item {
            1 => drop(run.fails("/each[1]/b", "app.bad")),
            _ => drop(run.done(&format!("/each[{item}]/b"))),
        }
    }
    run.restart();
    run.fails("/last", "app.worse");
    for item in [2, 1, 0] {
        let path = format!("/each[{item}]/a/compensate");
        assert_eq!(run.outstanding(), [path.as_str()]);
        run.done(&path);
    }
    run.assert_failed("app.worse", "/last");
}

const CALLER: &str = "workflow: w
steps:
  - { step: a, compensate: { uses: undo } }
  - { call: c, workflow: other }
";

/// How a child ended that failed, or was cancelled: with all undone, or not.
fn ended(is_left_undone: bool) -> ChildEnd {
    ChildEnd::Error {
        error: ErrorValue::new("app.bad", "why", ""),
        is_resumable: false,
        is_left_undone,
        is_gone: false,
    }
}

fn left(run: &Script) -> Json {
    let details = run.state.result().1.and_then(|error| error.details);
    let compensation = details.and_then(|details| details.get("compensation").cloned());
    compensation.unwrap_or_default()
}

#[test]
fn what_a_failed_child_left_undone_stops_what_is_older_until_a_resume_has_undone_it() {
    let mut run = Script::start(CALLER, "{}");
    run.done("/a");
    let child = run.called()[0].1;
    run.child_ends(child, ended(true));
    assert_eq!(run.status(), RunStatus::CompensationFailed);
    assert_eq!(left(&run), json(r#"{"done":[],"left":["/c","/a"]}"#));
    run.restart();
    run.resume();
    assert_eq!(run.sent.last(), Some(&Sent::GoOn { child }));
    assert_eq!((run.status(), run.outstanding()), (RunStatus::Compensating, vec![]));
    run.child_ends(child, ended(true));
    assert_eq!(run.status(), RunStatus::CompensationFailed);
    run.resume();
    run.restart();
    run.child_ends(child, ended(false));
    assert_eq!(run.outstanding(), ["/a/compensate"]);
    run.done("/a/compensate");
    run.assert_failed("app.bad", "/c");
    assert!(run.state.is_compensated());
}

#[test]
fn a_failed_child_that_has_undone_all_stops_nothing() {
    let mut run = Script::start(CALLER, "{}");
    run.done("/a");
    run.child_ends(run.called()[0].1, ended(false));
    assert_eq!(run.outstanding(), ["/a/compensate"]);
}

#[test]
fn the_ends_of_cancelled_children_come_before_what_is_older_is_undone() {
    let document = "workflow: w
steps:
  - { step: a, compensate: { uses: undo } }
  - parallel: p
    branches:
      x: [ { call: c, workflow: other } ]
      y: [ { call: left_alone, workflow: other, on_parent_close: abandon } ]
      z: [ { call: d, workflow: other } ]
";
    for is_left_undone in [false, true] {
        let mut run = Script::start(document, "{}");
        run.done("/a");
        let called = run.called();
        let of = |path: &str| called.iter().find(|(at, _)| at == path).expect("a call").1;
        let cancel = Event::Cancel {
            reason: None,
            compensate: true,
        };
        run.tell(cancel);
        assert_eq!((run.status(), run.outstanding()), (RunStatus::Compensating, vec![]));
        run.restart();
        assert_eq!(run.child_ends(of("/p/x/c"), ended(false)), None);
        assert_eq!(run.outstanding(), [] as [&str; 0], "one is not over");
        assert_eq!(run.child_ends(of("/p/x/c"), ended(false)), Some(Ignored::NothingDue));
        assert_eq!(
            run.child_ends(of("/p/y/left_alone"), ended(true)),
            Some(Ignored::NothingDue)
        );
        assert_eq!(run.child_ends(of("/p/z/d"), ended(is_left_undone)), None);
        if is_left_undone {
            assert_eq!(run.status(), RunStatus::CompensationFailed);
            assert_eq!(left(&run), json(r#"{"done":[],"left":["/p/z/d","/a"]}"#));
            continue;
        }
        run.restart();
        run.done("/a/compensate");
        assert_eq!((run.status(), run.state.is_compensated()), (RunStatus::Cancelled, true));
    }
}

#[test]
fn a_child_whose_compensation_failed_says_so_and_goes_on_with_it_for_its_parent() {
    let parent = "01a21492-bea0-7157-aaf0-8b2fc911b572".parse().expect("an id");
    let mut run = Script::called_by(parent, TRIP, "{}");
    run.done("/car");
    run.done("/nothing_to_undo");
    run.fails("/hotel", "app.full");
    run.fails("/car/compensate", "app.bad");
    let told = |run: &Script| {
        let Some(Sent::Ended { end, .. }) = run.sent.last() else {
            panic!("{:?}", run.sent);
        };
        matches!(
            end,
            ChildEnd::Error {
                is_left_undone: true,
                ..
            }
        )
    };
    assert!(told(&run));
    assert_eq!(run.tell(Event::GoOn { parent }), None);
    run.done("/car/compensate");
    assert!(!told(&run) && run.state.is_compensated());
}
