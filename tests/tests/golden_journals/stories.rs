//! Runs whose journals are kept: each a few records of many kinds.

use std::time::Duration;

use rejoin_engine::decision::ChildEnd;
use rejoin_engine::event::{Event, ScopeEdit, StepOperation, Steps};
use rejoin_engine::record::{Fact, Record};
use rejoin_shared::ids::{Partition, RunId};
use rejoin_shared::run::ErrorValue;
use rejoin_tests::simulate::START;
use rejoin_tests::simulate::script::{Script, json};

/// Name, document, and the run.
pub type Story = (&'static str, &'static str, Script);

pub fn all() -> Vec<Story> {
    vec![
        ("flow", FLOW, flow()),
        ("graph", GRAPH, graph()),
        ("full_snapshots", FULL, full_snapshots()),
        ("reduced", REDUCED, reduced()),
        ("failures", FAILURES, failures()),
        ("finishing", FINISHING, finishing()),
        ("waits", WAITS, waits()),
        ("kept_events", KEPT, kept_events()),
        ("calls", CALLS, calls()),
        ("operated", OPERATED, operated()),
        ("edited", EDITED, edited()),
        ("claimed", CLAIMED, claimed()),
        ("checkpoints", CHECKPOINTS, checkpoints()),
        ("undone", UNDONE, undone()),
        ("undone_children", UNDONE_CHILDREN, undone_children()),
        ("forked", KEPT, forked()),
        (
            "later",
            KEPT,
            Script::later(START.plus(Duration::from_secs(60)), KEPT, "{}"),
        ),
        ("begun", KEPT, begun()),
        // Told again since completed steps have short bodies.
        ("flow_2", FLOW, flow()),
        ("graph_2", GRAPH, graph()),
        ("reduced_2", REDUCED, reduced()),
        ("undone_2", UNDONE, undone()),
        // Told again since the end of a run does not repeat the context that is its output.
        ("flow_3", FLOW, flow()),
        ("finishing_3", FINISHING, finishing()),
    ]
}

const FLOW: &str = "workflow: w
steps:
  - { step: first, when: 'ctx.go' }
  - { step: never, when: '!ctx.go' }
  - { group: g, when: 'ctx.go', steps: [ { set: s, values: { n: 1, a.b: '= ctx.kind' }, unset: [ gone ] } ] }
  - { branch: by_kind, on: ctx.kind, cases: { a: [ { set: chosen, values: { c: 1.0 } } ] }, default: [ { step: other } ] }
  - { decision: d, rules: [ { when: ctx.n == 1, goto: fan } ] }
  - step: passed_over
  - parallel: fan
    collect_as: fanned
    branches:
      left: [ { step: l }, { step: l2 } ]
      right: { when: '!ctx.go', steps: [ { step: r } ] }
  - { foreach: each, items: '3', concurrency: 2, collect_as: all, steps: [ { step: s, with: '= index', into: null } ] }
  - { foreach: over, items: ctx.map, concurrency: unbounded, merge: last_wins, steps: [ { set: t, values: { last: '= item' } } ] }
  - { foreach: loop, items: [ x, y ], steps: [ { set: t, values: { looped: '= item' } } ] }
  - { repeat: again, until: ctx.looped == 'y', steps: [ { step: once } ] }
  - { decision: asked, uses: judge }
  - step: last
";

fn flow() -> Script {
    let mut run = Script::start(
        FLOW,
        r#"{"go":true,"kind":"a","gone":0,"map":{"p":1,"q/r":2},"text":"\u00e4\ud83d\ude00"}"#,
    );
    run.reply("/first", r#"{"f":[1,2.0,-3]}"#, r#"{"x.y":null}"#, &["text"]);
    run.done("/fan/left/l");
    run.sets("/fan/left/l2", r#"{"left":1}"#);
    for index in [1, 0, 2] {
        run.reply(&format!("/each[{index}]/s"), &index.to_string(), "{}", &[]);
    }
    run.done("/again/once");
    run.reply("/asked", r#"{"goto":null}"#, "{}", &[]);
    run.done("/last");
    run
}

const GRAPH: &str = "workflow: w
steps:
  - graph: g
    on_error: complete_all
    nodes:
      a: { steps: [ { step: s } ] }
      b: { needs: [ a ], when: ctx.go, steps: [ { step: t } ] }
      c: { needs: [ a ], when: '!ctx.go', steps: [ { step: u } ] }
      d: { needs: [ b ], steps: [ { fail: f, error: { type: app.bad, message: no, details: { n: 1 } } } ] }
      e: { needs: [ d ], steps: [ { step: v } ] }
";

fn graph() -> Script {
    let mut run = Script::start(GRAPH, r#"{"go":true}"#);
    run.sets("/g/a/s", r#"{"a":1}"#);
    run.sets("/g/b/t", r#"{"b":1}"#);
    run
}

const FULL: &str = "workflow: w
snapshots: full
steps:
  - { foreach: each, items: '2', concurrency: unbounded, steps: [ { step: s }, { set: t, values: { mark: '= index' } } ] }
";

fn full_snapshots() -> Script {
    let mut run = Script::start(FULL, r#"{"base":{"deep":[1]}}"#);
    run.reply("/each[1]/s", r#"{"o":1}"#, "{}", &[]);
    run.reply("/each[0]/s", r#"{"o":0}"#, "{}", &[]);
    run
}

const REDUCED: &str = "workflow: w
steps:
  - foreach: each
    items: '3'
    concurrency: unbounded
    reduce: { total: sum, list: append, most: max, who: union }
    merge: strict
    tolerate: 1
    steps: [ { step: s } ]
";

fn reduced() -> Script {
    let mut run = Script::start(REDUCED, r#"{"total":10,"list":[0],"most":1,"who":["a"]}"#);
    run.sets("/each[2]/s", r#"{"total":13,"list":[0,2],"most":7,"who":["a","c"]}"#);
    run.fails("/each[1]/s", "app.bad");
    run.sets("/each[0]/s", r#"{"total":11,"list":[0,1],"most":3,"who":["b","a"]}"#);
    run
}

const FAILURES: &str = "workflow: w
steps:
  - group: again
    retry: { max_attempts: 2, initial: 1s, jitter: false }
    steps: [ { step: g, retry: { max_attempts: 2, initial: 1s, jitter: false } } ]
  - try: caught
    steps: [ { parallel: p, branches: { a: [ { step: x } ], b: [ { step: y } ] } } ]
    catch: [ { errors: [ 'rejoin.*' ], as: error, steps: [ { set: note, values: { why: '= error.type' } } ] } ]
  - try: uncaught
    steps: [ { set: bad, values: { n: '= ctx.nowhere.near' } } ]
    finally: [ { step: clean } ]
";

fn failures() -> Script {
    let mut run = Script::start(FAILURES, "{}");
    run.fails("/again/g", "app.bad");
    run.wait();
    run.fails("/again/g", "app.bad");
    run.wait();
    run.done("/again/g#2");
    let late = run.held();
    run.fails("/caught/p/b/y", "app.worse");
    run.hold(late);
    run.done("/caught/p/a/x");
    run.done("/uncaught/finally/clean");
    run
}

const FINISHING: &str = "workflow: w
steps:
  - try: t
    steps: [ { finish: end, output: { done: '= ctx.n' } } ]
    finally: [ { step: clean } ]
  - step: never
";

fn finishing() -> Script {
    let mut run = Script::start(FINISHING, r#"{"n":1}"#);
    run.done("/t/finally/clean");
    run
}

const WAITS: &str = "workflow: w
steps:
  - { sleep: nap, for: 5s }
  - { wait: ask, input: { type: text, prompt: '= \"Who, \" + ctx.you' }, into: name }
  - { wait: either, any: [ a, '= \"b\" + ctx.you' ], into: got }
  - { wait: both, all: [ c, d ], timeout: 1h, on_timeout: { value: late } }
  - { emit: tell, event: told, payload: { n: 1 } }
  - { wait: never, event: e, timeout: 10s }
";

fn waits() -> Script {
    let mut run = Script::start(WAITS, r#"{"you":"x"}"#);
    run.wait();
    run.answer("/ask", "\"me\"");
    run.signal("bx", r#"{"p":1}"#, Some("id-1"));
    run.signal("c", "1", None);
    run.wait();
    run.pass(Duration::from_secs(11));
    run
}

const KEPT: &str = "workflow: w
steps:
  - step: first
  - { wait: paid, event: paid, match: 'payload.n > 1', into: got }
  - step: after
";

fn kept_events() -> Script {
    let mut run = Script::start(KEPT, "{}");
    run.signal("paid", r#"{"n":1}"#, Some("one"));
    run.signal("paid", r#"{"n":2}"#, None);
    run.done("/first");
    // It takes a thousand kept events to have one refused, so this record is written here.
    let refused = Record {
        seq: run.journal.len() as u64 + 1,
        decided_at: START,
        fact: Fact::EventRefused {
            event: "paid".to_owned(),
            id: Some("three".to_owned()),
            sender: RunId::from_uuid_in(uuid::Uuid::from_u128(7), Partition(7)),
        },
    };
    run.journal.append(&[refused]).expect("it follows");
    run
}

const CALLS: &str = "workflow: w
steps:
  - { call: c, workflow: other, version: 3, with: { n: 1 }, retry: { max_attempts: 2, initial: 1s, jitter: false }, timeout: 1h }
  - { call: d, workflow: other, detached: true, into: sent }
  - { call: e, workflow: other }
";

fn calls() -> Script {
    let parent = RunId::from_uuid_in(uuid::Uuid::from_u128(5), Partition(5));
    let mut run = Script::called_by(parent, CALLS, "{}");
    let only = |run: &Script| run.called()[0].1;
    let bad = ChildEnd::Error {
        error: ErrorValue::new("app.bad", "why", "/inner"),
        is_resumable: true,
        is_left_undone: false,
        is_gone: false,
    };
    let child = only(&run);
    run.child_ends(child, bad.clone());
    run.wait();
    let child = only(&run);
    run.child_ends(child, ChildEnd::Ok(json(r#"{"m":3}"#)));
    let child = only(&run);
    run.child_ends(child, bad);
    run
}

const OPERATED: &str = "workflow: w
steps:
  - foreach: each
    items: '4'
    concurrency: unbounded
    on_error: complete_all
    need: all
    collect_as: all
    steps: [ { step: s, with: '= index', into: null, on_exhausted: park } ]
  - step: last
";

fn operate(run: &mut Script, path: &str, what: StepOperation) {
    let steps = Steps::At(vec![path.to_owned()]);
    assert_eq!(run.tell(Event::Operate { steps, what }), None, "{path}");
}

fn operated() -> Script {
    let mut run = Script::start(OPERATED, "{}");
    run.reply("/each[0]/s", "0", "{}", &[]);
    for index in 1..4 {
        run.fails(&format!("/each[{index}]/s"), "app.bad");
    }
    assert_eq!(run.tell(Event::Pause), None);
    run.resume();
    let input = Some(json(r#"{"mended":true}"#));
    operate(&mut run, "/each[1]/s", StepOperation::Retry { input });
    run.reply("/each[1]/s", "1", "{}", &[]);
    operate(&mut run, "/each[2]/s", StepOperation::Skip { value: json("\"two\"") });
    let error = ErrorValue::new("app.given_up", "enough", "");
    operate(&mut run, "/each[3]/s", StepOperation::Fail { error });
    run.resume();
    run.reply("/each[3]/s", "3", "{}", &[]);
    assert_eq!(
        run.tell(Event::Cancel {
            reason: Some("enough".to_owned()),
            compensate: false
        }),
        None
    );
    run
}

const EDITED: &str = "workflow: w
steps: [ { foreach: each, items: '5', concurrency: 1, steps: [ { step: s } ] } ]
";

fn edited() -> Script {
    let mut run = Script::start(EDITED, "{}");
    let edits = [
        ScopeEdit {
            concurrency: Some(json("3")),
            ..ScopeEdit::default()
        },
        ScopeEdit {
            need: Some(json("2")),
            ..ScopeEdit::default()
        },
    ];
    for edit in edits {
        let path = "/each".to_owned();
        assert_eq!(run.tell(Event::Edit { path, edit }), None);
    }
    run.done("/each[2]/s");
    run.done("/each[0]/s");
    run
}

const CLAIMED: &str = "workflow: w
steps: [ { step: s, idempotent: false } ]
";

const UNDONE_CHILDREN: &str = "workflow: w
steps:
  - { step: a, compensate: { uses: undo } }
  - parallel: p
    branches: { x: [ { call: c, workflow: other } ], y: [ { call: d, workflow: other } ] }
";

/// One child fails and leaves something undone, the other one is cancelled for that; then both are done with.
fn undone_children() -> Script {
    let mut run = Script::start(UNDONE_CHILDREN, "{}");
    run.done("/a");
    let [(_, first), (_, second)] = run.called()[..] else {
        panic!("two calls");
    };
    let ended = |is_left_undone| ChildEnd::Error {
        error: ErrorValue::new("app.bad", "why", ""),
        is_resumable: false,
        is_left_undone,
        is_gone: false,
    };
    run.tell(Event::Cancel {
        reason: None,
        compensate: true,
    });
    run.child_ends(first, ended(true));
    run.child_ends(second, ended(false));
    run.resume();
    run.child_ends(first, ended(false));
    run.done("/a/compensate");
    run
}

const CHECKPOINTS: &str = "workflow: w
steps:
  - { step: a, retry: { max_attempts: 2 }, compensate: { uses: undo } }
  - { fail: f, error: { type: app.bad } }
";

fn checkpoints() -> Script {
    let mut run = Script::start(CHECKPOINTS, "{}");
    run.stores("/a", r#"{"at":1.0}"#);
    run.stores("/a", "2");
    run.fails("/a", "app.soon");
    run.wait();
    run.stores("/a", "[3]");
    run.done("/a");
    run.stores("/a/compensate", "4");
    run.done("/a/compensate");
    run
}

fn claimed() -> Script {
    let mut run = Script::start(CLAIMED, "{}");
    assert_eq!(run.claim("/s", 1), None);
    assert_eq!(run.return_claim("/s", 1), None);
    assert_eq!(run.claim("/s", 2), None);
    assert_eq!(run.lose_claim("/s", 2), None);
    run
}

const UNDONE: &str = "workflow: w
steps:
  - { step: car, compensate: { uses: cancel_car } }
  - { step: hotel, compensate: { uses: cancel_hotel, with: { id: '= output.id' } } }
  - step: flight
";

fn undone() -> Script {
    let mut run = Script::start(UNDONE, "{}");
    run.reply("/car", r#"{"id":1}"#, r#"{"n":1}"#, &[]);
    run.reply("/hotel", r#"{"id":2}"#, r#"{"n":2}"#, &[]);
    run.fails("/flight", "app.full");
    run.done("/hotel/compensate");
    run.fails("/car/compensate", "app.stuck");
    run.resume();
    run.done("/car/compensate");
    run
}

fn forked() -> Script {
    let mut run = Script::start(KEPT, "{}");
    run.done("/first");
    let mut fork = run.fork(2, Some(r#"{"other":1}"#)).expect("a fork");
    fork.signal("paid", r#"{"n":5}"#, None);
    fork.done("/after");
    fork
}

fn begun() -> Script {
    let mut run = Script::later(START.plus(Duration::from_secs(60)), KEPT, "{}");
    run.wait();
    run.done("/first");
    run
}
