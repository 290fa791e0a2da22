//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rejoin_shared::config::Span;

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

/// Where the servers are; overrides file and variables.
#[derive(Clone, Debug, Default, Args)]
pub struct ServerArgs {
    /// Configuration file [default: rejoin.toml, if there is one]
    #[arg(long, env = "REJOIN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// PostgreSQL
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// RabbitMQ
    #[arg(long, value_name = "URL")]
    pub amqp_url: Option<String>,
}

#[derive(Debug, Args)]
pub struct CoordinatorArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Address and port of the HTTP API
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Stable name of this process
    #[arg(long)]
    pub name: Option<String>,
    /// Print the configuration that results, secrets masked, and stop
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(subcommand)]
    pub command: Option<WorkerCommand>,
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The handlers file
    #[arg(long, value_name = "FILE", default_value = "handlers.yaml")]
    pub handlers: PathBuf,
    /// Task queue; may be repeated
    #[arg(long = "queue")]
    pub queues: Vec<String>,
    /// Attempts at once
    #[arg(long)]
    pub concurrency: Option<u32>,
    /// Name of the worker
    #[arg(long)]
    pub name: Option<String>,
    /// How long running attempts may take when it is told to stop
    #[arg(long, value_parser = duration)]
    pub drain: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub enum WorkerCommand {
    /// List workers
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Mend what can be mended without losing a run: migrations, queues that are missing or have other arguments
    #[arg(long)]
    pub fix: bool,
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Only tell whether it is up to date (exit code 1 if not)
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Only tell how many that are
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask on a terminal
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure [default: all but cost, join, slow, compute and takeover]
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Coordinator processes
    #[arg(long, default_value_t = 1)]
    pub coordinators: u32,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    pub workers: u32,
    /// Attempts at once, of each worker
    #[arg(long, default_value_t = 64)]
    pub concurrency: u32,
    /// How often each scenario is measured
    #[arg(long, default_value_t = 5)]
    pub repeat: u32,
    /// Branches of a fan-out; may be repeated
    #[arg(long = "branches", default_values_t = [1_000, 20_000])]
    pub branches: Vec<u32>,
    /// Runs that are started at once
    #[arg(long, default_value_t = 1_000)]
    pub runs: u32,
    /// Runs one after the other
    #[arg(long, default_value_t = 200)]
    pub latency_runs: u32,
    /// Branches of the run that is killed, and of the one that small runs are beside
    #[arg(long, default_value_t = 100_000)]
    pub giant: u32,
    /// Runs that sleep
    #[arg(long, default_value_t = 100_000)]
    pub sleepers: u32,
    /// Runs beside them that wake at one time
    #[arg(long, default_value_t = 10_000)]
    pub due: u32,
    /// Runs that are at work when their coordinators are killed
    #[arg(long, default_value_t = 10_000)]
    pub active: u32,
}

/// A workload of `bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One run of many no-op branches
    Fanout,
    /// Many runs of three steps and a parallel of four
    Runs,
    /// Runs of three parallel branches, one after the other
    Latency,
    /// Fan-outs from a base context of 1 KiB and of 4 MiB
    Context,
    /// Small runs alone, and beside one giant fan-out
    Mixed,
    /// Many runs asleep, and more that wake at one time
    Sleepers,
    /// The limit: a program that only passes messages and inserts rows
    Composed,
    /// Processor time and bytes of a branch, by the number of branches
    Cost,
    /// From the durable join of a fan-out to the dispatch of the next step
    Join,
    /// Branches that sleep for 20 ms
    Slow,
    /// Branches that compute for 5 ms in Python, beside as many processes without workers
    Compute,
    /// Many runs at work whose coordinators are killed and started anew
    Takeover,
    /// One run whose processes are all killed at nine tenths, and started anew
    Resume,
}

impl Scenario {
    /// What is measured if nothing is named.
    pub const USUAL: [Scenario; 8] = [
        Scenario::Fanout,
        Scenario::Runs,
        Scenario::Latency,
        Scenario::Resume,
        Scenario::Context,
        Scenario::Mixed,
        Scenario::Sleepers,
        Scenario::Composed,
    ];
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// Folder of workflows (*.yaml) and handlers.yaml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Address and port of the HTTP API [default: 127.0.0.1:7070]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where the embedded store lies [default: DIR/.rejoin]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
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

#[derive(Debug, Subcommand)]
pub enum EncryptionCommand {
    /// Count all payloads by the key they are sealed with
    Status {
        #[command(flatten)]
        servers: ServerArgs,
    },
    /// Seal everything with encryption.key that is plain or sealed with another key, while coordinators run
    Reseal {
        #[command(flatten)]
        servers: ServerArgs,
        /// Open everything instead; encryption.key has to be empty
        #[arg(long)]
        to_plain: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown once
    Create {
        #[command(flatten)]
        servers: ServerArgs,
        /// Whose it is, for people and the audit log
        name: String,
        /// What it allows: viewer reads, operator also starts and operates runs, admin also changes definitions and deletes
        #[arg(long, value_parser = ["viewer", "operator", "admin"], default_value = "operator")]
        scope: String,
        /// For how long [default: for ever]
        #[arg(long, value_parser = duration, value_name = "DURATION")]
        expires: Option<Duration>,
    },
    /// List tokens, of all namespaces
    List {
        #[command(flatten)]
        servers: ServerArgs,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a token worthless, within 5 s everywhere
    Revoke {
        #[command(flatten)]
        servers: ServerArgs,
        /// Its id
        id: uuid::Uuid,
    },
}

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List task queues
    List(ListArgs),
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List them, oldest first
    List(ListArgs),
    /// Send one again to where it came from, or resume the run whose step it is
    Replay {
        /// Its id
        id: String,
    },
    /// Remove one
    Drop {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Send an event: to one run, which keeps it for a wait to come, or to all that wait for it
    Send {
        /// Its name
        event: String,
        /// Only to this run: id, @latest or @latest:WORKFLOW
        #[arg(long)]
        run: Option<String>,
        /// What it carries: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        payload: Option<String>,
        /// The same id counts once in a run
        #[arg(long)]
        id: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum InputCommand {
    /// List the questions that wait
    List(ListArgs),
    /// Answer one
    Answer {
        #[command(flatten)]
        run: RunArg,
        /// Name of the wait
        name: String,
        /// The answer: JSON, @FILE, or - for standard input
        #[arg(value_name = "JSON|@FILE|-")]
        value: String,
        /// Its path, where the name waits several times
        #[arg(long)]
        path: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Make a schedule
    Create(ScheduleArgs),
    /// List schedules
    List(ListArgs),
    /// Show a schedule
    Show {
        /// Its name
        name: String,
    },
    /// Start nothing until it is resumed
    Pause {
        /// Its name
        name: String,
    },
    /// Go on with the next tick
    Resume {
        /// Its name
        name: String,
    },
    /// Start a run now, beside the ticks
    Trigger {
        /// Its name
        name: String,
        /// Another input than the schedule's: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        input: Option<String>,
    },
    /// Show the times to come
    Next {
        /// Its name
        name: String,
        /// How many
        #[arg(short, default_value_t = 10)]
        n: u32,
    },
    /// Delete a schedule; its runs stay
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("when").required(true).args(["cron", "every"])))]
pub struct ScheduleArgs {
    /// Its name
    pub name: String,
    /// Name of the workflow
    #[arg(long)]
    pub workflow: String,
    /// Version [default: the newest at each start]
    #[arg(long)]
    pub version: Option<u32>,
    /// Input of its runs: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub input: Option<String>,
    /// When: minute, hour, day of month, month, day of week, as "30 2 * * mon-fri"
    #[arg(long)]
    pub cron: Option<String>,
    /// Or at an interval, as 5m
    #[arg(long, value_name = "DURATION")]
    pub every: Option<String>,
    /// Time zone of --cron [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// What a tick does while the run before goes on [default: skip]
    #[arg(long, value_parser = ["skip", "queue", "allow", "cancel_previous"])]
    pub overlap: Option<String>,
    /// How late a missed tick may still be made up [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub catch_up: Option<String>,
    /// KEY=VALUE, of its runs; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub tags: Vec<(String, String)>,
    /// Replace the schedule of this name
    #[arg(long)]
    pub replace: bool,
}

#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// Register definitions
    Apply {
        /// Files, `-` for standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only check, against the server
        #[arg(long)]
        dry_run: bool,
    },
    /// Check definitions, without a server
    Validate {
        /// Files, `-` for standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List workflows
    List(ListArgs),
    /// Show a definition
    Show {
        /// Its name
        name: String,
        /// Its version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Tell what a file, or a version, does differently than another
    Diff(DiffArgs),
    /// Draw its structure
    Graph {
        /// Its name
        name: String,
        /// Its version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A file, which is compared with the newest version; or a workflow's name
    pub workflow: String,
    /// Compare with this version
    #[arg(long, value_name = "VERSION")]
    pub from: Option<u32>,
    /// And of a workflow's name this one [default: the newest]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Start a run
    Start(StartArgs),
    /// List runs
    List(RunListArgs),
    /// Show a run
    Show(RunArg),
    /// Draw a run's structure with states
    Tree(RunArg),
    /// Follow a run until it ends
    Watch(RunArg),
    /// Wait until a run ends
    Wait {
        #[command(flatten)]
        run: RunArg,
        /// At most so long
        #[arg(long, value_parser = duration)]
        timeout: Option<Duration>,
        /// Or until it asks somebody something (exit code 13)
        #[arg(long, value_parser = ["input"])]
        until: Option<String>,
    },
    /// Tell what a run waits for
    Why(RunArg),
    /// List a run's steps
    Steps {
        #[command(flatten)]
        run: RunArg,
        /// Only in this state; may be repeated
        #[arg(long)]
        state: Vec<String>,
        /// Only at or below this path
        #[arg(long)]
        path: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show the logs of a run's steps
    Logs {
        #[command(flatten)]
        run: RunArg,
        /// Only at or below this path
        #[arg(long)]
        path: Option<String>,
    },
    /// Show a run's journal
    Journal {
        #[command(flatten)]
        run: RunArg,
        /// Only after this sequence number
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a run's context, now or at a journal position
    Context {
        #[command(flatten)]
        run: RunArg,
        /// Journal position
        #[arg(long)]
        at: Option<u64>,
        /// Key path into it
        #[arg(long)]
        path: Option<String>,
    },
    /// Cancel a run
    Cancel {
        #[command(flatten)]
        run: RunArg,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        /// Undo what it did, where the workflow says how
        #[arg(long)]
        compensate: bool,
    },
    /// Dispatch nothing new
    Pause(RunArg),
    /// Go on with a paused or failed run
    Resume {
        #[command(flatten)]
        run: RunArg,
        /// Only tell what it would do
        #[arg(long)]
        plan: bool,
    },
    /// Begin a new run with the same past, from a position of the journal on
    Fork {
        #[command(flatten)]
        run: RunArg,
        /// The last record that the two have in common [default: the end]
        #[arg(long, value_name = "SEQ")]
        at: Option<u64>,
        /// Another input from there on: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        input: Option<String>,
        /// Another version of its workflow, which takes what is recorded
        #[arg(long)]
        version: Option<u32>,
    },
    /// Edit an open parallel, foreach or graph
    Edit(EditArgs),
    /// Try parked or failed steps again
    Retry {
        #[command(flatten)]
        run: RunArg,
        #[command(flatten)]
        steps: StepsArg,
        /// What they get in place of their `with`: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        input: Option<String>,
    },
    /// Go on behind parked or failed steps
    Skip {
        #[command(flatten)]
        run: RunArg,
        #[command(flatten)]
        steps: StepsArg,
        /// What they are taken to have returned: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        value: Option<String>,
    },
    /// Let parked steps fail, or failed ones with another error
    Fail {
        #[command(flatten)]
        run: RunArg,
        #[command(flatten)]
        steps: StepsArg,
        /// The error's type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// For people
        #[arg(long)]
        message: Option<String>,
    },
    /// Cancel, pause, resume, fork or delete all runs that a filter finds, or retry steps of theirs
    Bulk(BulkArgs),
    /// Delete an ended run
    Delete {
        #[command(flatten)]
        run: RunArg,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct RunArg {
    /// Id, a unique prefix or suffix of it, @latest or @latest:WORKFLOW
    pub id: String,
}

/// Which steps.
#[derive(Clone, Debug, Args)]
pub struct StepsArg {
    /// Paths of the steps
    #[arg(required_unless_present = "all_with_error")]
    pub paths: Vec<String>,
    /// All parked and failed steps whose last error has this type
    #[arg(long, value_name = "TYPE", conflicts_with = "paths")]
    pub all_with_error: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("edit").required(true).multiple(true)))]
pub struct EditArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// Path of the scope
    pub path: String,
    /// Branches at once: a number from 1, or unbounded
    #[arg(long, value_name = "N", group = "edit")]
    pub concurrency: Option<String>,
    /// How many must succeed: all, any, a number from 1, or a percentage
    #[arg(long, value_name = "N|N%", group = "edit", conflicts_with = "tolerate")]
    pub need: Option<String>,
    /// How many may fail: a number, or a percentage
    #[arg(long, value_name = "N|N%", group = "edit")]
    pub tolerate: Option<String>,
    /// Retries of the whole scope, as in the definition: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", group = "edit")]
    pub retry: Option<String>,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// Name of the workflow
    pub workflow: String,
    /// JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub input: Option<String>,
    /// Version [default: the newest]
    #[arg(long)]
    pub version: Option<u32>,
    /// The same key starts no second run
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// KEY=VALUE; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub tags: Vec<(String, String)>,
    /// Order among runs
    #[arg(long, value_parser = ["high", "normal", "low"])]
    pub priority: Option<String>,
    /// Begin no earlier than this time, as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Follow it to its end; the exit code tells the outcome
    #[arg(long)]
    pub wait: bool,
    /// With --wait: at most so long
    #[arg(long, value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct RunListArgs {
    #[command(flatten)]
    pub filter: RunFilterArgs,
    /// Only those that wait for this
    #[arg(long, value_name = "FOR", value_parser = ["timer", "event", "input", "worker"])]
    pub waiting: Option<String>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Which runs.
#[derive(Debug, Args)]
pub struct RunFilterArgs {
    /// Only of this workflow; may be repeated
    #[arg(long)]
    pub workflow: Vec<String>,
    /// Only in this state; may be repeated
    #[arg(long)]
    pub state: Vec<String>,
    /// Only with this tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub tags: Vec<(String, String)>,
    /// Only started within this time, as 1h
    #[arg(long, value_parser = duration)]
    pub since: Option<Duration>,
    /// Part of an id or of a workflow's name
    #[arg(short)]
    pub q: Option<String>,
}

#[derive(Debug, Args)]
pub struct BulkArgs {
    /// What is done to each of them
    #[arg(value_enum)]
    pub operation: BulkOperation,
    #[command(flatten)]
    pub filter: RunFilterArgs,
    /// Every run of the namespace, if nothing else says which
    #[arg(long)]
    pub all: bool,
    /// With cancel: why, for people
    #[arg(long)]
    pub reason: Option<String>,
    /// With cancel: undo what they did, where their workflows say how
    #[arg(long)]
    pub compensate: bool,
    /// With retry: the type of the steps' last error
    #[arg(long, value_name = "TYPE")]
    pub error_type: Option<String>,
    /// With fork: another version of their workflow
    #[arg(long)]
    pub version: Option<u32>,
    /// Only tell how many runs that are
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// An operation on many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BulkOperation {
    /// Cancel them
    Cancel,
    /// Dispatch nothing new of them
    Pause,
    /// Go on with those that are paused or failed
    Resume,
    /// Try their parked and failed steps with an error of one type again
    Retry,
    /// Begin new runs with their pasts
    Fork,
    /// Delete those that have ended
    Delete,
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
        for line in ["rejoin run start", "rejoin run list --since soon", "rejoin nonsense"] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
