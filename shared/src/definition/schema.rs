//! The JSON Schema of the document (draft-07, which editors take), built from the table the checks use.

use serde_json::{Value, json};

use super::keys::{DOCUMENT, KINDS, Key, KindSpec, Percent, Shape};

const NAME_PATTERN: &str = "^[a-zA-Z][a-zA-Z0-9_-]{0,63}$";
const DURATION_PATTERN: &str = "^([0-9]+(\\.[0-9]+)?(ms|us|w|d|h|m|s))+$|^P[0-9T]";
const COMPUTED_PATTERN: &str = "^= ";

/// The JSON Schema of a definition document.
///
/// It describes form: what stands where. Names, targets, expressions and what goes with what are checked by
/// [`parse`](super::parse) only.
#[must_use]
pub fn schema() -> Value {
    let mut root = object(DOCUMENT);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Rejoin workflow definition");
    let kinds: serde_json::Map<String, Value> = KINDS.iter().map(|k| (k.name.to_owned(), node(k))).collect();
    let any_kind: Vec<Value> = KINDS
        .iter()
        .map(|k| json!({"$ref": format!("#/definitions/{}", k.name)}))
        .collect();
    root["definitions"] = Value::Object(kinds);
    root["definitions"]["node"] = json!({"oneOf": any_kind});
    root["definitions"]["nodes"] = json!({"type": "array", "items": {"$ref": "#/definitions/node"}});
    root
}

/// A node: its kind's key holds its name.
fn node(kind: &KindSpec) -> Value {
    let mut out = keyed(kind.all_keys());
    out["description"] = json!(kind.doc);
    let mut name = of(Shape::Name);
    name["description"] = json!("Name of the node, unique in its flow.");
    out["properties"][kind.name] = name;
    if let Some(required) = out["required"].as_array_mut() {
        required.insert(0, json!(kind.name));
    }
    out
}

fn object(keys: &'static [Key]) -> Value {
    keyed(keys.iter())
}

fn keyed(keys: impl Iterator<Item = &'static Key>) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for key in keys {
        properties.insert(key.name.to_owned(), property(key));
        if key.required {
            required.push(key.name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What stands at a key. Beside a `$ref` draft-07 ignores everything, so that goes into a list of one.
fn property(key: &Key) -> Value {
    let mut value = of(key.shape);
    if value.get("$ref").is_some() {
        value = json!({"allOf": [value]});
    }
    value["description"] = json!(key.doc);
    value
}

fn of(shape: Shape) -> Value {
    match shape {
        Shape::Template => json!({}),
        Shape::Text | Shape::TextTemplate | Shape::KeyPath => json!({"type": "string"}),
        Shape::Expr => json!({"type": "string", "minLength": 1}),
        Shape::Name => json!({"type": "string", "pattern": NAME_PATTERN}),
        Shape::Condition => json!({"type": ["string", "boolean"]}),
        Shape::Duration => json!({"type": "string", "pattern": DURATION_PATTERN}),
        Shape::DurationTemplate => {
            json!({"type": "string", "anyOf": [{"pattern": DURATION_PATTERN}, {"pattern": COMPUTED_PATTERN}]})
        }
        Shape::TimeTemplate => {
            json!({"type": "string", "anyOf": [{"format": "date-time"}, {"pattern": COMPUTED_PATTERN}]})
        }
        Shape::Int(least) => json!({"type": "integer", "minimum": least}),
        Shape::Count(least, words, percent) => count(least, words, percent),
        Shape::Number => json!({"type": "number"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Words(words) => json!({"enum": words}),
        Shape::IntoPath => json!({"type": ["string", "null"]}),
        Shape::KeyPaths | Shape::Patterns => list_of(&json!({"type": "string"})),
        Shape::Names => list_of(&of(Shape::Name)),
        Shape::Nodes => json!({"$ref": "#/definitions/nodes"}),
        Shape::Object(keys) => object(keys),
        Shape::MapOf(inner) => json!({"type": "object", "additionalProperties": of(*inner)}),
        Shape::ListOf(inner) => list_of(&of(*inner)),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(|s| of(*s)).collect::<Vec<_>>()}),
        Shape::AnyList => json!({"type": "array"}),
        Shape::JsonSchema => json!({"type": ["object", "boolean"]}),
    }
}

fn list_of(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn count(least: i64, words: &[&str], percent: Percent) -> Value {
    let mut forms = vec![
        json!({"type": "integer", "minimum": least}),
        json!({"type": "string", "pattern": COMPUTED_PATTERN}),
    ];
    if !words.is_empty() {
        forms.push(json!({"enum": words}));
    }
    if percent == Percent::Yes {
        forms.push(json!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"}));
    }
    json!({"anyOf": forms})
}
