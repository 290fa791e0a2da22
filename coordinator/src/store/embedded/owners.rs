//! Members, their leases, and who owns which partition.

use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};
use rejoin_shared::ids::Partition;
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use super::super::{Claim, Epoch, MEMBER_LISTED_MS, Member, MemberRow, PartitionRow};
use super::tables::{MEMBERS, PARTITIONS, PartitionState};
use super::{Result, StoreError};

pub(super) fn renew(tx: &WriteTransaction, member: &Member, lease_ms: u64, now: Timestamp) -> Result<()> {
    let mut members = tx.open_table(MEMBERS)?;
    let id = (member.name.as_str(), member.incarnation.as_u128());
    let joined_at = members.get(id)?.map_or(now.0, |row| row.value().1);
    let lease_until = now.plus(std::time::Duration::from_millis(lease_ms)).0;
    members.insert(id, (member.address.as_str(), joined_at, lease_until))?;
    let forgotten = now.0.saturating_sub(MEMBER_LISTED_MS * 1000);
    members.retain(|_, (_, _, lease_until)| lease_until >= forgotten)?;
    Ok(())
}

pub(super) fn leave(tx: &WriteTransaction, member: &Member, now: Timestamp) -> Result<()> {
    let mut members = tx.open_table(MEMBERS)?;
    let id = (member.name.as_str(), member.incarnation.as_u128());
    let left = members.get(id)?.map(|row| (row.value().1, row.value().2.min(now.0)));
    if let Some((joined_at, lease_until)) = left {
        members.insert(id, (member.address.as_str(), joined_at, lease_until))?;
    }
    let mut partitions = tx.open_table(PARTITIONS)?;
    for (partition, row) in all(&partitions)? {
        if row.is_owned_by(&member.name, member.incarnation) {
            free(&mut partitions, partition, &row)?;
        }
    }
    Ok(())
}

/// Ends every lease at `now`, for a store whose former users are all gone.
pub(super) fn end_all_leases(tx: &WriteTransaction, now: Timestamp) -> Result<()> {
    let mut members = tx.open_table(MEMBERS)?;
    let mut live = Vec::new();
    for entry in members.iter()? {
        let (id, row) = entry?;
        let ((name, incarnation), (address, joined_at, lease_until)) = (id.value(), row.value());
        if lease_until > now.0 {
            live.push((name.to_owned(), incarnation, address.to_owned(), joined_at));
        }
    }
    for (name, incarnation, address, joined_at) in &live {
        members.insert((name.as_str(), *incarnation), (address.as_str(), *joined_at, now.0))?;
    }
    Ok(())
}

pub(super) fn members(tx: &ReadTransaction, now: Timestamp) -> Result<Vec<MemberRow>> {
    let mut found = Vec::new();
    for entry in tx.open_table(MEMBERS)?.iter()? {
        let (id, row) = entry?;
        let ((name, incarnation), (address, joined_at, lease_until)) = (id.value(), row.value());
        let lease_left_ms = (lease_until - now.0).div_euclid(1000);
        if lease_left_ms >= -MEMBER_LISTED_MS {
            let member = Member {
                name: name.to_owned(),
                incarnation: Uuid::from_u128(incarnation),
                address: address.to_owned(),
            };
            found.push(MemberRow {
                member,
                joined_at: Timestamp(joined_at),
                lease_left_ms,
            });
        }
    }
    Ok(found)
}

/// A partition's row, taken out of the table.
struct Row {
    owner: Option<Member>,
    epoch: Epoch,
    has_events: bool,
}

impl Row {
    fn read(value: <PartitionState as redb::Value>::SelfType<'_>) -> Row {
        let (owner, count, token, _, has_events) = value;
        let owner = owner.map(|(name, incarnation, address)| Member {
            name: name.to_owned(),
            incarnation: Uuid::from_u128(incarnation),
            address: address.to_owned(),
        });
        Row {
            owner,
            epoch: Epoch { count, token },
            has_events,
        }
    }

    fn is_owned_by(&self, name: &str, incarnation: Uuid) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner.name == name && owner.incarnation == incarnation)
    }
}

fn all(table: &impl ReadableTable<u8, PartitionState>) -> Result<Vec<(Partition, Row)>> {
    table
        .iter()?
        .map(|entry| {
            let (number, row) = entry?;
            Ok((Partition(number.value()), Row::read(row.value())))
        })
        .collect()
}

fn is_live(
    members: &impl ReadableTable<(&'static str, u128), (&'static str, i64, i64)>,
    member: &Member,
    now: Timestamp,
) -> Result<bool> {
    let row = members.get((member.name.as_str(), member.incarnation.as_u128()))?;
    Ok(row.is_some_and(|row| row.value().2 > now.0))
}

pub(super) fn partitions(tx: &ReadTransaction, now: Timestamp) -> Result<Vec<PartitionRow>> {
    let members = tx.open_table(MEMBERS)?;
    let rows = all(&tx.open_table(PARTITIONS)?)?;
    rows.into_iter()
        .map(|(partition, row)| {
            let is_live = row
                .owner
                .as_ref()
                .map(|owner| is_live(&members, owner, now))
                .transpose()?;
            Ok(PartitionRow {
                partition,
                owner: row.owner,
                is_live: is_live.unwrap_or(false),
                epoch: row.epoch,
                has_events: row.has_events,
            })
        })
        .collect()
}

pub(super) fn claim(
    tx: &WriteTransaction,
    member: &Member,
    wanted: &[Partition],
    restart: Option<Uuid>,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let members = tx.open_table(MEMBERS)?;
    let mut table = tx.open_table(PARTITIONS)?;
    let mut claims = Vec::new();
    for (partition, row) in all(&table)? {
        if !wanted.contains(&partition) {
            continue;
        }
        let is_own = row.is_owned_by(&member.name, member.incarnation)
            || restart.is_some_and(|earlier| row.is_owned_by(&member.name, earlier));
        let is_taken = match &row.owner {
            Some(owner) => !is_own && is_live(&members, owner, now)?,
            None => false,
        };
        if is_taken {
            continue;
        }
        let epoch = Epoch {
            count: row.epoch.count + 1,
            token: rand::random(),
        };
        let owner = (
            member.name.as_str(),
            member.incarnation.as_u128(),
            member.address.as_str(),
        );
        table.insert(partition.0, (Some(owner), epoch.count, epoch.token, 0, row.has_events))?;
        claims.push(Claim {
            partition,
            epoch,
            batch: 0,
        });
    }
    Ok(claims)
}

pub(super) fn release(tx: &WriteTransaction, member: &Member, claims: &[Claim]) -> Result<()> {
    let mut table = tx.open_table(PARTITIONS)?;
    for (partition, row) in all(&table)? {
        let is_claimed = claims
            .iter()
            .any(|claim| claim.partition == partition && claim.epoch == row.epoch);
        if is_claimed && row.is_owned_by(&member.name, member.incarnation) {
            free(&mut table, partition, &row)?;
        }
    }
    Ok(())
}

/// Frees a partition under a new epoch, so that nothing its former owner still sends can be appended.
fn free(table: &mut Table<'_, u8, PartitionState>, partition: Partition, row: &Row) -> Result<()> {
    table.insert(partition.0, (None, row.epoch.count + 1, 0, 0, row.has_events))?;
    Ok(())
}

pub(super) fn mark_events(tx: &WriteTransaction, partition: Partition) -> Result<()> {
    let mut table = tx.open_table(PARTITIONS)?;
    let (row, batch) = match table.get(partition.0)? {
        Some(value) => (Row::read(value.value()), value.value().3),
        None => return Err(StoreError::Refused(format!("there is no partition {}", partition.0))),
    };
    let owner = row
        .owner
        .as_ref()
        .map(|o| (o.name.as_str(), o.incarnation.as_u128(), o.address.as_str()));
    table.insert(partition.0, (owner, row.epoch.count, row.epoch.token, batch, true))?;
    Ok(())
}
