//! Data on standard output, notes on standard error.

use std::io::{IsTerminal, Write};

use rejoin_shared::json::Json;

use crate::args::OutputForm;
use crate::exit::Failure;

pub mod escape;
pub mod pretty;
pub mod style;
pub mod table;
pub mod yaml;

/// Writes text for people to standard output, its control characters escaped.
pub fn text(text: &str) -> Result<(), Failure> {
    raw(&for_people(text, style::is_wanted()))
}

/// Writes a picture on a terminal, between codes that move its cursor.
pub fn drawn(before: &str, picture: &str, after: &str) -> Result<(), Failure> {
    let picture = for_people(picture, style::is_wanted());
    raw(&format!("{before}{picture}{after}"))
}

fn for_people(text: &str, is_coloured: bool) -> String {
    match is_coloured {
        true => escape::coloured(text),
        false => escape::block(text),
    }
}

/// Writes to standard output what is no text of a run: codes for the terminal, scripts, and YAML, which escapes what it holds.
/// A reader that went away (`| head`) is no error.
pub fn raw(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| Failure::general(format!("standard output: {e}"))),
    }
}

/// Writes a line for people to standard output.
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Writes a line for people to standard error, its control characters escaped; if nobody reads that, nobody is told.
pub fn note(line: &str) {
    drop(writeln!(std::io::stderr(), "{}", escape::block(line)));
}

/// Writes JSON text and a line feed to standard output.
pub fn json_line(json_text: &str) -> Result<(), Failure> {
    raw(&format!("{}\n", escape::json(json_text)))
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
        OutputForm::Json => json_line(&pretty::json(json_text)),
        OutputForm::Jsonl => json_line(&String::from_utf8_lossy(json_text)),
        OutputForm::Yaml => raw(&yaml::document(json_text)),
    }
}

/// Writes a list of values; in the table form with these columns.
pub fn list(form: OutputForm, items: &[Json], columns: &[table::Column]) -> Result<(), Failure> {
    match form {
        OutputForm::Table => text(&table::render(columns, items)),
        OutputForm::Json => json_line(&pretty::json(&Json::list(items.to_vec()).to_bytes())),
        OutputForm::Jsonl => items.iter().try_for_each(|item| json_line(&item.to_string())),
        OutputForm::Yaml => raw(&yaml::document(&Json::list(items.to_vec()).to_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_people_keeps_our_colours_on_a_terminal_and_no_code_elsewhere() {
        let shown = "\x1b[32mcompleted\x1b[0m \x1b]0;owned\x07\n";
        assert_eq!(
            for_people(shown, true),
            "\x1b[32mcompleted\x1b[0m \\u001b]0;owned\\u0007\n"
        );
        assert!(!for_people(shown, false).contains('\x1b'));
    }
}
