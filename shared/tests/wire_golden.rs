//! The wire contract does not change but by additions: messages as they are on the wire today are kept as files, are
//! read and written as they stand, and are what `docs/asyncapi.yaml` says.

use std::path::Path;

use rejoin_shared::json::Json;
use rejoin_shared::wire::{
    Cancel, Check, Checkpoints, Completions, ContextChunk, Fence, FetchContext, HandBack, Pack, Report, Survey,
    Surveyed, Verdicts, kind,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn golden(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/wire")
        .join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Read, written again, and read with a member that this version does not know.
fn round<T: DeserializeOwned + Serialize>(text: &str) {
    let read: T = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let written = serde_json::to_string(&read).expect("a message is plain data");
    assert_eq!(json(&written), json(text));
    let newer = text.replacen('{', r#"{ "of_a_later_version": [1, { "a": null }],"#, 1);
    let read: T = serde_json::from_str(&newer).unwrap_or_else(|e| panic!("{e}: {newer}"));
    let written = serde_json::to_string(&read).expect("a message is plain data");
    assert_eq!(json(&written), json(text));
}

/// File, kind, and the schema in the AsyncAPI document.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("pack.json", kind::PACK, "Pack"),
    ("pack_probe.json", kind::PACK, "Pack"),
    ("pack_claim.json", kind::PACK, "Pack"),
    ("pack_common.json", kind::PACK, "Pack"),
    ("completions.json", kind::COMPLETIONS, "Completions"),
    ("completion_error.json", kind::COMPLETIONS, "Completions"),
    ("completions_common.json", kind::COMPLETIONS, "Completions"),
    ("check.json", kind::CHECK, "Check"),
    ("verdicts.json", kind::VERDICTS, "Verdicts"),
    ("verdicts_checkpoint.json", kind::VERDICTS, "Verdicts"),
    ("checkpoints.json", kind::CHECKPOINTS, "Checkpoints"),
    ("hand_back.json", kind::HAND_BACK, "HandBack"),
    ("hand_back_claim.json", kind::HAND_BACK, "HandBack"),
    ("fetch_context.json", kind::FETCH_CONTEXT, "FetchContext"),
    ("context_chunk.json", kind::CONTEXT_CHUNK, "ContextChunk"),
    ("cancel.json", kind::CANCEL, "Cancel"),
    ("report.json", kind::REPORT, "Report"),
    ("report_claim.json", kind::REPORT, "Report"),
    ("fence.json", kind::FENCE, "Fence"),
    ("survey.json", kind::SURVEY, "Survey"),
    ("surveyed.json", kind::SURVEYED, "Surveyed"),
];

#[test]
fn golden_messages_are_read_and_written_as_they_stand() {
    for (file, kind, _) in MESSAGES {
        let text = golden(file);
        match *kind {
            kind::PACK => round::<Pack>(&text),
            kind::COMPLETIONS => round::<Completions>(&text),
            kind::CHECK => round::<Check>(&text),
            kind::VERDICTS => round::<Verdicts>(&text),
            kind::CHECKPOINTS => round::<Checkpoints>(&text),
            kind::HAND_BACK => round::<HandBack>(&text),
            kind::FETCH_CONTEXT => round::<FetchContext>(&text),
            kind::CONTEXT_CHUNK => round::<ContextChunk>(&text),
            kind::CANCEL => round::<Cancel>(&text),
            kind::REPORT => round::<Report>(&text),
            kind::FENCE => round::<Fence>(&text),
            kind::SURVEY => round::<Survey>(&text),
            kind::SURVEYED => round::<Surveyed>(&text),
            other => panic!("no type for {other}"),
        }
    }
}

fn asyncapi() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.yaml");
    let text = std::fs::read_to_string(&file).expect("docs/asyncapi.yaml");
    serde_saphyr::from_str(&text).expect("docs/asyncapi.yaml is YAML")
}

/// Closes every object whose members are listed, so that a member which the document does not mention shows.
fn close(schema: &mut Value) {
    if let Value::Object(map) = schema {
        if map.contains_key("properties") && !map.contains_key("additionalProperties") {
            map.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        map.values_mut().for_each(close);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(close);
    }
}

#[test]
fn golden_messages_are_what_the_asyncapi_document_says() {
    let mut document = asyncapi();
    close(&mut document["components"]["schemas"]);
    for (file, _, schema) in MESSAGES {
        let root = serde_json::json!({
            "$ref": format!("#/components/schemas/{schema}"),
            "components": { "schemas": document["components"]["schemas"] },
        });
        let validator = jsonschema::validator_for(&root).unwrap_or_else(|e| panic!("{schema}: {e}"));
        let message: Value = serde_json::from_str(&golden(file)).expect("JSON");
        let errors: Vec<String> = validator
            .iter_errors(&message)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
}

#[test]
fn the_asyncapi_document_lists_every_kind_of_message() {
    let document = asyncapi();
    let messages = document["components"]["messages"].as_object().expect("messages");
    let mut named: Vec<&str> = messages.values().filter_map(|m| m["name"].as_str()).collect();
    named.sort_unstable();
    let mut kinds: Vec<&str> = MESSAGES.iter().map(|(_, kind, _)| *kind).collect();
    kinds.extend([kind::REPORT_NOW, kind::NUDGE]);
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(named, kinds);
}

/// Whoever writes a message need not look for what its attempts have in common.
#[test]
fn what_stands_with_each_attempt_reads_as_what_stands_once() {
    let spelled_out = r#"{"worker":{"name":"w","incarnation":"018f6b1e-0000-7000-8000-000000000001"},"items":[
        {"run":"018f6b1e-7a2c-7c3d-8e4f-0123456789ab","step":{"scope":7,"branch":3,"pos":0},"attempt":1,"outcome":"ok",
         "started_at":"2026-01-31T12:00:00Z","finished_at":"2026-01-31T12:00:00Z"},
        {"run":"018f6b1e-7a2c-7c3d-8e4f-0123456789ab","step":{"scope":7,"branch":4,"pos":0},"attempt":1,"outcome":"ok",
         "started_at":"2026-01-31T12:00:00Z","finished_at":"2026-01-31T12:00:00Z"}]}"#;
    let read: Completions = serde_json::from_str(spelled_out).expect("completions");
    let written = serde_json::to_string(&read).expect("a message is plain data");
    assert!(written.len() < spelled_out.len() - 80, "{written}");
    let again: Completions = serde_json::from_str(&written).expect("completions");
    assert_eq!(format!("{read:?}"), format!("{again:?}"));
}

/// A worker that keeps its own way of telling times is understood in a message that has a common one.
#[test]
fn times_of_an_item_stand_before_those_counted_from_the_common_one() {
    let text = r#"{"worker":{"name":"w","incarnation":"018f6b1e-0000-7000-8000-000000000001"},
        "common":{"run":"018f6b1e-7a2c-7c3d-8e4f-0123456789ab","attempt":1,"outcome":"ok","at":"2026-01-31T12:00:00Z"},"items":[
        {"step":{"scope":7,"branch":3,"pos":0},"ran":[-5,1000000]},
        {"step":{"scope":7,"branch":4,"pos":0},"started_at":"2026-01-31T12:00:02Z","finished_at":"2026-01-31T12:00:03Z"},
        {"step":{"scope":7,"branch":5,"pos":0},"ran":[1,2],"finished_at":"2026-01-31T12:00:04Z"}]}"#;
    let read: Completions = serde_json::from_str(text).expect("completions");
    let times = read
        .items
        .iter()
        .map(|item| (item.started_at.to_string(), item.finished_at.to_string()));
    let times: Vec<(String, String)> = times.collect();
    let expected = [
        ("2026-01-31T11:59:59.999995Z", "2026-01-31T12:00:01Z"),
        ("2026-01-31T12:00:02Z", "2026-01-31T12:00:03Z"),
        ("2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:04Z"),
    ];
    assert_eq!(times, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
}

#[test]
fn a_completion_without_times_is_refused() {
    let refusal = |common: &str, ran: &str| {
        let text = format!(
            r#"{{"worker":{{"name":"w","incarnation":"018f6b1e-0000-7000-8000-000000000001"}},
            "common":{{"run":"018f6b1e-7a2c-7c3d-8e4f-0123456789ab","attempt":1,"outcome":"ok"{common}}},"items":[
            {{"step":{{"scope":7,"branch":3,"pos":0}},"ran":[{ran}]}}]}}"#
        );
        let refused = serde_json::from_str::<Completions>(&text).expect_err("a time is missing");
        refused.to_string()
    };
    let at = r#","at":"2026-01-31T12:00:00Z""#;
    let (no_start, no_end) = ("no time at which it began", "no time at which it ended");
    assert!(refusal("", "0,1").contains(no_start), "nothing to count from");
    // What cannot be written could not be read again either.
    for beyond in [i64::MIN, i64::MAX, -400_000_000_000_000_000] {
        assert!(refusal(at, &format!("{beyond},0")).contains(no_start), "{beyond}");
        assert!(refusal(at, &format!("0,{beyond}")).contains(no_end), "{beyond}");
    }
}

#[test]
fn an_attempt_that_has_no_run_anywhere_is_refused() {
    let text = golden("pack_common.json").replacen(r#""run": "018f6b1e-7a2c-7c3d-8e4f-0123456789ab","#, "", 1);
    let refused = serde_json::from_str::<Pack>(&text).expect_err("the first attempt has no run");
    assert!(refused.to_string().contains("an attempt has no run"), "{refused}");
}
