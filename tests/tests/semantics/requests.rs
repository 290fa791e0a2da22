//! What a dispatched attempt asks for: its queue and its times, from the node or from the document's defaults.

use std::time::Duration;

use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

fn asks(run: &Script, path: &str) -> (String, Option<Duration>, Option<Duration>) {
    (run.queue(path), run.timeout(path), run.heartbeat(path))
}

fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

const BOTH: &str = "workflow: w
defaults: { queue: slow, timeout: 60s, heartbeat: 20s }
steps:
  - step: plain
  - { step: own, queue: gpu, timeout: 5s, heartbeat: 1s }
  - { decision: plainly, uses: ask }
  - { decision: choose, uses: ask, queue: clerks, timeout: 7s, heartbeat: 3s }
";

#[test]
fn what_calls_a_handler_takes_queue_timeout_and_heartbeat_from_its_node_or_else_from_the_defaults() {
    let mut run = Script::start(BOTH, "{}");
    assert_eq!(asks(&run, "/plain"), ("slow".to_owned(), seconds(60), seconds(20)));
    run.done("/plain");
    assert_eq!(asks(&run, "/own"), ("gpu".to_owned(), seconds(5), seconds(1)));
    run.done("/own");
    assert_eq!(asks(&run, "/plainly"), ("slow".to_owned(), seconds(60), seconds(20)));
    run.reply("/plainly", r#"{"goto":null}"#, "{}", &[]);
    assert_eq!(asks(&run, "/choose"), ("clerks".to_owned(), seconds(7), seconds(3)));
}

#[test]
fn without_defaults_a_step_goes_to_the_queue_default_and_has_all_the_time_it_needs() {
    let run = Script::start("workflow: w\nsteps: [ { step: a } ]\n", "{}");
    assert_eq!(asks(&run, "/a"), ("default".to_owned(), None, None));
}

#[test]
fn a_compensation_has_a_queue_and_a_timeout_of_its_own() {
    let document = "workflow: w
defaults: { queue: slow, timeout: 60s }
steps:
  - { step: a, queue: gpu, timeout: 5s, compensate: { uses: undo, queue: clerks, timeout: 7s } }
  - { step: b, queue: gpu, timeout: 5s, compensate: { uses: undo } }
  - { step: c }
";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    run.done("/b");
    run.fails("/c", "app.bad");
    assert_eq!(run.status(), RunStatus::Compensating);
    let inherited = asks(&run, "/b/compensate");
    assert_eq!((inherited.0.as_str(), inherited.1), ("slow", seconds(60)));
    run.done("/b/compensate");
    let own = asks(&run, "/a/compensate");
    assert_eq!((own.0.as_str(), own.1), ("clerks", seconds(7)));
}

#[test]
fn a_decision_by_handler_is_tried_again_as_its_own_retry_says() {
    let document = "workflow: w
steps:
  - { decision: choose, uses: ask, retry: { max_attempts: 2, initial: 1s } }
  - step: left
  - step: right
";
    let mut run = Script::start(document, "{}");
    run.fails("/choose", "app.busy");
    assert_eq!(run.outstanding(), Vec::<String>::new());
    run.wait();
    assert_eq!(run.attempt("/choose"), Some(2));
    run.reply("/choose", r#"{"goto":"right"}"#, "{}", &[]);
    assert_eq!(run.outstanding(), ["/right"]);
}

#[test]
fn the_visit_limit_of_the_document_holds_for_every_node() {
    let document = "workflow: w
max_visits: 2
steps:
  - step: again
  - decision: d
    rules: [ { when: 'true', goto: again } ]
";
    let mut run = Script::start(document, "{}");
    run.done("/again");
    run.done("/again#2");
    run.assert_failed("rejoin.visit_limit", "/again#3");
}

#[test]
fn details_of_a_fail_are_templates_and_reach_the_catch() {
    let document = "workflow: w
steps:
  - try: t
    steps:
      - fail: refuse
        error: { type: app.refused, message: no, details: { sum: '= ctx.a + 1', kept: [ '= ctx.a', text ] } }
    catch:
      - steps: [ { set: seen, values: { details: '= error.details' } } ]
";
    let run = Script::start(document, r#"{"a":4}"#);
    assert_eq!(run.context(), json(r#"{"a":4,"details":{"sum":5,"kept":[4,"text"]}}"#));
}

#[test]
fn full_snapshots_of_a_scope_above_a_gibibyte_are_refused_and_those_below_are_not() {
    let document = "workflow: w
snapshots: full
steps:
  - { foreach: each, items: input.n, concurrency: 1, merge: discard, steps: [ { step: a } ] }
";
    // `{"n":…,"pad":"…"}`: 1 MiB and a little, times 1,024 is too much, times 1,000 is not.
    let pad = "x".repeat(1 << 20);
    let refused = Script::start(document, &format!(r#"{{"n":1024,"pad":"{pad}"}}"#));
    assert_eq!(refused.status(), RunStatus::Failed);
    let allowed = Script::start(document, &format!(r#"{{"n":1000,"pad":"{pad}"}}"#));
    assert_eq!(allowed.outstanding(), ["/each[0]/a"]);
}
