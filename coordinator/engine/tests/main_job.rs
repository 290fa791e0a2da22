//! The main job on the engine alone: fork, join, fail, resume.

mod common;

use common::{Answer, Run, json};
use rejoin_engine::event::Event;
use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;

fn noop(_: &str, _: u32, _: &Json) -> Answer {
    Answer::Ok(Json::Null)
}

#[test]
fn a_sequence_of_steps_merges_their_outputs_and_completes() {
    let run = Run::start(
        "steps: [{step: a}, {step: b}, {set: s, values: {sum: '= ctx.x + 1'}}]",
        "{}",
    )
    .finish(&|path, _, _| Answer::Ok(if path == "/a" { json(r#"{"x":1}"#) } else { json("5") }));
    assert_eq!(run.state.status(), RunStatus::Completed);
    assert_eq!(run.state.context(), json(r#"{"x":1,"b":5,"sum":2}"#));
    assert_eq!(
        run.kinds(),
        [
            "run_started",
            "step_completed",
            "step_completed",
            "context_set",
            "run_finished"
        ]
    );
}

#[test]
fn parallel_branches_merge_and_the_journal_folds_to_the_same_state() {
    let yaml = "
steps:
  - parallel: p
    branches:
      a: [{step: s}, {step: t}]
      b: [{branch: r, on: ctx.kind, cases: {x: [{step: u}]}, default: [{step: v}]}]
      c: [{foreach: f, items: ctx.items, concurrency: 2, steps: [{step: w, with: {n: '= item'}}]}]
  - step: end
";
    let run = Run::start(yaml, r#"{"kind":"x","items":[1,2,3,4,5]}"#).finish(&|path, _, _| match path {
        "/p/a/s" => Answer::Write(vec![("from.a", json("1"))], vec!["kind"]),
        "/p/b/r/x/u" => Answer::Ok(json(r#"{"from":{"b":2}}"#)),
        _ => Answer::Ok(Json::Null),
    });
    assert_eq!(run.state.status(), RunStatus::Completed, "{:?}", run.state.result());
    // u's output is laid over the context shallowly, so within its branch `from` is {b: 2} against a base without `from`.
    assert_eq!(
        run.state.context(),
        json(r#"{"from":{"a":1,"b":2},"items":[1,2,3,4,5]}"#)
    );
    assert_eq!(run.refold().context(), run.state.context());
    assert_eq!(run.refold().progress(), run.state.progress());
}

#[test]
fn a_failed_run_resumes_with_only_what_failed_or_is_missing() {
    let yaml = "
steps:
  - foreach: f
    items: '5'
    concurrency: unbounded
    collect_as: out
    steps: [{step: s}]
";
    let mut run = Run::start(yaml, "{}");
    let ready = run.ready();
    assert_eq!(ready.len(), 5);
    for index in [0, 3, 1] {
        run.complete(&ready[index], &|path, _, _| {
            if path == "/f[1]/s" {
                Answer::Fail("boom")
            } else {
                Answer::Ok(json("7"))
            }
        });
    }
    assert_eq!(run.state.status(), RunStatus::Failed);
    let mut folded = run.refold();
    assert_eq!(folded.status(), RunStatus::Failed);
    run.state = folded.clone();
    run.send(Event::Resume);
    assert_eq!(run.state.status(), RunStatus::Running);
    folded = run.state.clone();
    let again: Vec<_> = folded
        .take_ready(run.now, 10)
        .into_iter()
        .map(|r| (r.step.branch, r.attempt))
        .collect();
    assert_eq!(again.len(), 3);
    for expected in [(1, 2), (2, 1), (4, 1)] {
        assert!(again.contains(&expected), "{again:?}");
    }
    let run = run.finish(&|_, _, _| Answer::Ok(json("8")));
    assert_eq!(run.state.status(), RunStatus::Completed);
    assert_eq!(
        run.state.context(),
        json(r#"{"out":[7,8,8,7,8],"s":8}"#),
        "a scalar output goes under the node's name"
    );
}

#[test]
fn retries_follow_the_policy_and_groups_and_scopes_run_again() {
    let yaml = "
steps:
  - step: s
    retry: { max_attempts: 3, initial: 10ms }
  - group: g
    retry: { max_attempts: 2 }
    steps: [{step: a}, {step: b}]
  - parallel: p
    retry: { max_attempts: 2 }
    branches: { x: [{step: t}], y: [{step: u}] }
";
    let run = Run::start(yaml, "{}").finish(&|path, attempt, _| match (path, attempt) {
        ("/s", 1 | 2) | ("/g/b" | "/p/y/u", _) => Answer::Fail("boom"),
        _ => Answer::Ok(Json::Null),
    });
    assert_eq!(run.state.status(), RunStatus::Completed, "{:?}", run.state.result());
    let paths: Vec<String> = run
        .journal
        .iter()
        .filter(|record| record.fact.kind() == "step_completed")
        .filter_map(|record| record.to_parts().path)
        .collect();
    assert!(
        paths.contains(&"/g/a#2".to_owned()) && paths.contains(&"/g/b#2".to_owned()),
        "{paths:?}"
    );
    assert!(paths.contains(&"/p/y/u#2".to_owned()), "{paths:?}");
    assert_eq!(run.refold().context(), run.state.context());
}

#[test]
fn gotos_converge_and_backward_jumps_make_new_visits() {
    let yaml = "
steps:
  - step: count
  - decision: again
    rules: [{when: ctx.n < 3, goto: count}]
    otherwise: end
  - step: never
  - step: end
";
    let run = Run::start(yaml, r#"{"n":0}"#).finish(&|path, _, ctx| match path {
        "/end" => Answer::Ok(Json::Null),
        _ => Answer::Ok(Json::from_entries([(
            "n",
            Json::Int(ctx.get("n").and_then(Json::as_int).unwrap_or(0) + 1),
        )])),
    });
    assert_eq!(run.state.context(), json(r#"{"n":3}"#));
    let paths: Vec<_> = run.journal.iter().filter_map(|r| r.to_parts().path).collect();
    assert_eq!(
        paths,
        [
            "/count", "/again", "/count#2", "/again#2", "/count#3", "/again#3", "/end"
        ]
    );
}

#[test]
fn a_graph_passes_contributions_along_its_needs() {
    let yaml = "
steps:
  - graph: g
    nodes:
      a: { steps: [{step: s}] }
      b: { needs: [a], steps: [{step: s}] }
      c: { needs: [a], when: 'false', steps: [{step: s}] }
      d: { needs: [b, c], steps: [{step: s}] }
";
    let run = Run::start(yaml, r#"{"trace":""}"#).finish(&|path, _, ctx| {
        let node = path.trim_start_matches("/g/").trim_end_matches("/s");
        let trace = ctx.get("trace").and_then(Json::as_str).unwrap_or_default();
        Answer::Ok(Json::from_entries([("trace", Json::str(&format!("{trace}{node}")))]))
    });
    assert_eq!(run.state.status(), RunStatus::Completed, "{:?}", run.state.result());
    assert_eq!(run.state.context(), json(r#"{"trace":"abd"}"#));
    assert_eq!(run.refold().context(), run.state.context());
}

#[test]
fn ten_thousand_increments_lose_none() {
    let yaml = "
steps:
  - foreach: f
    items: '10000'
    concurrency: unbounded
    reduce: { n: sum }
    steps: [{step: s}]
";
    let run = Run::start(yaml, r#"{"n":5}"#).finish(&|_, _, ctx| {
        Answer::Ok(Json::from_entries([(
            "n",
            Json::Int(ctx.get("n").and_then(Json::as_int).expect("n") + 1),
        )]))
    });
    assert_eq!(run.state.context(), json(r#"{"n":10005}"#));
}

#[test]
fn an_empty_fan_out_and_an_empty_flow_complete_at_once() {
    let yaml = "
steps:
  - foreach: none
    items: ctx.items
    concurrency: 4
    need: any
    steps: [{step: s}]
  - foreach: sets
    items: '3'
    concurrency: 2
    steps: [{set: w, values: {'a': '= index'}}]
";
    let run = Run::start(yaml, r#"{"items":[]}"#).finish(&noop);
    assert_eq!(run.state.status(), RunStatus::Completed, "{:?}", run.state.result());
    assert_eq!(run.state.context(), json(r#"{"items":[],"a":2}"#));
}

/// Both runs end by their second branch; the first branches were backing off in one, out with workers in the other.
#[test]
fn branches_that_were_cancelled_while_they_backed_off_leave_no_time_behind() {
    let weight_when = |kind: &'static str| {
        let yaml = "
steps:
  - foreach: f
    items: ctx.items
    concurrency: unbounded
    steps: [ { step: s, retry: { max_attempts: 2, initial: 1h, only: [ busy ] } } ]
";
        let items: Vec<String> = (0..500).map(|n: u32| n.to_string()).collect();
        let mut run = Run::start(yaml, &format!(r#"{{"items":[{}]}}"#, items.join(",")));
        run.send(Event::Begin { room: 500 });
        let ready = run.ready();
        assert_eq!(ready.len(), 500);
        let (last, first) = ready.split_last().expect("it has branches");
        if kind == "busy" {
            for attempt in first {
                run.complete(attempt, &|_, _, _| Answer::Fail("busy"));
            }
            assert!(run.state.next_due().is_some());
        }
        run.complete(last, &|_, _, _| Answer::Fail("fatal"));
        assert_eq!(run.state.status(), RunStatus::Failed);
        run.state.weight()
    };
    assert_eq!(weight_when("busy"), weight_when("out"));
}
