//! Data on standard output, notes on standard error.

use std::io::{IsTerminal, Write};

use rejoin_shared::json::Json;

use crate::args::OutputForm;
use crate::exit::Failure;

pub mod pretty;
pub mod style;
pub mod table;
pub mod yaml;

/// Writes text to standard output. A reader that went away (`| head`) is no error.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| Failure::general(format!("standard output: {e}"))),
    }
}

/// Writes a line to standard output.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Writes a line to standard error; if nobody reads that, nobody is told.
pub fn note(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Rows of the terminal on standard output, if there is one and it tells.
pub fn rows() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_row)).filter(|rows| *rows > 0)
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes one value; in the table form as `shown` shows it. `text` is the JSON as the server wrote it.
pub fn value(form: OutputForm, json_text: &[u8], shown: impl FnOnce() -> String) -> Result<(), Failure> {
    match form {
        OutputForm::Table => text(&shown()),
        OutputForm::Json => line(&pretty::json(json_text)),
        OutputForm::Jsonl => line(&String::from_utf8_lossy(json_text)),
        OutputForm::Yaml => text(&yaml::document(json_text)),
    }
}

/// Writes a list of values; in the table form with these columns.
pub fn list(form: OutputForm, items: &[Json], columns: &[table::Column]) -> Result<(), Failure> {
    match form {
        OutputForm::Table => text(&table::render(columns, items)),
        OutputForm::Json => line(&pretty::json(&Json::list(items.to_vec()).to_bytes())),
        OutputForm::Jsonl => items.iter().try_for_each(|item| line(&item.to_string())),
        OutputForm::Yaml => text(&yaml::document(&Json::list(items.to_vec()).to_bytes())),
    }
}
