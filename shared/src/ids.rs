//! Identifiers: one newtype per id, so that they cannot be mixed up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// Number of partitions; fixed for ever, since a run's partition is part of its id.
pub const PARTITIONS: u8 = 64;

/// A run's id: a UUID v7 whose last byte's low six bits name its partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RunId(pub Uuid);

/// One of the [`PARTITIONS`] fixed shares of all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Partition(pub u8);

impl RunId {
    /// Makes a new id in `partition`: time-ordered, otherwise random.
    #[must_use]
    pub fn new_in(partition: Partition) -> RunId {
        RunId::from_uuid_in(Uuid::now_v7(), partition)
    }

    /// Puts the number of `partition` into the last byte of `uuid`.
    #[must_use]
    pub fn from_uuid_in(uuid: Uuid, partition: Partition) -> RunId {
        let mut bytes = uuid.into_bytes();
        bytes[15] = (bytes[15] & !(PARTITIONS - 1)) | (partition.0 & (PARTITIONS - 1));
        RunId(Uuid::from_bytes(bytes))
    }

    /// The id of a run that `parent` calls at its record `seq`: it follows from the call, lies in the parent's partition, and is a
    /// UUID v7 (RFC 9562) of `at`, whose other bits are mixed from the parent's id and the record.
    #[must_use]
    pub fn child_of(parent: RunId, seq: u64, at: Timestamp) -> RunId {
        let (high, low) = parent.0.as_u64_pair();
        let first = mix(high ^ mix(seq));
        let second = mix(low ^ mix(first ^ seq.rotate_left(32)));
        let mut random = [0_u8; 10];
        random[..8].copy_from_slice(&second.to_be_bytes());
        random[8..].copy_from_slice(&first.to_be_bytes()[..2]);
        let ms = u64::try_from(at.0 / 1000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid();
        RunId::from_uuid_in(id, parent.partition())
    }

    /// When the id was made, to the millisecond.
    #[must_use]
    pub fn created_at(self) -> Timestamp {
        let made = self.0.get_timestamp().map(|made| made.to_unix()).unwrap_or_default();
        let micros = made
            .0
            .saturating_mul(1_000_000)
            .saturating_add(u64::from(made.1 / 1_000));
        Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// The partition this run lies in.
    #[must_use]
    pub fn partition(self) -> Partition {
        Partition(self.0.as_bytes()[15] & (PARTITIONS - 1))
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<RunId, uuid::Error> {
        Uuid::parse_str(text).map(RunId)
    }
}

/// A wall between tenants; `default` unless the request or the token says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Namespace(pub Arc<str>);

impl Namespace {
    /// The namespace of whoever names none.
    #[must_use]
    pub fn default_name() -> Namespace {
        Namespace("default".into())
    }

    /// Whether this is `default`, which adds nothing to queue names.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == "default"
    }

    /// Whether `text` may name a namespace: the rule of node names (SPEC 2).
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        is_name(text)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a name by SPEC 2: `[a-zA-Z][a-zA-Z0-9_-]*`, at most 64 characters.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut chars = text.bytes();
    text.len() <= crate::limits::NAME_CHARS_MAX
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

/// One visit of a step inside a run: which branch of which open scope, and the how-manieth step it began.
///
/// `scope` is the sequence number of the scope's opening record, 0 for the run's outermost flow. Survives restarts,
/// since it is derived from the journal alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepKey {
    /// Sequence number of the record that opened the scope; 0 is the outermost flow.
    pub scope: u64,
    /// Index of the branch within the scope.
    pub branch: u32,
    /// Count of steps that this branch began before this one.
    pub pos: u32,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scope, self.branch, self.pos)
    }
}

/// One attempt of one step visit, as dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The run.
    pub run: RunId,
    /// The step visit within it.
    pub step: StepKey,
    /// Counted from 1.
    pub attempt: u32,
}

/// Names a claim on an attempt (SPEC 5.2): the question that asked for it, of which there is one a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimId(pub Uuid);

/// Who has the only right to run an attempt, and by which delivery of it. The same key gets the same grant again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimKey {
    /// Incarnation of the worker that asked.
    pub incarnation: Uuid,
    /// Its question.
    pub id: ClaimId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_keeps_the_partition_it_was_made_in() {
        for partition in 0..PARTITIONS {
            assert_eq!(RunId::new_in(Partition(partition)).partition(), Partition(partition));
        }
    }

    #[test]
    fn a_name_is_a_letter_and_at_most_63_more() {
        assert!(is_name("a") && is_name("A-b_9") && is_name(&"a".repeat(64)));
        assert!(!is_name("") && !is_name("9a") && !is_name("a b") && !is_name(&"a".repeat(65)));
    }
}
