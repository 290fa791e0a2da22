//! Following a run to its end: a live tree on a terminal, plain lines elsewhere.

use std::time::Duration;

use rejoin_shared::json::Json;
use rejoin_shared::run::RunStatus;
use reqwest::Method;
use tokio::time::{Instant, sleep_until};

use super::patient::Patient;
use super::{show, tree};
use crate::args::{Global, OutputForm};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::output;
use crate::output::escape;
use crate::output::table::member;

/// Time between two pictures of the live tree.
const FRAME: Duration = Duration::from_millis(400);
/// A watch is lost that shows nothing for so long: the server sends at least a comment every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(50);
/// Pause before a lost watch is opened again.
const REOPEN: Duration = Duration::from_millis(500);
/// Watches that may be lost in a row.
const LOSSES_MAX: u32 = 20;

/// Follows a run and shows its end; the exit code tells its state.
pub async fn follow(client: &Client, global: &Global, id: &str, timeout: Option<Duration>) -> Result<u8, Failure> {
    let deadline = timeout.map(|t| Instant::now() + t);
    let mut server = Patient::new(client, deadline);
    if output::is_terminal() && global.output == OutputForm::Table {
        live(&mut server, id).await?;
    } else {
        lines(&mut server, id).await?;
    }
    conclude(&mut server, global, id).await
}

/// Shows the run as it is; its state becomes the exit code.
async fn conclude(server: &mut Patient<'_>, global: &Global, id: &str) -> Result<u8, Failure> {
    let answer = server.get(&format!("/v1/runs/{id}")).await?;
    output::value(global.output, &answer.text, || show(&answer.json))?;
    Ok(code_of(&answer.json))
}

fn code_of(run: &Json) -> u8 {
    let compensated = run.get("compensated").and_then(Json::as_bool).unwrap_or(false);
    match RunStatus::from_name(&member(run, "state")) {
        Some(state) => exit::of_run(state, compensated),
        None => exit::ERROR,
    }
}

fn asks(run: &Json) -> bool {
    let waits = run.get("waits").and_then(Json::as_list).unwrap_or_default();
    waits.iter().any(|wait| member(wait, "type") == "input")
}

fn is_over(run: &Json) -> bool {
    RunStatus::from_name(&member(run, "state")).is_some_and(RunStatus::is_terminal)
}

/// Redraws the tree in place until the run ends.
async fn live(server: &mut Patient<'_>, id: &str) -> Result<(), Failure> {
    let mut drawn = 0;
    loop {
        let next = Instant::now() + FRAME;
        let run = server.get(&format!("/v1/runs/{id}")).await?.json;
        let graph = server.get(&format!("/v1/runs/{id}/graph")).await?.json;
        let tree = tree::render(&graph, tree::FLOWS_SHOWN_MAX);
        let picture = fitted(&tree, &progress_line(&run, &graph), output::rows());
        let up = if drawn > 0 {
            format!("\x1b[{drawn}A\x1b[J")
        } else {
            String::new()
        };
        // A line that is longer than the screen is cut there: wrapped, it would not be found again.
        output::drawn(&format!("{up}\x1b[?7l"), &picture, "\x1b[?7h")?;
        drawn = picture.lines().count();
        if is_over(&run) {
            return Ok(());
        }
        server.timed_out()?;
        sleep_until(next).await;
    }
}

/// The tree with its progress line, cut to what a screen of `rows` can draw anew: what has scrolled out of it stays.
fn fitted(tree: &str, progress: &str, rows: Option<usize>) -> String {
    let lines: Vec<&str> = tree.lines().collect();
    // The progress line, the mark and the cursor's own.
    let most = rows.map_or(usize::MAX, |rows| rows.saturating_sub(3).max(1));
    if lines.len() <= most.saturating_add(1) {
        return format!("{tree}{progress}\n");
    }
    let more = lines.len() - most;
    format!("{}\n… {more} more lines\n{progress}\n", lines[..most].join("\n"))
}

/// `branches 1,043/1,100 · 5 retrying`; where nothing has forked yet, the same of steps.
fn progress_line(run: &Json, graph: &Json) -> String {
    let progress = run.get("progress").cloned().unwrap_or_default();
    let number = |key| progress.get(key).and_then(Json::as_int).unwrap_or(0);
    let (word, (done, total)) = match tree::branches(graph) {
        Some(counts) => ("branches", counts),
        None => ("steps", (number("done"), number("total"))),
    };
    let mut line = format!("{word} {}/{}", grouped(done), grouped(total));
    for (count, word) in [
        (tree::count(graph, "retrying"), "retrying"),
        (tree::count(graph, "parked"), "parked"),
        (number("failed"), "failed"),
    ] {
        if count > 0 {
            line.push_str(&format!(" · {} {word}", grouped(count)));
        }
    }
    line
}

/// `1,043`
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Prints a line a record; a watch that breaks is opened again where it broke.
async fn lines(server: &mut Patient<'_>, id: &str) -> Result<(), Failure> {
    let mut after = 0;
    let mut losses = 0;
    loop {
        let request = |client: &Client| {
            let request = client.request(Method::GET, &format!("/v1/runs/{id}/watch"));
            request.header("Last-Event-ID", after.to_string())
        };
        let response = server.open(request).await?;
        let before = after;
        if read_events(server, response, &mut after).await? {
            return Ok(());
        }
        losses = if after > before { 0 } else { losses + 1 };
        if losses >= LOSSES_MAX {
            return Err(Failure::new(exit::SERVER_AWAY, "the watch was cut again and again"));
        }
        sleep_until(Instant::now() + REOPEN).await;
    }
}

/// Reads one response; `true` when the run ended.
async fn read_events(server: &Patient<'_>, mut response: reqwest::Response, after: &mut u64) -> Result<bool, Failure> {
    let mut buffer = Vec::new();
    loop {
        let chunk = server.within(async { Ok(server.client.chunk(&mut response, SILENCE_MAX).await) });
        match chunk.await? {
            Ok(Some(bytes)) => buffer.extend_from_slice(&bytes),
            Ok(None) => return Ok(false),
            Err(failure) => {
                output::note(&failure.to_string());
                return Ok(false);
            }
        }
        while let Some(end) = buffer.windows(2).position(|w| w == b"\n\n") {
            let block: Vec<u8> = buffer.drain(..end + 2).collect();
            if event(&String::from_utf8_lossy(&block), after) {
                return Ok(true);
            }
        }
    }
}

/// Shows one event; `true` for the last.
fn event(block: &str, after: &mut u64) -> bool {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("event:") == Some("end") {
        return true;
    }
    if let Some(seq) = field("id:").and_then(|id| id.parse().ok()) {
        *after = seq;
    }
    if let Some(record) = field("data:").and_then(|data| Json::parse_own(data.as_bytes()).ok()) {
        output::note(&record_line(&record));
    }
    false
}

/// A record in one line.
pub fn record_line(record: &Json) -> String {
    let mut line = format!(
        "{:>6} {} {}",
        member(record, "seq"),
        member(record, "at"),
        member(record, "kind")
    );
    for key in ["path", "worker"] {
        let value = member(record, key);
        if !value.is_empty() {
            line.push_str(&format!(" {value}"));
        }
    }
    if let Some(attempt) = record.get("attempt").and_then(Json::as_int).filter(|a| *a > 1) {
        line.push_str(&format!(" attempt {attempt}"));
    }
    if let Some(error) = record.get("error").filter(|e| !e.is_null()) {
        line.push_str(&format!(" {}: {}", member(error, "type"), member(error, "message")));
    }
    escape::line(&line)
}

/// `run wait`: silent until the run ends, or asks something.
pub async fn wait(
    client: &Client,
    global: &Global,
    id: &str,
    timeout: Option<Duration>,
    or_input: bool,
) -> Result<u8, Failure> {
    let deadline = timeout.map(|t| Instant::now() + t);
    let mut server = Patient::new(client, deadline);
    loop {
        let run = server.get(&format!("/v1/runs/{id}")).await?.json;
        if is_over(&run) {
            return conclude(&mut server, global, id).await;
        }
        if or_input && asks(&run) {
            conclude(&mut server, global, id).await?;
            return Ok(exit::WAITS_FOR_INPUT);
        }
        server.timed_out()?;
        sleep_until(Instant::now() + FRAME).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_ends_the_watch_and_others_move_it_on() {
        let mut after = 0;
        assert!(!event(
            "id: 7\nevent: step_completed\ndata: {\"seq\":7}\n\n",
            &mut after
        ));
        assert_eq!(after, 7);
        assert!(!event(": keep-alive\n\n", &mut after));
        assert!(event("event: end\ndata: {}\n\n", &mut after));
        assert_eq!(after, 7);
    }

    #[test]
    fn the_progress_line_counts_branches_over_all_scopes_and_what_is_retried() {
        let graph =
            br#"{"nodes":[{"name":"one","counts":{"completed":1}},{"name":"fan","branches":{"done":1042,"total":1098},
            "flows":[{"nodes":[{"name":"p","branches":{"done":1,"total":2},"counts":{"running":1},
            "flows":[{"nodes":[{"name":"s","counts":{"retrying":5,"completed":1043}}]}]}]}]}]}"#;
        let graph = Json::parse(graph).expect("json");
        let run = Json::parse(br#"{"progress":{"done":1044,"total":1101,"failed":0,"running":52}}"#).expect("json");
        assert_eq!(progress_line(&run, &graph), "branches 1,043/1,100 · 5 retrying");
        assert_eq!(progress_line(&run, &Json::object()), "steps 1,044/1,101");
    }

    #[test]
    fn a_tree_that_is_taller_than_the_screen_is_cut_and_keeps_its_progress_line() {
        let tree = "w@1\na\nb\nc\nd\n";
        assert_eq!(fitted(tree, "p", None), "w@1\na\nb\nc\nd\np\n");
        assert_eq!(fitted(tree, "p", Some(7)), "w@1\na\nb\nc\nd\np\n");
        assert_eq!(fitted(tree, "p", Some(6)), "w@1\na\nb\n… 2 more lines\np\n");
        assert_eq!(fitted(tree, "p", Some(2)), "w@1\n… 4 more lines\np\n");
    }

    #[test]
    fn a_record_stays_one_line_whatever_its_error_says() {
        let record = Json::parse(
            br#"{"seq":7,"at":"t","kind":"step_failed","path":"/a","error":{"type":"app.no","message":"x\n     8 t run_finished\u001b[1A"}}"#,
        );
        assert_eq!(
            record_line(&record.expect("json")),
            "     7 t step_failed /a app.no: x\\n     8 t run_finished\\u001b[1A"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (grouped(7), grouped(1043), grouped(1_000_000)),
            ("7".into(), "1,043".into(), "1,000,000".into())
        );
    }
}
