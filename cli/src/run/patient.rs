//! Asking on: who waits for a run waits for its coordinator too, should it be away for a moment or have too much to do.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Client};
use crate::exit::{self, Failure};
use crate::output;

/// A server that has answered once may be away for so long.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Whoever asks on.
pub struct Patient<'a> {
    /// Asks without patience.
    pub client: &'a Client,
    began: Instant,
    deadline: Option<Instant>,
    has_answered: bool,
    /// Since when it has not.
    away: Option<Instant>,
}

impl<'a> Patient<'a> {
    /// Until a deadline.
    pub fn new(client: &'a Client, deadline: Option<Instant>) -> Patient<'a> {
        Patient {
            client,
            began: Instant::now(),
            deadline,
            has_answered: false,
            away: None,
        }
    }

    /// Reads `path`.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        loop {
            match self.within(self.client.get(path, &[])).await {
                Ok(answer) => {
                    self.answered();
                    return Ok(answer);
                }
                Err(failure) => self.bear(failure).await?,
            }
        }
    }

    /// Opens what `request` asks for.
    pub async fn open(&mut self, request: impl Fn(&Client) -> RequestBuilder) -> Result<Response, Failure> {
        loop {
            match self.within(self.client.open(request(self.client))).await {
                Ok(response) => {
                    self.answered();
                    return Ok(response);
                }
                Err(failure) => self.bear(failure).await?,
            }
        }
    }

    fn answered(&mut self) {
        (self.has_answered, self.away) = (true, None);
    }

    async fn bear(&mut self, failure: Failure) -> Result<(), Failure> {
        let now = Instant::now();
        let is_first = self.away.is_none();
        let since = *self.away.get_or_insert(now);
        if !self.has_answered || !failure.is_passing() || now.duration_since(since) >= AWAY_MAX {
            return Err(failure);
        }
        if is_first {
            output::note(&format!("{failure}; asking on"));
        }
        self.timed_out()?;
        sleep(PAUSE).await;
        Ok(())
    }

    /// An error once it is too late.
    pub fn timed_out(&self) -> Result<(), Failure> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(self.too_late()),
            Some(_) | None => Ok(()),
        }
    }

    /// Of a run nothing can be said by a server that has said nothing.
    fn too_late(&self) -> Failure {
        match (self.has_answered, self.away) {
            (false, _) => self.client.silent(self.began.elapsed()),
            (true, None) => Failure::new(exit::TIMED_OUT, "the run goes on; stopped waiting"),
            (true, Some(_)) => Failure::new(exit::TIMED_OUT, "the server does not answer any more; stopped waiting"),
        }
    }

    /// An answer that does not come in time is too late, however patient the connection is.
    pub async fn within<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(deadline) = self.deadline else {
            return answer.await;
        };
        let answer = tokio::time::timeout_at(deadline, answer).await;
        answer.unwrap_or_else(|_| Err(self.too_late()))
    }
}
