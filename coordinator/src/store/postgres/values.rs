//! Rust values as SQL values, where the driver has no type of its own.

use std::error::Error;

use bytes::BytesMut;
use rejoin_shared::run::Outcome;
use rejoin_shared::time::Timestamp;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::super::StoreError;

/// From 1970 to 2000, where PostgreSQL begins to count, in microseconds.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// A `timestamptz`.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(pub Timestamp);

impl ToSql for At {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let since_2000 = self.0.0.checked_sub(EPOCH_OFFSET_US).ok_or("time out of range")?;
        since_2000.to_sql(ty, out)
    }
    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for At {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<At, Box<dyn Error + Sync + Send>> {
        let since_2000 = i64::from_sql(ty, raw)?;
        Ok(At(Timestamp(
            since_2000.checked_add(EPOCH_OFFSET_US).ok_or("time out of range")?,
        )))
    }
    accepts!(TIMESTAMPTZ);
}

/// A count as `bigint`.
pub(super) fn bigint(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Refused(format!("{value} is too large a number")))
}

/// A count as `integer`.
pub(super) fn integer(value: u32) -> Result<i32, StoreError> {
    i32::try_from(value).map_err(|_| StoreError::Refused(format!("{value} is too large a number")))
}

/// A limit of rows; more than a `bigint` holds is no limit.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn outcome_number(outcome: Outcome) -> i16 {
    match outcome {
        Outcome::Ok => 1,
        Outcome::Error => 2,
        Outcome::Timeout => 3,
        Outcome::Lost => 4,
        Outcome::Cancelled => 5,
    }
}

pub(super) fn outcome(number: i16) -> Result<Outcome, StoreError> {
    match number {
        1 => Ok(Outcome::Ok),
        2 => Ok(Outcome::Error),
        3 => Ok(Outcome::Timeout),
        4 => Ok(Outcome::Lost),
        5 => Ok(Outcome::Cancelled),
        other => Err(StoreError::Newer(format!("unknown outcome {other}"))),
    }
}
