//! SPEC 2 and 5.1: gotos, visits, retries.

use std::time::Duration;

use rejoin_engine::event::Event;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::Script;

#[test]
fn two_ways_into_one_node_converge_and_it_runs_once() {
    let document = "workflow: w
steps:
  - decision: d
    rules: [ { when: ctx.small, goto: end } ]
  - step: work
  - step: end
";
    let mut run = Script::start(document, r#"{"small":true}"#);
    assert_eq!(run.outstanding(), ["/end"]);
    run.done("/end");
    run.assert_completed(r#"{"small":true}"#);
    let mut run = Script::start(document, r#"{"small":false}"#);
    run.done("/work");
    assert_eq!(run.outstanding(), ["/end"]);
}

#[test]
fn a_goto_backwards_makes_new_visits_until_the_limit() {
    let document = "workflow: w
steps:
  - { step: again, max_visits: 3 }
  - decision: d
    rules: [ { when: 'true', goto: again } ]
";
    let mut run = Script::start(document, "{}");
    for path in ["/again", "/again#2", "/again#3"] {
        assert_eq!(run.outstanding(), [path]);
        run.done(path);
    }
    run.assert_failed("rejoin.visit_limit", "/again#4");
}

#[test]
fn the_budget_of_retries_survives_a_restart() {
    let document = "workflow: w\nsteps: [ { step: s, retry: { max_attempts: 3, initial: 1s } } ]\n";
    let mut run = Script::start(document, "{}");
    for attempt in 1..=2 {
        assert_eq!(run.attempt("/s"), Some(attempt));
        run.fails("/s", "app.bad");
        run.restart();
        run.wait();
    }
    assert_eq!(run.attempt("/s"), Some(3));
    run.fails("/s", "app.bad");
    run.assert_failed("app.bad", "/s");
}

#[test]
fn a_group_tried_again_begins_where_it_began_with_new_visits() {
    let document = "workflow: w
steps:
  - group: g
    retry: { max_attempts: 2 }
    steps: [ { step: s }, { step: t } ]
";
    let mut run = Script::start(document, "{}");
    run.sets("/g/s", r#"{"x":1}"#);
    run.fails("/g/t", "app.bad");
    run.restart();
    run.wait();
    assert_eq!(run.outstanding(), ["/g/s#2"]);
    run.done("/g/s#2");
    run.done("/g/t#2");
    run.assert_completed("{}");
}

#[test]
fn a_completion_of_another_attempt_changes_nothing() {
    let document = "workflow: w\nsteps: [ { step: s, retry: { max_attempts: 3 } } ]\n";
    let mut run = Script::start(document, "{}");
    run.fails("/s", "app.bad");
    let rows = run.journal.len();
    assert!(run.done("/s").is_some(), "attempt 1 has ended");
    assert_eq!(run.journal.len(), rows);
}

#[test]
fn a_sleep_ends_at_its_time_and_not_before_and_survives_a_restart() {
    let document = "workflow: w\nsteps: [ { sleep: nap, for: 90s }, { step: s } ]\n";
    let mut run = Script::start(document, "{}");
    assert!(run.outstanding().is_empty());
    assert_eq!(run.state.status(), RunStatus::Waiting);
    let due = run.state.next_due();
    run.restart();
    assert_eq!(run.state.next_due(), due);
    run.pass(Duration::from_millis(89_900));
    assert!(run.outstanding().is_empty(), "it would be early");
    run.pass(Duration::from_millis(100));
    assert_eq!(run.outstanding(), ["/s"]);
    run.restart();
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn a_sleep_until_the_past_is_over_at_once() {
    let document = "workflow: w\nsteps: [ { sleep: nap, until: '2020-01-01T00:00:00Z' }, { step: s } ]\n";
    let run = Script::start(document, "{}");
    assert_eq!(run.outstanding(), ["/s"]);
}

#[test]
fn a_sleep_for_what_is_no_duration_fails_with_its_expression() {
    let document = "workflow: w\nsteps: [ { sleep: nap, for: '= ctx.n' } ]\n";
    let run = Script::start(document, r#"{"n":5}"#);
    run.assert_failed("rejoin.expression", "/nap");
}

#[test]
fn until_is_read_after_a_round_and_rounds_number_their_visits() {
    let document =
        "workflow: w\nsteps: [ { repeat: poll, until: ctx.x == 2, steps: [ { step: check } ] }, { step: s } ]\n";
    let mut run = Script::start(document, r#"{"x":2}"#);
    run.sets("/poll/check", r#"{"x":1}"#);
    run.restart();
    run.sets("/poll/check#2", r#"{"x":2}"#);
    assert_eq!(run.outstanding(), ["/s"]);
    run.done("/s");
    run.assert_completed(r#"{"x":2}"#);
}

#[test]
fn while_is_read_before_a_round() {
    let document = "workflow: w\nsteps: [ { repeat: r, while: ctx.x < 2, steps: [ { step: inc } ] } ]\n";
    Script::start(document, r#"{"x":2}"#).assert_completed(r#"{"x":2}"#);
    let mut run = Script::start(document, r#"{"x":1}"#);
    run.sets("/r/inc", r#"{"x":2}"#);
    run.assert_completed(r#"{"x":2}"#);
}

#[test]
fn a_repeat_without_condition_runs_exactly_max_rounds() {
    let document = "workflow: w\nsteps: [ { repeat: r, max: 3, steps: [ { step: s } ] } ]\n";
    let mut run = Script::start(document, "{}");
    for path in ["/r/s", "/r/s#2", "/r/s#3"] {
        assert_eq!(run.outstanding(), [path]);
        run.done(path);
        run.restart();
    }
    run.assert_completed("{}");
}

#[test]
fn a_condition_that_asks_for_more_than_max_rounds_fails() {
    let document = "workflow: w\nsteps: [ { repeat: r, while: 'true', max: 2, steps: [ { step: s } ] } ]\n";
    let mut run = Script::start(document, "{}");
    run.done("/r/s");
    run.done("/r/s#2");
    run.assert_failed("rejoin.repeat_limit", "/r");
}

#[test]
fn a_thousand_rounds_have_paths_of_their_own_and_count_no_visits() {
    let document = "workflow: w\nsteps: [ { repeat: r, max: 1000, steps: [ { step: s, max_visits: 1 } ] } ]\n";
    let mut run = Script::start(document, "{}");
    for round in 1..=1000 {
        let path = if round == 1 {
            "/r/s".to_owned()
        } else {
            format!("/r/s#{round}")
        };
        assert_eq!(run.outstanding(), [path.as_str()]);
        run.done(&path);
    }
    run.assert_completed("{}");
}

#[test]
fn a_run_that_takes_longer_than_its_timeout_fails_whatever_it_waits_for() {
    let document = "workflow: w\ntimeout: 60s\nsteps: [ { step: s } ]\n";
    let mut run = Script::start(document, "{}");
    run.pass(Duration::from_secs(59));
    assert_eq!(run.state.status(), RunStatus::Running);
    run.restart();
    run.pass(Duration::from_secs(1));
    let (_, error) = run.state.result();
    assert_eq!(error.expect("an error").kind, "rejoin.run_timeout");
    run.restart();
    assert_eq!(run.state.status(), RunStatus::Failed);
    run.tell(Event::Resume);
    assert_eq!(run.outstanding(), ["/s"], "a resume begins the time anew");
    run.done("/s");
    run.assert_completed("{}");
}

#[test]
fn the_timeout_of_a_paused_run_stands_still() {
    let document = "workflow: w\ntimeout: 60s\nsteps: [ { step: s } ]\n";
    let mut run = Script::start(document, "{}");
    run.pass(Duration::from_secs(30));
    run.tell(Event::Pause);
    run.pass(Duration::from_secs(3600));
    run.restart();
    run.tell(Event::Resume);
    run.pass(Duration::from_secs(29));
    assert_eq!(run.state.status(), RunStatus::Running);
    run.pass(Duration::from_secs(2));
    assert_eq!(run.state.status(), RunStatus::Failed);
}

#[test]
fn a_run_for_later_begins_in_time_and_not_before() {
    let at = rejoin_tests::simulate::START.plus(Duration::from_secs(60));
    let mut run = Script::later(at, "workflow: w\ntimeout: 30s\nsteps: [ { step: s } ]\n", "{}");
    assert_eq!((run.status(), run.outstanding()), (RunStatus::Scheduled, vec![]));
    assert!(run.tell(Event::Pause).is_some() && run.tell(Event::Resume).is_some());
    run.pass(Duration::from_secs(59));
    run.restart();
    assert_eq!(run.status(), RunStatus::Scheduled);
    run.wait();
    assert_eq!(
        (run.status(), run.outstanding()),
        (RunStatus::Running, vec!["/s".to_owned()])
    );
    run.restart();
    run.pass(Duration::from_secs(29));
    assert_eq!(
        run.status(),
        RunStatus::Running,
        "its time-out counts from when it began"
    );
    run.done("/s");
    run.assert_completed("{}");
    let mut cancelled = Script::later(at, "workflow: w\nsteps: [ { step: s } ]\n", "{}");
    cancelled.cancel();
    assert_eq!(
        (cancelled.status(), cancelled.state.next_due()),
        (RunStatus::Cancelled, None)
    );
}
