//! Completion scripts.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{self, Failure};
use crate::output;

/// Prints the script of a shell.
pub fn print(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rejoin", &mut text);
    output::raw(&String::from_utf8_lossy(&text))?;
    Ok(exit::OK)
}
