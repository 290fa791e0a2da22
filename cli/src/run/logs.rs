//! `run logs`

use rejoin_shared::json::Json;

use crate::args::{Global, OutputForm};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output;
use crate::output::table::member;

/// Prints the lines of all attempts, each with its step's path.
pub async fn logs(client: &Client, global: &Global, id: &str, path: Option<String>) -> Result<u8, Failure> {
    let query: Vec<(&str, String)> = path.map(|p| ("path", p)).into_iter().collect();
    let steps = client.list(&format!("/v1/runs/{id}/steps"), &query, usize::MAX).await?;
    let mut entries = Vec::new();
    for step in &steps {
        for attempt in step.get("attempts").and_then(Json::as_list).unwrap_or_default() {
            for line in attempt.get("logs").and_then(Json::as_list).unwrap_or_default() {
                let field = |key| attempt.get(key).cloned().unwrap_or_default();
                entries.push(Json::from_entries([
                    ("path", Json::str(&member(step, "path"))),
                    ("attempt", field("attempt")),
                    ("worker", field("worker")),
                    ("line", line.clone()),
                ]));
            }
        }
    }
    match global.output {
        OutputForm::Table => {
            for entry in &entries {
                output::line(&format!("{}: {}", member(entry, "path"), member(entry, "line")))?;
            }
        }
        OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml => output::list(global.output, &entries, &[])?,
    }
    Ok(exit::OK)
}
