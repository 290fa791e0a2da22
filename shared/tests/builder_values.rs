//! Values on their way into a document: what they become, and what has no place there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rejoin_shared::definition::builder::*;
use rejoin_shared::definition::duration;
use rejoin_shared::expr::{Env, Names, Template};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use serde::Serialize;
use serde_json::json;

/// The document of a workflow with these steps, as JSON without order.
fn steps(flow: impl Into<Flow>) -> serde_json::Value {
    let document = workflow("w").steps(flow).to_document();
    let document = document.unwrap_or_else(|e| panic!("{e}"));
    serde_json::to_value(&document).expect("JSON")["steps"].clone()
}

fn errors(flow: impl Into<Flow>) -> Vec<(String, &'static str)> {
    let failed = workflow("w").steps(flow).to_document().expect_err("errors");
    failed.errors.into_iter().map(|e| (e.pointer, e.code)).collect()
}

#[derive(Serialize)]
struct Options {
    retries: u8,
    ratio: f32,
    label: Option<&'static str>,
    price: Expr,
    mode: Mode,
    kinds: Vec<Mode>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Plain,
    Of(u64),
    Both(i8, char),
    Named { by: &'static str },
}

#[test]
fn structs_maps_and_json_with_expressions_in_them_serialize_in_their_order() {
    let options = Options {
        retries: 2,
        ratio: 0.1,
        label: None,
        price: expr("ctx.price"),
        mode: Mode::Plain,
        kinds: vec![Mode::Of(1), Mode::Both(-1, 'x'), Mode::Named { by: "me" }],
    };
    let with = object! {
        "options" => options,
        "json" => json!({"z": expr("ctx.z"), "a": [expr("1 + 1"), 1.0]}),
        "map" => BTreeMap::from([(7, true)]),
        "bytes" => (1u8, "two", ()),
    };
    let document = workflow("w").steps(step("s").with(with)).to_document().expect("valid");
    let expected = concat!(
        r#"{"workflow":"w","steps":[{"step":"s","with":{"#,
        r#""options":{"retries":2,"ratio":0.1,"label":null,"price":"= ctx.price","mode":"plain","#,
        r#""kinds":[{"of":1},{"both":[-1,"x"]},{"named":{"by":"me"}}]},"#,
        r#""json":{"a":["= 1 + 1",1.0],"z":"= ctx.z"},"map":{"7":true},"bytes":[1,"two",null]}}]}"#
    );
    assert_eq!(document.json(), expected);
    assert_eq!(
        serde_json::to_string(&document).expect("JSON"),
        expected,
        "it serializes as its text"
    );
}

#[test]
fn text_that_looks_like_an_expression_stays_text() {
    for text in ["= ctx.a", "= '", "= \\ \" \n\t\r\u{1} é", "=ctx", " = x", "="] {
        let out = steps(set("s").value("v", text).value("deep", vec![json!({"t": text})]));
        let written = out[0]["values"]["v"].as_str().expect("text").to_owned();
        assert_eq!(out[0]["values"]["deep"][0]["t"], json!(written));
        match written.strip_prefix("= ") {
            Some(source) => assert_eq!(evaluated(source), text),
            None => assert_eq!(written, text),
        }
    }
    let kept = [emit("e", "= x").to("= y"), emit("f", "e").to("= z")];
    let out = steps(kept.into_iter().collect::<Flow>());
    assert_eq!(
        (&out[0]["event"], &out[1]["to"]),
        (&json!("= '= x'"), &json!("= '= z'"))
    );
}

/// The text that an expression without names gives.
fn evaluated(source: &str) -> String {
    let limits = Limits::default();
    let template = Template::compile(&Json::str(&format!("= {source}")), &Names::new(), &limits);
    let template = template.unwrap_or_else(|e| panic!("{source}: {e:?}"));
    let value = template.eval(&Env::default(), &limits).expect("a value");
    value.as_str().expect("a text").to_owned()
}

#[test]
fn no_text_from_elsewhere_is_taken_for_an_expression() {
    let marked = serde_json::to_value(expr("ctx.secret")).expect("JSON");
    let marked = marked.as_str().expect("text");
    assert_eq!(
        steps(step("s").with(marked))[0]["with"],
        json!("= ctx.secret"),
        "the mark is what tells them apart"
    );
    // What another process would write, whose mark has other digits.
    let other = |c: char| if c.is_ascii_hexdigit() { 'f' } else { c };
    let (mark, source) = marked.split_at(marked.len() - "ctx.secret".len());
    let foreign: String = mark.chars().map(other).collect::<String>() + source;
    assert_eq!(errors(step("s").with(foreign)), [(String::new(), "nul")]);
}

#[test]
fn where_nothing_is_computed_text_stays_as_it_is_and_expressions_are_refused() {
    let ask = wait_input("ask", Input::choice(["= a", "b"]).schema(json!({"const": "= a"})));
    let out = steps(flow![ask, foreach("f", ["= x"]).steps(Flow::new())]);
    assert_eq!(out[0]["input"]["choices"], json!(["= a", "b"]));
    assert_eq!(out[0]["input"]["schema"], json!({"const": "= a"}));
    assert_eq!(out[1]["items"], json!(["= x"]));
    let refused = errors(flow![
        wait_input("ask", Input::form().schema(json!({"enum": [1, expr("ctx.a")]}))),
        foreach("f", vec![json!({"a/b": expr("ctx.a")})]).steps(Flow::new()),
    ]);
    assert_eq!(
        refused,
        [
            ("/steps/0/input/schema/enum/1".to_owned(), "unfit_value"),
            ("/steps/1/items/0/a~1b".to_owned(), "unfit_value"),
        ]
    );
}

#[test]
fn what_no_document_can_hold_is_an_error_at_its_key_beside_all_others() {
    let raw = serde_json::value::RawValue::from_string("1".to_owned()).expect("JSON");
    let wrong = flow![
        step("big").with(u64::MAX),
        group("inner").steps(step("nan").with(json!({"a": 1})).with(f64::NAN)),
        step("keys").with(BTreeMap::from([(vec![1], 1)])),
        step("raw").with(raw),
        step("nested").with(object! { "x" => i128::MIN }),
        step("soon").timeout("soon").with(i64::MIN),
    ];
    let failed = workflow("w").steps(wrong).to_document().expect_err("errors");
    let places: Vec<_> = failed.errors.iter().map(|e| (&*e.pointer, e.code)).collect();
    assert_eq!(
        places,
        [
            ("/steps/0/with", "unfit_value"),
            ("/steps/1/steps/0/with", "unfit_value"),
            ("/steps/2/with", "unfit_value"),
            ("/steps/3/with", "unfit_value"),
            ("/steps/4/with", "unfit_value"),
            ("/steps/5/timeout", "bad_duration"),
        ]
    );
    let shown = failed.to_string();
    assert!(
        shown.contains("/steps/0/with (big): 18446744073709551615 is outside"),
        "{shown}"
    );
    assert!(
        shown.contains("/steps/1/steps/0/with (inner › nan): NaN is no number of JSON [unfit_value]"),
        "{shown}"
    );
}

#[test]
fn errors_are_those_of_the_parser_with_their_place_and_a_guess() {
    let twice = parallel("twice").branch("a", step("x")).branch("a", step("y"));
    assert_eq!(errors(twice), [("/steps/0/branches".to_owned(), "duplicate_key")]);
    let wrong = flow![
        step("first").on_exhausted(OnExhausted::Park).when("contxt.a"),
        group("inner").steps(flow![step("last"), decision("to").rule("ctx.a", "frist")]),
        step("other").retry(Retry::new().multiplier(0.5)),
    ];
    let failed = workflow("w").steps(wrong).to_document().expect_err("errors");
    let shown = failed.to_string();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[0].starts_with("/steps/0/when (first): unknown name `contxt`"),
        "{shown}"
    );
    assert!(
        lines[1].starts_with("/steps/1/steps/1/rules/0/goto (inner › to): "),
        "{shown}"
    );
    assert!(lines[1].ends_with("(did you mean `first`?)"), "{shown}");
    assert!(lines[2].starts_with("/steps/2/retry/multiplier (other): "), "{shown}");
}

#[test]
fn limits_of_another_server_can_be_checked_against() {
    let narrow = Limits {
        definition_nodes_max: 1,
        ..Limits::default()
    };
    let two = workflow("w").steps(flow![step("a"), step("b")]);
    assert!(two.to_document().is_ok());
    let failed = two.to_document_within(&narrow).expect_err("too many");
    assert_eq!(failed.errors[0].code, "too_many_nodes");
}

#[test]
fn a_key_given_again_is_replaced_where_it_stood() {
    let out = workflow("w")
        .timeout("1s")
        .description("first")
        .timeout(Duration::from_secs(90))
        .steps(fail("f").error(expr("ctx.e")).message("m").error_type("t"))
        .to_document()
        .expect("valid");
    let expected = r#"{"workflow":"w","timeout":"1m30s","description":"first","steps":[{"fail":"f","error":{"message":"m","type":"t"}}]}"#;
    assert_eq!(out.json(), expected);
}

#[test]
fn scopes_and_choices_without_entries_have_their_required_key() {
    let out = steps(flow![
        parallel("p"),
        graph("g"),
        branch("b"),
        branch_on("c", "ctx.a"),
        decision("d")
    ]);
    let wanted = json!([
        {"parallel": "p", "branches": {}},
        {"graph": "g", "nodes": {}},
        {"branch": "b", "cases": []},
        {"branch": "c", "on": "ctx.a", "cases": {}},
        {"decision": "d", "rules": []},
    ]);
    assert_eq!(out, wanted);
}

#[test]
fn times_are_written_in_utc_and_durations_in_units() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_893_456_000_500);
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let out = steps(flow![
        sleep_until("a", at),
        sleep_until("b", before),
        sleep_for("c", Duration::from_millis(1_500)),
        sleep_for("d", "PT5M"),
    ]);
    assert_eq!(out[0]["until"], json!("2030-01-01T00:00:00.5Z"));
    assert_eq!(out[1]["until"], json!("1969-12-31T23:59:59Z"));
    assert_eq!((&out[2]["for"], &out[3]["for"]), (&json!("1.5s"), &json!("PT5M")));
}

/// JSON whose text is likely to be mistaken for something else.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let piece = prop::sample::select(vec![
        "= ", "=", "'", "\"", "\\", "\n", "\u{1}", "\u{7f}", "ctx.a", "{", "é", "%", " ",
    ]);
    let text = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| json!(x)),
        text.clone().prop_map(|text| json!(text)),
    ];
    scalar.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_literal_value_is_what_its_template_gives(value in values()) {
        let given = Json::parse(value.to_string().as_bytes()).expect("JSON");
        let written = steps(set("s").value("v", &value))[0]["values"]["v"].to_string();
        let written = Json::parse(written.as_bytes()).expect("JSON");
        let template = Template::compile(&written, &Names::new(), &Limits::default()).expect("a template");
        prop_assert_eq!(template.eval(&Env::default(), &Limits::default()).expect("a value"), given);
    }

    #[test]
    fn any_duration_is_read_as_it_is_written(seconds in 0u64..365_000 * 86_400, nanos in 0u32..1_000_000_000) {
        let length = Duration::new(seconds, nanos);
        prop_assert_eq!(duration::parse(&duration::write(length)), Some(length));
        let short = Duration::from_nanos(u64::from(nanos));
        prop_assert_eq!(duration::parse(&duration::write(short)), Some(short));
    }
}
