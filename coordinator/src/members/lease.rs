//! The lease, renewed where a busy owner cannot starve it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{Member, Store, StoreError};

/// Longest pause between two renewals: how soon a process that was started again knows that the one before it is dead.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The pause between two renewals of a lease of `lease_ms`: three fit into it at least.
#[must_use]
pub fn pause(lease_ms: u64) -> Duration {
    Duration::from_millis((lease_ms / 3).max(1)).min(PAUSE_MAX)
}

/// Until when this process may act as an owner, by its monotonic clock: a process that was frozen finds it lapsed.
#[derive(Debug)]
pub struct Lease {
    base: Instant,
    until_ms: AtomicU64,
    /// Counts what the owner does: one that stands still must not keep its partitions from others.
    moves: AtomicU64,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease {
            base: Instant::now(),
            until_ms: AtomicU64::new(0),
            moves: AtomicU64::new(0),
        }
    }
}

impl Lease {
    /// Whether it still runs.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.now_ms() < self.until_ms.load(Ordering::Acquire)
    }

    /// For how long it still runs.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Acquire).saturating_sub(self.now_ms()))
    }

    /// The owner is at work, or knows what it waits for.
    pub fn mark_move(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was at work so far.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a keeper does again and again.
pub struct Renewal {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Who.
    pub member: Member,
    /// For how long at a time.
    pub lease_ms: u64,
    /// What the owner looks at.
    pub lease: Arc<Lease>,
}

impl Renewal {
    /// Renews once. The lease counts from before the call: the database's own begins later.
    ///
    /// # Errors
    /// The store's.
    pub async fn run_once(&self) -> Result<(), StoreError> {
        let asked_ms = self.lease.now_ms();
        self.store.renew(&self.member, self.lease_ms).await?;
        self.lease.until_ms.store(asked_ms + self.lease_ms, Ordering::Release);
        Ok(())
    }

    /// Renews again and again until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let pause = pause(self.lease_ms);
        let (mut watchdog, mut slept) = (Watchdog::default(), Duration::ZERO);
        let mut trouble = Trouble::default();
        loop {
            watchdog.look(&self.lease, slept);
            slept = match self.run_once().await {
                Ok(()) => {
                    trouble.is_over();
                    pause
                }
                Err(error) => {
                    trouble.told(&error, pause / 4);
                    pause / 4
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(slept) => {}
            }
        }
    }
}

/// Says that the lease cannot be renewed when that begins, and then every few seconds: it is tried far more often.
#[derive(Default)]
struct Trouble(Option<Duration>);

impl Trouble {
    const SAID_EVERY: Duration = Duration::from_secs(5);

    fn told(&mut self, error: &StoreError, until_next: Duration) {
        let since = self.0.unwrap_or(Self::SAID_EVERY);
        if since >= Self::SAID_EVERY {
            tracing::warn!(%error, "lease could not be renewed");
            self.0 = Some(until_next);
        } else {
            self.0 = Some(since + until_next);
        }
    }

    fn is_over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("lease renewed again");
        }
    }
}

/// So long the owner may stand still.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// Ends the process whose owner hangs: alive, it would keep partitions and deliveries that nobody then serves.
#[derive(Default)]
struct Watchdog {
    seen: u64,
    /// The pauses before the looks in a row that saw no move. Not the clock: a process that was frozen is not one that hangs.
    still: Duration,
}

impl Watchdog {
    fn look(&mut self, lease: &Lease, slept: Duration) {
        if self.hangs(lease.moves(), slept) {
            tracing::error!("the owner hangs; this process ends, so that others take its partitions over");
            std::process::abort();
        }
    }

    fn hangs(&mut self, moves: u64, slept: Duration) -> bool {
        self.still = match moves == self.seen && moves > 0 {
            true => self.still + slept,
            false => Duration::ZERO,
        };
        self.seen = moves;
        self.still >= STANDSTILL_MAX
    }
}

/// Where renewals run.
pub trait LeaseKeeper: Send + Sync {
    /// Begins to renew, until `stop`.
    fn keep(&self, renewal: Renewal, stop: CancellationToken);
}

/// On a thread and runtime of its own.
pub struct ThreadKeeper;

impl LeaseKeeper for ThreadKeeper {
    fn keep(&self, renewal: Renewal, stop: CancellationToken) {
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(renewal.run(stop)),
            Err(error) => tracing::error!(%error, "no runtime for the lease"),
        };
        if let Err(error) = std::thread::Builder::new().name("lease".to_owned()).spawn(work) {
            tracing::error!(%error, "no thread for the lease");
        }
    }
}

/// On a task beside the owner: for simulation, where time is one.
pub struct TaskKeeper;

impl LeaseKeeper for TaskKeeper {
    fn keep(&self, renewal: Renewal, stop: CancellationToken) {
        // Ends with `stop`; whoever simulates owns the runtime.
        drop(tokio::spawn(renewal.run(stop)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_owner_that_began_and_stands_still_for_long_hangs() {
        let second = Duration::from_secs(1);
        let mut watchdog = Watchdog::default();
        assert!((0..100).all(|_| !watchdog.hangs(0, second)), "it has not begun");
        assert!((1..100).all(|moves| !watchdog.hangs(moves, second)));
        assert!((1..30).all(|_| !watchdog.hangs(99, second)));
        assert!(watchdog.hangs(99, second));
    }
}
