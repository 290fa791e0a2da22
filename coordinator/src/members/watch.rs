//! Joins, and reads members and partitions anew every second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Membership;
use super::lease::pause;
use crate::owner::inbound::Inbound;
use crate::store::{Member, Store, StoreError};

/// Pause between two readings.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for an earlier incarnation.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until an earlier incarnation of the same name has missed two renewals; returns it, so that its partitions are
/// taken back at once.
pub async fn join(store: &dyn Store, me: &Member, lease_ms: u64) -> Option<Uuid> {
    let (lease, missed_two) = (Duration::from_millis(lease_ms), pause(lease_ms).mul_f64(2.5));
    let missed_two_ms = i64::try_from(lease.saturating_sub(missed_two).as_millis()).unwrap_or(0);
    loop {
        match store.members().await {
            Ok(members) => {
                let earlier = members
                    .iter()
                    .filter(|row| row.member.name == me.name && row.member.incarnation != me.incarnation);
                let earlier = earlier.max_by_key(|row| row.lease_left_ms);
                if earlier.is_none_or(|row| row.lease_left_ms <= missed_two_ms) {
                    return earlier.map(|row| row.member.incarnation);
                }
            }
            Err(error) => tracing::warn!(%error, "members could not be read"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn run_once(store: &dyn Store) -> Result<Membership, StoreError> {
    let members = store.members().await?;
    let now = Some(store.now().await?);
    let partitions = store.partitions().await?;
    Ok(Membership {
        members,
        partitions,
        now,
    })
}

/// Tells the owner about members and partitions until `stop`.
pub async fn watch(store: Arc<dyn Store>, told: mpsc::Sender<Inbound>, stop: CancellationToken) {
    loop {
        match run_once(store.as_ref()).await {
            Ok(membership) => {
                if told.send(Inbound::Membership(Box::new(membership))).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "membership could not be read"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
