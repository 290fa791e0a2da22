//! Logs of every process, as text or JSON lines on standard error: standard output belongs to data.

use std::io::{self, Stderr, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;

use crate::config::{Log, LogFormat};
use crate::redact::{Masked, Redactor};

/// Standard error, without what is not to show.
struct Lines(Option<Redactor>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Box<dyn Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        let inner: Stderr = io::stderr();
        match &self.0 {
            None => Box::new(inner),
            Some(redactor) => Box::new(Masked {
                inner,
                redactor: redactor.clone(),
            }),
        }
    }
}

/// Starts logging for the process, without the values that are not to show. A second call changes nothing.
///
/// # Errors
/// Text that names the filter if it cannot be read.
pub fn start(log: &Log, redactor: Option<Redactor>) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(directives(&log.filter)).map_err(|e| format!("log.filter = {}: {e}", log.filter))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(Lines(redactor));
    // An error here means that a subscriber is there already (tests, embedding programs): theirs stays.
    let started = match log.format {
        LogFormat::Text => registry.with(lines.with_ansi(wants_colour())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    drop(started);
    Ok(())
}

/// The AMQP client calls an error what is none: that a queue which is looked for is not there yet. What goes wrong our link says
/// itself; whoever wants to hear the client names it.
fn directives(filter: &str) -> String {
    match filter.contains("lapin") {
        true => filter.to_owned(),
        false => format!("{filter},lapin=off"),
    }
}

fn wants_colour() -> bool {
    use std::io::IsTerminal as _;
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal()
}
