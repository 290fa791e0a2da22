//! The OpenAPI document as a page.

use serde_json::{Map, Value};

/// Renders the document.
pub fn html(document: &Value) -> String {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let mut page = format!(
        "<h1>{} {}</h1><p>{}</p><p>For programs: <a href=\"/openapi.json\"><code>/openapi.json</code></a> (OpenAPI {}).</p>",
        text(&document["info"]["title"]),
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
        text(&document["openapi"]),
    );
    contents(&mut page, document);
    for (path, method, operation) in operations(document) {
        add_operation(&mut page, path, method, operation);
    }
    page.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        page.push_str(&format!("<h3 id=\"schema-{name}\">{name}</h3>"));
        add_schema(&mut page, schema);
    }
    page
}

fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let mut out = String::new();
    for (place, part) in text.split('`').enumerate() {
        match place % 2 {
            0 => out.push_str(part),
            _ => {
                out.push_str(&format!("<code>{part}</code>"));
            }
        }
    }
    out
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    members(&document["paths"]).flat_map(|(path, item)| {
        members(item).map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn contents(page: &mut String, document: &Value) {
    page.push_str("<table><tr><th>call</th><th>does</th></tr>");
    for (path, method, operation) in operations(document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let summary = escaped(operation["summary"].as_str().unwrap_or_default());
        let call = method.to_uppercase();
        page.push_str(&format!(
            "<tr><td><a href=\"#{id}\"><code>{call} {path}</code></a></td><td>{summary}</td></tr>"
        ));
    }
    page.push_str("</table>");
}

fn add_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |key: &str| operation[key].as_str().unwrap_or_default();
    let call = method.to_uppercase();
    page.push_str(&format!(
        "<h2 id=\"{}\"><code>{call} {path}</code></h2>",
        text("operationId")
    ));
    page.push_str(&format!(
        "<p>{}. {}</p>",
        escaped(text("summary")),
        escaped(text("description"))
    ));
    if let Some(scope) = operation["x-rejoin-scope"].as_str() {
        page.push_str(&format!("<p>Scope of the token, where one is needed: {scope}.</p>"));
    }
    let parameters = operation["parameters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>parameter</th><th>in</th><th>value</th><th>meaning</th></tr>");
        for parameter in parameters {
            let part = |key: &str| escaped(parameter[key].as_str().unwrap_or_default());
            let (name, place, about) = (part("name"), part("in"), part("description"));
            let value = kind(&parameter["schema"]);
            page.push_str(&format!(
                "<tr><td><code>{name}</code></td><td>{place}</td><td>{value}</td><td>{about}</td></tr>"
            ));
        }
        page.push_str("</table>");
    }
    for (media, content) in members(&operation["requestBody"]["content"]) {
        page.push_str(&format!("<p>Body, <code>{media}</code>:</p>"));
        add_schema(page, &content["schema"]);
    }
    page.push_str("<table><tr><th>status</th><th>answer</th><th>meaning</th></tr>");
    for (status, response) in members(&operation["responses"]) {
        let content = members(&response["content"]).map(|(media, content)| match kind(&content["schema"]) {
            shown if media == "application/json" => shown,
            _ => format!("<code>{media}</code>"),
        });
        let content: Vec<String> = content.collect();
        let about = escaped(response["description"].as_str().unwrap_or_default());
        page.push_str(&format!(
            "<tr><td>{status}</td><td>{}</td><td>{about}</td></tr>",
            content.join(", ")
        ));
    }
    page.push_str("</table>");
}

fn add_schema(page: &mut String, schema: &Value) {
    if let Some(about) = schema["description"].as_str() {
        page.push_str(&format!("<p>{}</p>", escaped(about)));
    }
    if schema.get("properties").is_none() {
        page.push_str(&format!("<p>{}</p>", kind(schema)));
        return;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    page.push_str("<table><tr><th>member</th><th>value</th><th>meaning</th></tr>");
    for (name, member) in members(&schema["properties"]) {
        let mark = if required.contains(&name.as_str()) { "" } else { "?" };
        let about = escaped(member["description"].as_str().unwrap_or_default());
        let value = kind(member);
        page.push_str(&format!(
            "<tr><td><code>{name}{mark}</code></td><td>{value}</td><td>{about}</td></tr>"
        ));
    }
    page.push_str("</table>");
}

/// What kind of value a schema takes, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or(target);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(choices) = schema["enum"].as_array() {
        let words = choices
            .iter()
            .map(|word| format!("<code>{}</code>", escaped(&word.to_string())));
        return words.collect::<Vec<_>>().join(", ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let names = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec!["any"],
    };
    let shown = names.iter().map(|name| match *name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "string" => schema["format"]
            .as_str()
            .or(schema["const"].as_str())
            .unwrap_or("text")
            .to_owned(),
        "integer" => bounds("integer", schema),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        other => other.to_owned(),
    });
    shown.collect::<Vec<_>>().join(" or ")
}

fn bounds(name: &str, schema: &Value) -> String {
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(from), Some(to)) => format!("{name}, {from} to {to}"),
        (Some(from), None) => format!("{name} from {from}"),
        (None, _) => name.to_owned(),
    }
}
