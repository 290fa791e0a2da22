//! SPEC 4.2: what a join leaves.

use rejoin_tests::simulate::script::{Script, json};

fn two(keys: &str, input: &str) -> Script {
    let document = format!(
        "workflow: w\nsteps: [ {{ parallel: p, branches: {{ a: [ {{ step: s }} ], b: [ {{ step: s }} ] }}{keys} }} ]\n"
    );
    Script::start(&document, input)
}

#[test]
fn ten_thousand_concurrent_increments_lose_none() {
    let document = "workflow: w
steps: [ { foreach: f, items: '10000', concurrency: unbounded, reduce: { n: sum }, steps: [ { step: s } ] } ]
";
    let mut run = Script::start(document, r#"{"n":7}"#);
    assert_eq!(run.outstanding().len(), 10_000);
    // Each sees the base, and adds one to it; they complete from both ends inwards.
    for i in 0..5000 {
        run.sets(&format!("/f[{}]/s", 9999 - i), r#"{"n":8}"#);
        run.sets(&format!("/f[{i}]/s"), r#"{"n":8}"#);
    }
    run.assert_completed(r#"{"n":10007}"#);
}

#[test]
fn an_untouched_key_never_undoes_a_siblings_write() {
    let mut run = two("", r#"{"x":1,"y":1,"o":{"p":1,"q":1}}"#);
    run.sets("/p/a/s", r#"{"x":2,"o.p":2}"#);
    run.sets("/p/b/s", r#"{"y":2,"o.q":2}"#);
    run.assert_completed(r#"{"x":2,"y":2,"o":{"p":2,"q":2}}"#);
}

#[test]
fn a_delete_deletes_also_what_an_earlier_branch_wrote_below() {
    let mut run = two("", r#"{"o":{"p":1},"x":1}"#);
    run.reply("/p/b/s", "null", "{}", &["o", "x"]);
    run.sets("/p/a/s", r#"{"o.q":2}"#);
    run.assert_completed("{}");
}

#[test]
fn the_declared_order_counts_and_not_the_order_of_arrival() {
    for first in ["a", "b"] {
        let second = if first == "a" { "b" } else { "a" };
        let mut run = two("", "{}");
        for branch in [first, second] {
            run.sets(&format!("/p/{branch}/s"), &format!(r#"{{"x":"{branch}"}}"#));
        }
        run.assert_completed(r#"{"x":"b"}"#);
    }
}

#[test]
fn last_wins_follows_the_journal_per_top_level_key() {
    let mut run = two(", merge: last_wins", r#"{"o":{"p":1},"x":1}"#);
    run.sets("/p/b/s", r#"{"o.q":2,"x":2}"#);
    run.sets("/p/a/s", r#"{"o.r":3}"#);
    run.assert_completed(r#"{"o":{"p":1,"r":3},"x":2}"#);
}

#[test]
fn strict_names_path_branches_and_values() {
    let mut run = two(", merge: strict", r#"{"o":{"k":0}}"#);
    run.sets("/p/a/s", r#"{"o.k":1}"#);
    run.sets("/p/b/s", r#"{"o.k":2}"#);
    let details = run.assert_failed("rejoin.merge_conflict", "/p");
    assert_eq!(details, json(r#"{"path":"o.k","branches":["a","b"],"values":[1,2]}"#));
    assert_eq!(run.context(), json(r#"{"o":{"k":0}}"#));
}

#[test]
fn strict_shows_all_that_was_changed_below_the_place_of_a_conflict() {
    let mut run = two(", merge: strict", r#"{"a.b":{"c":1}}"#);
    run.sets("/p/a/s", r#"{"n":{"x":1}}"#);
    run.sets("/p/b/s", r#"{"n":5}"#);
    let details = run.assert_failed("rejoin.merge_conflict", "/p");
    assert_eq!(
        details,
        json(r#"{"path":"n","branches":["a","b"],"values":[{"x":1},5]}"#)
    );
    let mut run = two(", merge: strict", r#"{"o":{"k":0}}"#);
    run.reply("/p/a/s", "null", "{}", &["o"]);
    run.sets("/p/b/s", r#"{"o.k":{"x.y":1}}"#);
    let details = run.assert_failed("rejoin.merge_conflict", "/p");
    assert_eq!(details.get("values"), Some(&json(r#"[null,{"k":{"x.y":1}}]"#)));
    // A key's dot is written as paths write it.
    let mut run = two(", merge: strict", "{}");
    run.sets("/p/a/s", r#"{"q\\.r":1}"#);
    run.sets("/p/b/s", r#"{"q\\.r":2}"#);
    let details = run.assert_failed("rejoin.merge_conflict", "/p");
    assert_eq!(details.get("path"), Some(&json(r#""q\\.r""#)));
}

#[test]
fn strict_takes_equal_values_and_refuses_a_delete_against_a_change_below() {
    let mut run = two(", merge: strict", r#"{"o":{"k":0}}"#);
    run.sets("/p/a/s", r#"{"o.k":1,"x":1}"#);
    run.sets("/p/b/s", r#"{"o.k":1,"y":1}"#);
    run.assert_completed(r#"{"o":{"k":1},"x":1,"y":1}"#);
    let mut run = two(", merge: strict", r#"{"o":{"k":0}}"#);
    run.reply("/p/a/s", "null", "{}", &["o"]);
    run.sets("/p/b/s", r#"{"o.k":1}"#);
    run.assert_failed("rejoin.merge_conflict", "/p");
}

#[test]
fn collect_shows_changes_under_the_nodes_name_and_discard_keeps_the_base() {
    let mut run = two(", merge: collect", r#"{"x":1,"y":1}"#);
    run.reply("/p/a/s", "null", r#"{"x":2}"#, &["y"]);
    run.done("/p/b/s");
    run.assert_completed(r#"{"x":1,"y":1,"p":{"a":{"x":2},"b":{}}}"#);
    let mut run = two(", merge: collect", r#"{"o":{"k":1,"l":1}}"#);
    run.reply("/p/a/s", "null", "{}", &["o.k"]);
    run.reply("/p/b/s", "null", r#"{"o.k":2}"#, &["o.l"]);
    run.assert_completed(r#"{"o":{"k":1,"l":1},"p":{"a":{},"b":{"o":{"k":2}}}}"#);
    let mut run = two(", merge: discard, collect_as: out.all", "{}");
    run.reply("/p/a/s", "5", r#"{"x":2}"#, &[]);
    run.done("/p/b/s");
    run.assert_completed(r#"{"out":{"all":{"a":5,"b":null}}}"#);
}

#[test]
fn a_loop_collects_changes_against_what_the_item_started_from() {
    let document = "workflow: w\nsteps: [ { foreach: f, items: '2', merge: collect, steps: [ { step: s } ] } ]\n";
    let mut run = Script::start(document, r#"{"n":0}"#);
    run.sets("/f[0]/s", r#"{"n":1,"x":1}"#);
    assert_eq!(run.sees("/f[1]/s"), json(r#"{"n":1,"x":1}"#));
    run.sets("/f[1]/s", r#"{"n":2}"#);
    run.assert_completed(r#"{"n":0,"f":[{"n":1,"x":1},{"n":2}]}"#);
}

#[test]
fn a_failed_item_of_a_loop_leaves_nothing() {
    let document = "workflow: w\nsteps: [ { foreach: f, items: '3', on_error: complete_all, steps: [ { step: s }, { step: t } ] } ]\n";
    let mut run = Script::start(document, "{}");
    run.sets("/f[0]/s", r#"{"x":0}"#);
    run.done("/f[0]/t");
    run.sets("/f[1]/s", r#"{"x":1,"y":1}"#);
    run.fails("/f[1]/t", "app.bad");
    assert_eq!(run.sees("/f[2]/s"), json(r#"{"x":0}"#));
    run.done("/f[2]/s");
    run.done("/f[2]/t");
    run.assert_completed(r#"{"x":0}"#);
}

#[test]
fn every_way_to_reduce_starts_from_the_base() {
    let keys = ", reduce: { sum: sum, min: min, max: max, count: count, list: append, text: concat, set: union }";
    let input = r#"{"sum":1,"min":5,"max":5,"list":[0],"text":"-","set":[1]}"#;
    let mut run = two(keys, input);
    run.sets(
        "/p/b/s",
        r#"{"sum":4,"min":7,"max":7,"count":"x","list":[0,2],"text":"-b","set":[1,2]}"#,
    );
    run.sets(
        "/p/a/s",
        r#"{"sum":3,"min":3,"count":"y","list":1,"text":"-a","set":[1,2,3]}"#,
    );
    run.assert_completed(r#"{"sum":6,"min":3,"max":7,"count":2,"list":[0,1,2],"text":"-ab","set":[1,2,3]}"#);
}

#[test]
fn a_value_that_does_not_fit_and_an_overflow_fail_the_node() {
    for (value, base) in [("\"text\"", "1"), ("9223372036854775807", "-1")] {
        let mut run = two(", reduce: { n: sum }", &format!(r#"{{"n":{base}}}"#));
        run.sets("/p/a/s", &format!(r#"{{"n":{value}}}"#));
        run.sets("/p/b/s", r#"{"n":9223372036854775806}"#);
        run.assert_failed("rejoin.reduce_failed", "/p");
    }
}

#[test]
fn a_deletion_takes_no_part_in_a_reduce() {
    let mut run = two(", reduce: { n: sum }", r#"{"n":1}"#);
    run.reply("/p/a/s", "null", "{}", &["n"]);
    run.sets("/p/b/s", r#"{"n":3}"#);
    run.assert_completed(r#"{"n":3}"#);
}

#[test]
fn nodes_of_a_graph_start_from_what_they_need_each_once() {
    let document = "workflow: w
steps:
  - graph: g
    reduce: { n: sum }
    nodes:
      bottom: { needs: [left, right], steps: [ { step: s } ] }
      left: { needs: [top], steps: [ { step: s } ] }
      right: { needs: [top], steps: [ { step: s } ] }
      top: { steps: [ { step: s } ] }
      apart: { steps: [ { step: s } ] }
";
    let mut run = Script::start(document, r#"{"n":0}"#);
    assert_eq!(run.outstanding(), ["/g/apart/s", "/g/top/s"]);
    run.sets("/g/top/s", r#"{"n":1,"x":"top"}"#);
    run.sets("/g/right/s", r#"{"n":11,"x":"right"}"#);
    assert_eq!(run.sees("/g/left/s"), json(r#"{"n":1,"x":"top"}"#));
    run.sets("/g/left/s", r#"{"n":101,"y":"left"}"#);
    assert_eq!(run.sees("/g/bottom/s"), json(r#"{"n":111,"x":"right","y":"left"}"#));
    run.done("/g/bottom/s");
    run.sets("/g/apart/s", r#"{"n":1000}"#);
    run.assert_completed(r#"{"n":1111,"x":"right","y":"left"}"#);
}

#[test]
fn strict_compares_nodes_of_a_graph_whatever_those_that_they_need_have_changed_before() {
    let document = "workflow: w
steps:
  - graph: g
    merge: strict
    nodes:
      top: { steps: [ { step: s } ] }
      left: { needs: [top], steps: [ { step: s } ] }
      right: { needs: [top], steps: [ { step: s } ] }
";
    let begun = |top: &str| {
        let mut run = Script::start(document, r#"{"o":{"k":0}}"#);
        run.sets("/g/top/s", top);
        run
    };
    let mut run = begun(r#"{"o.a":1}"#);
    run.sets("/g/left/s", r#"{"o.b":1}"#);
    run.reply("/g/right/s", "null", "{}", &["o"]);
    run.assert_failed("rejoin.merge_conflict", "/g");
    let mut run = begun(r#"{"x":2}"#);
    run.sets("/g/left/s", r#"{"x":1}"#);
    run.sets("/g/right/s", r#"{"x":3}"#);
    let details = run.assert_failed("rejoin.merge_conflict", "/g");
    assert_eq!(details.get("branches"), Some(&json(r#"["left","right"]"#)));
}

#[test]
fn a_node_that_needs_a_failed_one_is_cancelled_and_a_skipped_one_counts_as_done() {
    let document = "workflow: w
steps:
  - graph: g
    on_error: complete_all
    collect_as: out
    nodes:
      bad: { steps: [ { step: s } ] }
      behind: { needs: [bad], steps: [ { step: s } ] }
      skipped: { when: 'false', steps: [ { step: s } ] }
      free: { needs: [skipped], steps: [ { step: s } ] }
";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.outstanding(), ["/g/bad/s", "/g/free/s"]);
    run.fails("/g/bad/s", "app.bad");
    run.reply("/g/free/s", "1", "{}", &[]);
    run.assert_completed(r#"{"s":1,"out":{"free":1}}"#);
}
