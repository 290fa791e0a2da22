//! `event send`

use rejoin_shared::json::Json;

use crate::args::{EventCommand, Global};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output::table::member;
use crate::{ids, output, source};

/// Carries an `event` command out.
pub async fn run(global: &Global, command: EventCommand) -> Result<u8, Failure> {
    let EventCommand::Send {
        event,
        run,
        payload,
        id,
    } = command;
    let client = Client::of(global)?;
    let path = match run {
        Some(run) => format!("/v1/runs/{}/events", ids::resolve(&client, &run).await?),
        None => "/v1/events".to_owned(),
    };
    let mut body = Json::from_entries([("event", Json::str(&event))]);
    if let Some(payload) = payload {
        body.object_mut().insert("payload".into(), source::json(&payload)?);
    }
    if let Some(id) = id {
        body.object_mut().insert("id".into(), Json::str(&id));
    }
    let answer = client.post(&path, &body).await?;
    output::value(global.output, &answer.text, || {
        format!("{event} went to {} runs\n", member(&answer.json, "runs"))
    })?;
    Ok(exit::OK)
}
