//! Programs as child processes: each leads a process group of its own, which dies as a whole.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rejoin_shared::trace;
use rejoin_shared::wire::HandlerError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use tokio::process::{Child, Command};

use crate::attempt::Attempt;
use crate::handler::error;

/// How long a cancelled program has between SIGTERM and SIGKILL.
pub(super) const TERM_GRACE: Duration = Duration::from_secs(5);
/// Exit code of a temporary failure, from sysexits.h.
const EX_TEMPFAIL: i32 = 75;
/// The program could not be started.
const ERROR_START: &str = "exec.not_started";

/// The command of `argv` in `folder`, with its three streams piped.
pub(super) fn command(argv: &[String], folder: &Path) -> Command {
    let (program, arguments) = argv
        .split_first()
        .expect("the handlers file was checked to name a program");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).process_group(0);
    // What the service manager wants to hear, it wants to hear of the worker.
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(variable);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Tells the program in its environment what it runs for.
pub(super) fn describe(command: &mut Command, attempt: &Attempt) {
    let order = attempt.order();
    command
        .env("REJOIN_HANDLER", &*order.handler)
        .env("REJOIN_RUN", order.run.to_string())
        .env("REJOIN_PATH", &order.path)
        .env("REJOIN_ATTEMPT", order.attempt.to_string())
        .env("REJOIN_IDEMPOTENCY_KEY", &*order.idempotency_key())
        .env(trace::VARIABLE, attempt.traceparent().to_string());
}

/// A process group; dropped, it is killed.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that `child` leads.
    pub fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(Pid::from_raw))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(Err(e)) = self.0.map(|group| kill_process_group(group, signal)) {
            // Mostly that nobody is left in it.
            tracing::trace!(error = %e, "a process group could not be signalled");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Ends a cancelled program: gently, and after [`TERM_GRACE`] by dropping `group`.
pub(super) async fn end_gently(mut child: Child, group: Group) {
    group.terminate();
    // Whichever way it ends, dropping the group takes the rest of it along.
    if let Ok(Err(e)) = tokio::time::timeout(TERM_GRACE, child.wait()).await {
        tracing::debug!(error = %e, "a cancelled program could not be awaited");
    }
    drop(group);
}

/// The error of a program that could not be started. Its arguments are the operator's, and nothing for all who read a run.
pub(super) fn not_started(argv: &[String], e: &std::io::Error) -> HandlerError {
    error(ERROR_START, format!("cannot start `{}`: {e}", program(argv)))
}

/// The program itself.
pub(super) fn program(argv: &[String]) -> &str {
    argv.first().map_or("", String::as_str)
}

/// The error that an end other than exit 0 stands for; in stream mode exit 0 too.
pub(super) fn error_of(status: ExitStatus, last_line: Option<String>) -> HandlerError {
    let (kind, what) = match (status.code(), status.signal()) {
        (Some(EX_TEMPFAIL), _) => ("exec.tempfail".to_owned(), "a temporary failure (exit 75)".to_owned()),
        (Some(code), _) => (format!("exec.exit_{code}"), format!("exit {code}")),
        (None, Some(signal)) => (format!("exec.signal_{signal}"), format!("signal {signal}")),
        (None, None) => ("exec.exit_unknown".to_owned(), status.to_string()),
    };
    let message = match last_line {
        Some(line) => format!("the program ended with {what}: {line}"),
        None => format!("the program ended with {what}"),
    };
    error(&kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_does_not_speak_for_its_worker_to_the_service_manager() {
        let command = command(&["true".to_owned()], Path::new("."));
        let taken: Vec<_> = command
            .as_std()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert!(taken.iter().any(|(name, _)| *name == variable), "{variable}");
        }
    }
}
