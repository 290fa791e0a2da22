//! Inputs: questions to people, and their answers.

use axum::Json as Answer;
use axum::extract::State;
use rejoin_engine::record::Awaited;
use rejoin_engine::state::view::OpenWait;
use rejoin_shared::definition::model::{Definition, NodeKind, WaitFor};
use rejoin_shared::ids::RunId;
use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::definitions::check;
use super::extract::{Body, Fields, InNamespace, Params, bad_parameter, wrong_member};
use super::find::Segments;
use super::page::Page;
use super::problem::{Code, Problem};
use crate::owner::command::Command;
use crate::read::run::RunView;
use crate::read::waits::question;
use crate::store::WaitRow;

/// What is asked, as its wait has it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `question` of the read models writes")]
struct Question {
    /// `approval`, `choice`, `text` or `form`
    r#type: String,
    prompt: Option<String>,
    choices: Option<Vec<Json>>,
    /// JSON Schema of the value.
    schema: Option<Json>,
}

/// A question that waits for an answer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Input")]
#[allow(missing_docs)] // INTERFACE 8
pub struct InputView {
    pub run: RunId,
    pub workflow: String,
    pub name: String,
    pub path: String,
    #[serde(flatten)]
    #[schemars(with = "Question")]
    pub question: Json,
    pub created_at: Timestamp,
    pub timeout_at: Option<Timestamp>,
}

/// `GET /v1/inputs`
pub async fn list(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    params: Params,
) -> Result<Answer<Page<InputView>>, Problem> {
    let after = params.get("after").map(place).transpose()?;
    let limit = params.limit()?;
    let rows = api.store.inputs(&namespace, after, limit + 1).await?;
    let page = Page::cut(rows, limit, |row| format!("{}:{}", row.run, row.seq));
    Ok(Answer(page.map(shown)))
}

fn place(text: &str) -> Result<(RunId, u64), Problem> {
    let read = || {
        let (run, seq) = text.rsplit_once(':')?;
        Some((run.parse().ok()?, seq.parse().ok()?))
    };
    read().ok_or_else(|| bad_parameter("after", text, "the `next` of the page before"))
}

fn shown(row: WaitRow) -> InputView {
    InputView {
        run: row.run,
        workflow: row.workflow,
        name: row.name,
        path: row.path,
        question: rejoin_shared::json::read_own(&row.body).unwrap_or_default(),
        created_at: row.opened_at,
        timeout_at: row.until,
    }
}

/// `POST /v1/runs/{id}/inputs/{name}`
pub async fn answer(
    State(api): State<Api>,
    InNamespace(namespace): InNamespace,
    Segments((id, name)): Segments<(String, String)>,
    body: Body,
) -> Result<Answer<RunView>, Problem> {
    let mut fields = Fields::of(&body.object()?);
    let Some(value) = fields.take("value") else {
        return Err(wrong_member("value", "member \"value\" is missing: the answer"));
    };
    let path = fields.take_text("path")?;
    fields.end()?;
    let row = api.run(&namespace, &id).await?;
    let state = api.state_of(&row, None).await?;
    let definition = api.definition(&row).await?;
    let open: Vec<OpenWait> = state
        .open_waits()
        .filter(|wait| matches!(wait.awaited, Awaited::Input { .. }) && wait.name == name)
        .filter(|wait| path.as_ref().is_none_or(|path| *path == wait.path))
        .collect();
    let wait = match open.as_slice() {
        [wait] => wait,
        [] if asks(&definition, &name) => {
            let detail = format!(
                "input {name} of run {} waits for no answer: it has one, or is not asked",
                row.id
            );
            return Err(Problem::new(Code::Conflict, detail));
        }
        [] => return Err(Problem::not_found("input", &name)),
        several => {
            let paths: Vec<&str> = several.iter().map(|wait| wait.path.as_str()).collect();
            let detail = format!(
                "input {name} waits several times; name one by \"path\": {}",
                paths.join(", ")
            );
            return Err(wrong_member("path", detail));
        }
    };
    api.fits(&question(&definition, wait), &value)?;
    let path = wait.path.clone();
    api.carry_out(row, Command::Answer { path, value }).await
}

/// Whether a workflow has an input of this name at all.
fn asks(definition: &Definition, name: &str) -> bool {
    definition.nodes.iter().any(|node| {
        let is_input = matches!(&node.kind, NodeKind::Wait(wait) if matches!(wait.what, WaitFor::Input { .. }));
        is_input && *node.name == *name
    })
}

impl Api {
    /// Whether an answer fits its question.
    fn fits(&self, question: &Json, value: &Json) -> Result<(), Problem> {
        let part = |key: &str| question.get(key).filter(|part| !part.is_null());
        let refuse = |detail: String| Err(Problem::new(Code::InvalidInput, detail));
        let (bytes, most) = (value.text_len(), self.limits.payload_bytes_max);
        if bytes > most {
            let detail = format!("the value has {bytes} bytes, more than the limit of {most}");
            return Err(Problem::new(Code::TooLarge, detail).at_member("value"));
        }
        match part("type").and_then(Json::as_str) {
            Some("approval") if value.get("approved").and_then(Json::as_bool).is_none() => {
                return refuse("an approval is an object with `approved`: true or false".to_owned());
            }
            Some("text") if value.as_str().is_none() => {
                return refuse(format!("the answer must be text, not {}", value.kind()));
            }
            Some("choice") => {
                let choices = part("choices").and_then(Json::as_list).unwrap_or_default();
                if !choices.contains(value) {
                    let known: Vec<String> = choices.iter().map(ToString::to_string).collect();
                    return refuse(format!("{value} is none of the choices: {}", known.join(", ")));
                }
            }
            Some(_) | None => {}
        }
        part("schema").map_or(Ok(()), |schema| check("the answer", schema, value))
    }
}
