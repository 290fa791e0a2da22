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
use super::process::{Group, command, end_gently, error_of, not_started};
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
}

/// What became of a request.
enum Answer {
    Response(Outcome),
    /// A response before the request was read: right, but the process cannot be used again.
    Early(Outcome),
    /// It broke the contract.
    Broken(HandlerError),
    /// It closed its stdout.
    Ended,
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
            // What it said unasked would be taken for the answer to the next request, and each later one for another.
            if process.has_unread() {
                tracing::warn!(program = ?self.argv, "a stream handler wrote more than one response: it is started again");
                continue;
            }
            return Ok(process);
        }
        drop(idle);
        self.start()
    }

    fn put_back(&self, process: Process) {
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
            child,
        })
    }
}

impl Process {
    /// Whether it wrote, or closed, its stdout since it answered.
    fn has_unread(&mut self) -> bool {
        self.stdout.fill_buf().now_or_never().is_some()
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
        let mut writing = std::pin::pin!(write(&mut self.stdin, request));
        let mut is_written = false;
        loop {
            tokio::select! {
                biased;
                () = &mut writing, if !is_written => is_written = true,
                line = read_line(&mut self.stdout, &mut self.stdout_line, line_max) => match line {
                    Ok(Line::Whole) => match hear(&self.stdout_line, attempt, output_bytes_max) {
                        Ok(None) => self.stdout_line.clear(),
                        Ok(Some(outcome)) if is_written => return Answer::Response(outcome),
                        Ok(Some(outcome)) => return Answer::Early(outcome),
                        Err(e) => return Answer::Broken(e),
                    },
                    Ok(Line::TooLong) => return Answer::Broken(too_large(output_bytes_max)),
                    Ok(Line::End) | Err(_) => return Answer::Ended,
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

    /// How a process ended that closed its stdout.
    async fn error_of_end(mut self, logs: &LogSink) -> HandlerError {
        self.drain_logs(logs);
        match tokio::time::timeout(END_GRACE, self.child.wait()).await {
            Ok(Ok(status)) => {
                self.drain_logs(logs);
                error_of(status, logs.last())
            }
            Ok(Err(e)) => error(ERROR_INVALID_OUTPUT, format!("the program cannot be awaited: {e}")),
            Err(_) => error(ERROR_INVALID_OUTPUT, "the program closed its stdout without a response"),
        }
    }
}

async fn write(stdin: &mut ChildStdin, request: &str) {
    if let Err(e) = stdin.write_all(request.as_bytes()).await {
        // Its end shows on stdout, where it is waited for.
        tracing::trace!(error = %e, "a request was not taken");
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

    async fn attend(&self, attempt: &Attempt, mut process: Process) -> Outcome {
        let answer = tokio::select! {
            answer = process.talk(attempt, self.output_bytes_max) => Some(answer),
            () = attempt.control.cancelled() => None,
        };
        match answer {
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
            Some(Answer::Ended) => AttemptEnd::Error(process.error_of_end(&attempt.logs).await),
            None => {
                end_gently(process.child, process.group).await;
                AttemptEnd::Error(error(ERROR_DEFAULT, "cancelled"))
            }
        }
    }
}

#[async_trait]
impl Handle for Stream {
    async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
        match self.pool.take() {
            Ok(process) => Box::pin(self.attend(&attempt, process)).await,
            Err(e) => AttemptEnd::Error(not_started(&self.pool.argv, &e)),
        }
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
