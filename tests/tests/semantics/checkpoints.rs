//! What attempts store: for themselves should their worker die, and for the next one (SPEC 5.3).

use rejoin_engine::decision::Ignored;
use rejoin_shared::run::RunStatus;
use rejoin_tests::simulate::script::{Script, json};

#[test]
fn what_an_attempt_stores_is_given_to_it_and_to_the_next_ones_until_more_is_stored() {
    let document = "workflow: w\nsteps: [ { step: a, retry: { max_attempts: 3 } }, { step: b } ]\n";
    let mut run = Script::start(document, "{}");
    assert_eq!(run.checkpoint("/a"), None);
    assert_eq!(run.stores("/a", "1"), None);
    assert_eq!(
        run.stores("/a", "1"),
        Some(Ignored::NothingDue),
        "the same once more is no record"
    );
    assert_eq!(run.checkpoint("/a"), Some(json("1")));
    run.restart();
    assert_eq!(run.checkpoint("/a"), Some(json("1")));
    run.fails("/a", "app.soon");
    run.wait();
    assert_eq!((run.attempt("/a"), run.checkpoint("/a")), (Some(2), Some(json("1"))));
    run.stores("/a", r#"{"at":2}"#);
    run.fails("/a", "app.soon");
    run.wait();
    assert_eq!(run.checkpoint("/a"), Some(json(r#"{"at":2}"#)));
    run.done("/a");
    assert_eq!(run.checkpoint("/b"), None);
}

#[test]
fn branches_keep_their_own_and_what_comes_late_is_passed_over() {
    let document = "workflow: w\nsteps: [ { foreach: f, items: '3', concurrency: unbounded, merge: discard, \
        steps: [ { step: s, retry: { max_attempts: 2 } } ] }, { step: last } ]\n";
    let mut run = Script::start(document, "{}");
    run.stores("/f[2]/s", "2");
    assert_eq!(
        (run.checkpoint("/f[1]/s"), run.checkpoint("/f[2]/s")),
        (None, Some(json("2")))
    );
    let former = run.held();
    run.fails("/f[2]/s", "app.soon");
    let now = run.held();
    run.hold(former);
    assert_eq!(run.stores("/f[2]/s", "-1"), Some(Ignored::NothingDue));
    run.hold(now);
    run.wait();
    assert_eq!(run.checkpoint("/f[2]/s"), Some(json("2")));
    let of_the_first = run.held();
    run.done("/f[0]/s");
    run.hold(of_the_first);
    assert_eq!(
        run.stores("/f[0]/s", "9"),
        Some(Ignored::NothingDue),
        "it has completed"
    );
}

#[test]
fn compensations_store_too() {
    let document = "workflow: w\nsteps: [ { step: a, compensate: { uses: undo, retry: { max_attempts: 2 } } }, \
        { fail: f, error: { type: app.bad } } ]\n";
    let mut run = Script::start(document, "{}");
    run.done("/a");
    run.stores("/a/compensate", "1");
    let rows = run.journal.rows();
    assert_eq!(rows.last().and_then(|row| row.path.as_deref()), Some("/a/compensate"));
    run.restart();
    assert_eq!(run.checkpoint("/a/compensate"), Some(json("1")));
    run.fails("/a/compensate", "app.soon");
    run.wait();
    assert_eq!(run.checkpoint("/a/compensate"), Some(json("1")));
    run.done("/a/compensate");
    assert_eq!(run.status(), RunStatus::Failed);
}
