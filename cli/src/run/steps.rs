//! `run steps`, `run journal`

use rejoin_shared::json::Json;

use super::follow::record_line;
use crate::args::{Global, ListArgs, OutputForm};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output;
use crate::output::table::{Column, member};

/// Lists steps.
pub async fn list(
    client: &Client,
    global: &Global,
    id: &str,
    states: Vec<String>,
    path: Option<String>,
    list: &ListArgs,
) -> Result<u8, Failure> {
    let mut query: Vec<(&str, String)> = states.into_iter().map(|s| ("state", s)).collect();
    query.extend(path.map(|p| ("path", p)));
    let columns = [
        Column {
            head: "PATH",
            cell: |s| member(s, "path"),
        },
        Column {
            head: "HANDLER",
            cell: |s| member(s, "handler"),
        },
        Column {
            head: "QUEUE",
            cell: |s| member(s, "queue"),
        },
        Column {
            head: "STATE",
            cell: |s| member(s, "state"),
        },
        Column {
            head: "ATTEMPT",
            cell: |s| member(s, "attempt"),
        },
        Column {
            head: "WORKER",
            cell: |s| member(s, "worker"),
        },
        Column {
            head: "ERROR",
            cell: |s| s.get("error").map(|e| member(e, "message")).unwrap_or_default(),
        },
    ];
    show_list(client, global, &format!("/v1/runs/{id}/steps"), &query, list, &columns).await
}

/// Shows the journal; with `-w` until the run has ended.
pub async fn journal(client: &Client, global: &Global, id: &str, after: u64, list: &ListArgs) -> Result<u8, Failure> {
    let (mut after, mut has_ended, mut is_first) = (after, false, true);
    loop {
        let query = [("after", after.to_string())];
        let items = client
            .list(&format!("/v1/runs/{id}/journal"), &query, list.limit.max(1))
            .await?;
        match global.output {
            OutputForm::Table => items.iter().try_for_each(|record| output::line(&record_line(record)))?,
            OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml if is_first || !items.is_empty() => {
                output::list(global.output, &items, &[])?;
            }
            OutputForm::Json | OutputForm::Jsonl | OutputForm::Yaml => {}
        }
        is_first = false;
        for record in &items {
            match member(record, "kind").as_str() {
                "run_finished" => has_ended = true,
                "run_resumed" => has_ended = false,
                _ => {}
            }
        }
        if !list.watch || has_ended {
            return Ok(exit::OK);
        }
        let last = items.last().and_then(|r| r.get("seq")).and_then(Json::as_int);
        after = last.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(after);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
