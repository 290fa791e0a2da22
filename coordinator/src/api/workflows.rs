//! Registering and reading definitions.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rejoin_shared::definition::model::Definition;
use rejoin_shared::definition::{self, DefinitionError, DefinitionErrors, Format};
use rejoin_shared::ids::Namespace;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Api;
use super::extract::{Body, InNamespace, Params};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, DocumentError, Problem};
use crate::read::graph::{GraphView, Open, graph as draw};
use crate::schemas;
use crate::store::WorkflowRow;

/// Called workflows that are looked for at a registration.
const NAMES_ASKED_MAX: usize = 100;

/// A definition that was taken in, or would be.
#[derive(Serialize, JsonSchema)]
pub struct Registered {
    name: String,
    version: Option<u32>,
    digest: String,
    created: bool,
    created_at: Option<Timestamp>,
    /// What is probably not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Something in a definition that is allowed and probably not meant.
#[derive(Serialize, JsonSchema)]
pub struct Warning {
    line: u32,
    column: u32,
    code: &'static str,
    message: String,
}

/// A version of a workflow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workflow")]
pub struct WorkflowView {
    name: String,
    version: u32,
    digest: String,
    description: Option<String>,
    created_at: Timestamp,
    definition: Box<RawValue>,
}

/// `PUT /v1/workflows`
pub async fn put(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
    body: Body,
) -> Result<Response, Problem> {
    let dry_run = params.flag("dry_run")?;
    let max = api.limits.definition_bytes_max;
    if body.bytes.len() > max {
        return Err(Problem::new(
            Code::TooLarge,
            format!(
                "the definition has {} bytes, more than the {max} allowed",
                body.bytes.len()
            ),
        ));
    }
    let tree = definition::read(&body.bytes, format_of(&body)?, &api.limits).map_err(refused)?;
    let checked = definition::compile_judging(&tree, &api.limits, &schemas::problem).map_err(refused)?;
    let warnings = api.warnings(&namespace, &checked).await?;
    let (name, digest) = (checked.workflow.to_string(), tree.digest());
    if dry_run {
        let known = known(&api, &namespace, name, digest).await?;
        return Ok(Answer(Registered { warnings, ..known }).into_response());
    }
    let document = tree.canonical_json();
    let (row, created) = api.store.put_workflow(&namespace, &name, &digest, &document).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = Registered {
        name: row.name,
        version: Some(row.version),
        digest: row.digest,
        created,
        created_at: Some(row.created_at),
        warnings,
    };
    Ok((status, Answer(answer)).into_response())
}

/// What a dry run answers: the version, if the newest has this content already.
async fn known(api: &Api, namespace: &Namespace, name: String, digest: String) -> Result<Registered, Problem> {
    let newest = api.store.workflow(namespace, &name, None).await?;
    let same = newest.filter(|row| row.digest == digest);
    Ok(Registered {
        name,
        version: same.as_ref().map(|row| row.version),
        digest,
        created: false,
        created_at: same.map(|row| row.created_at),
        warnings: Vec::new(),
    })
}

impl Api {
    /// What is allowed and probably not meant: calls of workflows that are not there (SPEC 5.9).
    async fn warnings(&self, namespace: &Namespace, definition: &Definition) -> Result<Vec<Warning>, Problem> {
        let mut found: BTreeMap<&str, bool> = BTreeMap::from([(&*definition.workflow, true)]);
        let mut warnings = Vec::new();
        for node in &definition.nodes {
            let Some(call) = node.kind.as_call() else { continue };
            let name = &*call.workflow;
            if !found.contains_key(name) {
                // Each is a question to the database.
                if found.len() > NAMES_ASKED_MAX {
                    break;
                }
                let row = self.store.workflow(namespace, name, None).await?;
                found.insert(name, row.is_some());
            }
            if found[name] {
                continue;
            }
            warnings.push(Warning {
                line: node.position.line,
                column: node.position.column,
                code: "unknown_workflow",
                message: format!("there is no workflow `{name}` yet, which `{}` calls", node.name),
            });
        }
        Ok(warnings)
    }
}

fn format_of(body: &Body) -> Result<Format, Problem> {
    match body.media_type().as_deref() {
        Some("application/json") => Ok(Format::Json),
        // JSON is YAML, but for a character in two escapes: it is read as JSON. The last ones are what a client sends that names no
        // type of its own (curl names the last of them).
        Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml")
        | None
        | Some("text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded") => Ok(Format::Auto),
        Some(other) => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("content type {other}; send application/yaml, application/json or text/plain"),
        )),
    }
}

/// Text that cannot be read at all is 400, what reads but means nothing 422.
fn refused(errors: DefinitionErrors) -> Problem {
    let count = errors.0.len();
    let unreadable = errors
        .0
        .iter()
        .any(|e| matches!(e.code, "syntax" | "not_utf8" | "encoding"));
    let code = match unreadable {
        true => Code::Malformed,
        false => Code::InvalidDefinition,
    };
    let first = errors.0.first().map(ToString::to_string).unwrap_or_default();
    let detail = match count {
        1 => first,
        n => format!("{n} errors; the first: {first}"),
    };
    Problem::new(code, detail).with_errors(errors.0.into_iter().map(document_error).collect())
}

fn document_error(error: DefinitionError) -> DocumentError {
    DocumentError {
        pointer: error.pointer,
        line: Some(error.line),
        column: Some(error.column),
        code: error.code.into(),
        message: error.message,
        suggestion: error.suggestion,
    }
}

fn view(row: WorkflowRow) -> WorkflowView {
    let definition = serde_json::from_slice(&row.document).unwrap_or_else(|_| RawValue::NULL.to_owned());
    WorkflowView {
        description: description(&row.document),
        name: row.name,
        version: row.version,
        digest: row.digest,
        created_at: row.created_at,
        definition,
    }
}

fn description(document: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Head {
        description: Option<String>,
    }
    serde_json::from_slice::<Head>(document).ok()?.description
}

/// `GET /v1/workflows`
pub async fn list(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<WorkflowView>>, Problem> {
    let limit = params.limit()?;
    let rows = api.store.workflows(&namespace, params.get("after"), limit + 1).await?;
    Ok(Answer(Page::cut(rows, limit, |row| row.name.clone()).map(view)))
}

async fn read(api: &Api, namespace: &Namespace, name: &str, version: Option<u32>) -> Result<Response, Problem> {
    let row = api.store.workflow(namespace, name, version).await?;
    let row = row.ok_or_else(|| match version {
        None => Problem::not_found("workflow", name),
        Some(v) => Problem::not_found("workflow", &format!("{name} of version {v}")),
    })?;
    Ok(Answer(view(row)).into_response())
}

/// `GET /v1/workflows/{name}`
pub async fn newest(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    read(&api, &namespace, &name, None).await
}

/// `GET /v1/workflows/{name}/versions/{v}`
pub async fn version(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments((name, version)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let number = version.parse().map_err(|_| Problem::not_found("version", &version))?;
    read(&api, &namespace, &name, Some(number)).await
}

/// `GET /v1/workflows/{name}/graph`
pub async fn graph(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments(name): Segments<String>,
    params: Params,
) -> Result<Answer<GraphView>, Problem> {
    let version = params.read("version", "a version's number")?;
    let known = api.definitions.get(&*api.store, &namespace, &name, version).await?;
    Ok(Answer(draw(
        &known.definition,
        known.row.version,
        &[],
        &[],
        &Open::default(),
    )))
}
