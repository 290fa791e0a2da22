//! Runs one attempt: its time-out and heartbeat, panics, cancellation and the completion that comes of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rejoin_shared::clock::Clock;
use rejoin_shared::ids::AttemptKey;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{AttemptEnd, Completion};

use super::Attempt;
use crate::handler::{ERROR_PANIC, Handle, Outcome, error};

/// What became of an attempt that ran.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which.
    pub key: AttemptKey,
    /// What to report; `None` if it was killed, or did not begin.
    pub completion: Option<Completion>,
    /// Its handler may have done something: its right to begin was not over.
    pub has_begun: bool,
}

/// Runs `attempt` with `handler` until it ends by itself, by a limit, or is killed.
pub(crate) async fn execute(attempt: Arc<Attempt>, handler: Arc<dyn Handle>, clock: &dyn Clock) -> Ended {
    let started_at = clock.now();
    attempt.control.beat();
    // Around all of it: a handler may panic before it has returned its future, and where that is dropped.
    let outcome = AssertUnwindSafe(outcome_of(&attempt, handler.as_ref()))
        .catch_unwind()
        .await;
    let outcome = outcome.unwrap_or_else(|panic| Some(panicked(panic.as_ref())));
    Ended {
        key: attempt.key(),
        completion: outcome.map(|end| complete(&attempt, end, (started_at, clock.now()))),
        has_begun: !attempt.control.is_given_up(),
    }
}

async fn outcome_of(attempt: &Arc<Attempt>, handler: &dyn Handle) -> Option<Outcome> {
    if !attempt.may_begin() {
        tracing::debug!(run = %attempt.order().run, path = %attempt.order().path, "not begun: the owners have not heard of this worker for too long");
        attempt.control.give_up();
        return None;
    }
    let order = attempt.order();
    tokio::select! {
        biased;
        () = attempt.control.killed() => None,
        handled = handler.handle(attempt.clone()) => Some(handled),
        () = after(order.timeout_ms) => {
            let limit = order.timeout_ms.unwrap_or_default();
            Some(failed("rejoin.timeout", format!("the attempt took longer than {limit} ms")))
        }
        () = silent(attempt, order.heartbeat_ms) => {
            let limit = order.heartbeat_ms.unwrap_or_default();
            Some(failed("rejoin.heartbeat_lost", format!("no heartbeat within {limit} ms")))
        }
    }
}

async fn after(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

async fn silent(attempt: &Attempt, ms: Option<u64>) {
    match ms {
        Some(ms) => attempt.control.fell_silent(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

fn failed(kind: &str, message: String) -> Outcome {
    AttemptEnd::Error(error(kind, message))
}

fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = text.unwrap_or_else(|| "the handler panicked".to_owned());
    failed(ERROR_PANIC, message)
}

fn complete(attempt: &Attempt, end: Outcome, (started_at, finished_at): (Timestamp, Timestamp)) -> Completion {
    let order = attempt.order();
    Completion {
        run: order.run,
        step: order.step,
        attempt: order.attempt,
        token: order.token.clone(),
        end,
        started_at,
        finished_at,
        logs: attempt.logs.take(),
        checkpoint: attempt.control.take_checkpoint(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use rejoin_shared::clock::SystemClock;

    use super::super::permit::lost;
    use super::*;

    #[derive(Default)]
    struct Noting(AtomicBool);

    #[async_trait]
    impl Handle for Noting {
        async fn handle(&self, _: Arc<Attempt>) -> Outcome {
            self.0.store(true, Ordering::Relaxed);
            failed("it.began", String::new())
        }
    }

    /// Panics where its future is dropped.
    struct Falling;

    #[async_trait]
    impl Handle for Falling {
        async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
            struct Fall;
            impl Drop for Fall {
                fn drop(&mut self) {
                    panic!("it fell");
                }
            }
            let _fall = Fall;
            attempt.control.kill();
            std::future::pending().await
        }
    }

    struct GivingUp;

    #[async_trait]
    impl Handle for GivingUp {
        async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
            attempt.give_up().await
        }
    }

    struct Killing;

    #[async_trait]
    impl Handle for Killing {
        async fn handle(&self, attempt: Arc<Attempt>) -> Outcome {
            attempt.control.kill();
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn one_that_is_killed_may_have_begun_and_one_that_gives_up_has_not() {
        let ended = execute(Arc::new(lost::free()), Arc::new(Killing), &SystemClock).await;
        assert!(ended.completion.is_none() && ended.has_begun);
        let ended = execute(Arc::new(lost::free()), Arc::new(GivingUp), &SystemClock).await;
        assert!(ended.completion.is_none() && !ended.has_begun);
    }

    /// Others may begin in the same task.
    #[tokio::test]
    async fn one_that_panics_where_it_is_dropped_ends_alone() {
        let ended = execute(Arc::new(lost::free()), Arc::new(Falling), &SystemClock).await;
        let end = ended.completion.expect("a completion").end;
        assert!(matches!(end, AttemptEnd::Error(error) if error.kind == ERROR_PANIC && error.message == "it fell"));
    }

    #[tokio::test]
    async fn an_attempt_that_lost_its_right_on_the_way_to_its_handler_does_not_begin() {
        let handler = Arc::new(Noting::default());
        let ended = execute(lost::attempt(), handler.clone(), &SystemClock).await;
        assert!(ended.completion.is_none() && !ended.has_begun && !handler.0.load(Ordering::Relaxed));
    }
}
