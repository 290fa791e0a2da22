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
                output::text(&shown(entry))?;
            }
        }
        OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml => output::list(global.output, &entries, &[])?,
    }
    Ok(exit::OK)
}

/// Each line with the path, also where one entry has several: none of them looks like another step's.
fn shown(entry: &Json) -> String {
    let (path, text) = (member(entry, "path"), member(entry, "line"));
    text.split('\n').map(|line| format!("{path}: {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_an_entry_has_its_path() {
        let entry = Json::from_entries([("path", Json::str("/a")), ("line", Json::str("x\n/b: y"))]);
        assert_eq!(shown(&entry), "/a: x\n/a: /b: y\n");
    }
}
