//! Points in time, as the database's clock tells them. This module reads no clock except in [`Timestamp::now`].

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

    /// Reads RFC 3339 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|t| Timestamp(t.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        serializer.collect_str(self)
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

    #[test]
    fn a_sum_that_is_out_of_reach_can_still_be_written_and_read() {
        let last = Timestamp(1_795_573_601_123_456).plus(Duration::MAX);
        assert_eq!(Timestamp::parse(&last.to_string()), Some(last));
        assert_eq!(last.plus(Duration::from_secs(1)), last);
    }
}
