//! One worker, as its reports show it.

use std::time::Duration;

use rejoin_shared::ids::{AttemptKey, ClaimId, ClaimKey, Namespace};
use rejoin_shared::map::HashSet;
use rejoin_shared::time::Timestamp;
use rejoin_shared::wire::{Report, WorkerId};

use crate::dispatcher::QueueKey;

/// One worker.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // as in wire::Report
pub struct Worker {
    pub id: WorkerId,
    pub namespace: Namespace,
    pub queues: HashSet<String>,
    pub handlers: HashSet<String>,
    pub slots: u32,
    pub busy: u32,
    pub held: HashSet<AttemptKey>,
    pub claims: HashSet<ClaimId>,
    pub started_at: Timestamp,
    /// Of its program, where it tells.
    pub version: Option<String>,
    pub draining: bool,
    /// Number of its last report.
    pub number: u64,
    /// When that came, by our clock.
    pub seen_at: Timestamp,
    /// A mandatory message to its own queue came back.
    pub returned: bool,
    /// Its first, last but one and last report, by their place among all that were heard.
    heard: Option<(Heard, Heard, Heard)>,
}

/// Place of a report among all that were heard.
pub type Heard = u64;

/// A worker that has been silent so long gets nothing new.
const QUIET: Duration = Duration::from_secs(10);

impl Worker {
    /// Whether it takes new work.
    #[must_use]
    pub fn takes_work(&self, now: Timestamp) -> bool {
        !self.draining && !self.returned && now.since(self.seen_at) < QUIET
    }

    /// One that has not reported yet.
    pub(super) fn expected(id: WorkerId, namespace: Namespace, now: Timestamp) -> Worker {
        Worker {
            id,
            namespace,
            queues: HashSet::default(),
            handlers: HashSet::default(),
            slots: 0,
            busy: 0,
            held: HashSet::default(),
            claims: HashSet::default(),
            started_at: now,
            version: None,
            draining: false,
            number: 0,
            seen_at: now,
            returned: false,
            heard: None,
        }
    }

    /// Takes the newest report over; returns what it lists anew, and what it lists no more.
    pub(super) fn update(
        &mut self,
        report: Report,
        place: Heard,
        now: Timestamp,
    ) -> (Vec<AttemptKey>, Vec<AttemptKey>) {
        self.seen_at = now;
        self.returned = false;
        if report.number <= self.number {
            return (Vec::new(), Vec::new());
        }
        let held: HashSet<AttemptKey> = report.held.into_iter().collect();
        let listed = held.difference(&self.held).copied().collect();
        let unlisted = self.held.difference(&held).copied().collect();
        self.number = report.number;
        self.heard = Some(match self.heard {
            Some((first, _, last)) => (first, last, place),
            None => (place, place, place),
        });
        self.started_at = report.started_at;
        self.version = report.version;
        self.queues = report.queues.into_iter().collect();
        self.handlers = report.handlers.into_iter().collect();
        (self.slots, self.busy, self.draining) = (report.slots, report.busy, report.draining);
        self.held = held;
        self.claims = report.claims.into_iter().collect();
        (listed, unlisted)
    }

    /// Whether it says that it has this claim. A reconnected process goes on listing it under its new incarnation; of a worker
    /// that lists no claims the attempt itself counts.
    #[must_use]
    pub fn holds_claim(&self, attempt: &AttemptKey, claim: ClaimKey) -> bool {
        let is_asker = self.id.incarnation == claim.incarnation;
        self.claims.contains(&claim.id) || (is_asker && self.held.contains(attempt))
    }

    /// Whether it has made a report since `place`: the first one that is heard after that may have been under way, the second
    /// was not. A worker that was unknown then is one that came since.
    #[must_use]
    pub fn has_reported_since(&self, place: Heard) -> bool {
        self.reported_since() > place
    }

    /// It has made a report since every place before this one.
    pub(super) fn reported_since(&self) -> Heard {
        self.heard.map_or(0, |(first, last_but_one, _)| first.max(last_but_one))
    }

    /// Whether it consumes this task queue.
    #[must_use]
    pub fn consumes(&self, queue: &QueueKey) -> bool {
        self.namespace == queue.namespace && self.queues.contains(&*queue.name)
    }
}
