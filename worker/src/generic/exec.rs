//! Plain programs: a process per attempt, the request on stdin, the output on stdout, heartbeats on descriptor 3.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use command_fds::{CommandFdExt, FdMapping};
use rejoin_shared::json::Json;
use rejoin_shared::wire::AttemptEnd;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin};
use tokio_util::sync::CancellationToken;

use super::lines::{Line, log_line, read_bounded, read_line};
use super::process::{Group, command, describe, end_gently, error_of, not_started};
use super::{request, response};
use crate::attempt::Attempt;
use crate::handler::{ERROR_DEFAULT, ERROR_INVALID_OUTPUT, Handle, Outcome, error, too_large};

/// The descriptor on which a plain program beats and stores checkpoints.
const SIGNALS_FD: i32 = 3;
/// How long what a program left in its pipes may take to be read once it ended.
const PIPES_GRACE: Duration = Duration::from_secs(2);

/// Runs a program for each attempt.
pub(super) struct Exec {
    argv: Vec<String>,
    folder: PathBuf,
    output_bytes_max: usize,
}

/// A started program.
struct Started {
    child: Child,
    group: Group,
    signals: pipe::Receiver,
}

impl Exec {
    pub fn new(argv: Vec<String>, folder: PathBuf, output_bytes_max: usize) -> Exec {
        Exec {
            argv,
            folder,
            output_bytes_max,
        }
    }

    fn start(&self, attempt: &Attempt) -> io::Result<Started> {
        let (reader, writer) = io::pipe()?;
        let mut command = command(&self.argv, &self.folder);
        describe(&mut command, attempt);
        let mapping = FdMapping {
            parent_fd: OwnedFd::from(writer),
            child_fd: SIGNALS_FD,
        };
        command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        let child = command.spawn()?;
        // `command` holds our end of what the program writes to: gone with it, the program's exit is the pipe's end.
        drop(command);
        Ok(Started {
            group: Group::of(&child),
            child,
            signals: pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?,
        })
    }

    async fn attend(&self, attempt: &Attempt, started: Started) -> Outcome {
        let Started {
            mut child,
            group,
            signals,
        } = started;
        let overflow = CancellationToken::new();
        let bytes_max = response::read_max(self.output_bytes_max);
        let reading = converse(&mut child, signals, attempt, bytes_max, overflow.clone());
        let mut reading = std::pin::pin!(reading);
        let mut output = None;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                read = &mut reading, if output.is_none() => output = Some(read),
                () = overflow.cancelled() => return AttemptEnd::Error(too_large(self.output_bytes_max)),
                () = attempt.control.cancelled() => {
                    end_gently(child, group).await;
                    return AttemptEnd::Error(error(ERROR_DEFAULT, "cancelled"));
                }
            }
        };
        // What the program left running in its group would hold its pipes open.
        drop(group);
        let output = match output {
            Some(output) => Ok(output),
            None => tokio::time::timeout(PIPES_GRACE, reading).await,
        };
        self.judge(attempt, status, output.ok())
    }

    fn judge(&self, attempt: &Attempt, status: io::Result<ExitStatus>, output: Option<io::Result<Vec<u8>>>) -> Outcome {
        let status = match status {
            Ok(status) => status,
            Err(e) => return AttemptEnd::Error(not_started(&self.argv, &e)),
        };
        if !status.success() {
            return AttemptEnd::Error(error_of(status, attempt.logs.last()));
        }
        match output {
            Some(Ok(output)) => response::read(&output, self.output_bytes_max),
            Some(Err(e)) => AttemptEnd::Error(error(ERROR_INVALID_OUTPUT, format!("the output cannot be read: {e}"))),
            None => AttemptEnd::Error(error(
                ERROR_INVALID_OUTPUT,
                "the program ended, but its stdout is still open",
            )),
        }
    }
}

/// Gives the program its request and reads all that it says, until its pipes end.
fn converse<'a>(
    child: &mut Child,
    signals: pipe::Receiver,
    attempt: &'a Attempt,
    bytes_max: usize,
    overflow: CancellationToken,
) -> impl Future<Output = io::Result<Vec<u8>>> + use<'a> {
    let stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let request = request::text_of(attempt);
    let reading = async move {
        let output = read_bounded(stdout, bytes_max).await;
        if output.as_ref().is_ok_and(|output| output.len() > bytes_max) {
            overflow.cancel();
        }
        output
    };
    async move {
        let logs = copy_logs(stderr, attempt);
        let heard = hear_signals(signals, attempt, bytes_max);
        tokio::join!(reading, write_request(stdin, request), logs, heard).0
    }
}

async fn write_request(mut stdin: ChildStdin, request: String) {
    if let Err(e) = stdin.write_all(request.as_bytes()).await {
        // A program need not read its request.
        tracing::trace!(error = %e, "the request was not read to its end");
    }
}

async fn copy_logs(stderr: ChildStderr, attempt: &Attempt) {
    let (mut reader, mut buffer) = (BufReader::new(stderr), Vec::new());
    while log_line(&mut reader, &mut buffer, &attempt.logs).await {}
}

async fn hear_signals(signals: pipe::Receiver, attempt: &Attempt, bytes_max: usize) {
    let (mut reader, mut buffer) = (BufReader::new(signals), Vec::new());
    while let Ok(Line::Whole) = read_line(&mut reader, &mut buffer, bytes_max).await {
        if !Json::parse_enclosed(&buffer, response::ENVELOPE_LEVELS)
            .is_ok_and(|signal| response::take_signal(&signal, attempt))
        {
            attempt
                .logs
                .push("descriptor 3: a line is neither a heartbeat nor a checkpoint");
        }
        buffer.clear();
    }
}

#[async_trait]
impl Handle for Exec {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        match self.start(&attempt) {
            Ok(started) => Box::pin(self.attend(&attempt, started)).await,
            Err(e) => AttemptEnd::Error(not_started(&self.argv, &e)),
        }
    }
}
