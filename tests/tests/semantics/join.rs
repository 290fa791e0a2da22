//! SPEC 4.1: when a join is decided.

use rejoin_tests::simulate::script::Script;

/// A parallel of branches named a, b, … with one step `s` each, and a step `after`.
fn parallel(branches: usize, keys: &str) -> Script {
    let names = ["a", "b", "c", "d", "e"];
    let branches: Vec<String> = names[..branches]
        .iter()
        .map(|n| format!("{n}: [{{ step: s }}]"))
        .collect();
    let document = format!(
        "workflow: w\nsteps:\n  - {{ parallel: p, branches: {{ {} }}{keys} }}\n  - step: after\n",
        branches.join(", ")
    );
    Script::start(&document, "{}")
}

#[test]
fn fail_fast_cancels_the_others_at_the_first_failure() {
    let mut run = parallel(3, "");
    run.fails("/p/b/s", "app.bad");
    let details = run.assert_failed("rejoin.branches_failed", "/p");
    assert_eq!(details.get("failed").and_then(|n| n.as_int()), Some(1));
    assert_eq!(details.get("total").and_then(|n| n.as_int()), Some(3));
    assert!(run.outstanding().is_empty());
}

#[test]
fn complete_all_succeeds_though_all_branches_fail() {
    let mut run = parallel(2, ", on_error: complete_all");
    run.fails("/p/a/s", "app.bad");
    assert_eq!(run.outstanding(), ["/p/b/s"]);
    run.fails("/p/b/s", "app.bad");
    assert_eq!(run.outstanding(), ["/after"]);
}

#[test]
fn need_any_cancels_the_others_when_one_has_succeeded() {
    let mut run = parallel(3, ", need: any");
    run.fails("/p/a/s", "app.bad");
    run.sets("/p/c/s", r#"{"x":1}"#);
    assert_eq!(run.outstanding(), ["/after"]);
    run.done("/after");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn need_under_complete_all_awaits_the_others() {
    let mut run = parallel(3, ", need: 1, on_error: complete_all");
    run.done("/p/a/s");
    assert_eq!(run.outstanding(), ["/p/b/s", "/p/c/s"]);
}

#[test]
fn need_fails_as_soon_as_it_is_out_of_reach() {
    let mut run = parallel(3, ", need: 2");
    run.fails("/p/a/s", "app.bad");
    assert_eq!(run.outstanding().len(), 2);
    run.fails("/p/b/s", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/p");
}

#[test]
fn need_above_the_number_of_nodes_of_a_graph_fails_at_once_even_if_all_would_be_skipped() {
    let document = |need: u32| {
        format!(
            "workflow: w
steps:
  - graph: g
    need: {need}
    nodes:
      a: {{ when: 'false', steps: [ {{ step: s }} ] }}
      b: {{ when: 'false', steps: [ {{ step: s }} ] }}
"
        )
    };
    Script::start(&document(3), "{}").assert_failed("rejoin.branches_failed", "/g");
    Script::start(&document(2), "{}").assert_completed("{}");
}

#[test]
fn need_above_the_number_of_branches_fails_at_once() {
    let run = parallel(2, ", need: 3");
    run.assert_failed("rejoin.branches_failed", "/p");
}

#[test]
fn percentages_of_need_round_up_and_of_tolerate_down() {
    let mut run = parallel(5, ", need: '50%'");
    run.done("/p/a/s");
    run.done("/p/b/s");
    assert_eq!(run.outstanding().len(), 3, "two of five are not half");
    run.done("/p/c/s");
    assert_eq!(run.outstanding(), ["/after"]);
    let mut run = parallel(5, ", tolerate: '39%'");
    run.fails("/p/a/s", "app.bad");
    assert_eq!(run.outstanding().len(), 4);
    run.fails("/p/b/s", "app.bad");
    run.assert_failed("rejoin.branches_failed", "/p");
}

#[test]
fn tolerate_cancels_nothing_while_it_holds() {
    let mut run = parallel(3, ", tolerate: 1");
    run.fails("/p/a/s", "app.bad");
    run.done("/p/b/s");
    assert_eq!(run.outstanding(), ["/p/c/s"]);
    run.done("/p/c/s");
    assert_eq!(run.outstanding(), ["/after"]);
}

#[test]
fn percentages_count_activated_branches_only() {
    let document = "workflow: w
steps:
  - parallel: p
    need: '100%'
    branches:
      a: { when: 'false', steps: [ { step: s } ] }
      b: [ { step: s } ]
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.outstanding(), ["/p/b/s"]);
    run.done("/p/b/s");
    run.assert_completed("{}");
}

#[test]
fn no_activated_branch_at_all_succeeds() {
    let document = "workflow: w
steps:
  - { parallel: p, need: any, branches: { a: { when: 'false', steps: [ { step: s } ] } } }
  - { foreach: f, items: [], concurrency: 2, need: any, steps: [ { step: s } ] }
";
    Script::start(document, "{}").assert_completed("{}");
}

#[test]
fn what_completes_after_the_join_is_late_and_changes_nothing() {
    let mut run = parallel(2, ", need: any");
    run.sets("/p/a/s", r#"{"x":1}"#);
    let late = run.sets("/p/b/s", r#"{"x":2,"y":2}"#);
    assert_eq!(late, None, "it is recorded as late");
    run.done("/after");
    run.assert_completed(r#"{"x":1}"#);
}

#[test]
fn concurrency_bounds_the_open_branches_in_declared_order() {
    let document = "workflow: w\nsteps: [ { foreach: f, items: '5', concurrency: 2, steps: [ { step: s } ] } ]\n";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.outstanding(), ["/f[0]/s", "/f[1]/s"]);
    run.done("/f[1]/s");
    assert_eq!(run.outstanding(), ["/f[0]/s", "/f[2]/s"]);
}
