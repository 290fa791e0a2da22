//! `workflow …`, and `schema`.

mod diff;

use std::path::Path;

use rejoin_shared::definition::{self, DefinitionError, Format};
use rejoin_shared::json::Json;
use rejoin_shared::limits::Limits;
use reqwest::Method;

use crate::args::{Global, OutputForm, WorkflowCommand};
use crate::client::{Client, encode, with_query};
use crate::exit::{self, Failure};
use crate::fleet::show_list;
use crate::output::table::{Column, member};
use crate::run::tree;
use crate::{output, source};

/// Carries a `workflow` command out.
pub async fn run(global: &Global, command: WorkflowCommand) -> Result<u8, Failure> {
    match command {
        WorkflowCommand::Apply { files, dry_run } => {
            let client = Client::of(global)?;
            for file in &files {
                apply(&client, global, file, dry_run).await?;
            }
            Ok(exit::OK)
        }
        WorkflowCommand::Validate { files } => validate(global, &files),
        WorkflowCommand::List(list) => {
            let columns = [
                Column {
                    head: "WORKFLOW",
                    cell: |w| member(w, "name"),
                },
                Column {
                    head: "VERSION",
                    cell: |w| member(w, "version"),
                },
                Column {
                    head: "CREATED",
                    cell: |w| member(w, "created_at"),
                },
                Column {
                    head: "DESCRIPTION",
                    cell: |w| member(w, "description"),
                },
            ];
            show_list(&Client::of(global)?, global, "/v1/workflows", &[], &list, &columns).await
        }
        WorkflowCommand::Diff(args) => diff::run(global, args).await,
        WorkflowCommand::Show { name, version } => show(&Client::of(global)?, global, &name, version).await,
        WorkflowCommand::Graph { name, version } => {
            let query: Vec<(&str, String)> = version.map(|v| ("version", v.to_string())).into_iter().collect();
            let path = format!("/v1/workflows/{}/graph", encode(&name));
            let answer = Client::of(global)?.get(&path, &query).await?;
            output::value(global.output, &answer.text, || {
                tree::render(&answer.json, tree::FLOWS_SHOWN_MAX)
            })?;
            Ok(exit::OK)
        }
    }
}

/// `rejoin schema`
pub fn schema() -> Result<u8, Failure> {
    let text = serde_json::to_vec(&definition::schema()).map_err(|e| Failure::general(e.to_string()))?;
    output::json_line(&output::pretty::json(&text))?;
    Ok(exit::OK)
}

async fn apply(client: &Client, global: &Global, file: &Path, dry_run: bool) -> Result<(), Failure> {
    let text = source::bytes(file)?;
    // Checked here first: the messages then point into the file.
    check(file, &text)?;
    let query = [("dry_run", dry_run.to_string())];
    let media = match file.extension().and_then(|e| e.to_str()) {
        Some("json") => "application/json",
        Some("yaml" | "yml") => "application/yaml",
        _ => "text/plain",
    };
    let request = client
        .request(Method::PUT, &with_query("/v1/workflows", &query))
        .header("Content-Type", media);
    let answer = client.send(request.body(text)).await?;
    for warning in answer.json.get("warnings").and_then(Json::as_list).unwrap_or_default() {
        let part = |key| member(warning, key);
        let place = format!("{}:{}:{}", file.display(), part("line"), part("column"));
        output::note(&format!("{place}: warning[{}]: {}", part("code"), part("message")));
    }
    output::value(global.output, &answer.text, || {
        let name = member(&answer.json, "name");
        let version = member(&answer.json, "version");
        match (dry_run, answer.json.get("created").and_then(Json::as_bool)) {
            (true, _) => format!("{name} is valid\n"),
            (false, Some(true)) => format!("{name} version {version} registered\n"),
            (false, _) => format!("{name} version {version} is registered already\n"),
        }
    })
}

fn validate(global: &Global, files: &[std::path::PathBuf]) -> Result<u8, Failure> {
    let mut wrong = 0;
    for file in files {
        match check(file, &source::bytes(file)?) {
            Ok(name) if global.output == OutputForm::Table => {
                output::line(&format!("{}: {name} is valid", file.display()))?
            }
            Ok(name) => {
                let entry = Json::from_entries([
                    ("file", Json::str(&file.display().to_string())),
                    ("workflow", Json::str(&name)),
                ]);
                output::json_line(&entry.to_string())?;
            }
            Err(failure) => {
                output::note(&failure.to_string());
                wrong += 1;
            }
        }
    }
    match wrong {
        0 => Ok(exit::OK),
        n => Err(Failure::general(format!("{n} of {} files are not valid", files.len()))),
    }
}

/// The workflow's name, or all errors as a compiler shows them.
pub fn check(file: &Path, text: &[u8]) -> Result<String, Failure> {
    let limits = Limits::default();
    let read = definition::read(text, Format::Auto, &limits);
    match read.and_then(|tree| definition::compile_judging(&tree, &limits, &rejoin_coordinator::schemas::problem)) {
        Ok(definition) => Ok(definition.workflow.to_string()),
        Err(errors) => {
            let lines: Vec<&str> = std::str::from_utf8(text).unwrap_or_default().lines().collect();
            let shown: Vec<String> = errors.0.iter().map(|e| diagnostic(file, &lines, e)).collect();
            Err(Failure::general(shown.join("\n")))
        }
    }
}

/// `file:line:column: error[code]: message`, the line, and a caret below the column.
fn diagnostic(file: &Path, lines: &[&str], error: &DefinitionError) -> String {
    let mut out = format!(
        "{}:{}:{}: error[{}]: {}",
        file.display(),
        error.line,
        error.column,
        error.code,
        error.message
    );
    if let Some(meant) = &error.suggestion {
        out.push_str(&format!(" (did you mean `{meant}`?)"));
    }
    let line = usize::try_from(error.line)
        .ok()
        .and_then(|n| lines.get(n.checked_sub(1)?));
    if let Some(line) = line {
        let number = error.line.to_string();
        let gap = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where a terminal shows the column.
        let column = usize::try_from(error.column).unwrap_or(1).saturating_sub(1);
        let before: String = line
            .chars()
            .take(column)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        out.push_str(&format!("\n{gap} |\n{number} | {line}\n{gap} | {before}^"));
    }
    out
}

async fn show(client: &Client, global: &Global, name: &str, version: Option<u32>) -> Result<u8, Failure> {
    let path = match version {
        None => format!("/v1/workflows/{}", encode(name)),
        Some(version) => format!("/v1/workflows/{}/versions/{version}", encode(name)),
    };
    let answer = client.get(&path, &[]).await?;
    output::value(global.output, &answer.text, || {
        #[derive(serde::Deserialize)]
        struct View<'a> {
            #[serde(borrow)]
            definition: &'a serde_json::value::RawValue,
        }
        let document = serde_json::from_slice::<View<'_>>(&answer.text).map(|v| v.definition.get().to_owned());
        let head = format!(
            "# version {}, {}\n",
            member(&answer.json, "version"),
            member(&answer.json, "created_at")
        );
        head + &output::yaml::document(document.unwrap_or_default().as_bytes())
    })?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_into_the_file_like_a_compiler() {
        let text = b"workflow: w\nsteps:\n  - stepp: a\n";
        let shown = check(Path::new("w.yaml"), text).expect_err("unknown kind").to_string();
        assert!(shown.starts_with("w.yaml:3:"), "{shown}");
        assert!(shown.contains("\n3 |   - stepp: a\n"), "{shown}");
        assert!(shown.trim_end().ends_with('^'), "{shown}");
    }
}
