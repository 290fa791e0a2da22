//! `run bulk`

use std::collections::BTreeMap;

use rejoin_shared::json::Json;

use super::{confirmed, filter};
use crate::args::{BulkArgs, BulkOperation, Global};
use crate::client::{BULK_PATH, Client};
use crate::exit::{self, Failure};
use crate::output;
use crate::output::table::member;

/// `rejoin run bulk OPERATION`
pub async fn bulk(client: &Client, global: &Global, args: BulkArgs) -> Result<u8, Failure> {
    let (dry_run, yes, name) = (args.dry_run, args.yes, name(args.operation));
    let mut body = body(args);
    if !dry_run && !yes {
        body.object_mut().insert("dry_run".into(), Json::Bool(true));
        let found = client.post(BULK_PATH, &body).await?;
        if !confirmed(&format!("{name} {} runs?", member(&found.json, "matched")))? {
            return Err(Failure::general("nothing was done"));
        }
    }
    body.object_mut().insert("dry_run".into(), Json::Bool(dry_run));
    let answer = client.post(BULK_PATH, &body).await?;
    output::value(global.output, &answer.text, || shown(name, dry_run, &answer.json))?;
    Ok(exit::OK)
}

fn name(operation: BulkOperation) -> &'static str {
    match operation {
        BulkOperation::Cancel => "cancel",
        BulkOperation::Pause => "pause",
        BulkOperation::Resume => "resume",
        BulkOperation::Retry => "retry",
        BulkOperation::Fork => "fork",
        BulkOperation::Delete => "delete",
    }
}

fn body(args: BulkArgs) -> Json {
    let mut members: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for (key, value) in filter(args.filter) {
        members.entry(key).or_default().push(Json::str(&value));
    }
    let mut found = Json::object();
    for (key, mut values) in members {
        let value = match (values.len(), values.pop()) {
            (1, Some(only)) => only,
            (_, last) => Json::list(values.into_iter().chain(last).collect()),
        };
        found.object_mut().insert(key.into(), value);
    }
    let operation = Json::str(name(args.operation));
    let mut body = Json::from_entries([
        ("filter", found),
        ("operation", operation),
        ("all", Json::Bool(args.all)),
    ]);
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            body.object_mut().insert(key.into(), value);
        }
    };
    put("reason", args.reason.map(|reason| Json::str(&reason)));
    put("compensate", args.compensate.then_some(Json::Bool(true)));
    put("error_type", args.error_type.map(|kind| Json::str(&kind)));
    put("version", args.version.map(|version| Json::Int(i64::from(version))));
    body
}

fn shown(name: &str, dry_run: bool, answer: &Json) -> String {
    let (matched, done) = (member(answer, "matched"), member(answer, "done"));
    match dry_run {
        true => format!("would {name} {matched} runs, as far as their states allow it\n"),
        false => format!("{name}: done with {done} of {matched} runs\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::RunFilterArgs;

    #[test]
    fn one_value_is_a_text_and_several_are_a_list_and_what_divides_them_is_escaped() {
        let filter = RunFilterArgs {
            workflow: vec!["w".to_owned()],
            state: vec!["failed".to_owned(), "paused".to_owned()],
            tags: vec![("k:".to_owned(), "v,:".to_owned())],
            since: None,
            q: None,
        };
        let args = BulkArgs {
            operation: BulkOperation::Resume,
            filter,
            all: false,
            reason: None,
            compensate: false,
            error_type: None,
            version: None,
            dry_run: false,
            yes: true,
        };
        let expected = r#"{"all":false,"filter":{"state":["failed","paused"],"tag":"k\\::v\\,:","workflow":"w"},"operation":"resume"}"#;
        assert_eq!(body(args).to_string(), expected);
    }
}
