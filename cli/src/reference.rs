//! The page about the command line, rendered from its own definition: `rejoin help-markdown`, which `scripts/docs` calls.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::args::Cli;
use crate::exit::Failure;
use crate::output;

const HEAD: &str = "\
# Command line

Every command of `rejoin`. This page is generated from the definition that parses the command line
(`cli/src/args/`); `rejoin COMMAND --help` says the same.

- An id of a run is whole, a unique prefix or suffix of it (from 4 characters), `@latest` or `@latest:WORKFLOW`.
- Data goes to standard output in the form of `-o`, notes and errors to standard error.
- Durations: `250ms`, `1.5s`, `1h30m`, `3d`.
- Client options may also stand in a context of `~/.config/rejoin/config.toml`:

```toml
current = \"staging\"
[contexts.staging]
server = \"http://rejoin.staging.example:7070\"
namespace = \"shop\"
```

## Exit codes

| code | means |
|---|---|
| 0 | it worked; a run that was waited for has completed |
| 1 | something went wrong |
| 2 | the command line or the configuration is wrong |
| 3 | no such run, workflow, … |
| 4 | the server answered 401 or 403 |
| 5 | conflict: the state does not allow it, or an id is ambiguous |
| 6 | waited in vain |
| 7 | no answer from the server, or 502 to 504 |
| 10 | the run failed |
| 11 | the run was cancelled |
| 12 | the run failed and was compensated |
| 13 | the run asks somebody something (`run wait --until input`) |
";

/// Prints the page.
pub fn print() -> Result<u8, Failure> {
    output::text(&page())?;
    Ok(crate::exit::OK)
}

fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = HEAD.to_owned();
    page.push_str("\n## Client options\n\nOf every command that talks to a server.\n\n");
    options(&mut page, root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in visible(&root) {
        add(&mut page, command, "rejoin");
    }
    page
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let subcommands = command.get_subcommands();
    subcommands.filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn add(page: &mut String, command: &Command, above: &str) {
    let name = format!("{above} {}", command.get_name());
    let is_group = command.is_subcommand_required_set();
    let mut level = "##";
    if above.contains(' ') {
        level = "###";
    }
    page.push_str(&format!("\n{level} `{name}`\n\n"));
    if let Some(about) = command.get_about() {
        page.push_str(&format!("{about}.\n"));
    }
    if !is_group {
        let own: Vec<&Arg> = command.get_arguments().filter(|arg| is_own(arg)).collect();
        page.push_str(&format!("\n```\n{}\n```\n", usage(&name, &own)));
        if !own.is_empty() {
            page.push('\n');
            options(page, own.into_iter());
        }
    }
    for sub in visible(command) {
        add(page, sub, &name);
    }
}

/// Neither every command's nor the parser's: those are known by what they do, for a `--version` may be a workflow's.
fn is_own(arg: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    let is_parsers = matches!(arg.get_action(), Help | HelpLong | HelpShort | Version);
    !arg.is_global_set() && !arg.is_hide_set() && !is_parsers
}

fn usage(name: &str, args: &[&Arg]) -> String {
    let mut usage = name.to_owned();
    if args.iter().any(|arg| !arg.is_positional()) {
        usage.push_str(" [OPTIONS]");
    }
    for arg in args.iter().filter(|arg| arg.is_positional()) {
        let repeated = if takes_several(arg) { "…" } else { "" };
        let shown = format!("{}{repeated}", value_name(arg));
        match arg.is_required_set() {
            true => usage.push_str(&format!(" {shown}")),
            false => usage.push_str(&format!(" [{shown}]")),
        }
    }
    usage
}

fn takes_several(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|n| n.max_values() > 1)
}

fn value_name(arg: &Arg) -> String {
    let names: Vec<&str> = arg
        .get_value_names()
        .into_iter()
        .flatten()
        .map(|n| n.as_str())
        .collect();
    match names.is_empty() {
        true => arg.get_id().as_str().to_uppercase(),
        false => names.join(" "),
    }
}

fn options<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    page.push_str("| option | meaning |\n|---|---|\n");
    for arg in args {
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let words: Vec<String> = arg
            .get_possible_values()
            .iter()
            .filter(|word| !word.is_hide_set())
            .map(|word| format!("`{}`", word.get_name()))
            .collect();
        if takes_value && !words.is_empty() {
            meaning.push_str(&format!(": {}", words.join(", ")));
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|d| d.to_string_lossy()).collect();
        if takes_value && !defaults.is_empty() {
            meaning.push_str(&format!(" [default: {}]", defaults.join(", ")));
        }
        if let Some(variable) = arg.get_env() {
            meaning.push_str(&format!(" (`{}`)", variable.to_string_lossy()));
        }
        page.push_str(&format!(
            "| {} | {} |\n",
            flags(arg, takes_value),
            meaning.replace('|', "\\|")
        ));
    }
}

fn flags(arg: &Arg, takes_value: bool) -> String {
    let value = value_name(arg).replace('|', "\\|");
    if arg.is_positional() {
        return format!("`{value}`");
    }
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|name| format!("--{name}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    match takes_value {
        true => format!("`{} {value}`", names.join("`, `")),
        false => format!("`{}`", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_committed_page_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let committed = std::fs::read_to_string(file).expect("docs/cli.md");
        assert!(committed == super::page(), "run scripts/docs");
    }
}
