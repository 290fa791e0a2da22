//! Stream programs: started when first needed, one per slot in use; a request a line, a response a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use rejoin_shared::json::Json;
use rejoin_shared::wire::{AttemptEnd, HandlerError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use super::lines::{Line, log_line, read_line};
use super::process::{Group, command, end_gently, error_of, not_started, program};
use super::{request, response};
use crate::attempt::{Attempt, LogSink};
use crate::handler::{ERROR_DEFAULT, ERROR_INVALID_OUTPUT, Handle, Outcome, error, too_large};

/// How long a program that closed its stdout may take to end.
const END_GRACE: Duration = Duration::from_secs(2);
/// Lines of stderr that are taken after a response at most.
const LOG_LINES_AFTER: usize = 1000;

/// The pools of a worker by command line: handlers of the same one share their processes.
#[derive(Default)]
pub(super) struct Pools(HashMap<Vec<String>, Arc<Pool>>);

impl Pools {
    /// The pool of a command line, all in one folder.
    pub fn pool(&mut self, argv: Vec<String>, folder: &Path) -> Arc<Pool> {
        let pool = self.0.entry(argv).or_insert_with_key(|argv| {
            Arc::new(Pool {
                argv: argv.clone(),
                folder: folder.to_owned(),
                idle: Mutex::default(),
            })
        });
        pool.clone()
    }
}

/// Processes of one command line. There are never more than slots: an attempt takes one out and puts it back.
pub(super) struct Pool {
    argv: Vec<String>,
    folder: PathBuf,
    idle: Mutex<Vec<Process>>,
}

struct Process {
    child: Child,
    group: Group,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stdout_line: Vec<u8>,
    stderr: BufReader<ChildStderr>,
    stderr_line: Vec<u8>,
    stderr_open: bool,
    /// It has waited for this request since an earlier one.
    has_waited: bool,
}

/// What a process said that nobody asked.
enum Unasked {
    Nothing,
    /// It closed its stdout.
    End,
    More,
}

/// What became of a request.
enum Answer {
    Response(Outcome),
    /// A response before the request was read: right, but the process cannot be used again.
    Early(Outcome),
    /// It broke the contract.
    Broken(HandlerError),
    /// It closed its stdout, when so many bytes of the request were written.
    Ended(usize),
    /// It was not asked.
    NotBegun,
}

impl Pool {
    fn take(&self) -> std::io::Result<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut process) = idle.pop() {
            // One that ended while nobody used it fails no attempt.
            if !matches!(process.child.try_wait(), Ok(None)) {
                continue;
            }
            match process.unasked() {
                Unasked::Nothing => return Ok(process),
                Unasked::End => {}
                // It would be taken for the answer to the next request, and each later one for another.
                Unasked::More => {
                    let program = program(&self.argv);
                    tracing::warn!(
                        program,
                        "a stream handler wrote more than one response: it is started again"
                    );
                }
            }
        }
        drop(idle);
        self.start()
    }

    fn put_back(&self, mut process: Process) {
        process.has_waited = true;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    fn start(&self) -> std::io::Result<Process> {
        let mut child = command(&self.argv, &self.folder).spawn()?;
        Ok(Process {
            group: Group::of(&child),
            stdin: child.stdin.take().expect("stdin is piped"),
            stdout: BufReader::new(child.stdout.take().expect("stdout is piped")),
            stdout_line: Vec::new(),
            stderr: BufReader::new(child.stderr.take().expect("stderr is piped")),
            stderr_line: Vec::new(),
            stderr_open: true,
            has_waited: false,
            child,
        })
    }
}

impl Process {
    /// What came of its stdout since it answered.
    fn unasked(&mut self) -> Unasked {
        match self.stdout.fill_buf().now_or_never() {
            None => Unasked::Nothing,
            Some(Ok(more)) if !more.is_empty() => Unasked::More,
            Some(_) => Unasked::End,
        }
    }

    /// Whether nothing of what was written last was read: all of it is still in the pipe, which outlives its reader. Where the
    /// system does not tell, it counts as read.
    fn has_read_nothing(&self, written: usize) -> bool {
        rustix::io::ioctl_fionread(&self.stdin).is_ok_and(|unread| unread >= written as u64)
    }

    /// Sends a request and hears the process until it answers.
    async fn talk(&mut self, attempt: &Attempt, output_bytes_max: usize) -> Answer {
        let request = request::line_of(attempt);
        if !attempt.may_begin() {
            return Answer::NotBegun;
        }
        let answer = self.exchange(&request, attempt, output_bytes_max).await;
        self.stdout_line.clear();
        self.drain_logs(&attempt.logs);
        answer
    }

    async fn exchange(&mut self, request: &str, attempt: &Attempt, output_bytes_max: usize) -> Answer {
        let line_max = response::read_max(output_bytes_max);
        let (mut written, mut is_refused) = (0, false);
        loop {
            let left = &request.as_bytes()[written..];
            let is_written = left.is_empty() || is_refused;
            tokio::select! {
                biased;
                taken = self.stdin.write(left), if !is_written => match taken {
                    Ok(bytes) => written += bytes,
                    // Its end shows on stdout, where it is waited for.
                    Err(e) => {
                        tracing::trace!(error = %e, "a request was not taken");
                        is_refused = true;
                    }
                },
                line = read_line(&mut self.stdout, &mut self.stdout_line, line_max) => match line {
                    Ok(Line::Whole) => match hear(&self.stdout_line, attempt, output_bytes_max) {
                        Ok(None) => self.stdout_line.clear(),
                        Ok(Some(outcome)) if is_written => return Answer::Response(outcome),
                        Ok(Some(outcome)) => return Answer::Early(outcome),
                        Err(e) => return Answer::Broken(e),
                    },
                    Ok(Line::TooLong) => return Answer::Broken(too_large(output_bytes_max)),
                    Ok(Line::End) | Err(_) => return Answer::Ended(written),
                },
                more = log_line(&mut self.stderr, &mut self.stderr_line, &attempt.logs), if self.stderr_open => {
                    self.stderr_open = more;
                }
            }
        }
    }

    /// Takes what the process wrote to stderr before it answered.
    fn drain_logs(&mut self, logs: &LogSink) {
        for _ in 0..LOG_LINES_AFTER {
            match log_line(&mut self.stderr, &mut self.stderr_line, logs).now_or_never() {
                Some(true) => {}
                Some(false) | None => return,
            }
        }
    }

    /// How a process ended that closed its stdout; `None` if that is none of this attempt's business: it had waited for
    /// a request, and read nothing of this one.
    async fn error_of_end(mut self, written: usize, logs: &LogSink) -> Option<HandlerError> {
        self.drain_logs(logs);
        match tokio::time::timeout(END_GRACE, self.child.wait()).await {
            Ok(Ok(_)) if self.has_waited && self.has_read_nothing(written) => None,
            Ok(Ok(status)) => {
                self.drain_logs(logs);
                Some(error_of(status, logs.last()))
            }
            Ok(Err(e)) => Some(error(
                ERROR_INVALID_OUTPUT,
                format!("the program cannot be awaited: {e}"),
            )),
            Err(_) => Some(error(
                ERROR_INVALID_OUTPUT,
                "the program closed its stdout without a response",
            )),
        }
    }
}

/// What a line of stdout says: the end of the attempt, or a sign of life.
fn hear(line: &[u8], attempt: &Attempt, output_bytes_max: usize) -> Result<Option<Outcome>, HandlerError> {
    let line = line.trim_ascii();
    let json = Json::parse_enclosed(line, response::ENVELOPE_LEVELS).map_err(|e| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        error(ERROR_INVALID_OUTPUT, format!("the handler's response is {e}: {shown}"))
    })?;
    if response::take_signal(&json, attempt) {
        return Ok(None);
    }
    Ok(Some(response::read_checked(line, &json, output_bytes_max)))
}

/// A handler served by a pool.
pub(super) struct Stream {
    pool: Arc<Pool>,
    output_bytes_max: usize,
}

impl Stream {
    pub fn new(pool: Arc<Pool>, output_bytes_max: usize) -> Stream {
        Stream { pool, output_bytes_max }
    }

    /// `None` if the process was gone before it read the request: another one gets it.
    async fn attend(&self, attempt: &Attempt, mut process: Process) -> Option<Outcome> {
        let answer = tokio::select! {
            answer = process.talk(attempt, self.output_bytes_max) => Some(answer),
            () = attempt.control.cancelled() => None,
        };
        Some(match answer {
            Some(Answer::Response(outcome)) => {
                self.pool.put_back(process);
                outcome
            }
            Some(Answer::Early(outcome)) => outcome,
            Some(Answer::NotBegun) => {
                self.pool.put_back(process);
                attempt.give_up().await
            }
            Some(Answer::Broken(e)) => AttemptEnd::Error(e),
            Some(Answer::Ended(written)) => AttemptEnd::Error(process.error_of_end(written, &attempt.logs).await?),
            None => {
                end_gently(process.child, process.group).await;
                AttemptEnd::Error(error(ERROR_DEFAULT, "cancelled"))
            }
        })
    }

    /// Hands the attempt to a process that waits, or to a new one: a new one only where that one was gone already.
    async fn run(&self, attempt: &Attempt) -> std::io::Result<Outcome> {
        if let Some(outcome) = Box::pin(self.attend(attempt, self.pool.take()?)).await {
            return Ok(outcome);
        }
        let outcome = Box::pin(self.attend(attempt, self.pool.start()?)).await;
        Ok(outcome.expect("the end of a new process is always its attempt's"))
    }
}

#[async_trait]
impl Handle for Stream {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        let ran = self.run(&attempt).await;
        ran.unwrap_or_else(|e| AttemptEnd::Error(not_started(&self.pool.argv, &e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::lost;

    /// As a program that took long to start meets it.
    #[tokio::test]
    async fn a_program_is_not_asked_for_an_attempt_that_lost_its_right_while_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = ["sh", "-c", "read request && touch begun && echo 1"];
        let pool = Pools::default().pool(program.map(str::to_owned).to_vec(), folder.path());
        let (attempt, stream) = (lost::attempt(), Stream::new(pool.clone(), 1024));
        tokio::select! {
            outcome = stream.handle(attempt.clone()) => panic!("it was asked: {outcome:?}"),
            () = attempt.control.killed() => {}
        }
        assert!(!folder.path().join("begun").exists());
        assert_eq!(
            pool.idle.lock().expect("no panic").len(),
            1,
            "the program waits for the next"
        );
    }
}
