//! What a run waits for, a line for each wait.

use rejoin_shared::json::Json;

use crate::output::escape;
use crate::output::table::member;

/// Room for the word that says what kind of wait it is.
const KIND_CHARS: usize = 6;

/// The lines of a run's `waits`, with a title; nothing where it waits for nothing.
pub fn lines(holder: &Json) -> String {
    let waits = holder.get("waits").and_then(Json::as_list).unwrap_or_default();
    match waits {
        [] => String::new(),
        waits => std::iter::once("waits\n".to_owned())
            .chain(waits.iter().map(line))
            .collect(),
    }
}

fn line(wait: &Json) -> String {
    let what: Vec<String> = [awaited(wait), end(wait)].into_iter().flatten().collect();
    let (kind, path) = (member(wait, "type"), member(wait, "path"));
    // A prompt has as many lines as its author likes.
    let shown = escape::line(&format!("  {kind:<KIND_CHARS$}  {path}  {}", what.join(", ")));
    format!("{}\n", shown.trim_end())
}

/// Events, a question, a run, or the reason; nothing of a timer.
fn awaited(wait: &Json) -> Option<String> {
    let text = match member(wait, "type").as_str() {
        "event" => events(wait),
        "input" => member(wait, "prompt"),
        "child" => format!("run {}", member(wait, "run")),
        _ => steps(wait),
    };
    (!text.is_empty()).then_some(text)
}

/// `order.paid, order.packed (came)`
fn events(wait: &Json) -> String {
    let list = |key| wait.get(key).and_then(Json::as_list).unwrap_or_default();
    let came = list("received");
    let name = |event: &Json| match (event.as_str().unwrap_or_default(), came.contains(event)) {
        (name, true) => format!("{name} (came)"),
        (name, false) => name.to_owned(),
    };
    list("events").iter().map(name).collect::<Vec<_>>().join(", ")
}

/// `3 steps: no worker serves handler h on queue q`; handler and queue also where the reason does not name them.
fn steps(wait: &Json) -> String {
    let reason = member(wait, "reason");
    let names: Vec<String> = ["handler", "queue"]
        .into_iter()
        .map(|key| (key, member(wait, key)))
        .filter(|(key, name)| !name.is_empty() && !reason.contains(&format!("{key} {name}")))
        .map(|(key, name)| format!("{key} {name}"))
        .collect();
    let count = wait.get("count").and_then(Json::as_int).filter(|count| *count > 1);
    let count = count.map(|count| format!("{count} steps: ")).unwrap_or_default();
    match names.is_empty() {
        true => format!("{count}{reason}"),
        false => format!("{count}{reason} ({})", names.join(", ")),
    }
}

fn end(wait: &Json) -> Option<String> {
    let until = member(wait, "until");
    (!until.is_empty()).then(|| format!("until {until}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_has_a_line_that_says_what_for() {
        let run = Json::parse(
            br#"{"waits":[
            {"type":"timer","path":"/nap","until":"T1"},
            {"type":"event","path":"/paid","until":"T2","events":["a.b","c.d"],"received":["c.d"]},
            {"type":"input","path":"/ok","until":null,"prompt":"Well?\nwaits"},
            {"type":"input","path":"/no","until":null},
            {"type":"child","path":"/call","until":"T3","run":"0af3"},
            {"type":"worker","path":"/w[0]/s","until":null,"handler":"h","queue":"q","count":3,
             "reason":"no worker serves handler h on queue q"},
            {"type":"parked","path":"/p","until":null,"handler":"h","queue":"q",
             "reason":"parked after app.x: waits for an operator"}]}"#,
        );
        assert_eq!(
            lines(&run.expect("json")),
            "waits
  timer   /nap  until T1
  event   /paid  a.b, c.d (came), until T2
  input   /ok  Well?\\nwaits
  input   /no
  child   /call  run 0af3, until T3
  worker  /w[0]/s  3 steps: no worker serves handler h on queue q
  parked  /p  parked after app.x: waits for an operator (handler h, queue q)
"
        );
        assert_eq!(lines(&Json::from_entries([("waits", Json::list(vec![]))])), "");
    }
}
