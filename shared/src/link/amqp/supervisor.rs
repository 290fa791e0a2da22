//! Connects, watches, and connects again, until the link is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::session::Session;
use crate::link::LinkState;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A connection that lived for so long was a good one.
const LASTING: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Arc<Shared>) {
    if let Err(reason) = shared.config.uri() {
        tracing::error!(reason, "the broker's URL is not valid, the link stays down");
        return;
    }
    let mut generation = 0;
    let mut failures = 0;
    while !shared.stop.is_cancelled() {
        let began = Instant::now();
        match run_once(&shared, generation + 1).await {
            Ok(()) => {
                generation += 1;
                // One that ends at once is no better than none.
                failures = if began.elapsed() > LASTING { 0 } else { failures + 1 };
            }
            Err(reason) => {
                failures += 1;
                tracing::warn!(
                    broker = shared.config.place(),
                    failures,
                    reason,
                    "no connection to the broker"
                );
                shared.set_failure(Some(reason));
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = tokio::time::sleep(pause(failures, shared.config.reconnect_pause_max)) => {}
        }
    }
}

/// One connection, from its beginning to its end.
async fn run_once(shared: &Shared, generation: u64) -> Result<(), String> {
    let opened = tokio::select! {
        () = shared.stop.cancelled() => return Ok(()),
        opened = Session::open(&shared.config, generation, &shared.stop, &shared.tracker) => opened?,
    };
    tracing::info!(broker = shared.config.place(), generation, "connected to the broker");
    shared.set_failure(None);
    shared.set_session(Some(opened.clone()));
    let error = opened.watch(&shared.state).await;
    shared.set_session(None);
    shared.state.send_replace(LinkState::Down);
    if !shared.stop.is_cancelled() && !opened.draining.is_cancelled() {
        let reason = error.map(|error| error.to_string());
        tracing::warn!(
            broker = shared.config.place(),
            generation,
            reason,
            "lost the connection to the broker"
        );
    }
    // On the side: a broker that does not answer shall not hold up the next attempt.
    shared.tracker.spawn(async move { opened.close().await });
    Ok(())
}

/// Doubles with each failure, with full jitter above its half: clients that lost one broker do not return as one.
fn pause(failures: u32, max: Duration) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(max);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_no_further() {
        let max = Duration::from_secs(5);
        assert!(pause(0, max) <= FIRST_PAUSE);
        for failures in 0..100 {
            let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(max);
            let drawn = pause(failures, max);
            assert!(drawn >= longest / 2 && drawn <= longest, "{failures}: {drawn:?}");
        }
    }
}
