//! Payloads sealed at rest (AES-256-GCM): what stands in the database tells nothing of them to who has only the database.
//!
//! ```text
//!  0x01 │ marks │ length of the id │ id of the key │ salt (16) │ ciphertext │ tag (16)
//!  └──────────── authenticated, not encrypted ──────┘     with the place where it belongs
//! ```
//! JSON text never begins with 0x01: what was written before there were keys reads as it is. Each payload has a key of its own,
//! derived (HKDF-SHA-256) from the named one and a salt drawn at random, so that no number of payloads wears a key out: with nonces
//! drawn at random under one key, 2³² payloads would be the end of it, which is a day's work here.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_shared::ids::{Namespace, RunId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};

/// What a sealed payload begins with.
const SEALED: u8 = 1;
/// What keys of payloads are derived for.
const PURPOSE: &[u8] = b"rejoin payload 1";
const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// A run that nobody waits for: the database reads it to know whom the deletion of a parent has to wait for.
pub const MARK_DETACHED: u8 = 1;

/// Where a payload belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A column of a record: the run, the record's number.
    Journal(RecordPart, RunId, u64),
    /// A column of a run's row.
    Run(RunPart, RunId),
    /// A message of this kind; of one to many runs nobody knows at first to which.
    Message(&'a str),
    /// The verdict on the inbox row of this number.
    Verdict(u64),
    /// What a wait asks.
    Wait(RunId, u64),
    /// What a schedule starts.
    Schedule(&'a Namespace, &'a str),
    /// Why a schedule's last start failed.
    ScheduleError(&'a Namespace, &'a str),
    /// What proves that a key is the one of its id.
    Proof(&'a str),
}

/// A column of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RecordPart {
    Body,
    Output,
    Snapshot,
    Logs,
}

/// A column of a run's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RunPart {
    Input,
    Context,
    Output,
    Error,
}

impl Place<'_> {
    /// Adds a text that no other place has.
    fn write_to(self, text: &mut Vec<u8>) {
        let name = match self {
            Place::Journal(RecordPart::Body, ..) => "journal.body",
            Place::Journal(RecordPart::Output, ..) => "journal.output",
            Place::Journal(RecordPart::Snapshot, ..) => "journal.snapshot",
            Place::Journal(RecordPart::Logs, ..) => "journal.logs",
            Place::Run(RunPart::Input, _) => "runs.input",
            Place::Run(RunPart::Context, _) => "runs.context",
            Place::Run(RunPart::Output, _) => "runs.output",
            Place::Run(RunPart::Error, _) => "runs.error",
            Place::Message(_) => "inbox.body",
            Place::Verdict(_) => "inbox.verdict",
            Place::Wait(..) => "waits.body",
            Place::Schedule(..) => "schedules.spec",
            Place::ScheduleError(..) => "schedules.last_error",
            Place::Proof(_) => "encryption_keys.proof",
        };
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        match self {
            Place::Journal(_, run, seq) | Place::Wait(run, seq) => {
                text.extend_from_slice(run.0.as_bytes());
                text.extend_from_slice(&seq.to_be_bytes());
            }
            Place::Run(_, run) => text.extend_from_slice(run.0.as_bytes()),
            Place::Message(name) | Place::Proof(name) => text.extend_from_slice(name.as_bytes()),
            Place::Verdict(id) => text.extend_from_slice(&id.to_be_bytes()),
            Place::Schedule(namespace, name) | Place::ScheduleError(namespace, name) => {
                text.extend_from_slice(namespace.0.as_bytes());
                text.push(0);
                text.extend_from_slice(name.as_bytes());
            }
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Journal(part, run, seq) => write!(f, "{part:?} of record {seq} of run {run}"),
            Place::Run(part, run) => write!(f, "{part:?} of run {run}"),
            Place::Message(kind) => write!(f, "a message of kind {kind}"),
            Place::Verdict(id) => write!(f, "the verdict on message {id}"),
            Place::Wait(run, seq) => write!(f, "the wait of record {seq} of run {run}"),
            Place::Schedule(namespace, name) => write!(f, "schedule {namespace}/{name}"),
            Place::ScheduleError(namespace, name) => write!(f, "the error of schedule {namespace}/{name}"),
            Place::Proof(id) => write!(f, "the proof of key {id}"),
        }
    }
}

/// Why a payload cannot be sealed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Its key is not among ours.
    #[error("{place} is sealed with key `{id}`, which this process does not have: add it to encryption.keys")]
    UnknownKey {
        /// The key.
        id: String,
        /// The payload.
        place: String,
    },
    /// It was changed, or belongs elsewhere; or the key is another one of the same id.
    #[error(
        "{place} does not open with key `{id}`: it was changed or belongs elsewhere, or another key has this id in encryption.keys"
    )]
    Broken {
        /// The key.
        id: String,
        /// The payload.
        place: String,
    },
    /// It is cut off.
    #[error("{place} begins as a sealed payload and is none")]
    Malformed {
        /// The payload.
        place: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The key to write with is not among the keys.
    #[error("there is no key `{0}`")]
    NoSuchKey(String),
}

/// A key with its id.
#[derive(Clone)]
struct Key {
    id: String,
    base: Prk,
}

impl Key {
    /// The key of the one payload that has this salt.
    fn of_payload(&self, salt: &[u8]) -> LessSafeKey {
        let info = [PURPOSE, salt];
        let derived = self.base.expand(&info, &AES_256_GCM);
        LessSafeKey::new(UnboundKey::from(derived.expect("a key is shorter than HKDF's limit")))
    }
}

/// The nonce of a key's only payload.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Seals and opens payloads; without keys it leaves them as they are.
#[derive(Clone, Default)]
pub struct Codec {
    keys: Arc<[Key]>,
    /// The one to seal with.
    newest: Option<Key>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.ids().collect();
        write!(f, "Codec {{ keys: {ids:?}, newest: {:?} }}", self.newest_id())
    }
}

/// A payload in parts.
struct Parts<'a> {
    header: &'a [u8],
    id: &'a str,
    salt: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None`: it is none, though it begins as one.
    fn of(stored: &'a [u8]) -> Option<Parts<'a>> {
        let id_end = 3 + usize::from(*stored.get(2)?);
        let header = stored.get(..id_end)?;
        let salt = stored.get(id_end..id_end + SALT_BYTES)?;
        let sealed = stored
            .get(id_end + SALT_BYTES..)
            .filter(|rest| rest.len() >= TAG_BYTES)?;
        let id = std::str::from_utf8(&header[3..]).ok()?;
        Some(Parts {
            header,
            id,
            salt,
            sealed,
        })
    }
}

/// Whether a payload is sealed.
#[must_use]
pub fn is_sealed(stored: &[u8]) -> bool {
    stored.first() == Some(&SEALED)
}

/// What a payload is sealed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SealedBy {
    /// Nothing: it is plain.
    Nobody,
    /// The key of this id.
    Key(String),
    /// It begins as a sealed one and is none.
    Nothing,
}

impl SealedBy {
    /// Of a whole payload.
    #[must_use]
    pub fn of(stored: &[u8]) -> SealedBy {
        match (is_sealed(stored), Parts::of(stored)) {
            (false, _) => SealedBy::Nobody,
            (true, Some(parts)) => SealedBy::Key(parts.id.to_owned()),
            (true, None) => SealedBy::Nothing,
        }
    }
}

impl Codec {
    /// Over these keys, 32 bytes each, by their ids; seals with `newest`, if it is given.
    ///
    /// # Errors
    /// [`SealError::NoSuchKey`]
    pub fn new<'k>(
        keys: impl IntoIterator<Item = (&'k str, &'k [u8; 32])>,
        newest: Option<&str>,
    ) -> Result<Codec, SealError> {
        let of = |(id, bytes): (&str, &[u8; 32])| Key {
            id: id.to_owned(),
            base: Prk::new_less_safe(HKDF_SHA256, bytes),
        };
        let keys: Arc<[Key]> = keys.into_iter().map(of).collect();
        let named = |id: &str| keys.iter().find(|key| key.id == id).cloned();
        let newest = newest.map(|id| named(id).ok_or_else(|| SealError::NoSuchKey(id.to_owned())));
        let newest = newest.transpose()?;
        Ok(Codec { keys, newest })
    }

    /// Ids of the keys it has.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Id of the key that it seals with; none: it writes plain text.
    #[must_use]
    pub fn newest_id(&self) -> Option<&str> {
        self.newest.as_ref().map(|key| key.id.as_str())
    }

    /// Whether there are keys, so that what it reads may have been sealed.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Seals a payload for its place. Without a key it stays as it is; what could not be opened when it was read stays sealed.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`]
    pub fn seal(&self, place: Place<'_>, marks: u8, plain: &Bytes) -> Result<Bytes, SealError> {
        match &self.newest {
            Some(key) if !is_sealed(plain) => seal(key, place, marks, plain),
            Some(_) | None => Ok(plain.clone()),
        }
    }

    /// Opens what stands at a place; plain text is itself.
    ///
    /// # Errors
    /// [`SealError`]: it cannot be read.
    pub fn open(&self, place: Place<'_>, stored: Bytes) -> Result<Bytes, SealError> {
        if !is_sealed(&stored) {
            return Ok(stored);
        }
        let named = || place.to_string();
        let parts = Parts::of(&stored).ok_or_else(|| SealError::Malformed { place: named() })?;
        let id = || parts.id.to_owned();
        let key = self.keys.iter().find(|key| key.id == parts.id);
        let key = key.ok_or_else(|| SealError::UnknownKey {
            id: id(),
            place: named(),
        })?;
        let mut bound = parts.header.to_vec();
        place.write_to(&mut bound);
        let mut plain = parts.sealed.to_vec();
        let opened = key
            .of_payload(parts.salt)
            .open_in_place(nonce(), Aad::from(&bound), &mut plain);
        let length = opened.map(|plain| plain.len());
        let length = length.map_err(|_| SealError::Broken {
            id: id(),
            place: named(),
        })?;
        plain.truncate(length);
        Ok(plain.into())
    }
}

fn seal(key: &Key, place: Place<'_>, marks: u8, plain: &[u8]) -> Result<Bytes, SealError> {
    let id_length = u8::try_from(key.id.len()).expect("an id is checked to be short");
    let mut salt = [0; SALT_BYTES];
    let drawn = SystemRandom::new().fill(&mut salt);
    drawn.map_err(|_| SealError::NoRandomness)?;
    let mut bound = Vec::with_capacity(96);
    bound.extend_from_slice(&[SEALED, marks, id_length]);
    bound.extend_from_slice(key.id.as_bytes());
    let mut sealed = Vec::with_capacity(bound.len() + SALT_BYTES + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&bound);
    sealed.extend_from_slice(&salt);
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    place.write_to(&mut bound);
    let tag = key
        .of_payload(&salt)
        .seal_in_place_separate_tag(nonce(), Aad::from(&bound), &mut sealed[start..]);
    sealed.extend_from_slice(tag.expect("a payload is shorter than the cipher's limit").as_ref());
    Ok(sealed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_shared::ids::Partition;

    const OLD: [u8; 32] = [7; 32];
    const NEW: [u8; 32] = [9; 32];

    fn codec(keys: &[(&str, &[u8; 32])], newest: Option<&str>) -> Codec {
        Codec::new(keys.iter().copied(), newest).expect("its keys are there")
    }

    fn run(last: u128) -> RunId {
        RunId::from_uuid_in(uuid::Uuid::from_u128(last << 64), Partition(1))
    }

    fn payload() -> Bytes {
        Bytes::from_static(b"{\"iban\":\"DE02120300000000202051\"}")
    }

    #[test]
    fn a_payload_comes_back_from_its_place_and_shows_nothing_of_itself() {
        let codec = codec(&[("k1", &OLD)], Some("k1"));
        let place = Place::Journal(RecordPart::Output, run(1), 5);
        for plain in [payload(), Bytes::new(), Bytes::from(vec![b' '; 100_000])] {
            let sealed = codec.seal(place, 0, &plain).expect("sealed");
            assert!(is_sealed(&sealed));
            assert_eq!(sealed.len(), plain.len() + 3 + 2 + SALT_BYTES + TAG_BYTES);
            let shows = |part: &[u8]| part.len() > 4 && sealed.windows(part.len()).any(|window| window == part);
            assert!(!shows(&plain[..plain.len().min(12)]), "{sealed:?}");
            assert_ne!(
                sealed,
                codec.seal(place, 0, &plain).expect("sealed"),
                "no two are alike"
            );
            assert_eq!(codec.open(place, sealed).expect("opened"), plain);
        }
    }

    #[test]
    fn what_was_changed_anywhere_does_not_open() {
        let codec = codec(&[("k1", &OLD)], Some("k1"));
        let place = Place::Run(RunPart::Input, run(1));
        let sealed = codec.seal(place, MARK_DETACHED, &payload()).expect("sealed");
        for at in 1..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            let error = codec.open(place, changed.into()).expect_err("changed");
            assert!(!error.to_string().is_empty(), "byte {at}");
        }
        for length in 1..sealed.len() {
            codec.open(place, sealed.slice(..length)).expect_err("cut off");
        }
        let mut longer = sealed.to_vec();
        longer.push(0);
        codec.open(place, longer.into()).expect_err("longer");
        assert_eq!(codec.open(place, sealed).expect("itself"), payload());
    }

    #[test]
    fn a_payload_opens_at_its_place_only() {
        let codec = codec(&[("k1", &OLD)], Some("k1"));
        let (here, there) = (Namespace("a".into()), Namespace("a_b".into()));
        let places = [
            Place::Journal(RecordPart::Body, run(1), 1),
            Place::Journal(RecordPart::Output, run(1), 1),
            Place::Journal(RecordPart::Snapshot, run(1), 1),
            Place::Journal(RecordPart::Logs, run(1), 1),
            Place::Journal(RecordPart::Body, run(2), 1),
            Place::Journal(RecordPart::Body, run(1), 2),
            Place::Run(RunPart::Input, run(1)),
            Place::Run(RunPart::Context, run(1)),
            Place::Run(RunPart::Output, run(1)),
            Place::Run(RunPart::Error, run(1)),
            Place::Run(RunPart::Input, run(2)),
            Place::Message("signal"),
            Place::Message("cancel"),
            Place::Verdict(1),
            Place::Verdict(2),
            Place::Wait(run(1), 1),
            Place::Schedule(&here, "b_c"),
            Place::Schedule(&there, "c"),
            Place::ScheduleError(&here, "b_c"),
            Place::Proof("k1"),
        ];
        for (at, place) in places.iter().enumerate() {
            let sealed = codec.seal(*place, 0, &payload()).expect("sealed");
            for (other, elsewhere) in places.iter().enumerate() {
                let opened = codec.open(*elsewhere, sealed.clone());
                assert_eq!(opened.is_ok(), at == other, "{place} at {elsewhere}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_named_and_another_one_of_its_id_opens_nothing() {
        let place = Place::Run(RunPart::Output, run(1));
        let sealed = codec(&[("k1", &OLD)], Some("k1")).seal(place, 0, &payload());
        let sealed = sealed.expect("sealed");
        let unknown = codec(&[("k2", &NEW)], Some("k2")).open(place, sealed.clone());
        let text = unknown.expect_err("not ours").to_string();
        assert!(text.contains("key `k1`") && text.contains("encryption.keys"), "{text}");
        let none = Codec::default().open(place, sealed.clone());
        assert!(matches!(none, Err(SealError::UnknownKey { id, .. }) if id == "k1"));
        let other = codec(&[("k1", &NEW)], Some("k1")).open(place, sealed);
        assert!(matches!(other, Err(SealError::Broken { id, .. }) if id == "k1"));
    }

    #[test]
    fn an_older_key_still_opens_what_is_sealed_with_the_newest_from_now_on() {
        let place = Place::Wait(run(1), 3);
        let before = codec(&[("k1", &OLD)], Some("k1")).seal(place, 0, &payload());
        let rotated = codec(&[("k1", &OLD), ("k2", &NEW)], Some("k2"));
        assert_eq!(rotated.open(place, before.expect("sealed")).expect("opened"), payload());
        let after = rotated.seal(place, 0, &payload()).expect("sealed");
        assert_eq!(Parts::of(&after).expect("sealed").id, "k2");
        let only_new = codec(&[("k2", &NEW)], None);
        assert_eq!(only_new.open(place, after).expect("opened"), payload());
        assert_eq!(
            Codec::new([], Some("k1")).expect_err("no key"),
            SealError::NoSuchKey("k1".to_owned())
        );
    }

    #[test]
    fn plain_text_reads_as_it_is_and_without_a_key_it_is_written_so() {
        let place = Place::Run(RunPart::Input, run(1));
        for codec in [
            Codec::default(),
            codec(&[("k1", &OLD)], Some("k1")),
            codec(&[("k1", &OLD)], None),
        ] {
            for plain in [payload(), Bytes::new(), Bytes::from_static(b"null")] {
                let opened = codec.open(place, plain.clone()).expect("plain");
                assert_eq!(
                    (opened.as_ptr(), opened.len()),
                    (plain.as_ptr(), plain.len()),
                    "no copy"
                );
            }
        }
        let plain = payload();
        let written = codec(&[("k1", &OLD)], None).seal(place, 0, &plain).expect("left");
        assert_eq!(written.as_ptr(), plain.as_ptr(), "no copy");
    }

    #[test]
    fn what_could_not_be_opened_goes_back_as_it_was() {
        let (place, sealed) = (Place::Wait(run(1), 3), codec(&[("k1", &OLD)], Some("k1")));
        let sealed = sealed.seal(place, 0, &payload()).expect("sealed");
        let other = codec(&[("k2", &NEW)], Some("k2"));
        assert_eq!(other.seal(place, 0, &sealed).expect("left"), sealed);
    }

    #[test]
    fn keys_show_nowhere() {
        let shown = format!("{:?}", codec(&[("k1", &[65; 32])], Some("k1")));
        assert_eq!(shown, "Codec { keys: [\"k1\"], newest: Some(\"k1\") }");
    }
}
