//! Who should own what.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_shared::ids::Partition;
use rejoin_shared::time::Timestamp;

use super::Membership;
use crate::store::{Claim, Member, PartitionRow};

/// A member counts once it has been there for so long.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Partitions that change hands in one round.
const MOVED_MAX: usize = 8;

/// What a member does about its partitions now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be claimed.
    pub take: Vec<Partition>,
    /// To be handed over.
    pub give: Vec<Partition>,
    /// Owned by someone else already.
    pub lost: Vec<Partition>,
    /// Still in its name, but dropped when its lease had run out, and no longer its share: nobody else may take them.
    pub release: Vec<Claim>,
}

/// Compares what `me` owns with what it should.
#[must_use]
pub fn plan(me: &Member, membership: &Membership, owned: &BTreeMap<Partition, Claim>) -> Plan {
    let names = sharers(me, membership);
    let is_alone = names.len() == 1;
    let mut plan = Plan::default();
    for row in &membership.partitions {
        let is_wanted = winner(&names, row.partition) == Some(me.name.as_str());
        match owned.get(&row.partition) {
            Some(claim) if claim.epoch < row.epoch => plan.lost.push(row.partition),
            Some(_) if !is_wanted => plan.give.push(row.partition),
            None if is_wanted && is_free(me, row) => plan.take.push(row.partition),
            None if !is_wanted && is_owned_by(me, row) => plan.release.push(Claim {
                partition: row.partition,
                epoch: row.epoch,
                batch: 0,
            }),
            Some(_) | None => {}
        }
    }
    if !is_alone {
        plan.take.truncate(MOVED_MAX);
    }
    plan.give.truncate(MOVED_MAX / 2);
    plan
}

/// Names of the members that share the partitions: live and stable, or all live ones where none is stable yet. A member
/// that is alone takes all at once.
fn sharers<'a>(me: &'a Member, membership: &'a Membership) -> Vec<&'a str> {
    let live = membership.members.iter().filter(|row| row.lease_left_ms > 0);
    let is_stable = |at: Timestamp| membership.now.is_some_and(|now| now.since(at) >= STABLE_AFTER);
    let stable = live.clone().filter(|row| is_stable(row.joined_at));
    let mut names: Vec<&str> = stable.map(|row| row.member.name.as_str()).collect();
    if names.is_empty() {
        names = live.map(|row| row.member.name.as_str()).collect();
    }
    if names.is_empty() {
        names.push(&me.name);
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn is_free(me: &Member, row: &PartitionRow) -> bool {
    match &row.owner {
        None => true,
        Some(owner) => !row.is_live || owner.name == me.name,
    }
}

fn is_owned_by(me: &Member, row: &PartitionRow) -> bool {
    let owner = row.owner.as_ref();
    owner.is_some_and(|owner| owner.name == me.name && owner.incarnation == me.incarnation)
}

fn winner<'a>(names: &[&'a str], partition: Partition) -> Option<&'a str> {
    names
        .iter()
        .copied()
        .max_by_key(|name| (weight(name, partition), *name))
}

/// FNV-1a with a final mix: the same in every release, unlike the standard library's.
fn weight(name: &str, partition: Partition) -> u64 {
    let bytes = name.bytes().chain([0, partition.0]);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Epoch, MemberRow};
    use uuid::Uuid;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            incarnation: Uuid::nil(),
            address: String::new(),
        }
    }

    fn membership(names: &[&str], joined_s: i64) -> Membership {
        let members = names.iter().map(|name| MemberRow {
            member: member(name),
            joined_at: Timestamp(joined_s * 1_000_000),
            lease_left_ms: 5_000,
        });
        let partitions = (0..64).map(|n| PartitionRow {
            partition: Partition(n),
            owner: None,
            is_live: false,
            epoch: Epoch { count: 0, token: 0 },
            has_events: false,
        });
        Membership {
            members: members.collect(),
            partitions: partitions.collect(),
            now: Some(Timestamp(100_000_000)),
        }
    }

    #[test]
    fn a_lone_member_takes_all_at_once() {
        let plan = plan(&member("a"), &membership(&["a"], 99), &BTreeMap::new());
        assert_eq!(plan.take.len(), 64);
    }

    #[test]
    fn stable_members_want_every_partition_exactly_once() {
        let names = ["a", "b", "c"];
        for n in 0..64 {
            assert!(names.contains(&winner(&names, Partition(n)).unwrap_or("")));
        }
        let share = (0..64).filter(|n| winner(&names, Partition(*n)) == Some("a")).count();
        assert!((8..40).contains(&share), "{share}");
    }

    #[test]
    fn a_newcomer_waits_until_it_is_stable() {
        let mut membership = membership(&["a"], 0);
        membership.members.push(MemberRow {
            member: member("b"),
            joined_at: Timestamp(99_000_000),
            lease_left_ms: 5_000,
        });
        assert_eq!(plan(&member("b"), &membership, &BTreeMap::new()).take, []);
    }

    #[test]
    fn what_is_in_a_member_s_name_and_not_in_its_hands_is_taken_again_or_released() {
        let mut membership = membership(&["a", "b"], 0);
        for row in &mut membership.partitions {
            (row.owner, row.is_live) = (Some(member("a")), true);
        }
        let plan_of_a = plan(&member("a"), &membership, &BTreeMap::new());
        assert_eq!(plan_of_a.take.len(), MOVED_MAX);
        let others = (0..64).filter(|n| winner(&["a", "b"], Partition(*n)) == Some("b"));
        let released: Vec<u8> = plan_of_a.release.iter().map(|claim| claim.partition.0).collect();
        assert_eq!(released, others.collect::<Vec<u8>>());
        assert_eq!(plan(&member("b"), &membership, &BTreeMap::new()), Plan::default());
    }
}
