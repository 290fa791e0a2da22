//! Tokens and keys.

use std::time::Duration;

use clap::Subcommand;

use super::{ListArgs, ServerArgs, duration};

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
