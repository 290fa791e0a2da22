//! The builder against the language: whatever a document may say, it can be written with it.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rejoin_shared::definition::builder::*;
use rejoin_shared::definition::{Format, read, schema};
use rejoin_shared::limits::Limits;
use serde_json::{Value as Json, json};
use support::misfit;

/// The second spelling of `complete_all`; the builder has one.
const OTHER_SPELLINGS: &[&str] = &["/on_error=\"continue\""];

/// Which keys, words and forms of `schema` the value at `at` has: each as the place in the language and what was seen.
fn note_uses(root: &Json, schema: &Json, value: &Json, at: &str, seen: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let target = root.pointer(pointer).expect("a definition of that name");
        // Places begin anew at each kind of node: what stands in one stands in all flows.
        let place = pointer.trim_start_matches("/definitions");
        note_uses(root, target, value, place, seen);
        return;
    }
    for word in ["allOf", "oneOf", "anyOf"] {
        for (i, form) in schema[word].as_array().into_iter().flatten().enumerate() {
            if misfit(root, form, value).is_none() {
                seen.insert(format!("{at}|{i}"));
                note_uses(root, form, value, at, seen);
            }
        }
    }
    if schema["enum"].is_array() {
        seen.insert(format!("{at}={value}"));
    }
    if let Some(items) = schema.get("items") {
        for item in value.as_array().into_iter().flatten() {
            note_uses(root, items, item, at, seen);
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        if let Some(property) = schema["properties"].get(key) {
            seen.insert(format!("{at}/{key}"));
            note_uses(root, property, inner, &place_inside(at, key), seen);
        } else if let Some(of_all) = schema.get("additionalProperties").filter(|s| s.is_object()) {
            note_uses(root, of_all, inner, &format!("{at}/*"), seen);
        }
    }
}

/// What has the same keys wherever it stands has one place.
fn place_inside(at: &str, key: &str) -> String {
    match key {
        "retry" | "compensate" => format!("/{key}"),
        _ => format!("{at}/{key}"),
    }
}

/// Everything that [`note_uses`] could note of any document.
fn note_all(schema: &Json, at: &str, all: &mut BTreeSet<String>) {
    if schema.get("$ref").is_some() {
        return;
    }
    for word in ["allOf", "oneOf", "anyOf"] {
        for (i, form) in schema[word].as_array().into_iter().flatten().enumerate() {
            all.insert(format!("{at}|{i}"));
            note_all(form, at, all);
        }
    }
    for word in schema["enum"].as_array().into_iter().flatten() {
        all.insert(format!("{at}={word}"));
    }
    if let Some(items) = schema.get("items") {
        note_all(items, at, all);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        all.insert(format!("{at}/{key}"));
        note_all(property, &place_inside(at, key), all);
    }
    if let Some(of_all) = schema.get("additionalProperties").filter(|s| s.is_object()) {
        note_all(of_all, &format!("{at}/*"), all);
    }
}

#[test]
fn every_key_word_and_form_of_the_schema_can_be_written_with_the_builder() {
    let schema = schema();
    let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
    for built in [every_key(), other_forms(), without_snapshots()] {
        let document = built.to_document().unwrap_or_else(|e| panic!("{e}"));
        let document = serde_json::to_value(&document).expect("JSON");
        assert_eq!(misfit(&schema, &schema, &document), None);
        note_uses(&schema, &schema, &document, "", &mut seen);
    }
    note_all(&schema, "", &mut all);
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        note_all(definition, &format!("/{name}"), &mut all);
    }
    assert!(
        all.len() > 300 && all.contains("/compensate/uses"),
        "{} places",
        all.len()
    );
    let missing: Vec<&String> = all
        .difference(&seen)
        .filter(|place| !OTHER_SPELLINGS.iter().any(|other| place.ends_with(other)))
        .collect();
    assert!(missing.is_empty(), "never written with the builder: {missing:#?}");
}

#[test]
fn a_key_that_no_document_has_is_found_missing() {
    let schema = schema();
    let document = json!({"workflow": "w", "steps": [{"step": "s", "retry": {"max": "1s"}}]});
    let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
    note_uses(&schema, &schema, &document, "", &mut seen);
    note_all(&schema["definitions"]["step"], "/step", &mut all);
    assert!(
        seen.is_superset(&["/retry|0", "/retry/max"].map(str::to_owned).into()),
        "{seen:?}"
    );
    assert!(
        all.is_superset(&["/retry|1", "/retry/jitter", "/step/uses"].map(str::to_owned).into()),
        "{all:?}"
    );
    assert!(!seen.contains("/retry/jitter") && !seen.contains("/step/uses"));
}

#[test]
fn the_document_of_every_key_is_the_same_as_the_one_in_yaml() {
    let text = include_str!("every_key.yaml").replace("on_error: continue", "on_error: complete_all");
    let yaml = read(text.as_bytes(), Format::Yaml, &Limits::default()).expect("YAML");
    let in_yaml: Json = serde_json::from_slice(&yaml.canonical_json()).expect("JSON");
    let document = every_key().to_document().unwrap_or_else(|e| panic!("{e}"));
    let built = serde_json::to_value(&document).expect("JSON");
    assert_eq!(built, in_yaml);
    assert_eq!(
        document.json(),
        String::from_utf8_lossy(&yaml.canonical_json()),
        "in the same order"
    );
    assert_eq!(document.digest(), yaml.digest());
}

/// `every_key.yaml`
fn every_key() -> Workflow {
    workflow("every_key")
        .description("All of the language.")
        .input(json!({"type": "object"}))
        .defaults(
            Defaults::new()
                .queue("gpu")
                .timeout(Duration::from_secs(30))
                .heartbeat(Duration::from_secs(5))
                .retry(
                    Retry::new()
                        .max_attempts(3)
                        .backoff(Backoff::Exponential)
                        .initial(Duration::from_millis(200))
                        .max(Duration::from_secs(30))
                        .multiplier(1.5)
                        .jitter(false)
                        .only(["a.*"])
                        .except(["a.b"]),
                ),
        )
        .snapshots(Snapshots::Full)
        .snapshots_after_join(SnapshotsAfterJoin::Drop)
        .retention(
            Retention::new()
                .completed("30d")
                .failed("90d")
                .cancelled("1d")
                .compensation_failed("1d"),
        )
        .timeout("PT2H")
        .max_visits(50)
        .steps(
            [handler_step().into(), scopes(), choices(), waits(), ends()]
                .into_iter()
                .flatten()
                .collect::<Flow>(),
        )
}

fn handler_step() -> Step {
    step("call_it")
        .when("has(ctx.x)")
        .max_visits(3)
        .uses("http.post")
        .with(object! { "a" => expr("ctx.a"), "n" => expr("attempt"), "text" => "= x" })
        .into_path("out.here")
        .queue("cpu")
        .retry([
            Retry::new().only(["x.*"]).max_attempts(2),
            Retry::new().except(["*"]).backoff(Backoff::Constant),
        ])
        .timeout(Duration::from_secs(5_400))
        .heartbeat(Duration::from_millis(1_500))
        .total_timeout(Duration::from_secs(3 * 86_400))
        .on_exhausted(OnExhausted::Park)
        .compensate(
            Compensate::by("undo")
                .with(expr("output"))
                .retry(Retry::new().max_attempts(9))
                .timeout("5s")
                .queue("cpu"),
        )
        .idempotent(false)
}

fn twice() -> Retry {
    Retry::new().max_attempts(2)
}

fn scopes() -> Flow {
    flow![
        parallel("side_by_side")
            .branch("a", step("one").into_nothing())
            .branch_when("b", "ctx.b", step("one"))
            .need("80%")
            .on_error(OnError::CompleteAll)
            .merge(Merge::Strict)
            .reduce("total", Reduce::Sum)
            .reduce("seen.ids", Reduce::Union)
            .reduce("low", Reduce::Min)
            .reduce("high", Reduce::Max)
            .reduce("n", Reduce::Count)
            .reduce("log", Reduce::Append)
            .reduce("text", Reduce::Concat)
            .collect_as("out.all")
            .concurrency("unbounded")
            .retry(twice()),
        parallel("by_hand")
            .branches(Vec::<(&str, Flow)>::new())
            .tolerate("5%")
            .into_path("x.y", "results.by_hand.a.output")
            .into_path("z", "ctx.z"),
        foreach("loop", "ctx.list")
            .item_as("row")
            .index_as("i")
            .concurrency(expr("size(ctx.list)"))
            .need("any")
            .on_error(OnError::CompleteAll)
            .merge(Merge::Collect)
            .reduce("total", Reduce::Sum)
            .collect_as("rows")
            .retry(twice())
            .steps(flow![
                step("handle").with(expr("row")),
                foreach("nested", vec![Value::of(1), Value::of("two"), object! { "three" => 3 }])
                    .steps(set("note").value("r", expr("row")).value("it", expr("item"))),
            ]),
        foreach("tolerant", 10).tolerate(0).steps(Flow::new()),
        graph("build")
            .node("base", step("one"))
            .node("top", needs(["base"]).when(true).steps(Flow::new()))
            .need("all")
            .on_error(OnError::FailFast)
            .merge(Merge::LastWins)
            .reduce("total", Reduce::Sum)
            .collect_as("graphs")
            .concurrency(2)
            .retry(twice()),
        graph("lenient").nodes(Vec::<(&str, Flow)>::new()).tolerate(1),
    ]
}

fn choices() -> Flow {
    let none = Flow::new;
    flow![
        branch_on("by_key", "ctx.kind")
            .case(1, none())
            .case("one", none())
            .case(true, none())
            .case("null", none())
            .case(1.5, none())
            .case("a/b", none())
            .default(finish("early").output(expr("ctx"))),
        branch("by_condition").case("ctx.a", none()).case(true, none()),
        decision("by_rules").rule("ctx.again", "loop").otherwise("continue"),
        decision_by("by_handler", "choose")
            .with(json!({"a": 1}))
            .queue("cpu")
            .retry(twice())
            .timeout("5s")
            .heartbeat("1s"),
        group("together").steps(step("one")).retry(twice()),
        try_("careful")
            .steps(none())
            .catch(
                catch(["rejoin.*", "!rejoin.timeout"])
                    .error_as("problem")
                    .steps(fail("again").error(expr("problem"))),
            )
            .catch(set("note").value("e", expr("error")))
            .finally(step("tidy")),
        repeat("polling").steps(none()).while_("ctx.more").max(10),
        repeat("until_done").steps(none()).until("ctx.done"),
    ]
}

fn waits() -> Flow {
    flow![
        sleep_for("short", Duration::from_secs(5)),
        sleep_until("long", "2030-01-31T08:00:00Z"),
        wait_input(
            "ask",
            Input::choice(["a", "b"])
                .prompt("Which?")
                .schema(json!({"type": "string"}))
        )
        .timeout(expr("ctx.t"))
        .on_timeout_fail()
        .into_path("answer"),
        wait_event("one_event", "paid")
            .match_("payload.total > 3")
            .timeout(Duration::from_secs(3 * 86_400))
            .on_timeout_goto("by_rules"),
        wait_any("any_event", [Text::from("paid"), expr("ctx.event").into()]).on_timeout_value(json!({"none": true})),
        wait_all("all_events", ["paid", "sent"]),
        call("child", "other-one")
            .version(2)
            .with(json!({"a": 1}))
            .into_path("child")
            .detached(true)
            .on_parent_close(OnParentClose::Abandon)
            .timeout(Duration::from_secs(3_600))
            .retry(twice())
            .compensate(Compensate::by("undo_child")),
    ]
}

fn ends() -> Flow {
    flow![
        emit("tell", "told").payload(json!({"a": 1})).to(expr("ctx.run")),
        set("change").value("a.b", 1).value(r"c\.d", expr("ctx.x")).unset("e.f"),
        fail("broken")
            .when(false)
            .error_type("my.error")
            .message("no")
            .details(json!({"a": 1})),
        finish("done").output(json!({"result": 1})),
    ]
}

/// What [`every_key`] has in another form.
fn other_forms() -> Workflow {
    let flow = [every_form_of_a_join(), other_forms_of_calls(), other_waits(), guarded()];
    workflow("other_forms")
        .input(true)
        .snapshots(Snapshots::Delta)
        .snapshots_after_join(SnapshotsAfterJoin::Keep)
        .steps(flow.into_iter().flatten().collect::<Flow>())
}

/// Adds a parallel, a foreach and a graph for each value of a key.
macro_rules! each_scope {
    ($flow:ident: $($key:ident($($argument:expr),+) for $value:ident in $values:expr;)+) => {
        $(for (i, $value) in $values.into_iter().enumerate() {
            let name = |kind: &str| format!("{kind}_{}_{i}", stringify!($key));
            $flow.extend(flow![
                parallel(name("p")).$key($($argument),+),
                foreach(name("f"), "ctx.x").$key($($argument),+).steps(Flow::new()),
                graph(name("g")).$key($($argument),+),
            ]);
        })+
    };
}

fn every_form_of_a_join() -> Flow {
    let counts = |words: &[&str]| -> Vec<Count> {
        let words = words.iter().map(|word| Count::from(*word));
        [Count::from(2), expr("ctx.n").into()]
            .into_iter()
            .chain(words)
            .collect()
    };
    let merges = [
        Merge::DeepMerge,
        Merge::LastWins,
        Merge::Strict,
        Merge::Collect,
        Merge::Discard,
    ];
    let reduces = [
        Reduce::Sum,
        Reduce::Min,
        Reduce::Max,
        Reduce::Count,
        Reduce::Append,
        Reduce::Concat,
        Reduce::Union,
    ];
    let mut flow = Flow::new();
    each_scope! { flow:
        need(need.clone()) for need in counts(&["all", "any", "90%"]);
        tolerate(tolerate.clone()) for tolerate in counts(&["5%"]);
        on_error(what) for what in [OnError::FailFast, OnError::CompleteAll];
        merge(merge) for merge in merges;
        reduce("a.b", how) for how in reduces;
        collect_as(path) for path in ["out"];
        concurrency(most.clone()) for most in counts(&["unbounded"]);
        retry(policies.clone()) for policies in [vec![twice()], vec![twice(), twice().multiplier(2)]];
    }
    flow
}

fn other_forms_of_calls() -> Flow {
    let linear = twice().initial("1s").max("2s").backoff(Backoff::Linear);
    let undo = Compensate::by("undo")
        .retry([linear.clone(), twice()])
        .with("all")
        .timeout("1s")
        .queue("q");
    flow![
        step("once")
            .retry(linear)
            .on_exhausted(OnExhausted::Fail)
            .compensate(undo.clone()),
        call("computed", "other")
            .version(expr("ctx.version"))
            .timeout(expr("ctx.t"))
            .on_parent_close(OnParentClose::Cancel)
            .into_nothing()
            .compensate(undo),
        fail("of_details").details(expr("ctx.details")).when(false),
    ]
}

fn other_waits() -> Flow {
    flow![
        wait_input("approval", Input::approval())
            .timeout("1h")
            .on_timeout_value("nobody")
            .into_nothing(),
        wait_input("words", Input::text()),
        wait_input("form", Input::form().schema(true)),
        sleep_for("computed_length", expr("ctx.t")),
        sleep_until("computed_end", expr("ctx.t")),
    ]
}

/// Nodes with the keys of every node.
macro_rules! guarded {
    ($($node:expr),+ $(,)?) => { flow![$($node.when("ctx.a").max_visits(5)),+] };
}

fn guarded() -> Flow {
    guarded![
        step("a"),
        parallel("b"),
        foreach("c", 3).steps(Flow::new()),
        graph("d"),
        branch("e"),
        branch_on("f", "ctx.f"),
        decision("g"),
        decision_by("h", "choose"),
        group("i").steps(Flow::new()),
        try_("j").steps(Flow::new()).finally(Flow::new()),
        repeat("k").steps(Flow::new()),
        sleep_for("l", "1s"),
        wait_event("m", "paid"),
        call("n", "other"),
        emit("o", "paid"),
        set("p"),
        fail("q"),
        finish("r"),
    ]
}

fn without_snapshots() -> Workflow {
    workflow("none").snapshots(Snapshots::None).steps(Flow::new())
}
