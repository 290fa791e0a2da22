//! How the loop and a running handler reach each other.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use rejoin_shared::json::Json;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::handler::to_raw;

const CANCELLED: u8 = 1;
const KILLED: u8 = 2;
const UNBEGUN: u8 = 4;
/// A checkpoint was stored that nobody has taken yet.
const STORED: u8 = 8;

/// The strings between the loop and one running handler. Every attempt has some, so they are few and small.
#[derive(Debug)]
pub struct Control {
    told: AtomicU8,
    tells: Notify,
    last_beat: Mutex<Instant>,
    checkpoint: Mutex<Option<Box<RawValue>>>,
}

impl Control {
    pub(super) fn new() -> Control {
        Control {
            told: AtomicU8::new(0),
            tells: Notify::new(),
            last_beat: Mutex::new(Instant::now()),
            checkpoint: Mutex::new(None),
        }
    }

    /// Tells the handler that nobody waits for it any more.
    pub fn cancel(&self) {
        self.tell(CANCELLED);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_told(CANCELLED)
    }

    /// Resolves when it is cancelled.
    pub async fn cancelled(&self) {
        self.until_told(CANCELLED).await;
    }

    /// Ends the handler where it stands; no completion follows.
    pub fn kill(&self) {
        self.tell(KILLED);
    }

    /// As [`Self::kill`], of one whose handler has done nothing yet.
    pub(super) fn give_up(&self) {
        self.tell(UNBEGUN | KILLED);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_told(UNBEGUN)
    }

    pub(crate) async fn killed(&self) {
        self.until_told(KILLED).await;
    }

    fn tell(&self, what: u8) {
        self.told.fetch_or(what, Ordering::Release);
        self.tells.notify_waiters();
    }

    fn is_told(&self, what: u8) -> bool {
        self.told.load(Ordering::Acquire) & what != 0
    }

    async fn until_told(&self, what: u8) {
        loop {
            let mut tells = std::pin::pin!(self.tells.notified());
            // Listening first: what is told between the look and the wait would be missed.
            tells.as_mut().enable();
            if self.is_told(what) {
                return;
            }
            tells.await;
        }
    }

    /// The handler is alive.
    pub fn beat(&self) {
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether it is the first one since one was taken.
    pub(super) fn store_checkpoint(&self, value: &Json) -> bool {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_raw(value));
        self.beat();
        self.told.fetch_or(STORED, Ordering::AcqRel) & STORED == 0
    }

    /// The last one that was stored; it stays.
    pub(crate) fn copy_checkpoint(&self) -> Option<Box<RawValue>> {
        self.told.fetch_and(!STORED, Ordering::AcqRel);
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn take_checkpoint(&self) -> Option<Box<RawValue>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resolves when `silence` has passed without a heartbeat.
    pub(super) async fn fell_silent(&self, silence: std::time::Duration) {
        loop {
            let due = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) + silence;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}
