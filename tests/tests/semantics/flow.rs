//! SPEC 2 and 5.1: gotos, visits, retries.

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
