//! Runs, one by one and many at once.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{ListArgs, duration, pair};

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
    /// Try parked or failed steps, or failed compensations, again
    Retry {
        #[command(flatten)]
        run: RunArg,
        #[command(flatten)]
        steps: StepsArg,
        /// What they get in place of their `with`: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        input: Option<String>,
    },
    /// Go on behind parked or failed steps, or behind compensations that were undone by hand
    Skip {
        #[command(flatten)]
        run: RunArg,
        #[command(flatten)]
        steps: StepsArg,
        /// What they are taken to have returned: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON|@FILE|-")]
        value: Option<String>,
    },
    /// Let parked steps fail, or failed ones with another error; give compensations at work up
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
