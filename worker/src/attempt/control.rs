//! How the loop and a running handler reach each other.

use std::sync::{Mutex, PoisonError};

use rejoin_shared::json::Json;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handler::to_raw;

/// The strings between the loop and one running handler.
#[derive(Debug)]
pub struct Control {
    cancelled: CancellationToken,
    killed: CancellationToken,
    beats: watch::Sender<Instant>,
    checkpoint: Mutex<Option<Box<RawValue>>>,
}

impl Control {
    pub(super) fn new() -> Control {
        Control {
            cancelled: CancellationToken::new(),
            killed: CancellationToken::new(),
            beats: watch::channel(Instant::now()).0,
            checkpoint: Mutex::new(None),
        }
    }

    /// Tells the handler that nobody waits for it any more.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Resolves when it is cancelled.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Ends the handler where it stands; no completion follows.
    pub fn kill(&self) {
        self.killed.cancel();
    }

    pub(super) async fn killed(&self) {
        self.killed.cancelled().await;
    }

    /// The handler is alive.
    pub fn beat(&self) {
        self.beats.send_replace(Instant::now());
    }

    /// Stores what the next attempt receives; counts as a heartbeat.
    pub fn store_checkpoint(&self, value: &Json) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_raw(value));
        self.beat();
    }

    pub(super) fn take_checkpoint(&self) -> Option<Box<RawValue>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resolves when `silence` has passed without a heartbeat.
    pub(super) async fn fell_silent(&self, silence: std::time::Duration) {
        loop {
            let due = *self.beats.borrow() + silence;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}
