//! `run start`

use rejoin_shared::json::Json;

use super::{follow, one_line};
use crate::args::{Global, OutputForm, StartArgs};
use crate::client::{Client, encode};
use crate::exit::{self, Failure};
use crate::{output, source};

/// Starts a run, and follows it with `--wait`.
pub async fn start(client: &Client, global: &Global, args: StartArgs) -> Result<u8, Failure> {
    let mut body = Json::object();
    let members = body.object_mut();
    if let Some(given) = &args.input {
        members.insert("input".into(), source::json(given)?);
    }
    if let Some(version) = args.version {
        members.insert("version".into(), Json::Int(i64::from(version)));
    }
    if let Some(key) = &args.idempotency_key {
        members.insert("idempotency_key".into(), Json::str(key));
    }
    if let Some(at) = &args.at {
        members.insert("at".into(), Json::str(at));
    }
    if let Some(priority) = &args.priority {
        members.insert("priority".into(), Json::str(priority));
    }
    if !args.tags.is_empty() {
        let tags = args
            .tags
            .iter()
            .map(|(key, value)| (key.as_str().into(), Json::str(value)))
            .collect();
        members.insert("tags".into(), Json::Object(std::sync::Arc::new(tags)));
    }
    let answer = client
        .post(&format!("/v1/workflows/{}/runs", encode(&args.workflow)), &body)
        .await?;
    let id = answer
        .json
        .get("id")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    if answer.status == 200 {
        output::note("the idempotency key had started this run before");
    }
    if args.wait {
        output::note(&format!("run {id}"));
        return follow::follow(client, global, &id, args.timeout).await;
    }
    match global.output {
        OutputForm::Table => output::text(&one_line(&answer.json))?,
        OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml => {
            output::value(global.output, &answer.text, String::new)?;
        }
    }
    Ok(exit::OK)
}
