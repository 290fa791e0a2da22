//! The right to begin, looked at where a handler begins: it may have got lost on the way there.
//!
//! Between the loop that hands an attempt to its handler and the handler's first act the process may be frozen for longer than its
//! owner waits for it; then the attempt runs elsewhere. What is left is the moment between this look and that act.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Work is begun only while the last confirmed report is younger than this.
pub(crate) const TRUST: Duration = Duration::from_secs(10);

/// What the owners know of this worker.
#[derive(Debug, Default)]
pub(crate) struct Trust(Mutex<Given>);

#[derive(Clone, Copy, Debug, Default)]
struct Given {
    /// Sessions so far: what was to begin in an earlier one has been given up since.
    session: u64,
    /// When the youngest confirmed report was made (not when its confirm came): what it says was true then.
    made: Option<Instant>,
}

impl Given {
    fn is_fresh(self, now: Instant) -> bool {
        self.made.is_some_and(|made| now.duration_since(made) < TRUST)
    }
}

impl Trust {
    /// A session begins with a report made at `made`.
    pub fn restart(&self, made: Instant) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (given.session, given.made) = (given.session + 1, Some(made));
    }

    /// A report of the same session, made at `made`, was confirmed.
    pub fn renew(&self, made: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made = Some(made);
    }

    /// When it ends.
    pub fn until(&self) -> Option<Instant> {
        self.given().made.map(|made| made + TRUST)
    }

    /// Whether the owners know of this worker as it was less than [`TRUST`] ago.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.given().is_fresh(now)
    }

    /// The right of what is handed to its handler now.
    pub fn permit(self: &Arc<Self>) -> Permit {
        Permit {
            session: self.given().session,
            trust: self.clone(),
        }
    }

    fn given(&self) -> Given {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one attempt to begin.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    trust: Arc<Trust>,
    session: u64,
}

impl Permit {
    /// Whether it holds still.
    pub fn holds(&self) -> bool {
        let given = self.trust.given();
        given.session == self.session && given.is_fresh(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_permit_ends_with_the_trust_it_was_given_in_and_no_later_session_renews_it() {
        let trust = Arc::new(Trust::default());
        assert!(!trust.permit().holds());
        trust.restart(Instant::now());
        let permit = trust.permit();
        assert!(permit.holds());
        tokio::time::advance(TRUST).await;
        assert!(!permit.holds());
        trust.renew(Instant::now());
        assert!(permit.holds());
        trust.restart(Instant::now());
        assert!(!permit.holds() && trust.permit().holds());
    }
}

/// Attempts that lost their right on the way to their handler.
#[cfg(test)]
pub(crate) mod lost {
    use rejoin_shared::ids::{Partition, RunId, StepKey};
    use rejoin_shared::limits::Limits;
    use rejoin_shared::wire::{Order, OrderPayload};

    use super::super::{Attempt, Base};
    use super::*;

    /// One whose worker nobody has heard of.
    pub(crate) fn attempt() -> Arc<Attempt> {
        Arc::new(free().permitted(Arc::<Trust>::default().permit()))
    }

    /// One that may begin at any time.
    pub(crate) fn free() -> Attempt {
        let order = Order {
            run: RunId::from_uuid_in(Default::default(), Partition(3)),
            step: StepKey {
                scope: 0,
                branch: 0,
                pos: 1,
            },
            attempt: 1,
            workflow: "w".into(),
            path: "/s".to_owned(),
            handler: "h".into(),
            idempotency_key: None,
            timeout_ms: None,
            heartbeat_ms: None,
            token: None,
            payload_encoding: "json".into(),
            payload: OrderPayload {
                base: 0,
                changes: None,
                input: None,
                item: None,
                index: None,
                checkpoint: None,
            },
        };
        let base = Arc::new(Base::of_json(rejoin_shared::json::Json::object()));
        Attempt::new(order, base, &Limits::default())
    }
}
