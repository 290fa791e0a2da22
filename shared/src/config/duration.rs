//! Durations as configuration and flags write them: `250ms`, `1.5s`, `1h30m`, `3d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
const SECONDS_MAX: f64 = 1000.0 * 366.0 * 86_400.0;

/// A duration with the text form of SPEC 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let seconds = seconds(text).filter(|s| *s <= SECONDS_MAX);
        seconds
            .map(Duration::from_secs_f64)
            // ISO 8601, as definitions take it (SPEC 2).
            .or_else(|| crate::definition::duration::parse(text.trim()))
            .map(Span)
            .ok_or_else(|| format!("{text:?} is no duration; write 250ms, 1.5s, 1h30m or 3d"))
    }
}

fn seconds(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| !c.is_ascii_alphabetic())
            .map_or(rest.len(), |at| digits + at);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &rest[digits..unit_end])?;
        total += number * factor;
        rest = &rest[unit_end..];
    }
    Some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            m if m % 86_400_000 == 0 => write!(f, "{}d", m / 86_400_000),
            m if m % 3_600_000 == 0 => write!(f, "{}h", m / 3_600_000),
            m if m % 60_000 == 0 => write!(f, "{}m", m / 60_000),
            m if m % 1000 == 0 => write!(f, "{}s", m / 1000),
            m => write!(f, "{m}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_8601_reads_as_in_definitions() {
        assert_eq!("PT5M".parse(), Ok(Span(Duration::from_secs(300))));
        assert!("PT".parse::<Span>().is_err());
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, millis, shown) in [
            ("250ms", 250, "250ms"),
            ("1.5s", 1500, "1500ms"),
            ("1h30m", 5_400_000, "90m"),
            ("3d", 259_200_000, "3d"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.0, Duration::from_millis(millis));
            assert_eq!(span.to_string(), shown);
        }
        for bad in ["", "5", "s", "5 s", "-1s", "1y", "9999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
