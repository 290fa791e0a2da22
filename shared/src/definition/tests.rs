//! What valid documents become, with everything of the language let through.

use std::time::Duration;

use super::model::*;
use super::*;

const ORDER: &str = include_str!("../../tests/order_processing.yaml");

/// Compiles a YAML document, also what this release does not run yet.
fn whole(text: &str) -> Definition {
    let tree = read(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    check::compile(&tree, &Limits::default(), &[], &|_| None).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn steps(text: &str) -> Definition {
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    whole(&format!("workflow: w\nsteps:\n{indented}"))
}

fn find<'d>(definition: &'d Definition, name: &str) -> &'d Node {
    definition
        .nodes
        .iter()
        .find(|n| &*n.name == name)
        .unwrap_or_else(|| panic!("no node {name}"))
}

fn call<'d>(definition: &'d Definition, name: &str) -> &'d HandlerCall {
    let NodeKind::Step(step) = &find(definition, name).kind else {
        panic!("a step")
    };
    &step.call
}

fn join<'d>(definition: &'d Definition, name: &str) -> &'d Join {
    let at = definition
        .nodes
        .iter()
        .position(|n| &*n.name == name)
        .expect("a node of that name");
    definition
        .join(NodeId(u32::try_from(at).expect("few")))
        .expect("a scope")
}

#[test]
fn the_document_of_the_specification_becomes_its_model() {
    let d = whole(ORDER);
    assert_eq!(&*d.workflow, "order_processing");
    assert_eq!(d.timeout, Some(Duration::from_secs(7200)));
    let root: Vec<&str> = d
        .flow(Definition::ROOT)
        .nodes
        .iter()
        .map(|id| &*d.node(*id).name)
        .collect();
    assert_eq!(
        root,
        [
            "validate_order",
            "route",
            "small_order",
            "manager_approval",
            "notify",
            "finalize"
        ]
    );
    let names: Vec<&str> = d.nodes.iter().map(|n| &*n.name).collect();
    assert_eq!(
        names[..5],
        ["validate_order", "route", "prepare", "print_label", "pick_items"],
        "document order"
    );
    let retry = &call(&d, "send_confirmation").retry[0];
    assert_eq!((retry.max_attempts, retry.initial), (5, Duration::from_millis(200)));
    assert_eq!(call(&d, "pick").timeout, Some(Duration::from_secs(30)));
    let NodeKind::Decision(Decision::Rules { rules, otherwise: None }) = &find(&d, "small_order").kind else {
        panic!("rules");
    };
    assert_eq!(&*d.node(rules[0].1).name, "finalize");
    assert_eq!(find(&d, "finalize").position, Position { line: 30, column: 5 });
    assert!(d.nodes.iter().all(|n| n.max_visits == 1000));
}

#[test]
fn the_specification_s_example_can_be_registered_and_what_is_not_run_yet_is_refused() {
    parse(ORDER.as_bytes(), Format::Auto, &Limits::default()).expect("all of it is run");
    let text = "workflow: w\nsteps:\n  - step: s\n    idempotent: false\n";
    parse(text.as_bytes(), Format::Auto, &Limits::default()).expect("it is claimed");
    let tree = read(text.as_bytes(), Format::Yaml, &Limits::default()).expect("YAML");
    let not_yet = [supported::Feature::Value("step", "idempotent", "false")];
    let errors = check::compile(&tree, &Limits::default(), &not_yet, &|_| None).expect_err("nothing would be claimed");
    let shown: Vec<_> = errors.0.iter().map(|e| (e.code, e.pointer.as_str(), e.line)).collect();
    assert_eq!(shown, [("not_supported_yet", "/steps/0/idempotent", 4)]);
}

#[test]
fn retention_is_read_for_each_final_state_and_no_other() {
    let text = "workflow: w\nretention: { completed: 30d, compensation_failed: PT5M }\nsteps: []\n";
    let read = parse(text.as_bytes(), Format::Auto, &Limits::default()).expect("retention is run");
    let expected = [
        ("completed".to_owned(), Duration::from_secs(30 * 86_400)),
        ("compensation_failed".to_owned(), Duration::from_secs(300)),
    ];
    assert_eq!(read.retention, expected);
    let text = "workflow: w\nretention: { running: 30d }\nsteps: []\n";
    let errors = parse(text.as_bytes(), Format::Auto, &Limits::default()).expect_err("it has not ended");
    assert_eq!(errors.0[0].pointer, "/retention/running");
}

#[test]
fn every_kind_and_every_key_is_read() {
    let d = whole(include_str!("../../tests/every_key.yaml"));
    for kind in keys::KINDS {
        let there = d.nodes.iter().any(|n| {
            format!("{:?}", n.kind)
                .to_lowercase()
                .starts_with(&format!("{}(", kind.name))
        });
        assert!(there, "{}", kind.name);
    }
}

#[test]
fn a_step_policy_completes_the_default_one_key_by_key() {
    let d = whole(
        "workflow: w\ndefaults: { retry: { max_attempts: 3, backoff: linear, initial: 2s, only: [a.*] } }\nsteps:\n\
         - { step: one, retry: { max_attempts: 5 } }\n\
         - { step: many, retry: [ { only: [b], max_attempts: 2 }, { jitter: false } ] }\n\
         - { step: none }\n\
         - { group: g, retry: { max_attempts: 2 }, steps: [] }\n",
    );
    let base = RetryPolicy {
        max_attempts: 3,
        backoff: Backoff::Linear,
        initial: Duration::from_secs(2),
        only: Some(vec!["a.*".into()]),
        ..RetryPolicy::default()
    };
    let with = |f: fn(&mut RetryPolicy)| {
        let mut policy = base.clone();
        f(&mut policy);
        policy
    };
    assert_eq!(call(&d, "one").retry, [with(|p| p.max_attempts = 5)]);
    let first = with(|p| (p.only, p.max_attempts) = (Some(vec!["b".into()]), 2));
    assert_eq!(call(&d, "many").retry, [first, with(|p| p.jitter = false)]);
    assert_eq!(call(&d, "none").retry, [base]);
    let NodeKind::Group(group) = &find(&d, "g").kind else {
        panic!("group")
    };
    let plain = RetryPolicy {
        max_attempts: 2,
        ..RetryPolicy::default()
    };
    assert_eq!(group.retry, [plain], "a group takes nothing from defaults.retry");
}

#[test]
fn a_goto_finds_the_nearest_node_of_that_name() {
    let d = steps(
        "- group: outer\n  steps:\n  - step: a\n  - decision: d\n    rules: [ { when: true, goto: a }, { when: true, goto: b } ]\n    otherwise: d\n\
         - step: a\n- step: b",
    );
    let NodeKind::Decision(Decision::Rules { rules, otherwise }) = &find(&d, "d").kind else {
        panic!("rules")
    };
    assert_eq!(rules[0].1, NodeId(1));
    assert_eq!(rules[1].1, NodeId(4));
    assert_eq!(*otherwise, Some(NodeId(2)));
}

#[test]
fn outputs_are_kept_where_something_reads_them() {
    let d = steps(
        "- parallel: plain\n  branches: { a: [ { foreach: inner_plain, items: '3', steps: [] } ] }\n\
         - parallel: named\n  branches: { a: [ { foreach: inner_named, items: '3', steps: [] } ] }\n\
         - set: s\n  values: { x: '= results.named.a.output' }\n\
         - parallel: collected\n  collect_as: out\n  branches:\n    a:\n    - group: g\n      steps:\n      - graph: deep\n        nodes: { n: { steps: [] } }\n\
         - foreach: changes\n  items: [1]\n  merge: collect\n  steps: []\n\
         - parallel: by_hand\n  into: { x: 'ctx' }\n  branches: {}",
    );
    let kept = |name| join(&d, name).keep_outputs;
    assert!(!kept("plain") && !kept("inner_plain"));
    assert!(kept("named") && kept("inner_named"));
    assert!(kept("collected") && kept("deep"));
    assert!(kept("changes") && kept("by_hand"));
    let changes = join(&d, "changes")
        .collect_as
        .as_ref()
        .expect("the node's name by default");
    assert_eq!(changes.to_string(), "changes");
}

#[test]
fn without_snapshots_scopes_discard() {
    let d = whole("workflow: w\nsnapshots: none\nsteps:\n- { parallel: p, branches: {} }\n");
    assert_eq!(join(&d, "p").merge, Merge::Discard);
}

#[test]
fn yaml_words_that_other_readers_turn_into_booleans_stay_text() {
    let tree = read(
        b"{on: yes, y: NO, t: True, n: ~, e: , x: 0x1F, o: 0o17, z: 007, f: .5, k: 1e3, v: 1.2.3, 1: a}",
        Format::Yaml,
        &Limits::default(),
    );
    let text = String::from_utf8(tree.expect("YAML").canonical_json()).expect("UTF-8");
    assert_eq!(
        text,
        r#"{"on":"yes","y":"NO","t":"True","n":null,"e":null,"x":31,"o":15,"z":7,"f":0.5,"k":1000.0,"v":"1.2.3","1":"a"}"#
    );
}

#[test]
fn yaml_and_json_of_one_content_have_one_digest() {
    let limits = Limits::default();
    let yaml = read(ORDER.as_bytes(), Format::Auto, &limits).expect("YAML");
    let stored = yaml.canonical_json();
    let json = read(&stored, Format::Auto, &limits).expect("JSON");
    assert_eq!((yaml.digest(), yaml.digest().len()), (json.digest(), 64));
    assert_eq!(yaml, json);
    let again = load(&stored, &limits).expect("stored");
    assert_eq!(again.nodes.len(), whole(ORDER).nodes.len());
}

#[test]
fn the_order_of_keys_counts_in_the_digest_where_it_says_something() {
    let digest = |text: &str| {
        read(text.as_bytes(), Format::Yaml, &Limits::default())
            .expect("YAML")
            .digest()
    };
    let same = [
        ("{steps: [], workflow: w}", "{workflow: w, steps: []}"),
        (
            "{branches: {a: {x: 1, y: [{p: 1, q: 2}]}}}",
            "{branches: {a: {y: [{q: 2, p: 1}], x: 1}}}",
        ),
    ];
    for (one, other) in same {
        assert_eq!(digest(one), digest(other), "{one}");
    }
    for ordered in ["branches", "nodes", "cases"] {
        let one = digest(&format!("{{parallel: p, {ordered}: {{a: 1, b: 2}}}}"));
        assert_eq!(one, digest(&format!("{{{ordered}: {{a: 1, b: 2}}, parallel: p}}")));
        assert_ne!(one, digest(&format!("{{parallel: p, {ordered}: {{b: 2, a: 1}}}}")));
    }
    assert_ne!(digest("{steps: [1, 2]}"), digest("{steps: [2, 1]}"));
}

#[test]
fn limits_of_size_nodes_and_levels_hold_on_both_sides() {
    let limits = Limits {
        definition_bytes_max: 200,
        definition_nodes_max: 2,
        definition_levels_max: 3,
        ..Limits::default()
    };
    let codes = |text: &str| match parse(text.as_bytes(), Format::Yaml, &limits) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.into_iter().map(|e| e.code).collect::<Vec<_>>(),
    };
    let sized = |n: usize| format!("{{workflow: w, steps: []}}{}", " ".repeat(n - 24));
    assert_eq!((codes(&sized(200)), codes(&sized(201))), (vec![], vec!["too_large"]));
    let nodes = |n: usize| {
        format!(
            "workflow: w\nsteps:\n{}",
            (0..n).map(|i| format!("- step: s{i}\n")).collect::<String>()
        )
    };
    assert_eq!((codes(&nodes(2)), codes(&nodes(4))), (vec![], vec!["too_many_nodes"]));
    let deep = Limits::default();
    let nested = |n: usize| {
        let open: String = (1..n)
            .map(|_| "{\"parallel\": \"p\", \"branches\": {\"b\": {\"steps\": [".to_owned())
            .collect();
        format!("{{\"workflow\": \"w\", \"steps\": [{open}{}]}}", "]}}}".repeat(n - 1))
    };
    assert!(parse(nested(64).as_bytes(), Format::Json, &deep).is_ok());
    let errors = parse(nested(65).as_bytes(), Format::Json, &deep)
        .expect_err("65 levels")
        .0;
    assert_eq!(errors.iter().map(|e| e.code).collect::<Vec<_>>(), ["too_deep"]);
}

#[test]
fn a_document_of_ten_thousand_nodes_and_gotos_is_checked_quickly() {
    let rules: String = (0..9_999)
        .map(|i| format!("- {{decision: d{i}, otherwise: x{i}, rules: []}}\n"))
        .collect();
    let started = std::time::Instant::now();
    let errors = parse(
        format!("workflow: w\nsteps:\n{rules}").as_bytes(),
        Format::Yaml,
        &Limits::default(),
    );
    assert_eq!(errors.expect_err("no such targets").0.len(), ERRORS_MAX);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn every_key_of_the_table_is_in_the_schema() {
    let schema = schema();
    for kind in keys::KINDS {
        let properties = &schema["definitions"][kind.name]["properties"];
        for key in kind.all_keys() {
            assert!(properties.get(key.name).is_some(), "{} of {}", key.name, kind.name);
        }
        assert!(properties.get(kind.name).is_some());
    }
    for key in keys::DOCUMENT {
        assert!(schema["properties"].get(key.name).is_some(), "{}", key.name);
    }
}

/// What strict JSON readers refuse, though YAML takes some of it.
#[test]
fn json_is_read_strictly_where_it_is_asked_for() {
    let first = |text: &str| {
        let errors = read(text.as_bytes(), Format::Json, &Limits::default())
            .expect_err(text)
            .0;
        (errors[0].code, errors[0].line, errors[0].column)
    };
    assert_eq!(first("{\"a\": 1,}"), ("syntax", 1, 9));
    assert_eq!(first("{\"a\":\n 01}"), ("syntax", 2, 3));
    assert_eq!(first("[1 2]"), ("syntax", 1, 4));
    assert_eq!(first("\"\u{e9}\t\""), ("syntax", 1, 3));
    assert_eq!(first("{} x"), ("syntax", 1, 4));
    assert_eq!(first(&"[".repeat(600)), ("too_deep", 1, 513));
    let tree = read(
        br#"{"a": "\ud83d\ude00\n\/\"", "b": [1.0, 1, -0.0]}"#,
        Format::Json,
        &Limits::default(),
    );
    let text = String::from_utf8(tree.expect("JSON").canonical_json()).expect("UTF-8");
    assert_eq!(text, "{\"a\":\"\u{1F600}\\n/\\\"\",\"b\":[1.0,1,-0.0]}");
}

#[test]
fn values_deeper_than_128_levels_are_refused() {
    let document = |n: usize| {
        format!(
            "{{\"workflow\":\"w\",\"steps\":[{{\"step\":\"a\",\"with\":{}{}}}]}}",
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    assert!(parse(document(128).as_bytes(), Format::Json, &Limits::default()).is_ok());
    let errors = parse(document(129).as_bytes(), Format::Json, &Limits::default())
        .expect_err("129 levels")
        .0;
    assert_eq!(
        (errors[0].code, errors[0].pointer.as_str()),
        ("too_deep", "/steps/0/with")
    );
}

#[test]
fn names_grow_inwards_and_end_with_their_flow() {
    steps(
        "- foreach: f\n  items: ctx.a\n  as: row\n  concurrency: 1\n  steps:\n\
         \x20 - foreach: g\n    items: row.b\n    steps: [ { set: s, values: { a: '= row', b: '= item', c: '= index' } } ]\n\
         \x20 - try: t\n    steps: []\n    catch: [ { as: e, steps: [ { set: s, values: { a: '= e', b: '= row' } } ] } ]\n\
         - { step: h, compensate: { uses: u, with: [ '= output', '= error' ] }, with: '= attempt' }",
    );
}

/// The same documents through the whole language: every key of every kind, given a value of a wrong form, is noted.
#[test]
fn every_key_is_checked_for_its_form() {
    for kind in keys::KINDS {
        for key in kind.all_keys().filter(|k| !matches!(k.shape, keys::Shape::Template)) {
            let document = format!("{{workflow: w, steps: [ {{ {}: n, {}: 1.5 }} ]}}", kind.name, key.name);
            let errors = parse(document.as_bytes(), Format::Yaml, &Limits::default())
                .expect_err(&document)
                .0;
            let pointer = format!("/steps/0/{}", key.name);
            assert!(
                errors.iter().any(|e| e.code == "wrong_type" && e.pointer == pointer),
                "{document}: {errors:?}"
            );
        }
    }
}
