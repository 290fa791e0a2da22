//! `run why`

use rejoin_shared::json::Json;

use super::waits;
use crate::args::{Global, OutputForm, RunArg};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output::table::member;
use crate::{ids, output};

/// Tells what a run waits for; of one whose compensation failed, what could not be undone.
pub async fn why(client: &Client, global: &Global, run: &RunArg) -> Result<u8, Failure> {
    let id = ids::resolve(client, &run.id).await?;
    let answer = client.get(&format!("/v1/runs/{id}/why"), &[]).await?;
    // The run's error names what is left, and the steps know which of that was tried.
    let failed = match member(&answer.json, "state").as_str() {
        "compensation_failed" if global.output == OutputForm::Table => {
            let query = [("state", "failed".to_owned())];
            client.list(&format!("/v1/runs/{id}/steps"), &query, usize::MAX).await?
        }
        _ => vec![],
    };
    output::value(global.output, &answer.text, || explained(&answer.json, &failed))?;
    Ok(exit::OK)
}

fn explained(answer: &Json, failed: &[Json]) -> String {
    let mut out = format!("{}\n", below(&member(answer, "summary")));
    let missing = answer.get("missing").and_then(Json::as_list).unwrap_or_default();
    out.extend(missing.iter().map(steps));
    out + &waits::lines(answer) + &undone(answer, failed)
}

/// Steps that wait for the same.
fn steps(missing: &Json) -> String {
    let branches = missing.get("branches").and_then(Json::as_str);
    let which = branches.map(|b| format!(" branches {b}")).unwrap_or_default();
    let (count, node, reason) = (
        member(missing, "count"),
        member(missing, "node"),
        member(missing, "reason"),
    );
    let mut out = format!("  {count} × {node}{which}: {reason}\n");
    let named = ["handler", "queue", "attempt"]
        .into_iter()
        .map(|key| (key, member(missing, key)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key} {value}"))
        .collect::<Vec<_>>();
    if !named.is_empty() {
        out.push_str(&format!("      {}\n", named.join(", ")));
    }
    let next = member(missing, "next_retry_at");
    if !next.is_empty() {
        out.push_str(&format!("      next attempt at {next}\n"));
    }
    if let Some(error) = missing.get("last_error").filter(|e| !e.is_null()) {
        out.push_str(&format!("      last error {}\n", error_below(error)));
    }
    out
}

/// What a compensation that failed has left: first what was tried, then what was not.
fn undone(answer: &Json, failed: &[Json]) -> String {
    let details = answer.get("error").and_then(|error| error.get("details"));
    let left = details
        .and_then(|details| details.get("compensation")?.get("left")?.as_list())
        .unwrap_or_default();
    let of_visit = |visit: &Json| {
        let path = format!("{}/compensate", visit.as_str().unwrap_or_default());
        failed.iter().find(|step| member(step, "path") == path)
    };
    let (tried, untouched): (Vec<&Json>, Vec<&Json>) = left.iter().partition(|visit| of_visit(visit).is_some());
    let mut out = String::new();
    for step in tried.into_iter().filter_map(of_visit) {
        let error = step.get("error").map(error_below).unwrap_or_default();
        out.push_str(&format!("  undo failed: {}: {error}\n", member(step, "path")));
    }
    for visit in untouched {
        out.push_str(&format!("  not undone: {}\n", visit.as_str().unwrap_or_default()));
    }
    out
}

fn error_below(error: &Json) -> String {
    below(&format!("{}: {}", member(error, "type"), member(error, "message")))
}

/// Further lines of a message are set below the first, so that none of them looks like one of ours.
fn below(text: &str) -> String {
    text.replace('\n', "\n        ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: &str, failed: &str) -> String {
        let read = |text: &str| Json::parse(text.as_bytes()).expect("json");
        explained(&read(answer), read(failed).as_list().expect("a list"))
    }

    #[test]
    fn missing_steps_hide_no_wait_and_tell_queue_and_attempt() {
        let answer = r#"{"summary":"1 step of /s: waits","missing":[
            {"node":"/e[*]/s","branches":"0-3","count":4,"handler":"h","queue":"q","attempt":2,"reason":"waits",
             "next_retry_at":"T1","last_error":{"type":"app.x","message":"a\nb"}}],
            "waits":[{"type":"input","path":"/ok","until":"T2","prompt":"Well?"}]}"#;
        assert_eq!(
            shown(answer, "[]"),
            "1 step of /s: waits
  4 × /e[*]/s branches 0-3: waits
      handler h, queue q, attempt 2
      next attempt at T1
      last error app.x: a
        b
waits
  input   /ok  Well?, until T2
"
        );
    }

    #[test]
    fn what_could_not_be_undone_is_told_with_the_undo_that_failed() {
        let answer = r#"{"summary":"the run failed at /x: app.no: never","state":"compensation_failed","missing":[],"waits":[],
            "error":{"type":"app.no","details":{"compensation":{"done":["/c"],"left":["/b","/a"]}}}}"#;
        let failed = r#"[{"path":"/x","error":{"type":"app.no","message":"never"}},
            {"path":"/b/compensate","error":{"type":"app.undo","message":"no refund"}}]"#;
        assert_eq!(
            shown(answer, failed),
            "the run failed at /x: app.no: never
  undo failed: /b/compensate: app.undo: no refund
  not undone: /a
"
        );
        let unknown = "the run failed at /x: app.no: never\n  not undone: /b\n  not undone: /a\n";
        assert_eq!(shown(answer, "[]"), unknown);
    }
}
