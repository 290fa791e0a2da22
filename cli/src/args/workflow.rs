//! Workflow definitions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ListArgs;

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
