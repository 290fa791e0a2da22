//! Processes that serve or work, and what is done to their database.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ListArgs, duration};

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
