//! Exit codes (INTERFACE 9), and what leads to them.

use std::fmt;

use rejoin_shared::run::RunStatus;

/// It worked.
pub const OK: u8 = 0;
/// Something went wrong.
pub const ERROR: u8 = 1;
/// The command line is wrong (clap's own code too).
pub const USAGE: u8 = 2;
/// No such run, workflow, …
pub const NOT_FOUND: u8 = 3;
/// The token does not allow it.
pub const NOT_ALLOWED: u8 = 4;
/// The state does not allow it.
pub const CONFLICT: u8 = 5;
/// Waited in vain.
pub const TIMED_OUT: u8 = 6;
/// No answer from the server.
pub const SERVER_AWAY: u8 = 7;
/// The run failed.
pub const RUN_FAILED: u8 = 10;
/// The run was cancelled.
pub const RUN_CANCELLED: u8 = 11;
/// The run failed and what it had done was undone.
pub const RUN_COMPENSATED: u8 = 12;
/// The run asks somebody something.
pub const WAITS_FOR_INPUT: u8 = 13;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    is_passing: bool,
    /// Of the server's answer.
    status: Option<u16>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// With this exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            is_passing: false,
            status: None,
        }
    }

    /// What the server answered with this HTTP status.
    pub fn answered(status: u16, message: impl Into<String>) -> Failure {
        Failure {
            status: Some(status),
            ..Failure::new(of_http(status), message)
        }
    }

    /// The HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// One that may be over in a moment: asking again makes sense.
    pub fn passing(self) -> Failure {
        Failure {
            is_passing: true,
            ..self
        }
    }

    /// Whether it may be over in a moment.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// With exit code 1.
    pub fn general(message: impl Into<String>) -> Failure {
        Failure::new(ERROR, message)
    }

    /// With exit code 2.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, message)
    }

    /// Its exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

/// The exit code of an error answer.
pub fn of_http(status: u16) -> u8 {
    match status {
        401 | 403 => NOT_ALLOWED,
        404 | 410 => NOT_FOUND,
        409 => CONFLICT,
        502..=504 => SERVER_AWAY,
        _ => ERROR,
    }
}

/// The exit code of a run that was waited for.
pub fn of_run(state: RunStatus, compensated: bool) -> u8 {
    match state {
        RunStatus::Completed => OK,
        RunStatus::Failed if compensated => RUN_COMPENSATED,
        RunStatus::Failed | RunStatus::CompensationFailed => RUN_FAILED,
        RunStatus::Cancelled => RUN_CANCELLED,
        RunStatus::Scheduled | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => TIMED_OUT,
        RunStatus::Compensating => TIMED_OUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_interface() {
        for (status, code) in [
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 5),
            (422, 1),
            (400, 1),
            (503, 7),
            (500, 1),
        ] {
            assert_eq!(of_http(status), code, "{status}");
        }
        assert_eq!(of_run(RunStatus::Completed, false), 0);
        assert_eq!(of_run(RunStatus::Failed, false), 10);
        assert_eq!(of_run(RunStatus::Cancelled, false), 11);
        assert_eq!(of_run(RunStatus::Failed, true), 12);
        assert_eq!(of_run(RunStatus::Running, false), 6);
    }
}
