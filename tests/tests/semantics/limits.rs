//! SPEC 12: each limit that a run may meet, on both sides.

use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

fn failed_with(run: &Script) -> Option<String> {
    run.state.result().1.map(|error| error.kind)
}

#[test]
fn a_journal_of_as_many_records_as_it_may_have_completes_and_one_more_fails() {
    let document = "workflow: w\nsteps: [ { step: a }, { set: b, values: { x: 1 } }, { step: c } ]\n";
    let run_within = |journal_records_max: u64| {
        let limits = Limits {
            journal_records_max,
            ..Limits::default()
        };
        let mut run = Script::within(limits, document, "{}");
        for path in ["/a", "/c"] {
            if run.outstanding().contains(&path.to_owned()) {
                run.done(path);
            }
        }
        run
    };
    let whole = run_within(u64::MAX);
    let length = whole.journal.len() as u64;
    let exact = run_within(length);
    exact.assert_completed(r#"{"x":1}"#);
    for most in 1..length {
        let mut over = run_within(most);
        assert_eq!(
            (over.status(), failed_with(&over).as_deref()),
            (RunStatus::Failed, Some("rejoin.journal_limit")),
            "at most {most}"
        );
        assert_eq!(over.journal.len() as u64, most + 1, "the record of the end is one more");
        over.restart();
        assert!(over.outstanding().is_empty());
    }
}

#[test]
fn a_journal_that_is_too_long_can_be_caught_by_nothing_and_what_was_done_is_undone() {
    let document = "workflow: w
steps:
  - try: t
    steps: [ { step: a, compensate: { uses: undo } }, { step: b }, { step: c } ]
    catch: [ { steps: [ { step: mend } ] } ]
";
    let limits = Limits {
        journal_records_max: 3,
        ..Limits::default()
    };
    let mut run = Script::within(limits, document, "{}");
    run.done("/t/a");
    run.done("/t/b");
    assert_eq!(run.outstanding(), ["/t/a/compensate"]);
    run.restart();
    run.done("/t/a/compensate");
    assert_eq!(failed_with(&run).as_deref(), Some("rejoin.journal_limit"));
    assert!(run.state.is_compensated());
}

#[test]
fn a_context_may_be_as_large_as_its_limit_and_no_larger() {
    // {"a":"…"} around the text.
    for (length, fits) in [(92, true), (93, false)] {
        let limits = Limits {
            context_bytes_max: 100,
            ..Limits::default()
        };
        let mut run = Script::within(limits, "workflow: w\nsteps: [ { step: s } ]\n", "{}");
        run.sets("/s", &format!(r#"{{"a":"{}"}}"#, "x".repeat(length)));
        match fits {
            true => assert_eq!(run.context().text_len(), 100),
            false => drop(run.assert_failed("rejoin.context_limit", "/s")),
        }
        assert_eq!(run.status() == RunStatus::Completed, fits);
    }
}

#[test]
fn a_scope_may_have_as_many_branches_as_the_limit_and_no_more() {
    let document = "workflow: w
steps: [ { foreach: each, items: ctx.n, concurrency: unbounded, steps: [ { step: s } ] } ]
";
    for (n, fits) in [(5, true), (6, false)] {
        let limits = Limits {
            branches_max: 5,
            ..Limits::default()
        };
        let run = Script::within(limits, document, &format!(r#"{{"n":{n}}}"#));
        match fits {
            true => assert_eq!(run.outstanding().len(), 5),
            false => drop(run.assert_failed("rejoin.too_large", "/each")),
        }
    }
}

#[test]
fn what_is_emitted_and_what_a_run_is_called_with_meet_their_limits() {
    let limits = Limits {
        payload_bytes_max: 10,
        input_bytes_max: 10,
        ..Limits::default()
    };
    for (node, path) in [
        ("{ emit: e, event: go, payload: '= ctx.text' }", "/e"),
        ("{ call: e, workflow: other, with: '= ctx.text' }", "/e"),
    ] {
        let document = format!("workflow: w\nsteps: [ {node} ]\n");
        // Two bytes are its quotes.
        for (length, fits) in [(8, true), (9, false)] {
            let input = json(&format!(r#"{{"text":"{}"}}"#, "x".repeat(length)));
            let run = Script::within(limits.clone(), &document, &input.to_string());
            assert_eq!(run.sent.len() == 1, fits, "{node} {length}");
            if !fits {
                run.assert_failed("rejoin.too_large", path);
            }
        }
    }
}

/// 2 KiB of path: what would lie deeper fails its own branch, which may be tolerated or caught like any other failure.
#[test]
fn a_case_that_lies_too_deep_for_a_path_fails_its_branch_alone() {
    let document = "workflow: w
steps:
  - foreach: f
    items: ctx.m
    tolerate: 1
    merge: collect
    concurrency: unbounded
    steps:
      - branch: b
        on: \"'case'\"
        cases: { case: [ { set: s, values: { ok: true } } ] }
";
    let status = |bytes: usize| {
        let input = format!(r#"{{"m":{{"{}":1,"z":2}}}}"#, "k".repeat(bytes));
        let run = Script::start(document, &input);
        // What each branch that did not fail has set.
        (run.status(), run.context().to_string().matches("\"ok\"").count())
    };
    let around = "/f[z]/b/case/s".len() - 1;
    assert_eq!(status(2_048 - around), (RunStatus::Completed, 2));
    // From the node below the case to the case itself, and on to the branch.
    for more in 1..="/case/s".len() {
        assert_eq!(
            status(2_048 - around + more),
            (RunStatus::Completed, 1),
            "{more} bytes more"
        );
    }
}

/// Branches whose errors have some 500 bytes each, in a run whose context may have 4,000.
const FAILING: &str = "workflow: w
steps:
  - foreach: f
    items: '12'
    concurrency: unbounded
    merge: discard
    on_error: complete_all
    steps: [ { fail: s, error: { type: app.bad, details: { text: '= input.text' } } } ]
  - set: r
    values: { types: '= results.f.map(b, b.error.type)' }
";

fn with_errors(document: &str) -> Script {
    let limits = Limits {
        context_bytes_max: 4_000,
        ..Limits::default()
    };
    let input = format!(r#"{{"text":"{}"}}"#, "x".repeat(500));
    let mut run = Script::within(limits, document, &input);
    run.restart();
    run
}

#[test]
fn errors_that_results_keeps_count_against_the_limit_of_the_context_as_they_arrive() {
    let run = with_errors(FAILING);
    assert_eq!(run.status(), RunStatus::Completed);
    let context = run.context();
    let types = context.get("types").and_then(Json::as_list).unwrap_or_default();
    let are = |kind: &str| types.iter().filter(|t| t.as_str() == Some(kind)).count();
    let kept = are("app.bad");
    assert!((4..8).contains(&kept), "{context}");
    assert_eq!(are("rejoin.context_limit"), 12 - kept, "{context}");
}

#[test]
fn so_do_errors_that_a_try_around_them_does_not_catch() {
    let tried = "steps: [ { try: t, steps: [ { fail: s, error: { type: app.bad, details: { text: '= input.text' } } } ], catch: [ { errors: [other.*], steps: [ { set: x, values: {} } ] } ] } ]";
    let plain = "steps: [ { fail: s, error: { type: app.bad, details: { text: '= input.text' } } } ]";
    let run = with_errors(&FAILING.replace(plain, tried));
    assert_eq!(run.status(), RunStatus::Completed);
    let context = run.context();
    let types = context.get("types").and_then(Json::as_list).unwrap_or_default();
    let limited = types.iter().filter(|t| t.as_str() == Some("rejoin.context_limit"));
    assert!(limited.count() >= 4, "{context}");
}

#[test]
fn errors_that_nothing_keeps_are_not_counted() {
    let document = FAILING.replace("results.f.map(b, b.error.type)", "[]");
    let run = with_errors(&document);
    assert_eq!(run.status(), RunStatus::Completed);
    let shown = run.journal.shown(0);
    assert!(
        !shown.iter().any(|line| line.contains("rejoin.context_limit")),
        "{shown:?}"
    );
}
