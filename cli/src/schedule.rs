//! `schedule …`

use rejoin_shared::json::Json;
use reqwest::Method;

use crate::args::{Global, ListArgs, ScheduleArgs, ScheduleCommand};
use crate::client::{Answer, Client, encode};
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output::table::{self, Column, member};
use crate::run::{confirmed, one_line};
use crate::{output, source};

/// Carries a `schedule` command out.
pub async fn run(global: &Global, command: ScheduleCommand) -> Result<u8, Failure> {
    let client = Client::of(global)?;
    let answer = match command {
        ScheduleCommand::Create(args) => create(&client, &args).await?,
        ScheduleCommand::List(list) => return show_schedules(&client, global, &list).await,
        ScheduleCommand::Show { name } => client.get(&at(&name, ""), &[]).await?,
        ScheduleCommand::Pause { name } => client.post(&at(&name, ":pause"), &Json::object()).await?,
        ScheduleCommand::Resume { name } => client.post(&at(&name, ":resume"), &Json::object()).await?,
        ScheduleCommand::Trigger { name, input } => return trigger(&client, global, &name, input).await,
        ScheduleCommand::Next { name, n } => return next(&client, global, &name, n).await,
        ScheduleCommand::Delete { name, yes } => return delete(&client, &name, yes).await,
    };
    output::value(global.output, &answer.text, || show(&answer.json))?;
    Ok(exit::OK)
}

/// The address of a schedule, with what follows its name.
fn at(name: &str, then: &str) -> String {
    format!("/v1/schedules/{}{then}", encode(name))
}

async fn create(client: &Client, args: &ScheduleArgs) -> Result<Answer, Failure> {
    let body = body(args)?;
    if !args.replace {
        return client.post("/v1/schedules", &body).await;
    }
    let request = client.request(Method::PUT, &at(&args.name, ""));
    let request = request.header("Content-Type", "application/json");
    client.send(request.body(body.to_bytes())).await
}

fn body(args: &ScheduleArgs) -> Result<Json, Failure> {
    let mut body = Json::from_entries([("name", Json::str(&args.name)), ("workflow", Json::str(&args.workflow))]);
    let members = body.object_mut();
    let texts = [
        ("cron", &args.cron),
        ("every", &args.every),
        ("timezone", &args.timezone),
        ("overlap", &args.overlap),
        ("catch_up", &args.catch_up),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            members.insert(key.into(), Json::str(text));
        }
    }
    if let Some(version) = args.version {
        members.insert("version".into(), Json::Int(i64::from(version)));
    }
    if let Some(input) = &args.input {
        members.insert("input".into(), source::json(input)?);
    }
    if !args.tags.is_empty() {
        let tags = args
            .tags
            .iter()
            .map(|(key, value)| (key.as_str().into(), Json::str(value)));
        members.insert("tags".into(), Json::Object(std::sync::Arc::new(tags.collect())));
    }
    Ok(body)
}

async fn trigger(client: &Client, global: &Global, name: &str, input: Option<String>) -> Result<u8, Failure> {
    let mut body = Json::object();
    if let Some(input) = input {
        body.object_mut().insert("input".into(), source::json(&input)?);
    }
    let answer = client.post(&at(name, ":trigger"), &body).await?;
    output::value(global.output, &answer.text, || one_line(&answer.json))?;
    Ok(exit::OK)
}

async fn next(client: &Client, global: &Global, name: &str, n: u32) -> Result<u8, Failure> {
    let answer = client.get(&at(name, "/next"), &[("n", n.to_string())]).await?;
    let times = answer.json.get("items").and_then(Json::as_list).unwrap_or_default();
    output::value(global.output, &answer.text, || {
        let lines = times.iter().filter_map(Json::as_str).map(|time| format!("{time}\n"));
        lines.collect()
    })?;
    Ok(exit::OK)
}

async fn delete(client: &Client, name: &str, yes: bool) -> Result<u8, Failure> {
    if !yes && !confirmed(&format!("delete schedule {name}?"))? {
        return Err(Failure::general("not deleted"));
    }
    client.send(client.request(Method::DELETE, &at(name, ""))).await?;
    output::note(&format!("schedule {name} deleted; its runs stay"));
    Ok(exit::OK)
}

async fn show_schedules(client: &Client, global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "NAME",
            cell: |schedule| member(schedule, "name"),
        },
        Column {
            head: "WORKFLOW",
            cell: |schedule| member(schedule, "workflow"),
        },
        Column {
            head: "WHEN",
            cell: when,
        },
        Column {
            head: "STATE",
            cell: state,
        },
        Column {
            head: "NEXT",
            cell: |schedule| member(schedule, "next_at"),
        },
        Column {
            head: "LAST RUN",
            cell: |schedule| member(schedule, "last_run"),
        },
        Column {
            head: "LAST ERROR",
            cell: |schedule| member(schedule, "last_error"),
        },
    ];
    show_list(client, global, "/v1/schedules", &[], list, &columns).await
}

/// `30 2 * * * Europe/Berlin`, `every 5m`
fn when(schedule: &Json) -> String {
    let text = |key: &str| schedule.get(key).and_then(Json::as_str);
    match (text("cron"), text("every")) {
        (Some(cron), _) => format!("{cron} {}", member(schedule, "timezone")),
        (None, Some(every)) => format!("every {every}"),
        // One that the coordinator cannot read: its `last_error` says why.
        (None, None) => String::new(),
    }
}

fn state(schedule: &Json) -> String {
    match schedule.get("paused").and_then(Json::as_bool) {
        Some(true) => "paused".to_owned(),
        Some(false) | None => "active".to_owned(),
    }
}

/// A schedule for people.
fn show(schedule: &Json) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| table::row(&mut out, name, &value);
    row("schedule", member(schedule, "name"));
    row("workflow", member(schedule, "workflow"));
    row("version", member(schedule, "version"));
    row("when", when(schedule));
    row("overlap", member(schedule, "overlap"));
    row("catch up", member(schedule, "catch_up"));
    row("state", output::style::state(&state(schedule)));
    row("next", member(schedule, "next_at"));
    row("last run", member(schedule, "last_run"));
    row("last error", member(schedule, "last_error"));
    row("input", member(schedule, "input"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn made(line: &[&str]) -> ScheduleArgs {
        let cli = Cli::try_parse_from(["rejoin", "schedule", "create"].iter().chain(line)).expect("a proper line");
        let Command::Schedule(ScheduleCommand::Create(args)) = cli.command else {
            panic!("another command: {:?}", cli.command);
        };
        args
    }

    #[test]
    fn a_line_becomes_the_body_it_says() {
        let args = made(&[
            "nightly",
            "--workflow",
            "w",
            "--cron",
            "30 2 * * mon-fri",
            "--timezone",
            "Europe/Berlin",
            "--overlap",
            "queue",
            "--catch-up",
            "6h",
            "--input",
            "{\"n\":1.0}",
            "--tag",
            "a=b",
            "--version",
            "3",
        ]);
        let expected = r#"{"catch_up":"6h","cron":"30 2 * * mon-fri","input":{"n":1.0},"name":"nightly","overlap":"queue","tags":{"a":"b"},"timezone":"Europe/Berlin","version":3,"workflow":"w"}"#;
        assert_eq!(body(&args).expect("a body").to_string(), expected);
    }

    #[test]
    fn a_line_names_either_cron_or_an_interval() {
        for line in [
            "rejoin schedule create s --workflow w",
            "rejoin schedule create s --workflow w --every 1h --cron @daily",
            "rejoin schedule create s --every 1h",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
