//! SPEC 2 (`wait`, `emit`) and 5.10: events, answers, time-outs.

use std::time::Duration;

use rejoin_engine::decision::{Ignored, Sent, WaitChange};
use rejoin_engine::event::Event;
use rejoin_shared::ids::{Namespace, RunId};
use rejoin_shared::run::RunStatus;
use rejoin_shared::time::Timestamp;
use rejoin_tests::simulate::script::{Script, json};

fn waiting(steps: &str) -> Script {
    Script::start(&format!("workflow: w\nsteps:\n  - {steps}\n"), "{}")
}

#[test]
fn an_event_s_payload_is_the_wait_s_output() {
    let mut run = waiting("{ wait: paid, event: order.paid }");
    assert_eq!(run.status(), RunStatus::Waiting);
    run.restart();
    assert_eq!(run.signal("order.paid", r#"{"amount":5}"#, None), None);
    run.assert_completed(r#"{"amount":5}"#);
}

#[test]
fn an_event_that_comes_before_its_wait_is_kept_and_the_oldest_that_matches_is_taken() {
    let document = "workflow: w
steps:
  - step: first
  - { wait: paid, event: paid, match: 'payload.n > 1', into: got }
";
    let mut run = Script::start(document, "{}");
    for n in 1..=3 {
        assert_eq!(run.signal("paid", &format!(r#"{{"n":{n}}}"#), None), None);
    }
    run.restart();
    run.done("/first");
    run.assert_completed(r#"{"got":{"n":2}}"#);
}

#[test]
fn what_goes_to_all_is_not_kept() {
    let mut run = Script::start("workflow: w\nsteps: [ { step: first }, { wait: a, event: a } ]\n", "{}");
    assert_eq!(run.broadcast("a", "{}"), Some(Ignored::NothingDue));
    run.done("/first");
    assert_eq!(run.status(), RunStatus::Waiting);
    assert_eq!(run.broadcast("a", "{}"), None);
    run.assert_completed("{}");
}

#[test]
fn the_same_event_counts_once() {
    let mut run = waiting("{ wait: w, all: [a, b] }");
    assert_eq!(run.signal("a", "1", Some("id-1")), None);
    run.restart();
    assert_eq!(run.signal("b", "2", Some("id-1")), Some(Ignored::AlreadySo));
    assert_eq!(run.signal("b", "3", Some("id-2")), None);
    run.assert_completed(r#"{"w":{"a":1,"b":3}}"#);
}

#[test]
fn any_takes_the_first_of_its_events_and_goes_under_its_name() {
    let mut run = waiting("{ wait: w, any: [card, wire] }");
    assert_eq!(run.signal("wire", r#"{"iban":"x"}"#, None), None);
    run.assert_completed(r#"{"w":{"event":"wire","payload":{"iban":"x"}}}"#);
}

#[test]
fn every_open_wait_that_names_and_matches_an_event_gets_it() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      one: [ { wait: a, event: go, into: one } ]
      two: [ { wait: b, event: go, into: two, match: 'payload == 1' } ]
      three: [ { wait: c, event: go, into: three, match: 'payload.x == 1' } ]
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.signal("go", "1", None), None);
    assert_eq!(
        run.state.open_waits().map(|wait| wait.path).collect::<Vec<_>>(),
        ["/p/three/c"]
    );
    run.restart();
    assert_eq!(run.signal("go", r#"{"x":1}"#, None), None);
    run.assert_completed(r#"{"one":1,"two":1,"three":{"x":1}}"#);
}

#[test]
fn a_wait_that_nothing_comes_for_fails_in_time_and_not_before() {
    let mut run = waiting("{ wait: w, all: [a, b], timeout: 10s }");
    assert_eq!(run.signal("a", "1", None), None);
    run.pass(Duration::from_millis(9_990));
    assert_eq!(run.status(), RunStatus::Waiting);
    run.restart();
    run.wait();
    let details = run.assert_failed("rejoin.wait_timeout", "/w");
    assert_eq!(details, json(r#"{"received":{"a":1}}"#));
    assert!(matches!(run.signal("b", "2", None), Some(Ignored::NotAllowed(_))));
}

#[test]
fn a_time_out_may_give_a_value_or_go_elsewhere() {
    let mut run =
        waiting("{ wait: w, input: { type: approval }, timeout: 1s, on_timeout: { value: { approved: false } } }");
    run.wait();
    run.assert_completed(r#"{"approved":false}"#);
    let document = "workflow: w
steps:
  - { wait: w, any: [a], timeout: 1s, on_timeout: { goto: late } }
  - step: never
  - step: late
";
    let mut run = Script::start(document, "{}");
    run.wait();
    assert_eq!(run.outstanding(), ["/late"]);
}

#[test]
fn the_value_of_several_events_goes_under_the_name_also_at_a_time_out() {
    let mut run = waiting("{ wait: w, any: [a], timeout: 1s, on_timeout: { value: { late: true } } }");
    run.wait();
    run.assert_completed(r#"{"w":{"late":true}}"#);
}

#[test]
fn a_time_out_of_nothing_still_takes_what_was_kept() {
    let mut run = Script::start(
        "workflow: w\nsteps: [ { step: s }, { wait: w, event: a, timeout: 0s } ]\n",
        "{}",
    );
    assert_eq!(run.signal("a", r#"{"x":1}"#, None), None);
    run.done("/s");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn two_answers_to_one_input_give_one_winner() {
    let mut run = waiting("{ wait: ok, input: { type: approval, prompt: \"= 'Really ' + string(1 + 1) + '?'\" } }");
    let prompt = run.state.open_waits().next().expect("a wait").awaited;
    assert_eq!(
        serde_json::to_value(prompt).expect("JSON"),
        serde_json::json!({"input": {"prompt": "Really 2?"}})
    );
    assert_eq!(run.answer("/ok", r#"{"approved":true,"by":"a"}"#), None);
    assert!(matches!(run.answer("/ok", "{}"), Some(Ignored::NotAllowed(_))));
    run.assert_completed(r#"{"approved":true,"by":"a"}"#);
}

#[test]
fn a_run_keeps_a_thousand_events_and_not_one_more() {
    let mut run = waiting("{ step: s }");
    for _ in 0..1_000 {
        assert_eq!(run.signal("a", "1", None), None);
    }
    assert_eq!(run.signal("a", "1", None), Some(Ignored::Full));
    run.restart();
    let rows = run.journal.len();
    let sender = RunId::child_of(run.state.id(), 7, Timestamp(0));
    let sent = Event::Signal {
        from: Namespace::default_name(),
        event: "a".to_owned(),
        payload: json("1"),
        id: Some("x:7".to_owned()),
        is_addressed: true,
        sender: Some(sender),
    };
    assert_eq!(run.tell(sent), None, "no client is told, so that it is recorded");
    assert_eq!(run.journal.position("event_refused", None), rows as u64 + 1);
    run.restart();
    assert_eq!(run.signal("a", "1", None), Some(Ignored::Full));
}

#[test]
fn a_run_that_undoes_what_it_did_keeps_events_and_gives_them_to_nobody() {
    let document = "workflow: w
steps: [ { step: a, compensate: { uses: undo } }, { step: b }, { wait: x, event: e } ]
";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    run.fails("/b", "app.bad");
    assert_eq!(run.status(), RunStatus::Compensating);
    assert_eq!(run.signal("e", "1", None), None);
    run.restart();
    run.done("/a/compensate");
    run.assert_failed("app.bad", "/b");
    assert!(matches!(run.signal("e", "1", None), Some(Ignored::NotAllowed(_))));
}

#[test]
fn a_cancelled_branch_waits_no_more_and_a_resumed_one_waits_again() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      one: [ { wait: a, event: go, timeout: 1h } ]
      two: [ { step: s } ]
";
    let mut run = Script::start(document, "{}");
    let opened = run.state.open_waits().next().expect("a wait").seq;
    run.fails("/p/two/s", "app.bad");
    assert_eq!(run.state.open_waits().count(), 0);
    assert_eq!(run.wait_changes(), [WaitChange::Over(opened)]);
    run.restart();
    run.resume();
    assert_eq!(
        run.state.open_waits().map(|wait| wait.seq).collect::<Vec<_>>(),
        [opened]
    );
    assert!(matches!(run.wait_changes()[..], [WaitChange::Opened(_)]));
    assert_eq!(run.signal("go", "{}", None), None);
    run.done("/p/two/s");
    run.assert_completed("{}");
}

#[test]
fn a_paused_run_takes_events_and_its_time_outs_wait() {
    let document = "workflow: w\nsteps: [ { wait: w, event: a, timeout: 1s }, { step: s } ]\n";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.tell(rejoin_engine::event::Event::Pause), None);
    run.pass(Duration::from_secs(5));
    assert_eq!(run.signal("a", r#"{"x":1}"#, None), None);
    assert_eq!((run.status(), run.outstanding()), (RunStatus::Paused, vec![]));
    run.resume();
    run.done("/s");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn an_emitted_event_goes_out_once_with_its_record() {
    let document = "workflow: w
steps:
  - { emit: tell, event: \"= 'order.' + ctx.kind\", payload: { n: '= ctx.n' } }
  - { emit: other, event: e, to: '= ctx.to' }
";
    let to = "01a21492-bea0-7157-aaf0-8b2fc911b572";
    let run = Script::start(document, &format!(r#"{{"kind":"paid","n":3,"to":"{to}"}}"#));
    let all = Sent::Event {
        to: None,
        event: "order.paid".to_owned(),
        payload: json(r#"{"n":3}"#),
        id: format!("{}:2", run.state.id()),
    };
    let one = Sent::Event {
        to: Some(to.parse().expect("an id")),
        event: "e".to_owned(),
        payload: json("null"),
        id: format!("{}:3", run.state.id()),
    };
    assert_eq!(run.sent, [all, one]);
    assert_eq!(run.status(), RunStatus::Completed);
    let bad = Script::start(
        "workflow: w\nsteps: [ { emit: e, event: a, to: '= ctx.to' } ]\n",
        r#"{"to":"x"}"#,
    );
    bad.assert_failed("rejoin.expression", "/e");
}

#[test]
fn waits_of_one_branch_and_its_siblings_join() {
    let document = "workflow: w
steps:
  - foreach: each
    items: '3'
    concurrency: unbounded
    collect_as: all
    steps: [ { wait: w, event: \"= 'e' + string(index)\", into: null } ]
";
    let mut run = Script::start(document, "{}");
    for n in [2, 0, 1] {
        run.restart();
        assert_eq!(run.signal(&format!("e{n}"), &n.to_string(), None), None);
    }
    run.assert_completed(r#"{"all":[0,1,2]}"#);
}

#[test]
fn an_event_that_a_failed_run_has_kept_is_taken_after_its_resume() {
    let document = "workflow: w\nsteps: [ { step: s }, { wait: a, event: go } ]\n";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.signal("go", r#"{"x":1}"#, Some("id-1")), None);
    run.fails("/s", "app.bad");
    run.assert_failed("app.bad", "/s");
    run.restart();
    run.resume();
    assert_eq!(
        run.signal("go", r#"{"x":1}"#, Some("id-1")),
        Some(Ignored::AlreadySo),
        "its sender cannot send it again"
    );
    run.done("/s");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn a_wait_that_goes_on_after_a_resume_takes_what_came_while_it_was_cancelled() {
    let document = "workflow: w
steps:
  - parallel: outer
    on_error: complete_all
    need: all
    branches:
      one:
        - parallel: inner
          branches:
            waits: [ { wait: a, event: go } ]
            fails: [ { step: s } ]
      two: [ { step: t } ]
";
    let mut run = Script::start(document, "{}");
    run.fails("/outer/one/inner/fails/s", "app.bad");
    assert_eq!(run.signal("go", r#"{"x":1}"#, None), None);
    run.done("/outer/two/t");
    run.assert_failed("rejoin.branches_failed", "/outer");
    run.restart();
    run.resume();
    run.restart();
    run.done("/outer/one/inner/fails/s");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn an_event_without_a_name_or_with_one_too_long_is_neither_sent_nor_waited_for() {
    for (node, fits) in [
        ("emit: e\n    event: '= input.name'", true),
        (
            "wait: e\n    event: '= input.name'\n    timeout: 1s\n    on_timeout: { value: 1 }",
            true,
        ),
        ("emit: e\n    event: '= input.name'", false),
        ("wait: e\n    any: [go, '= input.name']", false),
    ] {
        let names = match fits {
            true => vec!["n".repeat(256), "n".to_owned()],
            false => vec!["n".repeat(257), String::new()],
        };
        for name in names {
            let document = format!("workflow: w\nsteps:\n  - {node}\n");
            let run = Script::start(&document, &format!(r#"{{"name":"{name}"}}"#));
            match fits {
                true => assert_ne!(run.status(), RunStatus::Failed, "{node}"),
                false => drop(run.assert_failed("rejoin.expression", "/e")),
            }
        }
    }
}
