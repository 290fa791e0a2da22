//! The JSON Schema of documents, with the few words of draft-07 that it uses.

use regex::Regex;
use serde_json::Value;

/// Why `value` does not fit `schema`; `None` if it does.
pub fn misfit(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let no = |why: &str| Some(format!("{why}: {value} by {schema}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .expect("a definition of that name");
        return misfit(root, target, value);
    }
    let fits = |s: &Value| misfit(root, s, value).is_none();
    let branches = |word: &str| schema[word].as_array().cloned().unwrap_or_default();
    if !branches("allOf").iter().all(fits) {
        return no("allOf");
    }
    let any = branches("anyOf");
    if !any.is_empty() && !any.iter().any(fits) {
        return no("anyOf");
    }
    let one = branches("oneOf");
    if !one.is_empty() && one.iter().filter(|s| fits(s)).count() != 1 {
        return no("oneOf");
    }
    let words = branches("enum");
    if !words.is_empty() && !words.contains(value) {
        return no("enum");
    }
    if !has_type(&schema["type"], value) {
        return no("type");
    }
    let too_small = |n: i64| schema["minimum"].as_i64().is_some_and(|least| n < least);
    if value.as_i64().is_some_and(too_small) {
        return no("minimum");
    }
    let unlike = |text: &str| {
        schema["pattern"]
            .as_str()
            .is_some_and(|p| !Regex::new(p).expect("a pattern").is_match(text))
    };
    if value.as_str().is_some_and(unlike) {
        return no("pattern");
    }
    misfit_inside(root, schema, value)
}

fn misfit_inside(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        return list.iter().find_map(|item| misfit(root, items, item));
    }
    let map = value.as_object()?;
    for key in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !map.contains_key(key) {
            return Some(format!("`{key}` is missing: {value}"));
        }
    }
    map.iter().find_map(|(key, inner)| match schema["properties"].get(key) {
        Some(property) => misfit(root, property, inner),
        None => match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => Some(format!("unknown key `{key}`")),
            Some(other) => misfit(root, other, inner),
            None => None,
        },
    })
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    match types {
        Value::Null => true,
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => panic!("type {types}"),
    }
}
