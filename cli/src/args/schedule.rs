//! Schedules.

use clap::{Args, Subcommand};

use super::{ListArgs, pair};

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
