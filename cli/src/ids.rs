//! `@latest` and `@latest:WORKFLOW`; whole ids, prefixes and suffixes are the server's.

use rejoin_shared::json::Json;

use crate::client::{Client, encode};
use crate::exit::{self, Failure};

/// The id to put into addresses.
pub async fn resolve(client: &Client, id: &str) -> Result<String, Failure> {
    let query = match id.strip_prefix("@latest") {
        None => return Ok(encode(id)),
        Some("") => vec![],
        Some(rest) => match rest.strip_prefix(':').filter(|w| !w.is_empty()) {
            Some(workflow) => vec![("workflow", workflow.to_owned())],
            None => return Err(Failure::usage(format!("{id}: expected @latest or @latest:WORKFLOW"))),
        },
    };
    let newest = client.list("/v1/runs", &query, 1).await?;
    match newest.first().and_then(|run| run.get("id")).and_then(Json::as_str) {
        Some(found) => Ok(found.to_owned()),
        None => Err(Failure::new(exit::NOT_FOUND, format!("{id}: there is no run yet"))),
    }
}
