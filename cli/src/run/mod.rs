//! `run …`

mod bulk;
mod follow;
mod logs;
mod operate;
mod patient;
mod start;
mod steps;
pub mod tree;
mod waits;
mod why;

use rejoin_shared::json::Json;
use rejoin_shared::time::Timestamp;
use reqwest::Method;
use tokio::time::Instant;

use crate::args::{EditArgs, Global, RunArg, RunCommand, RunFilterArgs, RunListArgs};
use crate::client::Client;
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output::table::{self, Column, member};
use crate::{ids, output, source};

/// Carries a `run` command out.
pub async fn run(global: &Global, command: RunCommand) -> Result<u8, Failure> {
    let client = Client::of(global)?;
    match command {
        RunCommand::Start(args) => start::start(&client, global, args).await,
        RunCommand::List(args) => list(&client, global, args).await,
        RunCommand::Show(run) => read(&client, global, &run, "", &[], show).await,
        RunCommand::Tree(run) => read(&client, global, &run, "/graph", &[], draw).await,
        RunCommand::Why(run) => why::why(&client, global, &run).await,
        RunCommand::Watch(run) => {
            let id = ids::resolve(&client, &run.id).await?;
            follow::follow(&client, global, &id, None).await
        }
        RunCommand::Wait { run, timeout, until } => {
            let named = ids::resolve(&client, &run.id);
            let id = patient::Patient::new(&client, timeout.map(|t| Instant::now() + t))
                .within(named)
                .await?;
            follow::wait(&client, global, &id, timeout, until.is_some()).await
        }
        RunCommand::Steps { run, state, path, list } => {
            let id = ids::resolve(&client, &run.id).await?;
            steps::list(&client, global, &id, state, path, &list).await
        }
        RunCommand::Logs { run, path } => {
            let id = ids::resolve(&client, &run.id).await?;
            logs::logs(&client, global, &id, path).await
        }
        RunCommand::Journal { run, after, list } => {
            let id = ids::resolve(&client, &run.id).await?;
            steps::journal(&client, global, &id, after, &list).await
        }
        RunCommand::Context { run, at, path } => {
            let mut query: Vec<(&str, String)> = at.map(|at| ("at", at.to_string())).into_iter().collect();
            query.extend(path.map(|path| ("path", path)));
            read(&client, global, &run, "/context", &query, context).await
        }
        RunCommand::Cancel {
            run,
            reason,
            compensate,
        } => {
            let mut body = Json::from_entries([("compensate", Json::Bool(compensate))]);
            if let Some(reason) = reason {
                body.object_mut().insert("reason".into(), Json::str(&reason));
            }
            operate(&client, global, &run, "/cancel", &body).await
        }
        RunCommand::Pause(run) => operate(&client, global, &run, "/pause", &Json::object()).await,
        RunCommand::Resume { run, plan: false } => operate(&client, global, &run, "/resume", &Json::object()).await,
        RunCommand::Resume { run, plan: true } => plan(&client, global, &run).await,
        RunCommand::Fork {
            run,
            at,
            input,
            version,
        } => {
            let body = operate::fork(at, input, version)?;
            operate(&client, global, &run, "/fork", &body).await
        }
        RunCommand::Edit(args) => edit(&client, global, args).await,
        RunCommand::Retry { run, steps, input } => {
            let mut body = operate::targets(steps);
            if let Some(input) = input {
                body.object_mut().insert("input".into(), source::json(&input)?);
            }
            operate(&client, global, &run, "/steps/retry", &body).await
        }
        RunCommand::Skip { run, steps, value } => {
            let mut body = operate::targets(steps);
            let value = value.map_or(Ok(Json::Null), |value| source::json(&value))?;
            body.object_mut().insert("value".into(), value);
            operate(&client, global, &run, "/steps/skip", &body).await
        }
        RunCommand::Fail {
            run,
            steps,
            kind,
            message,
        } => {
            let body = operate::failing(steps, kind, message);
            operate(&client, global, &run, "/steps/fail", &body).await
        }
        RunCommand::Bulk(args) => bulk::bulk(&client, global, args).await,
        RunCommand::Delete { run, yes } => delete(&client, &run, yes).await,
    }
}

async fn read(
    client: &Client,
    global: &Global,
    run: &RunArg,
    below: &str,
    query: &[(&str, String)],
    shown: fn(&Json) -> String,
) -> Result<u8, Failure> {
    let id = ids::resolve(client, &run.id).await?;
    let answer = client.get(&format!("/v1/runs/{id}{below}"), query).await?;
    output::value(global.output, &answer.text, || shown(&answer.json))?;
    Ok(exit::OK)
}

async fn operate(client: &Client, global: &Global, run: &RunArg, what: &str, body: &Json) -> Result<u8, Failure> {
    let id = ids::resolve(client, &run.id).await?;
    let answer = client.post(&format!("/v1/runs/{id}{what}"), body).await?;
    output::value(global.output, &answer.text, || one_line(&answer.json))?;
    Ok(exit::OK)
}

async fn edit(client: &Client, global: &Global, args: EditArgs) -> Result<u8, Failure> {
    let id = ids::resolve(client, &args.run.id).await?;
    let body = operate::edit(args)?;
    let answer = client.patch(&format!("/v1/runs/{id}/scopes"), &body).await?;
    output::value(global.output, &answer.text, || one_line(&answer.json))?;
    Ok(exit::OK)
}

async fn plan(client: &Client, global: &Global, run: &RunArg) -> Result<u8, Failure> {
    let id = ids::resolve(client, &run.id).await?;
    let answer = client
        .post(&format!("/v1/runs/{id}/resume?plan=true"), &Json::object())
        .await?;
    output::value(global.output, &answer.text, || {
        let mut out = format!(
            "would dispatch {} steps in about {} messages, keeping {} completions\n",
            member(&answer.json, "dispatch_count"),
            member(&answer.json, "messages"),
            member(&answer.json, "kept_count"),
        );
        for path in answer.json.get("dispatch").and_then(Json::as_list).unwrap_or_default() {
            out.push_str(&format!("  {}\n", path.as_str().unwrap_or_default()));
        }
        out
    })?;
    Ok(exit::OK)
}

async fn delete(client: &Client, run: &RunArg, yes: bool) -> Result<u8, Failure> {
    let id = ids::resolve(client, &run.id).await?;
    if !yes && !confirmed(&format!("delete run {id} and its journal?"))? {
        return Err(Failure::general("not deleted"));
    }
    client
        .send(client.request(Method::DELETE, &format!("/v1/runs/{id}")))
        .await?;
    output::note(&format!("run {id} deleted"));
    Ok(exit::OK)
}

/// Asks a person.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody to ask: give --yes"));
    }
    output::note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| Failure::general(e.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn list(client: &Client, global: &Global, args: RunListArgs) -> Result<u8, Failure> {
    let mut query = filter(args.filter);
    query.extend(args.waiting.map(|what| ("waiting", what)));
    let columns = [
        Column {
            head: "RUN",
            cell: |r| member(r, "id"),
        },
        Column {
            head: "WORKFLOW",
            cell: |r| format!("{}@{}", member(r, "workflow"), member(r, "version")),
        },
        Column {
            head: "STATE",
            cell: |r| member(r, "state"),
        },
        Column {
            head: "PROGRESS",
            cell: progress,
        },
        Column {
            head: "CREATED",
            cell: |r| member(r, "created_at"),
        },
        Column {
            head: "TAGS",
            cell: tags,
        },
    ];
    show_list(client, global, "/v1/runs", &query, &args.list, &columns).await
}

/// A filter as the server reads it, pair by pair.
fn filter(args: RunFilterArgs) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    pairs.extend(args.workflow.into_iter().map(|w| ("workflow", w)));
    pairs.extend(args.state.into_iter().map(|s| ("state", s)));
    // A comma would end it, and a colon its key.
    let written = |text: String, is_key: bool| match is_key {
        true => text.replace(',', "\\,").replace(':', "\\:"),
        false => text.replace(',', "\\,"),
    };
    let tags = args.tags.into_iter();
    pairs.extend(tags.map(|(key, value)| ("tag", format!("{}:{}", written(key, true), written(value, false)))));
    pairs.extend(args.q.map(|q| ("q", q)));
    if let Some(since) = args.since {
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let at = Timestamp(Timestamp::now().0.saturating_sub(micros));
        pairs.push(("since", at.to_string()));
    }
    pairs
}

fn progress(run: &Json) -> String {
    let number = |key| run.get("progress").map(|p| member(p, key)).unwrap_or_default();
    format!("{}/{}", number("done"), number("total"))
}

fn tags(run: &Json) -> String {
    let map = run.get("tags").and_then(Json::as_object);
    let pairs = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(",")
}

/// `workflow@version id state`
pub fn one_line(run: &Json) -> String {
    let state = output::style::state(&member(run, "state"));
    format!(
        "{} {}@{} {state}\n",
        member(run, "id"),
        member(run, "workflow"),
        member(run, "version")
    )
}

/// A run with what a person asks for first.
pub fn show(run: &Json) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| table::row(&mut out, name, &value);
    row("run", member(run, "id"));
    row(
        "workflow",
        format!("{}@{}", member(run, "workflow"), member(run, "version")),
    );
    if let Some(from) = run.get("forked_from").filter(|from| !from.is_null()) {
        row(
            "forked from",
            format!(" {} at {}", member(from, "run"), member(from, "seq")),
        );
    }
    row("state", output::style::state(&member(run, "state")));
    row("progress", progress(run));
    row("owner", member(run, "owner"));
    row("tags", tags(run));
    row("created", member(run, "created_at"));
    row("started", member(run, "started_at"));
    row("finished", member(run, "finished_at"));
    if let Some(error) = run.get("error").filter(|e| !e.is_null()) {
        row(
            "error",
            format!("{}: {}", member(error, "type"), member(error, "message")),
        );
        row("  at", member(error, "path"));
    }
    out.push_str(&waits::lines(run));
    for key in ["input", "context", "output"] {
        if let Some(value) = run.get(key).filter(|v| !v.is_null()) {
            out.push_str(&format!("{key}\n{}\n", indented(value)));
        }
    }
    out
}

fn indented(value: &Json) -> String {
    let text = output::pretty::json(&value.to_bytes());
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

fn draw(graph: &Json) -> String {
    tree::render(graph, tree::FLOWS_SHOWN_MAX)
}

fn context(value: &Json) -> String {
    output::pretty::json(&value.to_bytes()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_shown_with_what_it_waits_for() {
        let run = Json::parse(
            br#"{"id":"r","workflow":"w","version":1,"state":"waiting","progress":{"done":1,"total":2},"created_at":"T1",
            "waits":[{"type":"timer","path":"/nap","until":"T2"}],"context":{}}"#,
        );
        assert_eq!(
            show(&run.expect("json")),
            "run         r
workflow    w@1
state       waiting
progress    1/2
created     T1
waits
  timer   /nap  until T2
context
  {}
"
        );
    }
}
