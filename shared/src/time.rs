//! Points in time, as the database's clock tells them. This module reads no clock except in [`Timestamp::now`].

mod utc;

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z. JSON shows it as RFC 3339 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// 9999-01-01T00:00:00Z: later ones cannot be written as RFC 3339 text in every time zone.
const LAST: i64 = 253_370_764_800_000_000;

impl Timestamp {
    /// The process's wall clock. The engine may not call it: time reaches it inside events.
    #[must_use]
    pub fn now() -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    /// This instant plus `duration`, at most the year 9999, so that it can be written and read again.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros).min(LAST))
    }

    /// Time from `earlier` to this instant; zero if that lies later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant moved by so many microseconds; `None` where the result could not be written as RFC 3339 text.
    #[must_use]
    pub fn moved(self, micros: i64) -> Option<Timestamp> {
        let moved = self.0.checked_add(micros)?;
        let can_be_written = (0..=LAST).contains(&moved) || jiff::Timestamp::from_microsecond(moved).is_ok();
        can_be_written.then_some(Timestamp(moved))
    }

    /// Reads RFC 3339 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Timestamp> {
        let usual = utc::parse(text.as_bytes()).map(Timestamp);
        usual.or_else(|| Timestamp::parse_any(text))
    }

    fn parse_any(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|t| Timestamp(t.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; utc::TEXT_MAX];
        if let Some(text) = utc::write(self.0, &mut text) {
            return f.write_str(text);
        }
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => t.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; utc::TEXT_MAX];
        match utc::write(self.0, &mut text) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back_keeps_the_instant() {
        let t = Timestamp(1_795_573_601_123_456);
        assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
    }

    proptest::proptest! {
        #[test]
        fn the_usual_way_writes_and_reads_as_the_library_does(micros in -10_000_000_000_i64..LAST, coarse in 0_u32..7) {
            let unit = 10_i64.pow(coarse);
            let time = Timestamp(micros / unit * unit);
            let text = jiff::Timestamp::from_microsecond(time.0).expect("in range").to_string();
            proptest::prop_assert_eq!(time.to_string(), text.clone());
            proptest::prop_assert_eq!(Timestamp::parse(&text), Some(time));
        }
    }

    #[test]
    fn what_is_unusual_is_read_by_the_library() {
        for text in [
            "2026-01-31T13:00:00+01:00",
            "2026-01-31T12:00:00.0000001Z",
            "2026-01-31t12:00:00z",
            "2026-01-31 12:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), Timestamp::parse_any(text), "{text}");
        }
        for text in [
            "2026-02-30T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-1-31T12:00:00Z",
            "x",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_moved_time_can_be_written_and_read_or_there_is_none() {
        let now = Timestamp(1_795_573_601_123_456);
        for micros in [0, -1, 1, -now.0, -now.0 - 1, LAST - now.0, -200_000_000_000_000_000] {
            let moved = now.moved(micros).expect("within reach");
            assert_eq!(
                (moved.0, Timestamp::parse(&moved.to_string())),
                (now.0 + micros, Some(moved))
            );
        }
        for micros in [i64::MIN, i64::MAX, 300_000_000_000_000_000] {
            assert_eq!(now.moved(micros), None, "{micros}");
        }
    }

    #[test]
    fn a_sum_that_is_out_of_reach_can_still_be_written_and_read() {
        let last = Timestamp(1_795_573_601_123_456).plus(Duration::MAX);
        assert_eq!(Timestamp::parse(&last.to_string()), Some(last));
        assert_eq!(last.plus(Duration::from_secs(1)), last);
    }
}
