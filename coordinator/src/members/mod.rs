//! Which coordinator owns which partitions: leases, rendezvous hashing, hand-over a few at a time (DESIGN 3).

pub mod lease;
mod plan;
mod watch;

use rejoin_shared::time::Timestamp;

use crate::store::{MemberRow, PartitionRow};
pub use plan::{Plan, plan};
pub use watch::{join, watch};

/// Members and partitions, as the database has them.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// All members, those whose lease has run out too.
    pub members: Vec<MemberRow>,
    /// All partitions.
    pub partitions: Vec<PartitionRow>,
    /// The database's time.
    pub now: Option<Timestamp>,
}

impl Membership {
    /// The event queue that reaches the live owner of `partition`: its lowest partition whose event queue is used.
    #[must_use]
    pub fn home_of_owner(&self, partition: rejoin_shared::ids::Partition) -> Option<rejoin_shared::ids::Partition> {
        let row = self.partitions.iter().find(|row| row.partition == partition)?;
        let owner = row.owner.as_ref().filter(|_| row.is_live)?;
        let homes = self
            .partitions
            .iter()
            .filter(|row| row.has_events && row.owner.as_ref() == Some(owner));
        homes.map(|row| row.partition).min()
    }
}
