//! What the service manager is told (systemd, `sd_notify(3)`): that the process can serve, that it moves, that it stops.
//!
//! ```text
//!  starting ──it can serve──▶ READY=1 ──it moves, twice a limit──▶ WATCHDOG=1 … ──it was told to stop──▶ STOPPING=1
//! ```
//! Nobody is told anything where `NOTIFY_SOCKET` names nobody. A process that moves is told of while it drains too.

use std::sync::Arc;
use std::time::Duration;

use rejoin_coordinator::api::backend::Backend;
use rejoin_coordinator::coordinator::Coordinator;
use rejoin_worker::Probe;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks whether it can serve.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whose life is told of.
pub enum Supervised {
    /// Ready as `/readyz` says; moves while its owner does.
    Coordinator {
        /// What it depends on.
        backend: Arc<dyn Backend>,
        /// Itself.
        coordinator: Box<Coordinator>,
        /// Its moves, as they were counted last.
        moves: u64,
    },
    /// Ready while it is subscribed; moves while its loop answers.
    Worker(Probe),
}

impl Supervised {
    /// A coordinator and what it depends on.
    pub fn coordinator(backend: Arc<dyn Backend>, coordinator: Coordinator) -> Supervised {
        Supervised::Coordinator {
            backend,
            coordinator: Box::new(coordinator),
            moves: 0,
        }
    }

    async fn is_ready(&self) -> bool {
        match self {
            Supervised::Coordinator { backend, .. } => backend.checks().await.iter().all(|check| check.ok),
            Supervised::Worker(probe) => probe.is_subscribed().await == Some(true),
        }
    }

    /// Whether it has moved since it was asked last; may take for ever if it does not.
    async fn moves(&mut self) -> bool {
        match self {
            Supervised::Coordinator { coordinator, moves, .. } => {
                let before = std::mem::replace(moves, coordinator.moves());
                *moves != before
            }
            Supervised::Worker(probe) => probe.is_subscribed().await.is_some(),
        }
    }
}

/// Tells the service manager, if there is one, until what is returned is dropped.
pub fn tell(supervised: Supervised, stopping: CancellationToken) -> Option<AbortOnDropHandle<()>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let beat = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let beat = beat.filter(|beat| !beat.is_zero());
    Some(AbortOnDropHandle::new(tokio::spawn(tell_all(
        supervised, beat, stopping,
    ))))
}

async fn tell_all(mut supervised: Supervised, beat: Option<Duration>, stopping: CancellationToken) {
    let ready = async {
        while !supervised.is_ready().await {
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        () = ready => say(NotifyState::Ready),
    }
    tokio::select! {
        biased;
        () = stopping.cancelled() => say(NotifyState::Stopping),
        () = keep_beating(&mut supervised, beat) => {}
    }
    keep_beating(&mut supervised, beat).await;
}

/// Says that it moves, every `beat`, as long as it does. Never ends.
async fn keep_beating(supervised: &mut Supervised, beat: Option<Duration>) {
    let Some(beat) = beat else {
        return std::future::pending().await;
    };
    loop {
        let next = Instant::now() + beat;
        if timeout(beat, supervised.moves()).await == Ok(true) {
            say(NotifyState::Watchdog);
        }
        sleep_until(next).await;
    }
}

fn say(state: NotifyState<'_>) {
    // It may be away for a while: what counts is said again, and the rest it finds out.
    if let Err(error) = sd_notify::notify(std::slice::from_ref(&state)) {
        tracing::warn!(%error, ?state, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_shared::link::memory::MemoryBroker;
    use rejoin_worker::Worker;

    #[tokio::test]
    async fn a_worker_moves_while_its_loop_turns_and_is_ready_once_it_is_subscribed() {
        let worker = Worker::builder().build(MemoryBroker::new().link("worker"));
        let worker = worker.expect("a worker");
        let mut supervised = Supervised::Worker(worker.probe());
        let looked = timeout(LOOK_EVERY, supervised.moves()).await;
        assert!(looked.is_err(), "its loop does not turn yet");
        let stopping = CancellationToken::new();
        let running = tokio::spawn(worker.run(stopping.clone()));
        assert!(supervised.moves().await);
        while !supervised.is_ready().await {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
        running.await.expect("no panic").expect("drained");
        assert!(!supervised.moves().await, "it has ended");
    }
}
