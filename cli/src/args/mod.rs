//! The command line: options of all commands and the commands here, what each takes in the files beside.

mod bench;
mod messages;
mod processes;
mod run;
mod schedule;
mod secrets;
mod workflow;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rejoin_shared::config::Span;

pub use bench::*;
pub use messages::*;
pub use processes::*;
pub use run::*;
pub use schedule::*;
pub use secrets::*;
pub use workflow::*;

/// Durable workflow engine for parallel work.
#[derive(Debug, Parser)]
#[command(name = "rejoin", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every client command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Client options")]
pub struct Global {
    /// Address of a coordinator [default: http://127.0.0.1:7070]
    #[arg(long, global = true, env = "REJOIN_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Token to show it
    #[arg(long, global = true, env = "REJOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Namespace
    #[arg(long, global = true, env = "REJOIN_NAMESPACE")]
    pub namespace: Option<String>,
    /// CA certificates (PEM) that the certificate of an https:// server must come from [default: the system's]
    #[arg(long, global = true, env = "REJOIN_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Certificate (PEM) to show to a server that asks for one
    #[arg(
        long,
        global = true,
        env = "REJOIN_CLIENT_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    pub client_cert: Option<PathBuf>,
    /// Its key
    #[arg(
        long,
        global = true,
        env = "REJOIN_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    pub client_key: Option<PathBuf>,
    /// Context of ~/.config/rejoin/config.toml
    #[arg(long, global = true, env = "REJOIN_CONTEXT")]
    pub context: Option<String>,
    /// Form of the output
    #[arg(short, long, global = true, env = "REJOIN_OUTPUT", value_enum, default_value_t)]
    pub output: OutputForm,
}

/// `-o`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One JSON value a line
    Jsonl,
    /// YAML
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it: an order workflow on three workers, one killed in the middle; nothing to install
    Demo,
    /// Work on workflows: everything in one process, reloading DIR/*.yaml
    Dev(DevArgs),
    /// Run a coordinator
    Coordinator(CoordinatorArgs),
    /// Run a worker for handlers in any language, or list workers
    #[command(args_conflicts_with_subcommands = true)]
    Worker(WorkerArgs),
    /// Bring the database's schema up to date
    Migrate(MigrateArgs),
    /// Find out what is wrong with an installation
    Doctor(DoctorArgs),
    /// Delete ended runs whose retention is over and snapshots that are not to be kept, as coordinators do now and then
    Gc(GcArgs),
    /// Measure what given servers and this machine reach, in a database and queues of its own
    Bench(BenchArgs),
    /// Print the JSON Schema of workflow definitions
    Schema,
    /// Print a completion script
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Print all of this as Markdown, for the docs
    #[command(hide = true)]
    HelpMarkdown,
    /// Workflow definitions
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Runs
    #[command(subcommand)]
    Run(RunCommand),
    /// Events for waiting runs
    #[command(subcommand)]
    Event(EventCommand),
    /// Questions that runs ask people
    #[command(subcommand)]
    Input(InputCommand),
    /// What is started again and again
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Task queues
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Tokens of the HTTP API, which stand in the database
    #[command(subcommand)]
    Token(TokenCommand),
    /// Keys that payloads in the database are sealed with
    #[command(subcommand)]
    Encryption(EncryptionCommand),
    /// Messages that the broker gave up, and steps that killed their workers
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
}

/// Options of every list.
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// Most items
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Show again and again
    #[arg(short, long)]
    pub watch: bool,
}

/// `1h30m`
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0)
}

/// `key=value` or `key:value`
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once(['=', ':']) {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_start_reads_as_it_is_documented() {
        let line = "rejoin run start orders --input {} --tag a=b --wait --timeout 1m -o json --server http://x";
        let cli = Cli::try_parse_from(line.split(' ')).expect("documented");
        let Command::Run(RunCommand::Start(start)) = cli.command else {
            panic!("another command: {:?}", cli.command);
        };
        assert_eq!(start.tags, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(start.timeout, Some(Duration::from_secs(60)));
        assert_eq!(cli.global.output, OutputForm::Json);
    }

    #[test]
    fn a_bulk_operation_reads_its_filter() {
        let line = "rejoin run bulk cancel --workflow a --workflow b --state failed --tag k=v --since 1h --dry-run";
        let cli = Cli::try_parse_from(line.split(' ')).expect("documented");
        let Command::Run(RunCommand::Bulk(bulk)) = cli.command else {
            panic!("another command: {:?}", cli.command);
        };
        assert_eq!(
            (bulk.operation, bulk.dry_run, bulk.yes),
            (BulkOperation::Cancel, true, false)
        );
        assert_eq!(bulk.filter.workflow, ["a", "b"]);
        assert_eq!(bulk.filter.since, Some(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_worker_is_run_by_its_file_and_workers_are_listed() {
        let run = Cli::try_parse_from([
            "rejoin",
            "worker",
            "--handlers",
            "h.yaml",
            "--queue",
            "a",
            "--queue",
            "b",
        ]);
        assert!(matches!(
            run.expect("run").command,
            Command::Worker(WorkerArgs { command: None, .. })
        ));
        let list = Cli::try_parse_from(["rejoin", "worker", "list"]);
        assert!(matches!(
            list.expect("list").command,
            Command::Worker(WorkerArgs { command: Some(_), .. })
        ));
    }

    #[test]
    fn dev_leaves_the_address_to_the_configuration_unless_a_flag_names_it() {
        let listen = |line: &str| {
            let command = Cli::try_parse_from(line.split(' ')).expect(line).command;
            let Command::Dev(dev) = command else {
                panic!("another command: {command:?}");
            };
            dev.listen
        };
        assert_eq!(listen("rejoin dev examples"), None);
        assert_eq!(
            listen("rejoin dev --listen 127.0.0.1:1"),
            Some("127.0.0.1:1".to_owned())
        );
    }

    #[test]
    fn a_wrong_line_exits_with_2() {
        for line in [
            "rejoin run start",
            "rejoin run list --since soon",
            "rejoin nonsense",
            "rejoin bench --workers 0",
            "rejoin bench --concurrency 0",
            "rejoin bench --repeat 0",
            "rejoin bench --branches 0",
            "rejoin bench --runs 0",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
