//! `input list`, `input answer`

use rejoin_shared::json::Json;

use crate::args::{Global, InputCommand, ListArgs};
use crate::client::{Client, encode};
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output::table::{Column, member};
use crate::run::one_line;
use crate::{ids, output, source};

/// Carries an `input` command out.
pub async fn run(global: &Global, command: InputCommand) -> Result<u8, Failure> {
    match command {
        InputCommand::List(list) => show(global, &list).await,
        InputCommand::Answer { run, name, value, path } => {
            let client = Client::of(global)?;
            let id = ids::resolve(&client, &run.id).await?;
            let mut body = Json::from_entries([("value", source::json(&value)?)]);
            if let Some(path) = path {
                body.object_mut().insert("path".into(), Json::str(&path));
            }
            let to = format!("/v1/runs/{id}/inputs/{}", encode(&name));
            let answer = client.post(&to, &body).await?;
            output::value(global.output, &answer.text, || one_line(&answer.json))?;
            Ok(exit::OK)
        }
    }
}

async fn show(global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "RUN",
            cell: |input| member(input, "run"),
        },
        Column {
            head: "WORKFLOW",
            cell: |input| member(input, "workflow"),
        },
        Column {
            head: "NAME",
            cell: |input| member(input, "name"),
        },
        Column {
            head: "TYPE",
            cell: |input| member(input, "type"),
        },
        Column {
            head: "PROMPT",
            cell: |input| member(input, "prompt"),
        },
        Column {
            head: "SINCE",
            cell: |input| member(input, "created_at"),
        },
        Column {
            head: "TIMES OUT",
            cell: |input| member(input, "timeout_at"),
        },
        Column {
            head: "PATH",
            cell: |input| member(input, "path"),
        },
    ];
    show_list(&Client::of(global)?, global, "/v1/inputs", &[], list, &columns).await
}
