//! The OpenAPI 3.1 document, made of the routes.

use std::sync::{Arc, LazyLock};

use axum::http::header;
use axum::response::IntoResponse;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::access::Need;
use super::describe::{Answer, Content, Parameter, Route};
use super::problem::ProblemView;
use super::routes;

const ABOUT: &str = "Rejoin runs workflows that fan out and join. Every answer that is an error is a problem (RFC 9457). \
                     Unknown parameters and members are refused.";
const SCHEMAS: &str = "#/components/schemas/";

static TEXT: LazyLock<Arc<str>> = LazyLock::new(|| {
    let text = serde_json::to_string_pretty(&document()).expect("plain data");
    (text + "\n").into()
});

/// `GET /openapi.json`
pub async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.to_string())
}

/// The document as it is served.
#[must_use]
pub fn text() -> Arc<str> {
    Arc::clone(&TEXT)
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes::all() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        let method = route.method.as_str().to_ascii_lowercase();
        item[method] = operation(&route, &mut generator);
    }
    let problem = generator.subschema_for::<ProblemView>();
    debug_assert!(problem.get("$ref").is_some());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rejoin", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut out = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route),
        "responses": responses(route, generator),
    });
    if !route.about.is_empty() {
        out["description"] = json!(route.about);
    }
    if let Some(scope) = scope(route.need) {
        // Either of them: a server may ask for none.
        out["security"] = json!([{"token": []}, {}]);
        out["x-rejoin-scope"] = json!(scope);
    }
    if let Some(body) = &route.body {
        let content = body.content.iter();
        let content: Map<String, Value> = content
            .map(|(media, schema)| ((*media).to_owned(), json!({"schema": schema})))
            .collect();
        out["requestBody"] = json!({"required": body.is_required, "content": content});
    }
    out
}

fn scope(need: Need) -> Option<String> {
    match need {
        Need::Nothing => None,
        Need::Scope(scope) => Some(scope.to_string()),
        Need::Fleet(scope) => Some(format!("{scope} of namespace default")),
    }
}

/// What the address is about: its first segment behind the version.
fn tag(path: &str) -> &str {
    let rest = path.strip_prefix("/v1/").unwrap_or("process");
    rest.split(['/', ':']).next().unwrap_or(rest)
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.split('}').next()?;
        let schema = json!({"type": "string", "minLength": 1});
        Some(json!({"name": name, "in": "path", "required": true, "description": variable(name), "schema": schema}))
    });
    let in_query = route.query.iter().map(|parameter| shown(parameter, "query"));
    let in_header = route.headers.iter().map(|parameter| shown(parameter, "header"));
    let mut all: Vec<Value> = in_path.chain(in_query).chain(in_header).collect();
    if route.path.starts_with("/v1/") {
        all.push(json!({
            "name": "Rejoin-Namespace", "in": "header", "description": "The namespace; without it `default`.",
            "schema": {"type": "string", "pattern": routes::NAME, "default": "default"},
        }));
    }
    all
}

fn variable(name: &str) -> &'static str {
    match name {
        "id" => "An id; of a run also a unique prefix or suffix of at least 4 characters.",
        "version" => "A version's number.",
        "page" => "Name of a page.",
        _ => "A name.",
    }
}

fn shown(parameter: &Parameter, place: &str) -> Value {
    let mut out = json!({"name": parameter.name, "in": place, "description": parameter.about});
    out["schema"] = match parameter.is_list {
        true => json!({"type": "array", "items": parameter.schema}),
        false => parameter.schema.clone(),
    };
    out
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in &route.answers {
        let response = responses
            .entry(answer.status.to_string())
            .or_insert_with(|| json!({"description": answer.about}));
        add_content(response, answer, generator);
    }
    for code in route.all_problems() {
        let (name, status, title) = code.row();
        let response = responses
            .entry(status.as_str())
            .or_insert_with(|| json!({"description": ""}));
        let said = response["description"].as_str().unwrap_or_default();
        let gap = if said.is_empty() { "" } else { " " };
        response["description"] = json!(format!("{said}{gap}`{name}`: {title}."));
        let schema = json!({"$ref": format!("{SCHEMAS}Problem")});
        response["content"]["application/problem+json"] = json!({"schema": schema});
        if code.is_retryable() {
            response["headers"]["Retry-After"] = json!({"description": "Seconds.", "schema": {"type": "integer"}});
        }
    }
    responses
}

fn add_content(response: &mut Value, answer: &Answer, generator: &mut SchemaGenerator) {
    match answer.content {
        Content::Empty => {}
        Content::Json(schema) => {
            response["content"]["application/json"] = json!({"schema": schema(generator)});
        }
        Content::Text(media) => {
            response["content"][media] = json!({"schema": {"type": "string"}});
        }
    }
    for (name, about) in answer.headers {
        response["headers"][*name] = json!({"description": about, "schema": {"type": "string"}});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_committed_document_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let committed = std::fs::read_to_string(file).expect("docs/openapi.json");
        assert!(committed == *text(), "run scripts/docs");
    }

    #[test]
    fn every_operation_says_what_it_does_and_what_it_answers() {
        let mut ids = HashSet::new();
        for route in routes::all() {
            assert!(ids.insert(route.id), "two operations are called {}", route.id);
            assert!(
                !route.summary.is_empty() && !route.summary.ends_with('.'),
                "{}",
                route.id
            );
            assert!(!route.answers.is_empty(), "{}", route.id);
            for parameter in route.query.iter().chain(&route.headers) {
                assert!(parameter.about.ends_with('.'), "{} of {}", parameter.name, route.id);
            }
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let text = document.to_string();
        let mut count = 0;
        for target in text.split("\"$ref\":\"").skip(1) {
            let target = target.split('"').next().expect("a reference");
            assert!(document.pointer(&target[1..]).is_some(), "{target}");
            count += 1;
        }
        assert!(count > 100, "{count}");
    }
}
