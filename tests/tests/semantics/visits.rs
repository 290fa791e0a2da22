//! SPEC 2, 12: many visits of one node.

use std::collections::BTreeSet;

use rejoin_tests::simulate::script::Script;

const VISITS: usize = 1_000;

/// Everything that the state holds, as text: what it keeps more of is longer.
fn size(run: &Script) -> usize {
    format!("{:?}", run.state).len()
}

/// Makes all visits, one after the other, of the only step that is out; the paths, and the sizes on the way.
fn visit_all(run: &mut Script) -> (Vec<String>, Vec<usize>) {
    let (mut paths, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..VISITS {
        let out = run.outstanding();
        assert_eq!(out.len(), 1, "{out:?}");
        // Folded anew half-way and before the last one it holds no more either.
        if paths.len() == VISITS / 2 || paths.len() == VISITS - 1 {
            run.restart();
        }
        sizes.push(size(run));
        assert_eq!(run.done(&out[0]), None);
        paths.extend(out);
        run.forget_dispatched();
    }
    (paths, sizes)
}

fn assert_flat_and_unique(document: &str, last: &str) {
    let mut run = Script::start(document, "{}");
    let (paths, sizes) = visit_all(&mut run);
    run.assert_completed(r#"{"n":1000}"#);
    let unique: BTreeSet<&String> = paths.iter().collect();
    assert_eq!((unique.len(), paths.last().map(String::as_str)), (VISITS, Some(last)));
    // Numbers grow by a digit or two in a few places; a visit that left anything behind would show a thousandfold.
    let (early, most) = (sizes[10], sizes.into_iter().max().expect("sizes"));
    assert!(most < early + 100, "the state has grown from {early} to {most} bytes");
}

#[test]
fn a_backward_goto_to_a_thousand_visits_keeps_paths_unique_and_memory_flat() {
    let document = "workflow: w
steps:
  - { set: count, values: { n: '= get(ctx, \"n\", 0) + 1' } }
  - { step: work }
  - { decision: again, rules: [ { when: 'ctx.n < 1000', goto: count } ] }
";
    assert_flat_and_unique(document, "/work#1000");
}

#[test]
fn a_repeat_of_a_thousand_rounds_keeps_paths_unique_and_memory_flat() {
    let document = "workflow: w
steps:
  - repeat: poll
    until: 'ctx.n == 1000'
    steps: [ { set: count, values: { n: '= get(ctx, \"n\", 0) + 1' } }, { group: g, steps: [ { step: work } ] } ]
";
    assert_flat_and_unique(document, "/poll/g#1000/work");
}

/// Of the branches of a try that failed, one had completed a step, one had only begun, and for one there was no room.
#[test]
fn the_next_try_of_a_scope_counts_the_visits_of_branches_that_had_left_no_record() {
    let document = "workflow: w
steps:
  - parallel: p
    concurrency: 3
    retry: { max_attempts: 2 }
    branches: { a: [ { step: a } ], b: [ { step: b }, { step: b2 } ], c: [ { step: c } ], d: [ { step: d } ] }
";
    for restarts in [false, true] {
        let mut run = Script::start(document, "{}");
        run.done("/p/b/b");
        assert_eq!(run.outstanding(), ["/p/a/a", "/p/b/b2", "/p/c/c"]);
        run.fails("/p/a/a", "app.soon");
        if restarts {
            run.restart();
        }
        run.forget_dispatched();
        run.wait();
        if restarts {
            run.restart();
        }
        assert_eq!(run.outstanding(), ["/p/a/a#2", "/p/b/b#2", "/p/c/c#2"]);
        run.done("/p/b/b#2");
        run.done("/p/c/c#2");
        run.done("/p/b/b2#2");
        assert_eq!(run.outstanding(), ["/p/a/a#2", "/p/d/d"]);
        run.done("/p/d/d");
        run.done("/p/a/a#2");
        run.assert_completed("{}");
    }
}
