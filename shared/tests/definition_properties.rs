//! Properties of reading definitions: no bytes make it panic, and what is stored reads as what was written.

use proptest::prelude::*;
use rejoin_shared::definition::{DefinitionErrors, Format, compile, parse, read};
use rejoin_shared::limits::Limits;

const WHOLE: &str = include_str!("every_key.yaml");

/// Small pieces that YAML, JSON or the checks give a meaning.
const PIECES: &[&str] = &[
    "\n",
    "\n  ",
    "\n- ",
    "\n    - ",
    " ",
    "\t",
    "\r\n",
    ": ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "? ",
    "| ",
    ">-\n",
    "&a ",
    "*a ",
    "!!str ",
    "---",
    "...",
    "%YAML 1.2",
    "#",
    "\"",
    "'",
    "\\u0000",
    "\\ud800",
    "~",
    "null",
    "true",
    "1e999",
    "-1",
    "99999999999999999999",
    "0x",
    ".inf",
    "workflow: w",
    "steps:",
    "step: a",
    "parallel: p",
    "branches:",
    "foreach: f",
    "items: ctx.a",
    "graph: g",
    "nodes:",
    "needs: [a]",
    "decision: d",
    "rules:",
    "goto: a",
    "when: ",
    "= ",
    "retry:",
    "branch: b",
    "cases:",
    "on: ctx.a",
    "group: g",
    "\u{feff}",
    "\u{85}",
    "é",
    "\u{1F600}",
    "<<: ",
    "with: ",
    "into: ",
    "try: t",
    "catch: ",
    "wait: w",
    "any: ",
    "need: 80%",
    "reduce: ",
    "a.b: sum",
    "\u{2028}",
    "\u{7}",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

/// The whole language with some of its text cut out, doubled or replaced.
fn mutilated() -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), 0usize..40, prop::sample::select(PIECES));
    prop::collection::vec(cut, 1..6).prop_map(|cuts| {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, length, piece) in cuts {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

fn check_errors(errors: &DefinitionErrors, text: &str) {
    assert!(!errors.0.is_empty());
    let lines = u32::try_from(text.lines().count()).expect("few") + 2;
    for pair in errors.0.windows(2) {
        assert!(
            (pair[0].line, pair[0].column) <= (pair[1].line, pair[1].column),
            "in the order of the text"
        );
    }
    for error in &errors.0 {
        assert!(
            error.line >= 1 && error.line <= lines && error.column >= 1,
            "{error} of {lines} lines"
        );
        assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| serde_json::to_string(&x).expect("finite")),
        text(),
    ];
    scalar.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map(text(), inner, 0..6).prop_map(|map| {
                let entries: Vec<String> = map.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

/// A JSON text in quotes, without NUL.
fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,12}".prop_map(|text| serde_json::to_string(&text).expect("text"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Yaml, Format::Json, Format::Auto] {
            if let Err(errors) = parse(&bytes, format, &Limits::default()) {
                prop_assert!(!errors.0.is_empty());
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in soup()) {
        for format in [Format::Yaml, Format::Json, Format::Auto] {
            if let Err(errors) = parse(text.as_bytes(), format, &Limits::default()) {
                check_errors(&errors, &text);
            }
        }
    }

    #[test]
    fn no_mutilation_of_a_valid_document_makes_the_parser_panic(text in mutilated()) {
        if let Err(errors) = parse(text.as_bytes(), Format::Auto, &Limits::default()) {
            check_errors(&errors, &text);
        }
        if let Ok(tree) = read(text.as_bytes(), Format::Yaml, &Limits::default()) {
            let stored = tree.canonical_json();
            let again = read(&stored, Format::Json, &Limits::default()).expect("canonical JSON");
            prop_assert_eq!(&again, &tree);
            prop_assert_eq!(again.canonical_json(), stored);
            prop_assert_eq!(again.digest(), tree.digest());
            let (a, b) = (compile(&tree, &Limits::default()), compile(&again, &Limits::default()));
            match (a, b) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a.nodes.len(), b.nodes.len()),
                (Err(a), Err(b)) => prop_assert_eq!(a.0.len(), b.0.len()),
                (a, b) => prop_assert!(false, "{:?} and {:?}", a.err(), b.err()),
            }
        }
    }

    #[test]
    fn canonical_json_reads_as_the_same_tree(text in json_text()) {
        let tree = read(text.as_bytes(), Format::Json, &Limits::default()).expect("JSON");
        let stored = tree.canonical_json();
        prop_assert_eq!(&read(&stored, Format::Json, &Limits::default()).expect("canonical"), &tree);
    }
}

#[test]
fn many_mistakes_below_a_long_key_cost_no_more_than_their_text() {
    let key = "k".repeat(200_000);
    let bad = "\"= 1 +\",".repeat(60_000);
    let source = format!("workflow: w\nsteps:\n  - set: s\n    values:\n      a:\n        {key}: [{bad}]\n");
    let limits = rejoin_shared::limits::Limits::default();
    let errors = rejoin_shared::definition::parse(source.as_bytes(), rejoin_shared::definition::Format::Yaml, &limits);
    assert!(errors.expect_err("sixty thousand mistakes").0.len() <= 1000);
}
