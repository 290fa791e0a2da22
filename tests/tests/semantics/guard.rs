//! SPEC 5.8: try, catch, finally.

use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

const GUARDED: &str = "workflow: w
steps:
  - try: t
    steps: [ { step: a }, { step: b } ]
    catch:
      - { errors: ['app.*', '!app.hard'], as: e, steps: [ { step: mend, with: { kind: '= e.type', at: '= e.path' } } ] }
      - { errors: ['app.hard'], steps: [ { fail: harder, error: { type: app.harder } } ] }
    finally: [ { step: tidy, into: tidied } ]
  - step: after
";

#[test]
fn the_first_catch_that_matches_runs_with_the_error_and_finally_after_it() {
    let mut run = Script::start(GUARDED, "{}");
    run.sets("/t/a", r#"{"x":1}"#);
    run.fails("/t/b", "app.soft");
    assert_eq!(run.outstanding(), ["/t/catch[0]/mend"]);
    assert_eq!(
        run.input("/t/catch[0]/mend"),
        json(r#"{"kind":"app.soft","at":"/t/b"}"#)
    );
    run.restart();
    run.done("/t/catch[0]/mend");
    run.reply("/t/finally/tidy", "1", "{}", &[]);
    run.done("/after");
    run.assert_completed(r#"{"x":1,"tidied":1}"#);
}

#[test]
fn without_an_error_only_finally_runs() {
    let mut run = Script::start(GUARDED, "{}");
    run.done("/t/a");
    run.done("/t/b");
    run.done("/t/finally/tidy");
    assert_eq!(run.outstanding(), ["/after"]);
}

#[test]
fn an_error_in_a_catch_passes_through_finally() {
    let mut run = Script::start(GUARDED, "{}");
    run.fails("/t/a", "app.hard");
    assert_eq!(run.outstanding(), ["/t/finally/tidy"]);
    run.restart();
    run.reply("/t/finally/tidy", "2", "{}", &[]);
    run.assert_failed("app.harder", "/t/catch[1]/harder");
    assert_eq!(run.context(), json(r#"{"tidied":2}"#));
}

#[test]
fn what_no_catch_matches_fails_after_finally_and_a_resume_goes_on_where_it_failed() {
    let mut run = Script::start(GUARDED, "{}");
    run.sets("/t/a", r#"{"x":1}"#);
    run.fails("/t/b", "other.kind");
    run.reply("/t/finally/tidy", "1", "{}", &[]);
    run.assert_failed("other.kind", "/t/b");
    run.resume();
    run.restart();
    assert_eq!(run.outstanding(), ["/t/b"]);
    assert_eq!(run.attempt("/t/b"), Some(2));
    run.done("/t/b");
    assert_eq!(run.outstanding(), ["/t/finally/tidy#2"]);
    run.reply("/t/finally/tidy#2", "2", "{}", &[]);
    run.done("/after");
    run.assert_completed(r#"{"x":1,"tidied":2}"#);
}

#[test]
fn an_error_in_finally_replaces_the_one_under_way() {
    let mut run = Script::start(GUARDED, "{}");
    run.fails("/t/a", "other.kind");
    run.fails("/t/finally/tidy", "app.tidy");
    run.assert_failed("app.tidy", "/t/finally/tidy");
    // What failed in the finally goes on, and behind it what the finally ran for.
    run.resume();
    run.done("/t/finally/tidy");
    run.restart();
    assert_eq!(run.outstanding(), ["/t/a"]);
}

#[test]
fn a_goto_out_of_a_try_runs_each_finally_on_its_way_once() {
    let document = "workflow: w
steps:
  - try: outer
    steps:
      - try: inner
        steps:
          - { decision: jump, rules: [ { when: 'true', goto: end } ] }
        finally: [ { step: first } ]
      - step: passed_over
    finally: [ { step: second } ]
  - step: passed_over_too
  - step: end
";
    let mut run = Script::start(document, "{}");
    for path in ["/outer/inner/finally/first", "/outer/finally/second", "/end"] {
        assert_eq!(run.outstanding(), [path]);
        run.restart();
        run.done(path);
    }
    run.assert_completed("{}");
}

#[test]
fn a_goto_in_finally_replaces_the_error_under_way() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { step: a } ]
    finally:
      - { decision: jump, rules: [ { when: 'true', goto: end } ] }
  - step: passed_over
  - step: end
";
    let mut run = Script::start(document, "{}");
    run.fails("/t/a", "app.bad");
    assert_eq!(run.outstanding(), ["/end"]);
    run.done("/end");
    run.assert_completed("{}");
}

#[test]
fn finish_in_a_try_runs_finally_and_keeps_its_output() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { finish: early, output: { n: 1 } } ]
    finally: [ { set: late, values: { seen: true } }, { step: tidy } ]
  - step: never
";
    let mut run = Script::start(document, "{}");
    run.restart();
    run.done("/t/finally/tidy");
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(run.output(), Some(json(r#"{"n":1}"#)));
    assert_eq!(run.context(), json(r#"{"seen":true}"#));
}

#[test]
fn a_cancelled_run_runs_no_finally() {
    let mut run = Script::start(GUARDED, "{}");
    run.cancel();
    assert_eq!(run.status(), RunStatus::Cancelled);
    assert_eq!(run.outstanding(), Vec::<String>::new());
}

#[test]
fn branches_in_a_catch_see_its_error() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { fail: f, error: { type: app.seen, message: 'why' } } ]
    catch:
      - steps:
          - parallel: p
            branches:
              one: [ { step: s, with: '= error.message' } ]
              two: [ { set: keep, values: { kind: '= error.type' } } ]
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.input("/t/catch[0]/p/one/s"), json("\"why\""));
    run.done("/t/catch[0]/p/one/s");
    run.assert_completed(r#"{"kind":"app.seen"}"#);
}

#[test]
fn a_failed_scope_is_caught_by_the_types_of_its_branches() {
    let document = "workflow: w
steps:
  - try: t
    steps:
      - parallel: p
        branches: { one: [ { step: s } ], two: [ { step: z } ] }
    catch:
      - { errors: ['app.*'], steps: [ { set: caught, values: { n: '= error.details.failed' } } ] }
";
    let mut run = Script::start(document, "{}");
    run.sets("/t/p/two/z", r#"{"lost":1}"#);
    run.fails("/t/p/one/s", "app.bad");
    run.assert_completed(r#"{"n":1}"#);
}

#[test]
fn a_node_whose_error_is_caught_cancels_none_that_needs_it_though_another_ends_at_that_moment() {
    let document = "workflow: w
steps:
  - graph: g
    on_error: continue
    nodes:
      first:
        steps:
          - try: t
            steps: [ { fail: one, error: { type: app.one } } ]
            catch: [ { errors: ['app.*'], steps: [ { step: s } ] } ]
      second: { needs: [first], steps: [ { step: after } ] }
      third: { steps: [ { step: never, when: 'false' } ] }
";
    let mut run = Script::start(document, "{}");
    run.done("/g/first/t/catch[0]/s");
    assert_eq!(run.outstanding(), ["/g/second/after"]);
}

#[test]
fn a_nul_in_a_value_that_an_error_quotes_does_not_take_the_error_away() {
    for expression in [
        "ctx[string(b'\\\\x00')]",
        "int(string(b'\\\\x00'))",
        "timestamp(string(b'\\\\x00'))",
        "{'a': 1}[string(b'\\\\x00')]",
    ] {
        let document = format!(
            "workflow: w
steps:
  - try: t
    steps: [ {{ set: s, values: {{ a: \"= {expression}\" }} }} ]
    catch: [ {{ steps: [ {{ set: c, values: {{ kind: '= error.type', message: '= error.message' }} }} ] }} ]
"
        );
        let mut run = Script::start(&document, "{}");
        run.restart();
        assert_eq!(run.status(), RunStatus::Completed, "{expression}");
        let context = run.context();
        let kind = context.get("kind").and_then(Json::as_str);
        assert_eq!(kind, Some("rejoin.expression"), "{expression}: {context}");
        let message = context.get("message").and_then(Json::as_str).unwrap_or_default();
        assert!(
            !message.is_empty() && !message.contains('\0'),
            "{expression}: {message}"
        );
    }
}
