//! What reaches runs from outside, and what was given up on its way.

use clap::Subcommand;

use super::{ListArgs, RunArg};

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
