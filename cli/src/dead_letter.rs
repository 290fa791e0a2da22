//! `dead-letter list`, `dead-letter replay`, `dead-letter drop`

use rejoin_shared::json::Json;
use reqwest::Method;

use crate::args::{DeadLetterCommand, Global, ListArgs};
use crate::client::{Client, encode};
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output;
use crate::output::table::{Column, member};
use crate::run::confirmed;

/// Carries a `dead-letter` command out.
pub async fn run(global: &Global, command: DeadLetterCommand) -> Result<u8, Failure> {
    let client = Client::of(global)?;
    match command {
        DeadLetterCommand::List(list) => show(&client, global, &list).await,
        DeadLetterCommand::Replay { id } => {
            let path = format!("/v1/dead-letters/{}:replay", encode(&id));
            let answer = client.post(&path, &Json::object()).await?;
            output::value(global.output, &answer.text, || replayed(&answer.json))?;
            Ok(exit::OK)
        }
        DeadLetterCommand::Drop { id, yes } => {
            if !yes && !confirmed(&format!("drop dead letter {id}?"))? {
                return Err(Failure::general("not dropped"));
            }
            let path = format!("/v1/dead-letters/{}", encode(&id));
            client.send(client.request(Method::DELETE, &path)).await?;
            output::note(&format!("dead letter {id} dropped"));
            Ok(exit::OK)
        }
    }
}

fn replayed(letter: &Json) -> String {
    let (queue, run) = (member(letter, "queue"), member(letter, "run"));
    match queue.is_empty() {
        true => format!("run {run} resumed\n"),
        false => format!("sent to {queue}\n"),
    }
}

async fn show(client: &Client, global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "LETTER",
            cell: |letter| member(letter, "id"),
        },
        Column {
            head: "REASON",
            cell: |letter| member(letter, "reason"),
        },
        Column {
            head: "QUEUE",
            cell: |letter| member(letter, "queue"),
        },
        Column {
            head: "RUN",
            cell: |letter| member(letter, "run"),
        },
        Column {
            head: "PATH",
            cell: |letter| member(letter, "path"),
        },
        Column {
            head: "SINCE",
            cell: |letter| member(letter, "at"),
        },
        Column {
            head: "BYTES",
            cell: |letter| member(letter, "bytes"),
        },
    ];
    show_list(client, global, "/v1/dead-letters", &[], list, &columns).await
}
