//! SPEC 6: open scopes can be edited while they run.

use rejoin_engine::decision::Ignored;
use rejoin_engine::event::{Event, ScopeEdit};
use rejoin_shared::definition::model::{Backoff, RetryPolicy};
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

const FAN: &str = "workflow: w
steps:
  - foreach: each
    items: '6'
    concurrency: 2
    collect_as: all
    steps: [ { step: s, with: '= index', into: null }, { step: t, into: null } ]
";

fn edit(run: &mut Script, key: &str, value: &str) -> Option<Ignored> {
    edit_at(run, "/each", key, value)
}

fn edit_at(run: &mut Script, path: &str, key: &str, value: &str) -> Option<Ignored> {
    let given: Option<Json> = Some(json(value));
    let edit = match key {
        "concurrency" => ScopeEdit {
            concurrency: given,
            ..ScopeEdit::default()
        },
        "need" => ScopeEdit {
            need: given,
            ..ScopeEdit::default()
        },
        _ => ScopeEdit {
            tolerate: given,
            ..ScopeEdit::default()
        },
    };
    run.tell(Event::Edit {
        path: path.to_owned(),
        edit,
    })
}

fn retry(max_attempts: u32) -> ScopeEdit {
    let policy = RetryPolicy {
        max_attempts,
        backoff: Backoff::Constant,
        jitter: false,
        ..RetryPolicy::default()
    };
    ScopeEdit {
        retry: Some(vec![policy]),
        ..ScopeEdit::default()
    }
}

fn running(run: &Script) -> usize {
    run.outstanding().len()
}

#[test]
fn raised_concurrency_begins_further_branches_at_once() {
    let mut run = Script::start(FAN, "{}");
    assert_eq!(running(&run), 2);
    assert_eq!(edit(&mut run, "concurrency", "4"), None);
    assert_eq!(running(&run), 4);
    run.restart();
    assert_eq!(running(&run), 4);
    assert_eq!(edit(&mut run, "concurrency", "\"unbounded\""), None);
    assert_eq!(running(&run), 6);
}

#[test]
fn lowered_concurrency_begins_no_branch_until_enough_have_ended() {
    let mut run = Script::start(FAN, "{}");
    edit(&mut run, "concurrency", "4");
    assert_eq!(edit(&mut run, "concurrency", "1"), None);
    for n in 0..3 {
        run.done(&format!("/each[{n}]/s"));
        run.done(&format!("/each[{n}]/t"));
        assert_eq!(running(&run), 3 - n, "those that run are left alone");
    }
    run.done("/each[3]/s");
    run.done("/each[3]/t");
    assert_eq!(run.outstanding(), ["/each[4]/s"]);
}

#[test]
fn branches_that_ran_before_concurrency_was_lowered_are_recorded_after_a_restart() {
    let mut run = Script::start(FAN, "{}");
    edit(&mut run, "concurrency", "6");
    assert_eq!(edit(&mut run, "concurrency", "1"), None);
    // Each of them began under the old number, and leaves its second step open.
    for n in (0..6).rev() {
        run.reply(&format!("/each[{n}]/s"), &n.to_string(), "{}", &[]);
    }
    run.restart();
    assert_eq!(running(&run), 6);
    for n in 0..6 {
        run.reply(&format!("/each[{n}]/t"), &n.to_string(), "{}", &[]);
    }
    run.assert_completed(r#"{"all":[0,1,2,3,4,5]}"#);
}

#[test]
fn what_runs_when_concurrency_is_lowered_still_runs_after_a_takeover_and_its_completions_count() {
    let mut run = Script::start(FAN, "{}");
    edit(&mut run, "concurrency", "4");
    edit(&mut run, "concurrency", "1");
    let in_flight = run.outstanding();
    let held = run.held();
    run.restart();
    assert_eq!(running(&run), 4, "the new owner knows what runs");
    run.hold(held);
    for path in in_flight {
        assert_eq!(run.done(&path), None, "{path}");
    }
}

#[test]
fn a_lowered_need_completes_the_join_at_once() {
    let mut run = Script::start(FAN, "{}");
    run.done("/each[0]/s");
    run.reply("/each[0]/t", "1", "{}", &[]);
    assert_eq!(edit(&mut run, "need", "1"), None);
    run.assert_completed(r#"{"all":[1,null,null,null,null,null]}"#);
    run.restart();
    run.assert_completed(r#"{"all":[1,null,null,null,null,null]}"#);
}

#[test]
fn a_raised_need_fails_the_join_at_once() {
    let document = FAN.replace("concurrency: 2", "concurrency: unbounded\n    need: 3");
    let mut run = Script::start(&document, "{}");
    run.fails("/each[0]/s", "app.bad");
    assert_eq!(run.status(), RunStatus::Running);
    assert_eq!(edit(&mut run, "need", "6"), None);
    run.assert_failed("rejoin.branches_failed", "/each");
}

#[test]
fn tolerate_takes_the_place_of_need() {
    let document = FAN.replace("concurrency: 2", "concurrency: unbounded\n    need: 1");
    let mut run = Script::start(&document, "{}");
    assert_eq!(edit(&mut run, "tolerate", "\"50%\""), None);
    run.done("/each[0]/s");
    run.done("/each[0]/t");
    assert_eq!(run.status(), RunStatus::Running, "one is not enough any more");
    for n in 1..5 {
        run.fails(&format!("/each[{n}]/s"), "app.bad");
    }
    run.assert_failed("rejoin.branches_failed", "/each");
}

#[test]
fn a_retry_given_to_an_open_scope_allows_another_try_and_holds_for_that_one_too() {
    let mut run = Script::start(FAN, "{}");
    let path = "/each".to_owned();
    assert_eq!(run.tell(Event::Edit { path, edit: retry(3) }), None);
    assert_eq!(edit(&mut run, "concurrency", "3"), None);
    for again in ["", "#2"] {
        run.restart();
        assert_eq!(running(&run), 3, "the edits hold");
        run.fails(&format!("/each[0]/s{again}"), "app.bad");
        run.wait();
    }
    assert_eq!(running(&run), 3);
    run.fails("/each[0]/s#3", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/each");
}

#[test]
fn a_loop_that_may_fail_from_now_on_forgets_nothing_of_what_went_before() {
    let document = "workflow: w
steps:
  - foreach: each
    items: '4'
    steps: [ { step: s } ]
";
    let mut run = Script::start(document, "{}");
    run.sets("/each[0]/s", r#"{"a":0}"#);
    assert_eq!(edit(&mut run, "tolerate", "1"), None);
    run.fails("/each[1]/s", "app.bad");
    run.sets("/each[2]/s", r#"{"c":2}"#);
    run.fails("/each[3]/s", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/each");
    run.resume();
    run.restart();
    run.sets("/each[1]/s", r#"{"b":1,"c":1}"#);
    run.sets("/each[3]/s", r#"{"d":3}"#);
    run.assert_completed(r#"{"a":0,"b":1,"c":2,"d":3}"#);
}

#[test]
fn edits_that_do_not_fit_change_nothing() {
    let mut run = Script::start(FAN, "{}");
    let rows = run.journal.len();
    for (key, value) in [
        ("concurrency", "0"),
        ("concurrency", "\"many\""),
        ("need", "7"),
        ("need", "0"),
        ("need", "\"101%\""),
        ("tolerate", "-1"),
        ("tolerate", "\"some\""),
    ] {
        let got = edit(&mut run, key, value);
        assert!(matches!(got, Some(Ignored::Unfit(_))), "{key} {value}: {got:?}");
    }
    let both = ScopeEdit {
        need: Some(json("1")),
        tolerate: Some(json("1")),
        ..ScopeEdit::default()
    };
    for edit in [both, ScopeEdit::default()] {
        let path = "/each".to_owned();
        assert!(matches!(run.tell(Event::Edit { path, edit }), Some(Ignored::Unfit(_))));
    }
    let got = edit_at(&mut run, "/other", "need", "1");
    assert!(matches!(got, Some(Ignored::NotThere(_))), "{got:?}");
    assert_eq!(run.journal.len(), rows);
    run.cancel();
    let got = edit(&mut run, "need", "1");
    assert!(matches!(got, Some(Ignored::NotAllowed(_))), "{got:?}");
}

#[test]
fn a_loop_has_no_concurrency_to_edit() {
    let mut run = Script::start(&FAN.replace("    concurrency: 2\n", ""), "{}");
    let got = edit(&mut run, "concurrency", "2");
    assert!(matches!(got, Some(Ignored::Unfit(_))), "{got:?}");
    assert_eq!(edit(&mut run, "need", "1"), None);
    run.done("/each[0]/s");
    run.done("/each[0]/t");
    run.assert_completed(r#"{"all":[null,null,null,null,null,null]}"#);
}

#[test]
fn raised_concurrency_of_a_graph_starts_what_is_ready() {
    let document = "workflow: w
steps:
  - graph: g
    concurrency: 1
    nodes: { a: { steps: [ { step: s } ] }, b: { steps: [ { step: s } ] } }
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.outstanding(), ["/g/a/s"]);
    assert_eq!(edit_at(&mut run, "/g", "concurrency", "2"), None);
    assert_eq!(run.outstanding(), ["/g/a/s", "/g/b/s"]);
}

/// Of branches that ended before anybody thought of another try.
#[test]
fn a_retry_that_is_allowed_later_counts_the_visits_of_branches_that_had_ended() {
    let document = "workflow: w
steps:
  - parallel: p
    branches:
      a: [ { step: a } ]
      b: [ { step: b } ]
      c: [ { set: s, values: { n: '= get(ctx, \"n\", 0) + 1' } }, { step: c }, { decision: d, rules: [ { when: ctx.n < 2, goto: s } ] } ]
";
    for restarts in [false, true] {
        let mut run = Script::start(document, "{}");
        run.done("/p/b/b");
        run.done("/p/c/c");
        run.done("/p/c/c#2");
        let path = "/p".to_owned();
        assert_eq!(run.tell(Event::Edit { path, edit: retry(2) }), None);
        run.fails("/p/a/a", "app.soon");
        if restarts {
            run.restart();
        }
        run.forget_dispatched();
        run.wait();
        assert_eq!(run.outstanding(), ["/p/a/a#2", "/p/b/b#2", "/p/c/c#3"]);
    }
}
