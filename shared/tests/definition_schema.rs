//! The JSON Schema against documents: with the few words of draft-07 that it uses.

mod support;

use rejoin_shared::definition::{Format, read, schema};
use rejoin_shared::limits::Limits;
use serde_json::{Value, json};
use support::misfit;

fn document(yaml: &str) -> Value {
    let tree = read(yaml.as_bytes(), Format::Yaml, &Limits::default()).expect("YAML");
    serde_json::from_slice(&tree.canonical_json()).expect("JSON")
}

#[test]
fn valid_documents_fit_the_schema() {
    let schema = schema();
    for yaml in [include_str!("order_processing.yaml"), include_str!("every_key.yaml")] {
        assert_eq!(misfit(&schema, &schema, &document(yaml)), None);
    }
}

#[test]
fn documents_of_wrong_form_do_not_fit_the_schema() {
    let schema = schema();
    for yaml in [
        "workflow: w",
        "{workflow: 1a, steps: []}",
        "{workflow: w, steps: [], stps: []}",
        "{workflow: w, steps: [ {} ]}",
        "{workflow: w, steps: [ {step: a, group: b, steps: []} ]}",
        "{workflow: w, steps: [ {step: a, timeout: 5} ]}",
        "{workflow: w, steps: [ {step: a, timeout: soon} ]}",
        "{workflow: w, steps: [ {parallel: p} ]}",
        "{workflow: w, steps: [ {parallel: p, branches: {}, need: 0} ]}",
        "{workflow: w, steps: [ {parallel: p, branches: {a: [ {stpe: x} ]}} ]}",
        "{workflow: w, steps: [ {foreach: p, items: 5, steps: []} ]}",
    ] {
        assert!(misfit(&schema, &schema, &document(yaml)).is_some(), "{yaml}");
    }
}

#[test]
fn the_schema_says_which_draft_it_is_and_explains_every_key() {
    let schema = schema();
    assert_eq!(schema["$schema"], json!("http://json-schema.org/draft-07/schema#"));
    for (kind, node) in schema["definitions"].as_object().expect("definitions") {
        for (key, property) in node["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{key} of {kind}");
        }
    }
}
